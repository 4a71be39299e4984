#include "base/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/size.h"

/* Room for n more bytes and the final zero. */
static bool reserve(fl_buffer *b, size_t n)
{
    size_t needed;
    if (b->failed) return false;
    if (!fl_size_add(b->size, n, &needed) || !fl_size_add(needed, 1, &needed)) {
        fl_fail(FL_ERR_MEMORY, "buffer: %zu bytes and %zu more pass the address space", b->size, n);
        b->failed = true;
        return false;
    }
    if (needed <= b->capacity) return true;
    size_t capacity = b->capacity < 64 ? 64 : b->capacity;
    while (capacity < needed)
        capacity = capacity > SIZE_MAX / 2 ? needed : capacity * 2;
    char *data = fl_realloc(b->data, capacity, 1);
    if (!data) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->capacity = capacity;
    return true;
}

void fl_buffer_append(fl_buffer *b, const void *bytes, size_t n)
{
    if (!reserve(b, n)) return;
    if (n) memcpy(b->data + b->size, bytes, n);
    b->size += n;
    b->data[b->size] = 0;
}

void fl_buffer_text(fl_buffer *b, const char *text)
{
    fl_buffer_append(b, text, strlen(text));
}

void fl_buffer_format(fl_buffer *b, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0) {
        fl_fail(FL_ERR_ARGUMENT, "buffer: text cannot be formatted with \"%s\"", format);
        b->failed = true;
    } else if (reserve(b, (size_t)length)) {
        vsnprintf(b->data + b->size, (size_t)length + 1, format, again);
        b->size += (size_t)length;
    }
    va_end(again);
}

void fl_buffer_clear(fl_buffer *b)
{
    b->size = 0;
    b->failed = false;
    if (b->data) b->data[0] = 0;
}

void fl_buffer_free(fl_buffer *b)
{
    fl_free(b->data);
    *b = (fl_buffer){0};
}
