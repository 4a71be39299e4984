#include "text/tokenizer_write.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "file/gguf_bytes.h"
#include "text/gguf_tokenizer.h"
#include "text/pieces.h"
#include "text/pipeline.h"
#include "text/sentencepiece.h"

#define KEY(name) "tokenizer.ggml." name
#define PAD_SCORE -1e30F /* llama2.c never merges into a piece of so low a score */

/* ---- byte-level BPE as GGUF ---------------------------------------------------------------------------------------
 */

/* The pattern that a step divides by; NULL: the step is another. */
static const char *pattern_of(const fl_pipeline_splitter *s)
{
    static const char *const scanned[] = {
        [FL_SCAN_GPT2] = "gpt-2", [FL_SCAN_LLAMA3] = "dbrx", [FL_SCAN_QWEN2] = "qwen2"};
    if (s->kind == FL_PIPELINE_DIGITS && s->individual) return "\\p{N}";
    if (s->kind == FL_PIPELINE_DIGITS) return "\\p{N}+";
    if (s->kind == FL_PIPELINE_BYTE_LEVEL && s->use_regex) return FL_GPT2_PATTERN;
    if (s->kind != FL_PIPELINE_SPLIT || s->behavior != FL_PIPELINE_ISOLATED || s->invert) return NULL;
    if (s->scanner == FL_SCAN_NONE) return s->pattern.regex ? fl_regex_pattern(s->pattern.regex) : NULL;
    for (const fl_gguf_pre *pre = fl_gguf_pres; pre->names[0]; pre++)
        if (!strcmp(pre->names[0], scanned[s->scanner])) return pre->pattern[0];
    return NULL;
}

static bool divides_like(const fl_pipeline *line, const fl_gguf_pre *pre)
{
    int patterns = 0;
    for (int i = 0; i < line->splitters; i++) {
        const fl_pipeline_splitter *s = &line->splitter[i];
        if (s->kind == FL_PIPELINE_BYTE_LEVEL && !s->use_regex) continue;
        const char *pattern = pattern_of(s);
        if (!pattern || patterns == FL_GGUF_PRE_PATTERNS || !pre->pattern[patterns] ||
            strcmp(pattern, pre->pattern[patterns]))
            return false;
        patterns++;
    }
    return patterns > 0 && (patterns == FL_GGUF_PRE_PATTERNS || !pre->pattern[patterns]);
}

/* Readers of GGUF files do not normalise; texts already in NFC, as nearly all are, come out the same. */
static fl_status find_pre(const fl_pipeline *line, const char **name)
{
    bool bytes = false;
    for (int i = 0; i < line->normalizers; i++)
        if (line->normalizer[i].kind != FL_PIPELINE_FORM || line->normalizer[i].form != FL_NFC)
            return fl_fail(FL_ERR_UNSUPPORTED, "tokenizer: normalizer: GGUF files cannot say it; leave the tokenizer "
                                               "out (--no-tokenizer)");
    for (int i = 0; i < line->splitters; i++) {
        const fl_pipeline_splitter *s = &line->splitter[i];
        bytes = bytes || s->kind == FL_PIPELINE_BYTE_LEVEL;
        if (s->kind == FL_PIPELINE_BYTE_LEVEL && s->add_prefix_space)
            return fl_fail(FL_ERR_UNSUPPORTED, "tokenizer: pre_tokenizer: add_prefix_space: GGUF files cannot say it; "
                                               "leave the tokenizer out (--no-tokenizer)");
    }
    for (const fl_gguf_pre *pre = fl_gguf_pres; bytes && pre->names[0]; pre++)
        if (divides_like(line, pre) && pre->ignore_merges == line->ignore_merges) {
            *name = pre->names[0];
            return FL_OK;
        }
    return fl_fail(FL_ERR_UNSUPPORTED, "tokenizer: pre_tokenizer: no name of GGUF files says how it divides texts; "
                                       "leave the tokenizer out (--no-tokenizer)");
}

static fl_status put_merges(fl_gguf_keys *keys, const fl_tokenizer *t)
{
    size_t count;
    fl_buffer pool = {0};
    const fl_bpe_rule **rule = fl_pieces_rules(t, &count);
    fl_gguf_text *text = rule ? fl_calloc(count + 1, sizeof *text) : NULL;
    for (size_t i = 0; text && i < count; i++) {
        size_t left = 0, right = 0;
        const char *a = fl_vocab_piece(&t->vocab, rule[i]->left, &left);
        const char *b = fl_vocab_piece(&t->vocab, rule[i]->right, &right);
        fl_buffer_append(&pool, a, left);
        fl_buffer_append(&pool, " ", 1);
        fl_buffer_append(&pool, b, right);
        text[i].length = left + 1 + right;
    }
    bool failed = !text || pool.failed;
    const char *at = pool.data;
    for (size_t i = 0; !failed && i < count; at += text[i++].length)
        text[i].bytes = at;
    if (!failed) fl_gguf_put_strings(keys, KEY("merges"), text, (int64_t)count);
    fl_free(text);
    fl_free(rule);
    fl_buffer_free(&pool);
    return failed ? FL_ERR_MEMORY : FL_OK;
}

