#define _GNU_SOURCE /* memmem */
#include <utf8proc.h>

#include "base/size.h"
#include "text/pipeline.h"

/* Append `from` with every match of the pattern replaced by content, as long as `to` stays below limit. */
static fl_status replace(const fl_pipeline_normalizer *step, const fl_buffer *from, fl_buffer *to, size_t limit,
                         bool *origin)
{
    size_t done = 0;
    if (!step->pattern.regex) {
        const char *s = from->data, *end = from->data + from->size, *match;
        while ((match = memmem(s, (size_t)(end - s), step->pattern.text, step->pattern.length)) != NULL) {
            fl_buffer_append(to, s, (size_t)(match - s));
            fl_buffer_append(to, step->content, step->content_length);
            if (match == from->data &&
                (step->content_length == 0 || fl_utf8_step(match, step->pattern.length) < step->pattern.length))
                *origin = false;
            s = match + step->pattern.length;
            if (to->size > limit) return FL_OK;
        }
        fl_buffer_append(to, s, (size_t)(end - s));
        return FL_OK;
    }
    fl_regex_scan scan;
    FL_TRY(fl_regex_begin(&scan, step->pattern.regex, from->data, from->size));
    bool found = true;
    fl_status status = FL_OK;
    size_t start, end;
    while (to->size <= limit && (status = fl_regex_next(&scan, &found, &start, &end)) == FL_OK && found) {
        fl_buffer_append(to, from->data + done, start - done);
        fl_buffer_append(to, step->content, step->content_length);
        if (start == 0 && end > 0 && (step->content_length == 0 || fl_utf8_step(from->data, end) < end))
            *origin = false;
        done = end;
    }
    fl_buffer_append(to, from->data + done, from->size - done);
    fl_regex_end(&scan);
    return status;
}

static void strip(const fl_pipeline_normalizer *step, const fl_buffer *from, fl_buffer *to, bool *origin)
{
    size_t start = 0, end = from->size;
    uint32_t cp;
    for (size_t n; step->left && start < end && (n = fl_utf8_decode(from->data + start, end - start, &cp)) != 0 &&
                   fl_unicode_is_space(cp);)
        start += n;
    while (step->right && end > start) {
        size_t last = end - 1;
        while (last > start && ((uint8_t)from->data[last] & 0xC0) == 0x80)
            last--;
        if (fl_utf8_decode(from->data + last, end - last, &cp) != end - last || !fl_unicode_is_space(cp)) break;
        end = last;
    }
    if (start) *origin = false;
    fl_buffer_append(to, from->data + start, end - start);
}

/* The tokenizers library looks up whole grapheme clusters of at most five bytes first and takes the shortest rule that
 * the cluster begins with for all of it; then single characters. That is not what SentencePiece does with the same
 * map, but what models with a tokenizer.json see. */
static void apply_charsmap(const fl_charsmap *map, const fl_buffer *from, fl_buffer *to, size_t limit)
{
    const char *s = from->data;
    for (size_t i = 0, n = from->size; i < n && to->size <= limit;) {
        uint32_t cp, next;
        utf8proc_int32_t state = 0;
        size_t length = fl_utf8_decode(s + i, n - i, &cp);
        if (length == 0) {
            fl_buffer_append(to, s + i++, 1);
            continue;
        }
        size_t cluster = length;
        for (uint32_t last = cp; i + cluster < n; last = next) {
            size_t step = fl_utf8_decode(s + i + cluster, n - i - cluster, &next);
            if (step == 0 || utf8proc_grapheme_break_stateful((utf8proc_int32_t)last, (utf8proc_int32_t)next, &state))
                break;
            cluster += step;
        }
        size_t consumed, replacement_length;
        const char *replacement =
            cluster < 6 ? fl_charsmap_find(map, s + i, cluster, FL_CHARSMAP_SHORTEST, &consumed, &replacement_length)
                        : NULL;
        if (replacement) {
            fl_buffer_append(to, replacement, replacement_length);
            i += cluster;
            continue;
        }
        for (size_t end = i + cluster; i < end; i += length) {
            length = fl_utf8_step(s + i, end - i);
            replacement = fl_charsmap_find(map, s + i, length, FL_CHARSMAP_SHORTEST, &consumed, &replacement_length);
            if (replacement)
                fl_buffer_append(to, replacement, replacement_length);
            else
                fl_buffer_append(to, s + i, length);
        }
    }
}

