#define _GNU_SOURCE /* memmem */
/* Decoders of tokenizer.json. A whole sequence goes through them as a list of strings, as in the tokenizers library;
 * the streaming form handles one token at a time and gives the same text for sequences of valid UTF-8. */
#include "base/alloc.h"
#include "text/pipeline.h"

/* A list of strings: one buffer and where each ends. */
typedef struct strings {
    fl_buffer text;
    size_t *end;
    size_t count, capacity;
} strings;

static bool finish_string(strings *s)
{
    if (s->count == s->capacity) {
        size_t capacity = s->capacity ? s->capacity * 2 : 64;
        size_t *end = fl_realloc(s->end, capacity, sizeof(size_t));
        if (!end) return false;
        s->end = end;
        s->capacity = capacity;
    }
    s->end[s->count++] = s->text.size;
    return true;
}

static const char *string_at(const strings *s, size_t i, size_t *length)
{
    size_t start = i ? s->end[i - 1] : 0;
    *length = s->end[i] - start;
    return s->text.data ? s->text.data + start : "";
}

static void append_replaced(const fl_pipeline_decoder *d, const char *s, size_t n, fl_buffer *out)
{
    const size_t length = strlen(d->pattern);
    const char *end = s + n;
    for (const char *match; (match = memmem(s, (size_t)(end - s), d->pattern, length)) != NULL; s = match + length) {
        fl_buffer_append(out, s, (size_t)(match - s));
        fl_buffer_text(out, d->content);
    }
    fl_buffer_append(out, s, (size_t)(end - s));
}

static void append_stripped(const fl_pipeline_decoder *d, const char *s, size_t n, fl_buffer *out)
{
    const size_t length = strlen(d->character);
    const char *end = s + n;
    for (int64_t i = 0; i < d->start && (size_t)(end - s) >= length && memcmp(s, d->character, length) == 0; i++)
        s += length;
    /* The original looks for the end in the whole string; both cuts meet when it is all of that character. */
    for (int64_t i = 0; i < d->stop && (size_t)(end - s) >= length && memcmp(end - length, d->character, length) == 0;
         i++)
        end -= length;
    fl_buffer_append(out, s, (size_t)(end - s));
}

static void append_metaspace(const fl_pipeline_decoder *d, bool first, const char *s, size_t n, fl_buffer *out)
{
    const size_t length = strlen(d->character);
    const char *end = s + n;
    for (const char *match; (match = memmem(s, (size_t)(end - s), d->character, length)) != NULL; s = match + length) {
        fl_buffer_append(out, s, (size_t)(match - s));
        if (!(first && d->drop_first)) fl_buffer_append(out, " ", 1);
    }
    fl_buffer_append(out, s, (size_t)(end - s));
}

/* Runs of byte pieces become one string if they are UTF-8, else one U+FFFD for each byte. */
static bool byte_fallback(const strings *from, strings *to)
{
    fl_buffer bytes = {0};
    bool ok = true;
    for (size_t i = 0; ok && i <= from->count; i++) {
        size_t length = 0;
        const char *s = i < from->count ? string_at(from, i, &length) : NULL;
        int byte = s ? fl_byte_piece(s, length) : -1;
        if (byte >= 0) {
            char c = (char)byte;
            fl_buffer_append(&bytes, &c, 1);
            continue;
        }
        if (bytes.size) {
            if (fl_utf8_valid(bytes.data, bytes.size))
                fl_buffer_append(&to->text, bytes.data, bytes.size);
            else
                for (size_t k = 0; k < bytes.size; k++)
                    fl_buffer_text(&to->text, FL_REPLACEMENT);
            ok = finish_string(to);
            fl_buffer_clear(&bytes);
        }
        if (s && ok) {
            fl_buffer_append(&to->text, s, length);
            ok = finish_string(to);
        }
    }
    ok = ok && !bytes.failed;
    fl_buffer_free(&bytes);
    return ok;
}

static bool decode_step(const fl_pipeline_decoder *d, const strings *from, strings *to)
{
    fl_buffer bytes = {0};
    size_t length;
    to->text.size = to->count = 0;
    if (d->kind == FL_PIPELINE_DECODE_BYTE_FALLBACK) return byte_fallback(from, to);
    for (size_t i = 0; i < from->count; i++) {
        const char *s = string_at(from, i, &length);
        switch (d->kind) {
        case FL_PIPELINE_DECODE_REPLACE:
            append_replaced(d, s, length, &to->text);
            break;
        case FL_PIPELINE_DECODE_STRIP:
            append_stripped(d, s, length, &to->text);
            break;
        case FL_PIPELINE_DECODE_METASPACE:
            append_metaspace(d, i == 0, s, length, &to->text);
            break;
        case FL_PIPELINE_DECODE_BYTE_LEVEL:
            fl_pipeline_from_bytes(s, length, &bytes);
            break;
        default: /* Fuse */
            fl_buffer_append(&to->text, s, length);
        }
        bool joins = d->kind == FL_PIPELINE_DECODE_FUSE || d->kind == FL_PIPELINE_DECODE_BYTE_LEVEL;
        if (!joins && !finish_string(to)) return false;
    }
    if (d->kind == FL_PIPELINE_DECODE_BYTE_LEVEL) {
        if (bytes.size) fl_utf8_repair(bytes.data, bytes.size, FL_REPAIR_SEQUENCE, &to->text);
        bool failed = bytes.failed;
        fl_buffer_free(&bytes);
        return !failed && finish_string(to);
    }
    return d->kind == FL_PIPELINE_DECODE_FUSE ? finish_string(to) : true;
}

