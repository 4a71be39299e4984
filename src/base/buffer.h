/* Growing byte buffer, kept zero-terminated so that it is also a string. */
#ifndef FL_BASE_BUFFER_H
#define FL_BASE_BUFFER_H

#include "base/status.h"

typedef struct fl_buffer {
    char *data; /* NULL while empty; data[size] is 0 otherwise */
    size_t size, capacity;
    bool failed; /* an append ran out of memory; later appends do nothing */
} fl_buffer;

void fl_buffer_append(fl_buffer *b, const void *bytes, size_t n);
void fl_buffer_text(fl_buffer *b, const char *text);
void fl_buffer_format(fl_buffer *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void fl_buffer_clear(fl_buffer *b); /* size 0, memory kept */
void fl_buffer_free(fl_buffer *b);

#endif
