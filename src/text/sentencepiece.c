/* Encoding and decoding as SentencePiece does: normalizer.cc, bpe_model.cc, unigram_model.cc and
 * sentencepiece_processor.cc of google/sentencepiece. */
#include "text/sentencepiece.h"

#include "base/alloc.h"
#include "base/size.h"

/* ---- normalisation ------------------------------------------------------------------------------------------ */

/* What the text at s begins with after normalisation (*length bytes), and the bytes of s it stands for. */
static const char *normalize_prefix(const fl_sentencepiece *sp, const char *s, size_t n, size_t *length,
                                    size_t *consumed)
{
    uint32_t cp;
    const char *replacement;
    if (sp->user_defined.node && fl_trie_longest(&sp->user_defined, s, n, consumed) >= 0) {
        *length = *consumed;
        return s;
    }
    replacement = fl_charsmap_find(&sp->charsmap, s, n, FL_CHARSMAP_LONGEST, consumed, length);
    if (replacement) return replacement;
    *length = *consumed = fl_utf8_decode(s, n, &cp);
    if (*consumed) return s;
    *consumed = 1;
    *length = sizeof(FL_REPLACEMENT) - 1;
    return FL_REPLACEMENT;
}

static bool ends_with(const fl_buffer *b, const char *s, size_t n)
{
    return b->size >= n && memcmp(b->data + b->size - n, s, n) == 0;
}

/* Append with every space spelled as in the vocabulary. */
static void append_escaped(const fl_sentencepiece *sp, const char *s, size_t n, fl_buffer *out)
{
    size_t from = 0;
    for (size_t i = 0; sp->escape_whitespaces && i < n; i++)
        if (s[i] == ' ') {
            fl_buffer_append(out, s + from, i - from);
            fl_buffer_text(out, FL_SPACE_SYMBOL);
            from = i + 1;
        }
    fl_buffer_append(out, s + from, n - from);
}

/* A text may grow by this factor and so many bytes: real character maps stay under 18, a hostile one has no bounds. */
#define GROWTH 64
#define ROOM 65536

static fl_status normalize(const fl_sentencepiece *sp, const char *s, size_t n, fl_buffer *out)
{
    size_t length, consumed, limit, i = 0;
    if (!fl_size_mul(n, GROWTH, &limit) || !fl_size_add(limit, ROOM, &limit)) limit = SIZE_MAX;
    bool remove_extra = sp->remove_extra_whitespaces;
    while (remove_extra && i < n) { /* leading spaces */
        const char *p = normalize_prefix(sp, s + i, n - i, &length, &consumed);
        if (length != 1 || *p != ' ') break;
        i += consumed;
    }
    if (i == n) return FL_OK;
    if (!sp->treat_whitespace_as_suffix && sp->add_dummy_prefix) append_escaped(sp, " ", 1, out);
    bool after_space = remove_extra;
    while (i < n) {
        const char *p = normalize_prefix(sp, s + i, n - i, &length, &consumed);
        for (; after_space && length && *p == ' '; p++)
            length--;
        if (length) {
            append_escaped(sp, p, length, out);
            after_space = remove_extra && p[length - 1] == ' ';
        }
        i += consumed;
        if (out->size > limit)
            return fl_fail(FL_ERR_UNSUPPORTED, "tokenizer: its character map makes the text more than %d times longer",
                           GROWTH);
    }
    const char *space = sp->escape_whitespaces ? FL_SPACE_SYMBOL : " ";
    while (remove_extra && ends_with(out, space, strlen(space)))
        out->data[out->size -= strlen(space)] = 0;
    if (sp->treat_whitespace_as_suffix && sp->add_dummy_prefix) append_escaped(sp, " ", 1, out);
    return out->failed ? FL_ERR_MEMORY : FL_OK;
}

/* ---- encoding ----------------------------------------------------------------------------------------------- */

typedef struct sink {
    const fl_tokenizer *t;
    fl_tokens *out;
    bool after_unknown; /* neighbouring unknown characters are one unknown piece */
} sink;

static fl_status emit(void *user, int32_t id, const char *text, size_t length)
{
    sink *s = user;
    const fl_tokenizer *t = s->t;
    bool unknown = id == t->unk, repeated = unknown && s->after_unknown;
    s->after_unknown = unknown;
    if (!unknown) return fl_tokens_push(s->out, id);
    if (t->sp->byte_fallback) {
        for (size_t i = 0; i < length; i++)
            FL_TRY(fl_tokens_push(s->out, t->sp->byte_id[(uint8_t)text[i]]));
        return FL_OK;
    }
    return repeated ? FL_OK : fl_tokens_push(s->out, t->unk);
}

static int64_t split_symbols(const fl_tokenizer *t, fl_encode_work *w, const char *s, size_t n)
{
    int64_t count = 0;
    if (!fl_encode_work_symbols(w, n)) return -1;
    for (size_t i = 0; i < n;) {
        size_t length;
        int32_t id = t->sp->user_defined.node ? fl_trie_longest(&t->sp->user_defined, s + i, n - i, &length) : -1;
        if (id < 0) {
            length = fl_utf8_lead(s + i, n - i);
            id = fl_sentencepiece_character(t, s + i, length);
        }
        w->symbol[count++] = id;
        i += length;
        w->steps++;
    }
    return count;
}

/* Hand out one merged symbol that begins at *text; a piece that must not be used (UNUSED) is taken apart again into
 * what it was last seen merging from. */