/* ---- GGUF ---------------------------------------------------------------------------------------------------------
 */

/* What stands for ids without a piece. */
static void pad_name(char name[32], int64_t id)
{
    snprintf(name, 32, "[PAD%" PRId64 "]", id);
}

static fl_status check_vocab(const fl_tokenizer *t, int64_t vocab)
{
    if (t->vocab.count <= vocab) return FL_OK;
    return fl_fail(FL_ERR_SHAPE,
                   "tokenizer: %" PRId64 " pieces, but the model has %" PRId64
                   ": another model's tokenizer? pass the right one (--tokenizer), or none (--no-tokenizer)",
                   t->vocab.count, vocab);
}

/* Pieces and types of ids up to vocab; piece(id) may be NULL. */
static fl_status put_pieces(fl_gguf_keys *keys, const fl_vocab *v, const uint8_t *type, const float *score,
                            int64_t vocab)
{
    fl_gguf_text *text = fl_calloc((size_t)vocab, sizeof *text);
    char(*pad)[32] = fl_calloc((size_t)vocab, sizeof *pad);
    int32_t *types = fl_calloc((size_t)vocab, sizeof *types);
    float *scores = fl_calloc((size_t)vocab, sizeof *scores);
    bool failed = !text || !pad || !types || !scores;
    for (int64_t id = 0; id < vocab && !failed; id++) {
        const char *piece = fl_vocab_piece(v, id, &text[id].length);
        text[id].bytes = piece;
        types[id] = piece ? type[id] : FL_PIECE_UNUSED;
        scores[id] = piece && score ? score[id] : -1000;
        if (piece) continue;
        pad_name(pad[id], id);
        text[id] = (fl_gguf_text){pad[id], strlen(pad[id])};
    }
    if (!failed) {
        fl_gguf_put_strings(keys, KEY("tokens"), text, vocab);
        if (score) fl_gguf_put_floats(keys, KEY("scores"), scores, vocab);
        fl_gguf_put_ints(keys, KEY("token_type"), types, vocab);
    }
    fl_free(text);
    fl_free(pad);
    fl_free(types);
    fl_free(scores);
    return failed ? FL_ERR_MEMORY : FL_OK;
}

static fl_status put_byte_level(fl_gguf_keys *keys, const fl_tokenizer *t, int64_t vocab, const char *pre)
{
    bool add_bos, add_eos;
    const fl_pipeline *line = t->pipeline;
    FL_TRY(fl_pieces_around(t, &add_bos, &add_eos));
    uint8_t *type = fl_calloc((size_t)t->vocab.count, 1);
    if (!type) return FL_ERR_MEMORY;
    for (int64_t id = 0; id < t->vocab.count; id++) {
        bool added = line->added_of[id] >= 0;
        type[id] = !added                                    ? FL_PIECE_NORMAL
                   : line->added[line->added_of[id]].special ? FL_PIECE_CONTROL
                                                             : FL_PIECE_USER_DEFINED;
    }
    fl_gguf_put_string(keys, KEY("model"), "gpt2");
    fl_gguf_put_string(keys, KEY("pre"), pre);
    fl_status status = put_pieces(keys, &t->vocab, type, NULL, vocab);
    fl_free(type);
    if (status == FL_OK) status = put_merges(keys, t);
    if (t->unk >= 0) fl_gguf_put_u32(keys, KEY("unknown_token_id"), (uint32_t)t->unk);
    fl_gguf_put_bool(keys, KEY("add_bos_token"), add_bos);
    fl_gguf_put_bool(keys, KEY("add_eos_token"), add_eos);
    return status;
}

static fl_status put_charsmap(fl_gguf_keys *keys, const fl_pieces *p)
{
    const uint8_t *bytes = p->charsmap;
    int32_t *values = fl_calloc(p->charsmap_size, sizeof *values);
    if (!values) return FL_ERR_MEMORY;
    for (size_t i = 0; i < p->charsmap_size; i++)
        values[i] = bytes[i];
    fl_gguf_put_ints(keys, KEY("precompiled_charsmap"), values, (int64_t)p->charsmap_size);
    fl_free(values);
    return FL_OK;
}

