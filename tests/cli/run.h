/* Running the furlong binary, which lies beside the test programs, and looking at all it leaves behind. */
#ifndef TESTS_CLI_RUN_H
#define TESTS_CLI_RUN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buffer.h"

#define STORIES FL_SOURCE_DIR "/models/stories260K/stories260K.bin"

typedef struct outcome {
    int status; /* exit status, or 1000 + the signal that ended it */
    fl_buffer out, err;
} outcome;

static inline void outcome_free(outcome *o)
{
    fl_buffer_free(&o->out);
    fl_buffer_free(&o->err);
}

static inline const char *out_of(const outcome *o)
{
    return o->out.data ? o->out.data : "";
}

static inline const char *err_of(const outcome *o)
{
    return o->err.data ? o->err.data : "";
}

/* Path of a program in the folder of this test program. */
static inline const char *beside(const char *name)
{
    static char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 64);
    assert_true(n > 0);
    path[n] = 0;
    strcpy(strrchr(path, '/') + 1, name);
    return path;
}

typedef struct running {
    pid_t pid;
    int out, err;
} running;

/* arguments: ended by NULL, without argv[0]; input: what stdin holds; variable: "NAME=value" or NULL, beside nothing
 * else but what sanitizers read. */
static inline running start(const char *const *arguments, const char *input, const char *variable)
{
    const char *argv[64] = {"furlong"};
    int count = 1;
    for (; arguments[count - 1]; count++) {
        assert_true(count < 63);
        argv[count] = arguments[count - 1];
    }
    FILE *in = tmpfile();
    assert_non_null(in);
    assert_true(fputs(input ? input : "", in) >= 0);
    rewind(in);
    int out[2], err[2];
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    assert_int_equal(pipe2(err, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fileno(in), 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    posix_spawn_file_actions_adddup2(&actions, err[1], 2);
    char asan[512] = "ASAN_OPTIONS=";
    if (getenv("ASAN_OPTIONS")) strncat(asan, getenv("ASAN_OPTIONS"), 400);
    char *environment[] = {asan, (char *)(uintptr_t)variable, NULL};
    running r = {.out = out[0], .err = err[0]};
    int failed = posix_spawn(&r.pid, beside("furlong"), &actions, NULL, (char *const *)(uintptr_t)argv, environment);
    if (failed) fail_msg("%s: %s", beside("furlong"), strerror(failed));
    posix_spawn_file_actions_destroy(&actions);
    fclose(in);
    close(out[1]);
    close(err[1]);
    return r;
}

/* Until both pipes are closed and the program has ended. */
static inline outcome finish(running r)
{
    outcome o = {0};
    struct pollfd fds[2] = {{r.out, POLLIN, 0}, {r.err, POLLIN, 0}};
    fl_buffer *to[2] = {&o.out, &o.err};
    int open = 2;
    while (open) {
        assert_true(poll(fds, 2, -1) > 0); /* how long a test may take is the business of tests/run */
        for (int i = 0; i < 2; i++) {
            if (!fds[i].revents) continue;
            char bytes[4096];
            ssize_t n = read(fds[i].fd, bytes, sizeof bytes);
            if (n > 0) {
                fl_buffer_append(to[i], bytes, (size_t)n);
                continue;
            }
            close(fds[i].fd);
            fds[i].fd = -1;
            open--;
        }
    }
    int status;
    assert_int_equal(waitpid(r.pid, &status, 0), r.pid);
    o.status = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
    return o;
}

static inline outcome run_with(const char *const *arguments, const char *input, const char *variable)
{
    return finish(start(arguments, input, variable));
}

#define RUN(...) run_with((const char *const[]){__VA_ARGS__, NULL}, NULL, NULL)
#define RUN_INPUT(input, ...) run_with((const char *const[]){__VA_ARGS__, NULL}, input, NULL)

static inline void show(const outcome *o)
{
    fprintf(stderr, "status %d\nstdout: %s\nstderr: %s\n", o->status, out_of(o), err_of(o));
}

/* Nothing on stderr, this on stdout. */
static inline void expect_output(outcome o, const char *expected)
{
    if (o.status || o.err.size || strcmp(out_of(&o), expected)) {
        show(&o);
        fail_msg("expected: %s", expected);
    }
    outcome_free(&o);
}

/* Nothing on stdout, "furlong: error: ..." with each of the texts on stderr. */
static inline void expect_error(outcome o, int status, const char *first, const char *second)
{
    bool right = o.status == status && !o.out.size && !strncmp(err_of(&o), "furlong: error: ", 16) &&
                 strstr(err_of(&o), first) && (!second || strstr(err_of(&o), second));
    if (!right) {
        show(&o);
        fail_msg("expected status %d and %s, %s", status, first, second ? second : "");
    }
    outcome_free(&o);
}

/* One JSON object on stdout and nothing on stderr; json_decref it. */
static inline json_t *expect_json(outcome o)
{
    json_error_t error;
    json_t *root = json_loads(out_of(&o), JSON_REJECT_DUPLICATES, &error);
    if (o.status || o.err.size || !json_is_object(root)) {
        show(&o);
        fail_msg("no JSON object: %s", error.text);
    }
    outcome_free(&o);
    return root;
}

static inline double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_number(value)) fail_msg("no number %s", key);
    return json_number_value(value);
}

static inline const char *text(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_string(value)) fail_msg("no text %s", key);
    return json_string_value(value);
}

#endif
