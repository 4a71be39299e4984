/* What the tests of this floor share: a folder to write to, and the form every refusal has. */
#ifndef TESTS_FILE_FILES_H
#define TESTS_FILE_FILES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"

/* Paths live until the group ends, so that tests need not free them. */
static char **files_paths;
static size_t files_path_count;

/* "folder/name" */
static inline const char *in(const char *folder, const char *name)
{
    size_t size = strlen(folder) + strlen(name) + 2;
    char *path = malloc(size);
    files_paths = realloc(files_paths, (files_path_count + 1) * sizeof *files_paths);
    assert_true(path && files_paths);
    snprintf(path, size, "%s/%s", folder, name);
    return files_paths[files_path_count++] = path;
}

/* A new folder below TMPDIR, removed with all its files by files_drop. */
static inline int files_make(void **state)
{
    const char *root = getenv("TMPDIR");
    char *folder = malloc(256);
    if (!folder) return 1;
    snprintf(folder, 256, "%s/furlong-file-XXXXXX", root ? root : P_tmpdir);
    *state = folder;
    return mkdtemp(folder) ? 0 : 1;
}

static inline int files_drop(void **state)
{
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", (char *)*state);
    int failed = system(command);
    free(*state);
    for (size_t i = 0; i < files_path_count; i++)
        free(files_paths[i]);
    free(files_paths);
    files_paths = NULL;
    files_path_count = 0;
    return failed;
}

static inline void put_bytes(const char *path, const void *bytes, size_t n)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

static inline void put_text(const char *path, const char *text)
{
    put_bytes(path, text, strlen(text));
}

static inline fl_buffer content(const char *path)
{
    fl_buffer b = {0};
    assert_int_equal(fl_file_read(&b, path, (size_t)1 << 30), FL_OK);
    return b;
}

/* The status, and a message that names the file and the key or offset. */
static inline void assert_refused(const char *what, fl_status status, fl_status wanted, const char *file,
                                  const char *key)
{
    const char *message = fl_error_message();
    if (status != wanted || !strstr(message, file) || !strstr(message, key))
        fail_msg("%s: %s \"%s\"; wanted %s with \"%s\" and \"%s\"", what, fl_status_name(status), message,
                 fl_status_name(wanted), file, key);
}

static inline void assert_ok(fl_status status)
{
    if (status != FL_OK) fail_msg("%s: %s", fl_status_name(status), fl_error_message());
}

#endif