static fl_status apply(const fl_pipeline_normalizer *step, const fl_buffer *from, fl_buffer *to, size_t limit,
                       bool *origin)
{
    switch (step->kind) {
    case FL_PIPELINE_FORM:
        return fl_unicode_normalize(from->data, from->size, step->form, to);
    case FL_PIPELINE_PREPEND:
        fl_buffer_append(to, step->content, step->content_length);
        fl_buffer_append(to, from->data, from->size);
        return FL_OK;
    case FL_PIPELINE_REPLACE:
        return replace(step, from, to, limit, origin);
    case FL_PIPELINE_STRIP:
        strip(step, from, to, origin);
        return FL_OK;
    case FL_PIPELINE_CHARSMAP:
        apply_charsmap(&step->map, from, to, limit);
        return FL_OK;
    case FL_PIPELINE_TO_BYTES:
        fl_pipeline_to_bytes(from->data, from->size, to);
        return FL_OK;
    }
    return FL_OK;
}

/* A text may grow by this factor and so many bytes: Unicode's own forms stay under 18, a hostile file has no bounds. */
#define GROWTH 64
#define ROOM 65536

fl_status fl_pipeline_normalize(const fl_pipeline *pipeline, fl_buffer *text, fl_buffer *spare, bool *origin)
{
    size_t limit;
    if (!fl_size_mul(text->size, GROWTH, &limit) || !fl_size_add(limit, ROOM, &limit)) limit = SIZE_MAX;
    for (int i = 0; i < pipeline->normalizers && text->size; i++) {
        fl_buffer_clear(spare);
        FL_TRY(apply(&pipeline->normalizer[i], text, spare, limit, origin));
        fl_buffer result = *spare;
        *spare = *text;
        *text = result;
        if (text->failed) return FL_ERR_MEMORY;
        if (text->size > limit)
            return fl_fail(FL_ERR_UNSUPPORTED, "tokenizer: its normalizer makes the text more than %d times longer",
                           GROWTH);
    }
    return FL_OK;
}

/* ---- byte level --------------------------------------------------------------------------------------------- */

/* GPT-2's alphabet: printable Latin-1 stands for itself, the other bytes for U+0100 and on in their order. */
static uint32_t byte_to_character(uint8_t b)
{
    if ((b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE) return b;
    if (b <= ' ') return 0x100u + b;
    if (b <= 0xA0) return 0x121u + (b - 0x7Fu);
    return 0x143; /* 0xAD */
}

static int character_to_byte(uint32_t cp)
{
    if (cp < 0x100) return byte_to_character((uint8_t)cp) == cp ? (int)cp : -1;
    if (cp <= 0x120) return (int)(cp - 0x100);
    if (cp <= 0x142) return (int)(cp - 0x121 + 0x7F);
    return cp == 0x143 ? 0xAD : -1;
}

void fl_pipeline_to_bytes(const char *s, size_t n, fl_buffer *out)
{
    char block[512];
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        if (used + 2 > sizeof(block)) {
            fl_buffer_append(out, block, used);
            used = 0;
        }
        used += fl_utf8_encode(byte_to_character((uint8_t)s[i]), block + used);
    }
    fl_buffer_append(out, block, used);
}

void fl_pipeline_from_bytes(const char *s, size_t n, fl_buffer *out)
{
    size_t before = out->size;
    for (size_t i = 0; i < n;) {
        uint32_t cp = 0;
        size_t length = fl_utf8_decode(s + i, n - i, &cp);
        int byte = length ? character_to_byte(cp) : -1;
        if (byte < 0) {
            if (out->data) out->data[out->size = before] = 0;
            fl_buffer_append(out, s, n);
            return;
        }
        char c = (char)byte;
        fl_buffer_append(out, &c, 1);
        i += length;
    }
}
