/* The way of a text through tokenizer.json: added tokens are taken out, what is left is normalised, normalised added
 * tokens are taken out of that, the rest is divided into words, and the model turns each word into pieces. */
#include "base/alloc.h"
#include "text/pipeline.h"

typedef struct encoder {
    const fl_tokenizer *t;
    const fl_pipeline *pipeline;
    fl_encode_work *w;
    fl_pipeline_split_work split;
    bool parse_special;
    fl_tokens *out;
    const char *unknown; /* unigram: run of unknown characters not handed out yet; NULL: none */
    size_t unknown_length;
} encoder;

int32_t fl_pipeline_model_piece(const fl_tokenizer *t, const char *s, size_t n)
{
    int32_t id = fl_vocab_find(&t->vocab, s, n);
    return id >= 0 && t->pipeline->only_added[id] ? -1 : id;
}

/* ---- BPE ---------------------------------------------------------------------------------------------------- */

static int32_t character_piece(const encoder *e, const char *s, size_t length)
{
    uint32_t cp;
    if (length <= 2 && fl_utf8_decode(s, length, &cp) == length) return e->pipeline->quick[cp];
    return fl_pipeline_model_piece(e->t, s, length);
}

/* The bytes of s as <0xHH> pieces, if the vocabulary has all of them. */
static bool byte_pieces(const fl_pipeline *pipeline, const char *s, size_t n, int32_t *id)
{
    for (size_t i = 0; i < n; i++)
        if ((id[i] = pipeline->byte_id[(uint8_t)s[i]]) < 0) return false;
    return true;
}

static fl_status bpe_word(encoder *e, const char *s, size_t n)
{
    const fl_tokenizer *t = e->t;
    if (e->pipeline->ignore_merges) {
        int32_t id = fl_pipeline_model_piece(t, s, n);
        if (id >= 0) return fl_tokens_push(e->out, id);
    }
    if (!fl_encode_work_symbols(e->w, n + 1)) return FL_ERR_MEMORY;
    int32_t *symbol = e->w->symbol;
    int64_t count = 0;
    bool pending = false; /* an unknown piece waits: with fuse_unk more characters may join it */
    for (size_t i = 0, length; i < n; i += length) {
        length = fl_utf8_step(s + i, n - i);
        int32_t id = character_piece(e, s + i, length);
        if (id >= 0) {
            if (pending) symbol[count++] = t->unk;
            pending = false;
            symbol[count++] = id;
        } else if (e->pipeline->byte_fallback && byte_pieces(e->pipeline, s + i, length, symbol + count)) {
            count += (int64_t)length; /* a waiting unknown piece goes on waiting, as in the original */
        } else if (t->unk >= 0) {
            if (pending && !e->pipeline->fuse_unk) symbol[count++] = t->unk;
            pending = true;
        }
    }
    if (pending) symbol[count++] = t->unk;
    e->w->steps += (int64_t)n;
    FL_TRY(fl_bpe_merge(&t->bpe, &e->w->bpe, symbol, &count));
    for (int64_t i = 0; i < count; i++)
        FL_TRY(fl_tokens_push(e->out, symbol[i]));
    return FL_OK;
}

/* ---- unigram ------------------------------------------------------------------------------------------------ */

static fl_status unknown_run(encoder *e)
{
    const fl_tokenizer *t = e->t;
    const char *s = e->unknown;
    if (!s) return FL_OK;
    e->unknown = NULL;
    /* A run of unknown characters may still be the spelling of a piece. */
    int32_t id = fl_pipeline_model_piece(t, s, e->unknown_length);
    if (id < 0 && e->pipeline->byte_fallback) {
        bool all = true;
        for (size_t i = 0; i < e->unknown_length; i++)
            all = all && e->pipeline->byte_id[(uint8_t)s[i]] >= 0;
        for (size_t i = 0; all && i < e->unknown_length; i++)
            FL_TRY(fl_tokens_push(e->out, e->pipeline->byte_id[(uint8_t)s[i]]));
        if (all) return FL_OK;
    }
    return fl_tokens_push(e->out, id >= 0 ? id : t->unk);
}

static fl_status unigram_piece(void *user, int32_t id, const char *text, size_t length)
{
    encoder *e = user;
    if (id == e->t->unigram.unk) {
        if (!e->unknown) {
            e->unknown = text;
            e->unknown_length = 0;
        }
        e->unknown_length += length;
        return FL_OK;
    }
    FL_TRY(unknown_run(e));
    return fl_tokens_push(e->out, id);
}

static fl_status word(void *user, const char *s, size_t n)
{
    encoder *e = user;
    if (!e->t->is_unigram) return bpe_word(e, s, n);
    FL_TRY(fl_unigram_encode(&e->t->unigram, &e->w->unigram, s, n, unigram_piece, e));
    return unknown_run(e);
}

/* ---- added tokens ------------------------------------------------------------------------------------------- */