static fl_status put_scored(fl_gguf_keys *keys, const fl_pieces *p, int64_t vocab)
{
    if (p->charsmap && !p->unigram)
        return fl_fail(FL_ERR_UNSUPPORTED, "tokenizer: normalizer_spec.precompiled_charsmap: GGUF files say it of "
                                           "unigram models alone; leave the tokenizer out (--no-tokenizer)");
    fl_gguf_put_string(keys, KEY("model"), p->unigram ? "t5" : "llama");
    fl_gguf_put_string(keys, KEY("pre"), "default");
    FL_TRY(put_pieces(keys, &p->vocab, p->type, p->score, vocab));
    if (p->charsmap) FL_TRY(put_charsmap(keys, p));
    if (p->unk >= 0) fl_gguf_put_u32(keys, KEY("unknown_token_id"), (uint32_t)p->unk);
    fl_gguf_put_bool(keys, KEY("add_space_prefix"), p->add_dummy_prefix);
    fl_gguf_put_bool(keys, KEY("remove_extra_whitespaces"), p->remove_extra_whitespaces);
    fl_gguf_put_bool(keys, KEY("add_bos_token"), p->add_bos);
    fl_gguf_put_bool(keys, KEY("add_eos_token"), p->add_eos);
    return FL_OK;
}

fl_status fl_tokenizer_put_gguf(fl_gguf_keys *keys, const fl_tokenizer *t, int64_t vocab)
{
    FL_TRY(check_vocab(t, vocab));
    if (t->pipeline && !t->pipeline->byte_fallback && !t->is_unigram) {
        const char *pre = NULL;
        FL_TRY(find_pre(t->pipeline, &pre));
        return put_byte_level(keys, t, vocab, pre);
    }
    fl_pieces p;
    fl_status status = fl_pieces_of(&p, t);
    if (status == FL_OK) status = put_scored(keys, &p, vocab);
    fl_pieces_free(&p);
    return status;
}

/* ---- SentencePiece ------------------------------------------------------------------------------------------------
 */

/* Protocol buffer fields by their numbers in sentencepiece_model.proto. */
static void put_varint(fl_buffer *b, uint64_t value)
{
    for (; value > 127; value >>= 7)
        fl_put_le(b, (value & 127) | 128, 1);
    fl_put_le(b, value, 1);
}

static void put_number(fl_buffer *b, uint32_t field, int64_t value)
{
    put_varint(b, field << 3);
    put_varint(b, (uint64_t)value);
}

static void put_bytes(fl_buffer *b, uint32_t field, const void *bytes, size_t size)
{
    put_varint(b, field << 3 | 2);
    put_varint(b, size);
    fl_buffer_append(b, bytes, size);
}

static void put_piece(fl_buffer *b, const char *piece, size_t length, float score, int type)
{
    fl_buffer one = {0};
    uint32_t bits;
    memcpy(&bits, &score, sizeof bits);
    put_bytes(&one, 1, piece, length);
    put_varint(&one, 2 << 3 | 5);
    fl_put_le(&one, bits, 4);
    if (type != FL_PIECE_NORMAL) put_number(&one, 3, type);
    if (one.failed)
        b->failed = true;
    else
        put_bytes(b, 1, one.data, one.size);
    fl_buffer_free(&one);
}

static void put_name(fl_buffer *b, uint32_t field, const fl_pieces *p, int32_t id)
{
    size_t length = 0;
    const char *piece = fl_vocab_piece(&p->vocab, id, &length);
    if (piece) put_bytes(b, field, piece, length);
}

static void put_specs(fl_buffer *b, const fl_pieces *p)
{
    fl_buffer trainer = {0}, normalizer = {0};
    bool bytes = false;
    for (int64_t id = 0; id < p->vocab.count; id++)
        bytes = bytes || p->type[id] == FL_PIECE_BYTE;
    put_number(&trainer, 3, p->unigram ? 1 : 2);
    put_number(&trainer, 4, p->vocab.count);
    put_number(&trainer, 35, bytes);
    put_number(&trainer, 40, p->unk);
    put_number(&trainer, 41, p->bos);
    put_number(&trainer, 42, p->eos);
    put_number(&trainer, 43, -1); /* pad */
    put_name(&trainer, 45, p, p->unk);
    put_name(&trainer, 46, p, p->bos);
    put_name(&trainer, 47, p, p->eos);
    const char *name = p->charsmap ? "user_defined" : "identity";
    put_bytes(&normalizer, 1, name, strlen(name));
    if (p->charsmap) put_bytes(&normalizer, 2, p->charsmap, p->charsmap_size);
    put_number(&normalizer, 3, p->add_dummy_prefix);
    put_number(&normalizer, 4, p->remove_extra_whitespaces);
    put_number(&normalizer, 5, 1);
    b->failed = b->failed || trainer.failed || normalizer.failed;
    if (!b->failed) {
        put_bytes(b, 2, trainer.data, trainer.size);
        put_bytes(b, 3, normalizer.data, normalizer.size);
    }
    fl_buffer_free(&trainer);
    fl_buffer_free(&normalizer);
}

