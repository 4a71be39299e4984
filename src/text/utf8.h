/* UTF-8: strict decoding (no overlong forms, no surrogates, nothing above U+10FFFF), encoding, repair. */
#ifndef FL_TEXT_UTF8_H
#define FL_TEXT_UTF8_H

#include <string.h>

#include "base/buffer.h"

#define FL_REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */

/* Length in bytes of the character at s (1 to 4, at most n) with its code point in *cp; 0, and *cp 0, if the
 * bytes are not one. */
static inline size_t fl_utf8_decode(const char *s, size_t n, uint32_t *cp)
{
    const uint8_t *p = (const uint8_t *)s;
    *cp = 0;
    if (n == 0) return 0;
    if (p[0] < 0x80) {
        *cp = p[0];
        return 1;
    }
    if (p[0] < 0xE0) {
        if (p[0] < 0xC2 || n < 2 || (p[1] & 0xC0) != 0x80) return 0;
        *cp = (uint32_t)(p[0] & 0x1F) << 6 | (p[1] & 0x3F);
        return 2;
    }
    if (p[0] < 0xF0) {
        if (n < 3 || (p[1] & 0xC0) != 0x80 || (p[2] & 0xC0) != 0x80) return 0;
        uint32_t c = (uint32_t)(p[0] & 0x0F) << 12 | (uint32_t)(p[1] & 0x3F) << 6 | (p[2] & 0x3F);
        if (c < 0x800 || (c >= 0xD800 && c <= 0xDFFF)) return 0;
        *cp = c;
        return 3;
    }
    if (p[0] > 0xF4 || n < 4 || (p[1] & 0xC0) != 0x80 || (p[2] & 0xC0) != 0x80 || (p[3] & 0xC0) != 0x80) return 0;
    uint32_t c =
        (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3F) << 12 | (uint32_t)(p[2] & 0x3F) << 6 | (p[3] & 0x3F);
    if (c < 0x10000 || c > 0x10FFFF) return 0;
    *cp = c;
    return 4;
}

/* Length of the character at s, or 1 for a byte that is not part of one: how far to step. n > 0. */
static inline size_t fl_utf8_step(const char *s, size_t n)
{
    uint32_t cp;
    size_t length = fl_utf8_decode(s, n, &cp);
    return length ? length : 1;
}

/* Bytes of a character by its first byte alone, as SentencePiece splits text: 1 to 4, at most n. */
static inline size_t fl_utf8_lead(const char *s, size_t n)
{
    size_t length = (size_t) "\1\1\1\1\1\1\1\1\1\1\1\1\2\2\3\4"[(uint8_t)*s >> 4];
    return length < n ? length : n;
}

/* Write cp (a valid scalar value) to out; returns its length. */
size_t fl_utf8_encode(uint32_t cp, char out[4]);

bool fl_utf8_valid(const char *s, size_t n);

/* How many bytes at s could still become one character if more bytes followed: 0 when s is complete or hopeless. */
size_t fl_utf8_incomplete(const char *s, size_t n);

/* How one run of bytes that are not UTF-8 is replaced. */
typedef enum fl_repair {
    FL_REPAIR_EACH_BYTE, /* U+FFFD for every byte (SentencePiece) */
    FL_REPAIR_SEQUENCE   /* U+FFFD for every maximal beginning of a character (Unicode 3.9, Rust's from_utf8_lossy) */
} fl_repair;

/* Append n bytes to out with everything that is not UTF-8 replaced. */
void fl_utf8_repair(const char *s, size_t n, fl_repair how, fl_buffer *out);

#endif