static bool word_before(const char *s, size_t at)
{
    size_t start = at - 1;
    while (start > 0 && ((uint8_t)s[start] & 0xC0) == 0x80)
        start--;
    uint32_t cp;
    return fl_utf8_decode(s + start, at - start, &cp) == at - start && fl_unicode_is_word(cp);
}

static bool word_after(const char *s, size_t at, size_t n)
{
    uint32_t cp;
    return fl_utf8_decode(s + at, n - at, &cp) && fl_unicode_is_word(cp);
}

/* Start of the white space that ends at `at`, not before `from`. */
static size_t space_before(const char *s, size_t from, size_t at)
{
    while (at > from) {
        size_t start = at - 1;
        uint32_t cp;
        while (start > from && ((uint8_t)s[start] & 0xC0) == 0x80)
            start--;
        if (fl_utf8_decode(s + start, at - start, &cp) != at - start || !fl_unicode_is_space(cp)) break;
        at = start;
    }
    return at;
}

static size_t space_after(const char *s, size_t at, size_t n)
{
    uint32_t cp;
    for (size_t length; at < n && (length = fl_utf8_decode(s + at, n - at, &cp)) != 0 && fl_unicode_is_space(cp);)
        at += length;
    return at;
}

typedef fl_status (*part_function)(encoder *e, const char *s, size_t n, bool origin);

/* Take the tokens of `trie` out of s, leftmost longest first, and give what lies between them to `part`. */
static fl_status take_out(encoder *e, const fl_trie *trie, const char *s, size_t n, bool origin, part_function part)
{
    size_t done = 0, spaces_from = 0, spaces_to = 0; /* a run of white space already measured */
    for (size_t i = 0; trie->node && i < n;) {
        size_t length = 0;
        int32_t index = trie->root_child[(uint8_t)s[i]] ? fl_trie_longest(trie, s + i, n - i, &length) : -1;
        e->w->steps++;
        if (index < 0) {
            i++;
            continue;
        }
        const fl_pipeline_added *a = &e->pipeline->added[index];
        size_t start = i, end = i + length;
        i = end;
        if (a->special && !e->parse_special) continue;
        if (a->single_word && ((start > 0 && word_before(s, start)) || (end < n && word_after(s, end, n)))) continue;
        if (a->lstrip) start = start > done ? space_before(s, done, start) : done;
        if (a->rstrip) {
            if (end < spaces_from || end >= spaces_to) {
                spaces_from = end;
                spaces_to = space_after(s, end, n);
            }
            end = spaces_to > end ? spaces_to : end;
        }
        if (done < start) FL_TRY(part(e, s + done, start - done, origin && done == 0));
        FL_TRY(fl_tokens_push(e->out, a->id));
        done = end;
    }
    return done < n ? part(e, s + done, n - done, origin && done == 0) : FL_OK;
}

static fl_status normalized_part(encoder *e, const char *s, size_t n, bool origin)
{
    return fl_pipeline_split(&e->split, s, n, origin);
}

static fl_status raw_part(encoder *e, const char *s, size_t n, bool origin)
{
    if (e->pipeline->normalizers == 0) return take_out(e, &e->pipeline->normalized, s, n, origin, normalized_part);
    fl_buffer_clear(&e->w->text);
    fl_buffer_append(&e->w->text, s, n);
    if (e->w->text.failed) return FL_ERR_MEMORY;
    e->w->steps += (int64_t)n;
    FL_TRY(fl_pipeline_normalize(e->pipeline, &e->w->text, &e->w->mapped, &origin));
    return take_out(e, &e->pipeline->normalized, e->w->text.data, e->w->text.size, origin, normalized_part);
}

/* The library takes Unicode strings only: bytes that are not UTF-8 become U+FFFD first, as Python's decoder does it
 * with errors="replace". */
static fl_status encode(const fl_tokenizer *t, fl_encode_work *w, const char *text, size_t length, bool parse_special,
                        fl_tokens *out)
{
    fl_buffer repaired = {0};
    if (!fl_utf8_valid(text, length)) {
        fl_utf8_repair(text, length, FL_REPAIR_SEQUENCE, &repaired);
        if (repaired.failed) return FL_ERR_MEMORY;
        text = repaired.data;
        length = repaired.size;
    }
    encoder e = {.t = t, .pipeline = t->pipeline, .w = w, .parse_special = parse_special, .out = out};
    e.split = (fl_pipeline_split_work){.pipeline = t->pipeline, .word = word, .user = &e, .steps = &w->steps};
    fl_status status = take_out(&e, &t->pipeline->raw, text, length, true, raw_part);
    fl_pipeline_split_work_free(&e.split);
    fl_buffer_free(&repaired);
    return status;
}

const fl_tokenizer_format FL_PIPELINE_FORMAT = {fl_pipeline_close, encode, fl_pipeline_decode, fl_pipeline_token_bytes};