static fl_status write_buffer(fl_buffer *b, const char *path)
{
    fl_writer w;
    fl_status status = b->failed ? fl_fail(FL_ERR_MEMORY, "%s: no memory for the tokenizer", path) : FL_OK;
    if (status == FL_OK) status = fl_writer_open(&w, path);
    if (status == FL_OK) {
        fl_writer_write(&w, b->data, b->size);
        status = fl_writer_finish(&w);
    }
    fl_buffer_free(b);
    return status;
}

fl_status fl_tokenizer_write_sentencepiece(const fl_tokenizer *t, const char *path)
{
    fl_pieces p;
    fl_buffer b = {0};
    fl_status status = fl_pieces_of(&p, t);
    for (int64_t id = 0; status == FL_OK && id < p.vocab.count; id++) {
        char pad[32];
        size_t length = 0;
        const char *piece = fl_vocab_piece(&p.vocab, id, &length);
        pad_name(pad, id);
        put_piece(&b, piece ? piece : pad, piece ? length : strlen(pad), p.score[id],
                  piece ? p.type[id] : FL_PIECE_UNUSED);
    }
    if (status == FL_OK) put_specs(&b, &p);
    fl_pieces_free(&p);
    if (status == FL_OK) return write_buffer(&b, path);
    fl_buffer_free(&b);
    return status;
}

/* ---- llama2.c -----------------------------------------------------------------------------------------------------
 */

static fl_status no_llama2c(const char *what)
{
    return fl_fail(
        FL_ERR_UNSUPPORTED,
        "tokenizer: %s: llama2.c tokenizers cannot say it; write GGUF or a Hugging Face folder, or leave the "
        "tokenizer out (--no-tokenizer)",
        what);
}

static fl_status check_llama2c(const fl_pieces *p)
{
    if (p->unigram) return no_llama2c("is a unigram model");
    if (p->charsmap || p->remove_extra_whitespaces) return no_llama2c("changes texts before it divides them");
    if (!p->add_dummy_prefix) return no_llama2c("puts no space before a text");
    if (p->unk != 0 || p->bos != 1 || p->eos != 2) return no_llama2c("unknown, BOS, EOS are not 0, 1, 2");
    for (int64_t id = 0; id < p->vocab.count; id++) {
        if ((p->type[id] == FL_PIECE_BYTE) != (id >= 3 && id < 259)) return no_llama2c("bytes are not pieces 3 to 258");
        if (p->type[id] == FL_PIECE_USER_DEFINED) return no_llama2c("has user-defined pieces");
    }
    return FL_OK;
}

/* How llama2.c spells a piece (tokenizer.py of llama2.c). */
static void spell(fl_buffer *out, const char *piece, size_t length, bool around)
{
    const size_t symbol = sizeof(FL_SPACE_SYMBOL) - 1;
    fl_buffer_clear(out);
    if (around) fl_buffer_append(out, "\n", 1);
    for (size_t i = 0; i < length;) {
        bool space = length - i >= symbol && !memcmp(piece + i, FL_SPACE_SYMBOL, symbol);
        fl_buffer_append(out, space ? " " : piece + i, 1);
        i += space ? symbol : 1;
    }
    if (around) fl_buffer_append(out, "\n", 1);
}

fl_status fl_tokenizer_write_llama2c(const fl_tokenizer *t, const char *path, int64_t vocab)
{
    fl_pieces p;
    FL_TRY(check_vocab(t, vocab));
    fl_buffer b = {0}, text = {0};
    size_t longest = 0;
    fl_status status = fl_pieces_of(&p, t);
    if (status == FL_OK) status = check_llama2c(&p);
    fl_put_le(&b, 0, 4);
    for (int64_t id = 0; status == FL_OK && id < vocab; id++) {
        char pad[32];
        size_t length = 0;
        const char *piece = fl_vocab_piece(&p.vocab, id, &length);
        pad_name(pad, id);
        spell(&text, piece ? piece : pad, piece ? length : strlen(pad), id == 1 || id == 2);
        bool merges = piece && (p.type[id] == FL_PIECE_NORMAL || id < 259);
        float score = merges ? p.score[id] : PAD_SCORE;
        uint32_t bits;
        memcpy(&bits, &score, sizeof bits);
        fl_put_le(&b, bits, 4);
        fl_put_le(&b, text.size, 4);
        fl_buffer_append(&b, text.data, text.size);
        if (text.size > longest) longest = text.size;
    }
    if (text.failed) b.failed = true;
    fl_buffer_free(&text);
    fl_pieces_free(&p);
    if (status != FL_OK) {
        fl_buffer_free(&b);
        return status;
    }
    for (int i = 0; i < 4 && b.data; i++)
        b.data[i] = (char)(longest >> (8 * i) & 255);
    return write_buffer(&b, path);
}
