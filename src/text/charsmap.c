#include "text/charsmap.h"

#include <string.h>

#include "text/utf8.h"

/* Longer rules than any in use (18 characters); keeps the time of a hostile map within bounds. */
#define LONGEST 1024

static uint32_t unit(const fl_charsmap *m, size_t i)
{
    const uint8_t *p = (const uint8_t *)m->units + 4 * i;
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* The fields of a unit, as darts-clone packs them. */
static bool has_leaf(uint32_t u)
{
    return u >> 8 & 1;
}
static uint32_t value(uint32_t u)
{
    return u & 0x7FFFFFFF;
}
static uint32_t label(uint32_t u)
{
    return u & 0x800000FF;
}
static uint32_t offset(uint32_t u)
{
    return (u >> 10) << ((u & 1u << 9) >> 6);
}

fl_status fl_charsmap_open(fl_charsmap *out, const void *bytes, size_t size)
{
    fl_charsmap m = {0};
    fl_buffer_append(&m.blob, bytes, size);
    if (m.blob.failed) return FL_ERR_MEMORY;
    if (size < 8) {
        fl_charsmap_free(&m);
        return fl_fail(FL_ERR_FORMAT, "%zu bytes, too few for a character map", size);
    }
    m.units = m.blob.data;
    size_t trie = unit(&m, 0);
    if (trie > size - 4 || trie % 4 || trie == 0) {
        fl_charsmap_free(&m);
        return fl_fail(FL_ERR_FORMAT, "a trie of %zu bytes in a character map of %zu", trie, size);
    }
    m.units = m.blob.data + 4;
    m.count = trie / 4;
    m.text = m.units + trie;
    m.text_size = size - 4 - trie;
    if (!fl_utf8_valid(m.text, m.text_size)) {
        fl_charsmap_free(&m);
        return fl_fail(FL_ERR_FORMAT, "the replacements are not UTF-8");
    }
    for (const char *s = m.text, *end = m.text + m.text_size; s < end;) {
        size_t length = strnlen(s, (size_t)(end - s));
        if (length > LONGEST) {
            fl_charsmap_free(&m);
            return fl_fail(FL_ERR_FORMAT, "a replacement of %zu bytes; at most %d are taken", length, LONGEST);
        }
        s += length + 1;
    }
    *out = m;
    return FL_OK;
}

void fl_charsmap_free(fl_charsmap *m)
{
    fl_buffer_free(&m->blob);
    *m = (fl_charsmap){0};
}

const char *fl_charsmap_find(const fl_charsmap *m, const char *s, size_t n, fl_charsmap_match which, size_t *consumed,
                             size_t *length)
{
    if (m->count == 0) return NULL;
    const char *found = NULL;
    size_t node = offset(unit(m, 0));
    for (size_t i = 0; i < n && i < LONGEST; i++) {
        uint8_t byte = (uint8_t)s[i];
        node ^= byte;
        if (node >= m->count) break;
        uint32_t u = unit(m, node);
        if (label(u) != byte) break;
        node ^= offset(u);
        if (!has_leaf(u)) continue;
        if (node >= m->count) break;
        size_t at = value(unit(m, node));
        if (at >= m->text_size || ((uint8_t)m->text[at] & 0xC0) == 0x80) break; /* outside, or inside a character */
        found = m->text + at;
        *consumed = i + 1;
        *length = strlen(found); /* the buffer ends with a zero */
        if (which == FL_CHARSMAP_SHORTEST) break;
    }
    return found;
}