static fl_status emit_symbol(sink *s, fl_encode_work *w, int32_t symbol, const char **text, const char *end)
{
    const fl_tokenizer *t = s->t;
    int32_t stack[FL_PIECE_BYTES + 1]; /* every part has at least one byte */
    int depth = 0;
    stack[depth++] = symbol;
    while (depth) {
        symbol = stack[--depth];
        size_t length = 0;
        if (symbol >= t->vocab.count) {
            length = fl_utf8_lead(*text, (size_t)(end - *text));
            symbol = t->unk;
        } else if (t->sp->type[symbol] == FL_PIECE_UNUSED && w->bpe.seen[symbol] && depth + 2 <= FL_PIECE_BYTES) {
            stack[depth++] = (int32_t)w->bpe.seen[symbol]->right;
            stack[depth++] = (int32_t)w->bpe.seen[symbol]->left;
            continue;
        } else {
            fl_vocab_piece(&t->vocab, symbol, &length);
        }
        FL_TRY(emit(s, symbol, *text, length));
        *text += length;
    }
    return FL_OK;
}

static fl_status encode_bpe(const fl_tokenizer *t, fl_encode_work *w, const char *s, size_t n, sink *to)
{
    int64_t count = split_symbols(t, w, s, n);
    if (count < 0) return FL_ERR_MEMORY;
    if (t->sp->has_unused) {
        /* Which way an unused piece is taken apart depends on the order of candidates in the whole text. */
        if (!w->bpe.seen && !(w->bpe.seen = fl_calloc((size_t)t->vocab.count, sizeof(*w->bpe.seen))))
            return FL_ERR_MEMORY;
        if (count >= UINT32_MAX)
            return fl_fail(FL_ERR_UNSUPPORTED, "tokenizer: texts of 4 GiB need a model without unused pieces");
        count = fl_bpe_merge_long(&t->bpe, &w->bpe, w->symbol, count);
        if (count < 0) return FL_ERR_MEMORY;
    } else {
        FL_TRY(fl_bpe_merge(&t->bpe, &w->bpe, w->symbol, &count));
    }
    const char *at = s;
    for (int64_t i = 0; i < count; i++)
        FL_TRY(emit_symbol(to, w, w->symbol[i], &at, s + n));
    return FL_OK;
}

static fl_status encode_part(const fl_tokenizer *t, fl_encode_work *w, const char *text, size_t length, fl_tokens *out)
{
    fl_buffer_clear(&w->text);
    FL_TRY(normalize(t->sp, text, length, &w->text));
    w->steps += (int64_t)length;
    sink to = {t, out, false};
    if (t->is_unigram) return fl_unigram_encode(&t->unigram, &w->unigram, w->text.data, w->text.size, emit, &to);
    return encode_bpe(t, w, w->text.data, w->text.size, &to);
}

/* A text between two special tokens is encoded like a text of its own, dummy prefix included. */
static fl_status encode(const fl_tokenizer *t, fl_encode_work *w, const char *text, size_t length, bool parse_special,
                        fl_tokens *out)
{
    return fl_encode_between(t, w, &t->sp->special, text, length, parse_special, encode_part, out);
}

/* ---- decoding ----------------------------------------------------------------------------------------------- */

static void append_unescaped(const char *s, size_t n, fl_buffer *out)
{
    const size_t symbol = sizeof(FL_SPACE_SYMBOL) - 1;
    size_t from = 0;
    for (size_t i = 0; i + symbol <= n;) {
        if (memcmp(s + i, FL_SPACE_SYMBOL, symbol) != 0) {
            i++;
            continue;
        }
        fl_buffer_append(out, s + from, i - from);
        fl_buffer_append(out, " ", 1);
        i = from = i + symbol;
    }
    fl_buffer_append(out, s + from, n - from);
}

/* *started: the space that stands for the dummy prefix is no longer expected. */
static bool token_bytes(const fl_tokenizer *t, int32_t id, bool show_special, bool *started, fl_buffer *out)
{
    const fl_sentencepiece *sp = t->sp;
    size_t length = 0, before = out->size;
    const char *piece = fl_vocab_piece(&t->vocab, id, &length);
    switch (sp->type[id]) {
    case FL_PIECE_CONTROL:
        if (show_special) fl_buffer_append(out, piece, length);
        break;
    case FL_PIECE_BYTE: {
        char byte = (char)fl_byte_piece(piece, length);
        fl_buffer_append(out, &byte, 1);
        break;
    }
    case FL_PIECE_UNKNOWN:
        fl_buffer_text(out, sp->unk_surface);
        break;
    default: {
        const size_t symbol = sizeof(FL_SPACE_SYMBOL) - 1;
        bool strip = !*started && (sp->add_dummy_prefix || sp->remove_extra_whitespaces) && length >= symbol &&
                     memcmp(piece, FL_SPACE_SYMBOL, symbol) == 0;
        /* Without extra spaces every leading one goes, else only the first. */
        if (strip && !sp->remove_extra_whitespaces) *started = true;
        append_unescaped(piece + (strip ? symbol : 0), length - (strip ? symbol : 0), out);
    }
    }
    if (out->size > before) *started = true;
    return sp->type[id] != FL_PIECE_BYTE; /* only byte pieces side by side make a character */
}

const fl_tokenizer_format FL_SENTENCEPIECE_FORMAT = {fl_sentencepiece_close, encode, fl_decode_by_token, token_bytes};
