/* Reading the records of tests/data/golden: lines "key value..." beside raw little-endian arrays. */
#ifndef TESTS_GOLDEN_H
#define TESTS_GOLDEN_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

static inline fl_buffer golden_file(const char *path)
{
    fl_buffer b = {0};
    if (fl_file_read(&b, path, (size_t)1 << 30) != FL_OK) {
        fprintf(stderr, "%s\n", fl_error_message());
        exit(1);
    }
    return b;
}

/* The text after "key " on its line, or NULL. */
static inline const char *golden_value(const fl_buffer *record, const char *key)
{
    size_t n = strlen(key);
    for (const char *line = record->data; line; line = strchr(line, '\n')) {
        if (*line == '\n') line++;
        if (!strncmp(line, key, n) && line[n] == ' ') return line + n + 1;
        if (!*line) break;
    }
    return NULL;
}

static inline long long golden_integer(const fl_buffer *record, const char *key)
{
    const char *v = golden_value(record, key);
    if (!v) {
        fprintf(stderr, "no %s in the record\n", key);
        exit(1);
    }
    return atoll(v);
}

/* The first count integers after key. */
static inline void golden_integers(const fl_buffer *record, const char *key, long long *out, long long count)
{
    char *at = (char *)(uintptr_t)golden_value(record, key);
    for (long long i = 0; at && i < count; i++)
        out[i] = strtoll(at, &at, 10);
}

/* The word after key, into out. */
static inline void golden_word(const fl_buffer *record, const char *key, char *out, size_t capacity)
{
    const char *v = golden_value(record, key);
    size_t n = v ? strcspn(v, " \n") : 0;
    if (!v || n >= capacity) {
        fprintf(stderr, "no %s in the record\n", key);
        exit(1);
    }
    memcpy(out, v, n);
    out[n] = 0;
}

#endif
