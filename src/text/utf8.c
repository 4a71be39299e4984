#include "text/utf8.h"

size_t fl_utf8_encode(uint32_t cp, char out[4])
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xC0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3F));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xE0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3F));
        out[2] = (char)(0x80 | (cp & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3F));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3F));
    out[3] = (char)(0x80 | (cp & 0x3F));
    return 4;
}

bool fl_utf8_valid(const char *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        size_t length = fl_utf8_decode(s + i, n - i, &cp);
        if (length == 0) return false;
        i += length;
    }
    return true;
}

/* Length of the longest beginning of s that begins some character, without being one: at least 1 for a lead byte. */
static size_t beginning(const uint8_t *p, size_t n)
{
    size_t whole = p[0] >= 0xC2 && p[0] < 0xE0    ? 2
                   : p[0] >= 0xE0 && p[0] < 0xF0  ? 3
                   : p[0] >= 0xF0 && p[0] <= 0xF4 ? 4
                                                  : 0;
    if (whole == 0) return 0;
    size_t length = 1;
    while (length < whole && length < n) {
        uint8_t low = 0x80, high = 0xBF;
        if (length == 1) {
            if (p[0] == 0xE0) low = 0xA0;
            if (p[0] == 0xED) high = 0x9F;
            if (p[0] == 0xF0) low = 0x90;
            if (p[0] == 0xF4) high = 0x8F;
        }
        if (p[length] < low || p[length] > high) break;
        length++;
    }
    return length;
}

size_t fl_utf8_incomplete(const char *s, size_t n)
{
    uint32_t cp;
    if (n == 0 || fl_utf8_decode(s, n, &cp)) return 0;
    size_t length = beginning((const uint8_t *)s, n);
    return length == n ? length : 0;
}

void fl_utf8_repair(const char *s, size_t n, fl_repair how, fl_buffer *out)
{
    size_t from = 0, i = 0;
    while (i < n) {
        uint32_t cp;
        size_t length = fl_utf8_decode(s + i, n - i, &cp);
        if (length) {
            i += length;
            continue;
        }
        fl_buffer_append(out, s + from, i - from);
        fl_buffer_text(out, FL_REPLACEMENT);
        size_t bad = how == FL_REPAIR_SEQUENCE ? beginning((const uint8_t *)s + i, n - i) : 1;
        i += bad ? bad : 1;
        from = i;
    }
    fl_buffer_append(out, s + from, n - from);
}
