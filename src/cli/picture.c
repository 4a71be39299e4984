#include "cli/picture.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/flags.h"
#include "cli/output.h"

extern char **environ;

static int run(const char *path)
{
    char *const argv[] = {"gnuplot", (char *)(uintptr_t)path, NULL};
    pid_t child;
    int status = 0, error = posix_spawnp(&child, "gnuplot", NULL, NULL, argv, environ);
    if (error) {
        cli_error("gnuplot cannot be run: %s; install the package gnuplot-nox", strerror(error));
        return CLI_ERROR;
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return CLI_OK;
    cli_error("gnuplot failed on the picture");
    return CLI_ERROR;
}

int cli_draw(const char *script)
{
    char path[] = "/tmp/furlong-plot-XXXXXX";
    int fd = mkstemp(path);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    if (!f || fputs(script, f) < 0 || fclose(f) != 0) {
        cli_error("%s: cannot be written: %s", path, strerror(errno));
        return CLI_ERROR;
    }
    int status = run(path);
    unlink(path);
    return status;
}
