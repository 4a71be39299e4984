#include "text/gguf_tokenizer.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "file/checksum.h"
#include "text/pipeline.h"
#include "text/sentencepiece.h"

#define KEY(name) "tokenizer.ggml." name

/* ---- keys ---------------------------------------------------------------------------------------------------------
 */

int fl_gguf_piece_type(const fl_gguf_pieces *p, int64_t id)
{
    int64_t type = p->type ? fl_gguf_integer_at(p->type, (uint64_t)id) : FL_PIECE_NORMAL;
    return type >= FL_PIECE_NORMAL && type <= FL_PIECE_BYTE ? (int)type : FL_PIECE_NORMAL;
}

static bool is_padding(const fl_gguf_pieces *p, int64_t id)
{
    char name[32];
    snprintf(name, sizeof name, "[PAD%" PRId64 "]", id);
    return fl_gguf_piece_type(p, id) == FL_PIECE_UNUSED &&
           fl_gguf_text_is(fl_gguf_text_at(p->text, (uint64_t)id), name);
}

static fl_status check_count(const fl_gguf *g, const char *key, const fl_gguf_value *v, uint64_t count)
{
    if (!v || v->count == count) return FL_OK;
    return fl_gguf_fail(FL_ERR_FORMAT, g, key, "has not as many elements as tokenizer.ggml.tokens");
}

fl_status fl_gguf_pieces_read(fl_gguf_pieces *p, const fl_gguf *g)
{
    FL_TRY(fl_gguf_strings(g, KEY("tokens"), &p->text));
    if (!p->text || p->text->count == 0)
        return fl_gguf_fail(FL_ERR_FORMAT, g, KEY("tokens"), "is missing; name a tokenizer file instead");
    if (p->text->count > (uint64_t)FL_VOCAB_MAX_ID)
        return fl_gguf_fail(FL_ERR_FORMAT, g, KEY("tokens"), "has more pieces than are taken");
    FL_TRY(fl_gguf_reals(g, KEY("scores"), &p->score));
    FL_TRY(fl_gguf_integers(g, KEY("token_type"), &p->type));
    FL_TRY(check_count(g, KEY("scores"), p->score, p->text->count));
    FL_TRY(check_count(g, KEY("token_type"), p->type, p->text->count));
    p->count = (int64_t)p->text->count;
    while (p->count > 1 && is_padding(p, p->count - 1))
        p->count--;
    FL_TRY(fl_gguf_integer(g, KEY("bos_token_id"), 0, p->count - 1, &p->bos));
    FL_TRY(fl_gguf_integer(g, KEY("eos_token_id"), 0, p->count - 1, &p->eos));
    FL_TRY(fl_gguf_integer(g, KEY("unknown_token_id"), 0, p->count - 1, &p->unk));
    FL_TRY(fl_gguf_bool(g, KEY("add_bos_token"), &p->add_bos));
    return fl_gguf_bool(g, KEY("add_eos_token"), &p->add_eos);
}

bool fl_gguf_has_tokenizer(const fl_gguf *g)
{
    return g && fl_gguf_find(g, KEY("tokens"));
}

/* ---- SentencePiece ------------------------------------------------------------------------------------------------
 */

static fl_status bad_piece(const fl_gguf *g, int64_t id, const char *why)
{
    char text[96];
    snprintf(text, sizeof text, "[%" PRId64 "]: %s", id, why);
    return fl_gguf_fail(FL_ERR_FORMAT, g, KEY("tokens"), text);
}

static fl_status add_pieces(fl_tokenizer *t, const fl_gguf *g, const fl_gguf_pieces *p)
{
    bool bytes = false;
    for (int64_t id = 0; id < p->count; id++) {
        fl_gguf_text text = fl_gguf_text_at(p->text, (uint64_t)id);
        int type = fl_gguf_piece_type(p, id);
        /* Files in use mark the unknown piece by its key alone. */
        if (id == p->unk) type = FL_PIECE_UNKNOWN;
        if (type == FL_PIECE_UNKNOWN && id != p->unk) type = FL_PIECE_CONTROL;
        if (text.length == 0 || text.length > FL_PIECE_BYTES) return bad_piece(g, id, "must have 1 to 1024 bytes");
        if (!fl_utf8_valid(text.bytes, text.length) || memchr(text.bytes, 0, text.length))
            return bad_piece(g, id, "is not UTF-8 text");
        float score = p->score ? (float)fl_gguf_real_at(p->score, (uint64_t)id) : 0;
        if (isnan(score)) return fl_gguf_fail(FL_ERR_FORMAT, g, KEY("scores"), "holds what is not a number");
        bytes = bytes || type == FL_PIECE_BYTE;
        fl_status status = fl_vocab_set(&t->vocab, id, text.bytes, text.length);
        if (status != FL_OK) return fl_fail_within(status, "%s: " KEY("tokens"), fl_gguf_name(g));
        if (!fl_sentencepiece_add(t, score, type)) return FL_ERR_MEMORY;
    }
    t->sp->byte_fallback = bytes;
    return FL_OK;
}

static fl_status read_charsmap(fl_charsmap *map, const fl_gguf *g)
{
    const fl_gguf_value *v = NULL;
    FL_TRY(fl_gguf_integers(g, KEY("precompiled_charsmap"), &v));
    if (!v || v->count == 0) return FL_OK;
    uint8_t *bytes = fl_calloc(v->count, 1);
    if (!bytes) return FL_ERR_MEMORY;
    for (uint64_t i = 0; i < v->count; i++)
        bytes[i] = (uint8_t)fl_gguf_integer_at(v, i);
    fl_status status = fl_charsmap_open(map, bytes, v->count);
    fl_free(bytes);
    return status == FL_OK ? FL_OK : fl_fail_within(status, "%s: " KEY("precompiled_charsmap"), fl_gguf_name(g));
}

