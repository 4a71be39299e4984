/* Little-endian integers of GGUF files at any address. */
#ifndef FL_FILE_GGUF_BYTES_H
#define FL_FILE_GGUF_BYTES_H

#include "base/buffer.h"

/* bytes: 1 to 8 */
static inline uint64_t fl_le(const uint8_t *p, int bytes)
{
    uint64_t value = 0;
    for (int i = bytes - 1; i >= 0; i--)
        value = value << 8 | p[i];
    return value;
}

static inline void fl_put_le(fl_buffer *b, uint64_t value, int bytes)
{
    uint8_t little[8];
    for (int i = 0; i < bytes; i++)
        little[i] = (uint8_t)(value >> (8 * i));
    fl_buffer_append(b, little, (size_t)bytes);
}

#endif