/* What a token looks like to the decoders; NULL when it is left out. */
static const char *token_string(const fl_tokenizer *t, int32_t id, bool show_special, size_t *length)
{
    const char *piece = fl_vocab_piece(&t->vocab, id, length);
    int32_t index = piece ? t->pipeline->added_of[id] : -1;
    if (index < 0) return piece;
    const fl_pipeline_added *a = &t->pipeline->added[index];
    if (!a->form) return a->special && !show_special ? NULL : piece;
    /* The library shows such a token in its normalised form, under which it no longer counts as special. */
    *length = a->form_length;
    return a->form;
}

fl_status fl_pipeline_decode(const fl_tokenizer *t, const int32_t *id, int64_t count, bool show_special, fl_buffer *out)
{
    strings list = {0}, next = {0};
    bool ok = true;
    for (int64_t i = 0; ok && i < count; i++) {
        size_t length = 0;
        const char *s = token_string(t, id[i], show_special, &length);
        if (!s) continue;
        if (t->pipeline->joins_with_spaces && list.count) fl_buffer_append(&list.text, " ", 1);
        fl_buffer_append(&list.text, s, length);
        ok = finish_string(&list);
    }
    for (int i = 0; ok && i < t->pipeline->decoders; i++) {
        ok = decode_step(&t->pipeline->decoder[i], &list, &next) && !next.text.failed;
        strings swap = list;
        list = next;
        next = swap;
    }
    /* Pieces with bytes that no decoder repaired are UTF-8 already: the reader refused any others. */
    if (ok) fl_buffer_append(out, list.text.data, list.text.size);
    ok = ok && !list.text.failed && !out->failed;
    fl_buffer_free(&list.text);
    fl_buffer_free(&next.text);
    fl_free(list.end);
    fl_free(next.end);
    return ok ? FL_OK : FL_ERR_MEMORY;
}

/* *started: something was shown (Strip after Fuse), or a token was seen (Metaspace, no decoder). */
bool fl_pipeline_token_bytes(const fl_tokenizer *t, int32_t id, bool show_special, bool *started, fl_buffer *out)
{
    const fl_pipeline *pipeline = t->pipeline;
    size_t length = 0;
    const char *s = token_string(t, id, show_special, &length);
    if (!s) return false;
    fl_buffer text = {0}, next = {0};
    fl_buffer_append(&text, s, length);
    bool raw = false, metaspace = pipeline->joins_with_spaces;
    if (pipeline->joins_with_spaces && *started) fl_buffer_append(out, " ", 1);
    for (int i = 0; i < pipeline->decoders; i++) {
        const fl_pipeline_decoder *d = &pipeline->decoder[i];
        fl_buffer_clear(&next);
        fl_buffer_append(&next, "", 0);
        int byte;
        switch (d->kind) {
        case FL_PIPELINE_DECODE_FUSE:
            continue;
        case FL_PIPELINE_DECODE_BYTE_FALLBACK:
            byte = fl_byte_piece(text.data, text.size);
            if (byte < 0) continue;
            raw = true;
            fl_buffer_append(&next, &(char){(char)byte}, 1);
            break;
        case FL_PIPELINE_DECODE_BYTE_LEVEL:
            fl_pipeline_from_bytes(text.data, text.size, &next);
            break;
        case FL_PIPELINE_DECODE_REPLACE:
            if (raw) continue;
            append_replaced(d, text.data, text.size, &next);
            break;
        case FL_PIPELINE_DECODE_METASPACE:
            metaspace = true;
            if (raw) continue;
            append_metaspace(d, !*started, text.data, text.size, &next);
            break;
        case FL_PIPELINE_DECODE_STRIP:
            /* The reader allows one ASCII character at the start of the fused text: it goes with the first text. */
            if (*started) continue;
            append_stripped(d, text.data, text.size, &next);
            if (text.size) *started = true;
            break;
        }
        fl_buffer swap = text;
        text = next;
        next = swap;
    }
    if (metaspace || text.size) *started = true;
    fl_buffer_append(out, text.data, text.size);
    if (text.failed || next.failed) out->failed = true;
    fl_buffer_free(&text);
    fl_buffer_free(&next);
    return false; /* the decoders see tokens left out no more than the library's do */
}