/* The usual id, where no key says it, only if the piece there is meant for such things. */
static int32_t special(const fl_gguf_pieces *p, int64_t id, const fl_gguf *g, const char *key)
{
    if (id < 0 || id >= p->count) return -1;
    return fl_gguf_find(g, key) || fl_gguf_piece_type(p, id) == FL_PIECE_CONTROL ? (int32_t)id : -1;
}

static fl_status load_sentencepiece(fl_tokenizer *t, const fl_gguf *g, bool unigram)
{
    fl_gguf_pieces p = {.bos = 1, .eos = 2, .unk = 0, .add_bos = !unigram, .add_eos = unigram};
    if (unigram) p = (fl_gguf_pieces){.bos = -1, .eos = 1, .unk = 2, .add_eos = true};
    FL_TRY(fl_gguf_pieces_read(&p, g));
    t->format = &FL_SENTENCEPIECE_FORMAT;
    t->repair = FL_REPAIR_EACH_BYTE;
    t->is_unigram = unigram;
    t->kind = unigram ? "sentencepiece-unigram" : "sentencepiece-bpe";
    if (!(t->sp = fl_calloc(1, sizeof *t->sp))) return FL_ERR_MEMORY;
    t->sp->escape_whitespaces = t->sp->add_dummy_prefix = true;
    t->sp->remove_extra_whitespaces = unigram;
    FL_TRY(fl_gguf_bool(g, KEY("add_space_prefix"), &t->sp->add_dummy_prefix));
    FL_TRY(fl_gguf_bool(g, KEY("remove_extra_whitespaces"), &t->sp->remove_extra_whitespaces));
    FL_TRY(read_charsmap(&t->sp->charsmap, g));
    if (!(t->sp->unk_surface = fl_strdup(" \xE2\x81\x87 "))) return FL_ERR_MEMORY;
    FL_TRY(add_pieces(t, g, &p));
    fl_status status = fl_sentencepiece_prepare(t);
    if (status != FL_OK) return status == FL_ERR_MEMORY ? status : fl_fail_within(status, "%s", fl_gguf_name(g));
    t->bos = special(&p, p.bos, g, KEY("bos_token_id"));
    t->eos = special(&p, p.eos, g, KEY("eos_token_id"));
    if (p.add_bos && t->bos >= 0) FL_TRY(fl_tokens_push(&t->prefix, t->bos));
    return p.add_eos && t->eos >= 0 ? fl_tokens_push(&t->suffix, t->eos) : FL_OK;
}

/* ---- byte-level BPE -----------------------------------------------------------------------------------------------
 */

static fl_status load_bytes(fl_tokenizer *t, const fl_gguf *g)
{
    json_t *root;
    fl_gguf_pieces p = {.bos = -1, .eos = -1, .unk = -1};
    FL_TRY(fl_gguf_pieces_read(&p, g));
    FL_TRY(fl_gguf_tokenizer_json(&root, g));
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    if (!text) return fl_fail(FL_ERR_MEMORY, "%s: no memory for the tokenizer", fl_gguf_name(g));
    fl_buffer bytes = {.data = text, .size = strlen(text)};
    fl_status status = fl_pipeline_load(t, &bytes, fl_gguf_name(g));
    fl_json_free_text(text);
    FL_TRY(status);
    t->bos = (int32_t)p.bos;
    t->eos = (int32_t)p.eos;
    t->kind = "bpe";
    return FL_OK;
}

/* ---- the whole ----------------------------------------------------------------------------------------------------
 */

static fl_status load(fl_tokenizer *t, const fl_gguf *g)
{
    fl_gguf_text model = {"", 0}, pre;
    FL_TRY(fl_gguf_string(g, KEY("model"), &model));
    FL_TRY(fl_gguf_string(g, KEY("pre"), &pre)); /* only byte-level BPE looks at it */
    if (fl_gguf_text_is(model, "llama")) return load_sentencepiece(t, g, false);
    if (fl_gguf_text_is(model, "t5")) return load_sentencepiece(t, g, true);
    if (fl_gguf_text_is(model, "gpt2")) return load_bytes(t, g);
    return fl_gguf_fail(FL_ERR_UNSUPPORTED, g, KEY("model"),
                        "only llama, gpt2 and t5 are known; name a tokenizer file of the model instead");
}

/* Of every tokenizer key, names and values as they lie in the file. */
static uint64_t checksum_of(const fl_gguf *g)
{
    fl_checksum c;
    fl_checksum_start(&c);
    for (int64_t i = 0; i < fl_gguf_key_count(g); i++) {
        const fl_gguf_value *v = fl_gguf_at(g, i);
        if (strncmp(v->key, "tokenizer.", 10)) continue;
        fl_checksum_add(&c, v->key, strlen(v->key) + 1);
        fl_checksum_add(&c, v->data, (size_t)(v->end - v->data));
    }
    return fl_checksum_value(&c);
}

fl_status fl_tokenizer_open_gguf(fl_tokenizer **out, const fl_gguf *g)
{
    fl_tokenizer *t = fl_calloc(1, sizeof *t);
    if (!t) return FL_ERR_MEMORY;
    t->bos = t->eos = t->unk = t->unigram.unk = -1;
    t->checksum = checksum_of(g);
    fl_status status = load(t, g);
    if (status == FL_OK)
        *out = t;
    else
        fl_tokenizer_close(t);
    return status;
}

fl_status fl_tokenizer_open_gguf_file(fl_tokenizer **out, const char *path)
{
    fl_gguf *g = NULL;
    FL_TRY(fl_gguf_open(&g, path));
    fl_status status = fl_tokenizer_open_gguf(out, g);
    fl_gguf_close(g);
    return status;
}
