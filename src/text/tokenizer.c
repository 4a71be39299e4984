#include "text/tokenizer.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "file/checksum.h"
#include "text/gguf_tokenizer.h"
#include "text/tokenizer_internal.h"

/* ---- tokens and scratch ------------------------------------------------------------------------------------- */

fl_status fl_tokens_push(fl_tokens *t, int32_t id)
{
    if (t->count == t->capacity) {
        int64_t capacity = t->capacity ? t->capacity + t->capacity / 2 : 64;
        int32_t *ids = fl_realloc(t->id, (size_t)capacity, sizeof(int32_t));
        if (!ids) return FL_ERR_MEMORY;
        t->id = ids;
        t->capacity = capacity;
    }
    t->id[t->count++] = id;
    return FL_OK;
}

void fl_tokens_free(fl_tokens *t)
{
    fl_free(t->id);
    *t = (fl_tokens){0};
}

void fl_encode_work_free(fl_encode_work *w)
{
    fl_bpe_work_free(&w->bpe);
    fl_unigram_work_free(&w->unigram);
    fl_buffer_free(&w->text);
    fl_buffer_free(&w->mapped);
    fl_free(w->symbol);
    *w = (fl_encode_work){0};
}

bool fl_encode_work_symbols(fl_encode_work *w, size_t n)
{
    if (n <= w->symbol_capacity) return true;
    size_t capacity = n < 256 ? 256 : n;
    fl_free(w->symbol);
    w->symbol_capacity = 0;
    w->symbol = fl_realloc(NULL, capacity, sizeof(int32_t));
    if (!w->symbol) return false;
    w->symbol_capacity = capacity;
    return true;
}

int fl_byte_piece(const char *piece, size_t length)
{
    int byte = 0;
    if (length != 6 || memcmp(piece, "<0x", 3) != 0 || piece[5] != '>') return -1;
    for (int i = 3; i < 5; i++) {
        char c = piece[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                           : -1;
        if (digit < 0) return -1;
        byte = byte * 16 + digit;
    }
    return byte;
}

/* ---- opening ------------------------------------------------------------------------------------------------ */

static bool begins(const fl_buffer *bytes, const char *text)
{
    return bytes->size >= strlen(text) && memcmp(bytes->data, text, strlen(text)) == 0;
}

/* Told by content: JSON begins with a brace; llama2.c with a small number in four bytes; a SentencePiece model with the
 * tag of its first piece, whose length, never 0, follows. */
static fl_status load(fl_tokenizer *t, const fl_buffer *bytes, const char *path, int64_t vocab)
{
    const uint8_t *b = (const uint8_t *)bytes->data;
    size_t space = strspn(bytes->data, " \t\r\n");
    if (bytes->data[space] == '{') return fl_pipeline_load(t, bytes, path);
    if (bytes->size > 8 && b[1] < 4 && b[2] == 0 && b[3] == 0) return fl_llama2c_load(t, bytes, path, vocab);
    if (bytes->size > 2 && b[0] == 0x0A) return fl_sentencepiece_load(t, bytes, path);
    if (begins(bytes, "IQ== 0\n"))
        return fl_fail(FL_ERR_UNSUPPORTED, "%s: a list of tiktoken ranks; pass the tokenizer.json of the same model",
                       path);
    return fl_fail(FL_ERR_FORMAT, "%s: neither tokenizer.json, nor a SentencePiece model, nor a llama2.c tokenizer",
                   path);
}

static fl_status apply_neighbour(fl_tokenizer *t, const char *path)
{
    char *file = NULL;
    fl_buffer config = {0};
    FL_TRY(fl_tokenizer_config_find(&file, path));
    if (!file) return FL_OK;
    fl_status status = fl_file_read(&config, file, FL_TOKENIZER_FILE_BYTES);
    if (status == FL_OK) status = fl_tokenizer_config_apply(t, &config, file);
    fl_buffer_free(&config);
    fl_free(file);
    return status;
}

fl_status fl_tokenizer_open_bytes(fl_tokenizer **out, const fl_buffer *bytes, const fl_buffer *config, const char *path,
                                  int64_t vocab)
{
    fl_tokenizer *t = fl_calloc(1, sizeof(*t));
    if (!t) return FL_ERR_MEMORY;
    t->bos = t->eos = t->unk = t->unigram.unk = -1;
    fl_checksum checksum;
    fl_checksum_start(&checksum);
    fl_checksum_add(&checksum, bytes->data, bytes->size);
    t->checksum = fl_checksum_value(&checksum);
    fl_status status = load(t, bytes, path, vocab);
    if (status == FL_OK && !config) status = apply_neighbour(t, path);
    if (status == FL_OK && config && config->size) status = fl_tokenizer_config_apply(t, config, path);
    if (status == FL_OK)
        *out = t;
    else
        fl_tokenizer_close(t);
    return status;
}

/* Models are larger than what is read whole. */
bool fl_is_gguf_file(const char *path)
{
    char magic[4] = {0};
    FILE *file = fopen(path, "rbe");
    bool is = file && fread(magic, 1, sizeof(magic), file) == sizeof(magic) && !memcmp(magic, "GGUF", 4);
    if (file) fclose(file);
    return is;
}

static fl_status open_file(fl_tokenizer **out, const char *path, int64_t vocab)
{
    fl_buffer bytes = {0};
    if (fl_is_gguf_file(path)) return fl_tokenizer_open_gguf_file(out, path);
    FL_TRY(fl_file_read(&bytes, path, FL_TOKENIZER_FILE_BYTES));
    fl_status status = fl_tokenizer_open_bytes(out, &bytes, NULL, path, vocab);
    fl_buffer_free(&bytes);
    return status;
}

fl_status fl_tokenizer_find(char **out, const char *path)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer.model", "spiece.model", "tokenizer.bin"};
    if (!fl_file_is_folder(path)) return (*out = fl_strdup(path)) ? FL_OK : FL_ERR_MEMORY;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char *file = fl_path_join(path, names[i]);
        if (!file) return FL_ERR_MEMORY;
        *out = file;
        if (fl_file_exists(file)) return FL_OK;
        fl_free(file);
    }
    return fl_fail(FL_ERR_IO, "%s: holds no tokenizer.json, tokenizer.model, spiece.model or tokenizer.bin", path);
}

fl_status fl_tokenizer_open_sized(fl_tokenizer **out, const char *path, int64_t vocab)
{
    char *file = NULL;
    FL_TRY(fl_tokenizer_find(&file, path));
    fl_status status = open_file(out, file, vocab);
    fl_free(file);
    return status;
}

fl_status fl_tokenizer_open(fl_tokenizer **out, const char *path)
{
    return fl_tokenizer_open_sized(out, path, 0);
}

void fl_tokenizer_close(fl_tokenizer *t)
{
    if (!t) return;
    if (t->format) t->format->close(t);
    fl_vocab_free(&t->vocab);
    fl_bpe_free(&t->bpe);
    fl_unigram_free(&t->unigram);
    fl_tokens_free(&t->prefix);
    fl_tokens_free(&t->suffix);
    fl_free(t);
}

/* ---- questions ---------------------------------------------------------------------------------------------- */

const char *fl_tokenizer_kind(const fl_tokenizer *t)
{
    return t->kind;
}
int64_t fl_tokenizer_vocab(const fl_tokenizer *t)
{
    return t->vocab.count;
}
int32_t fl_tokenizer_bos(const fl_tokenizer *t)
{
    return t->bos;
}
int32_t fl_tokenizer_eos(const fl_tokenizer *t)
{
    return t->eos;
}
int32_t fl_tokenizer_unk(const fl_tokenizer *t)
{
    return t->unk;
}
bool fl_tokenizer_adds_bos(const fl_tokenizer *t)
{
    return t->bos >= 0 && t->prefix.count && t->prefix.id[0] == t->bos;
}
bool fl_tokenizer_adds_eos(const fl_tokenizer *t)
{
    return t->eos >= 0 && t->suffix.count && t->suffix.id[t->suffix.count - 1] == t->eos;
}
uint64_t fl_tokenizer_checksum(const fl_tokenizer *t)
{
    fl_checksum c;
    int64_t facts[4] = {(int64_t)t->checksum, t->bos, t->eos, t->prefix.count};
    fl_checksum_start(&c);
    fl_checksum_add(&c, facts, sizeof facts);
    fl_checksum_add(&c, t->prefix.id, (size_t)t->prefix.count * sizeof *t->prefix.id);
    fl_checksum_add(&c, t->suffix.id, (size_t)t->suffix.count * sizeof *t->suffix.id);
    return fl_checksum_value(&c);
}
int32_t fl_tokenizer_id(const fl_tokenizer *t, const char *piece)
{
    return fl_vocab_find(&t->vocab, piece, strlen(piece));
}

const char *fl_tokenizer_piece(const fl_tokenizer *t, int32_t id, size_t *length)
{
    return fl_vocab_piece(&t->vocab, id, length);
}

/* ---- encoding ----------------------------------------------------------------------------------------------- */

fl_status fl_encode_between(const fl_tokenizer *t, fl_encode_work *w, const fl_trie *special, const char *text,
                            size_t length, bool parse_special, fl_encode_part encode_part, fl_tokens *out)
{
    size_t from = 0;
    for (size_t i = 0; parse_special && special->node && i < length;) {
        size_t n = 0;
        int32_t id = fl_trie_longest(special, text + i, length - i, &n);
        w->steps++;
        if (id < 0) {
            i++;
            continue;
        }
        if (i > from) FL_TRY(encode_part(t, w, text + from, i - from, out));
        FL_TRY(fl_tokens_push(out, id));
        i = from = i + n;
    }
    return length > from ? encode_part(t, w, text + from, length - from, out) : FL_OK;
}

fl_status fl_tokenizer_encode_counted(const fl_tokenizer *t, const char *text, size_t length, bool add_special,
                                      bool parse_special, fl_tokens *out, int64_t *steps)
{
    const int64_t before = out->count;
    fl_encode_work w = {0};
    fl_status status = FL_OK;
    for (int64_t i = 0; add_special && i < t->prefix.count && status == FL_OK; i++)
        status = fl_tokens_push(out, t->prefix.id[i]);
    if (status == FL_OK && length) status = t->format->encode(t, &w, text, length, parse_special, out);
    for (int64_t i = 0; add_special && i < t->suffix.count && status == FL_OK; i++)
        status = fl_tokens_push(out, t->suffix.id[i]);
    if (steps) *steps = w.steps + w.bpe.steps + w.unigram.steps;
    fl_encode_work_free(&w);
    if (status != FL_OK) out->count = before;
    return status;
}

fl_status fl_tokenizer_encode(const fl_tokenizer *t, const char *text, size_t length, bool add_special,
                              bool parse_special, fl_tokens *out)
{
    return fl_tokenizer_encode_counted(t, text, length, add_special, parse_special, out, NULL);
}

/* ---- decoding ----------------------------------------------------------------------------------------------- */

static fl_status check_id(const fl_tokenizer *t, int32_t id)
{
    if (id >= 0 && id < t->vocab.count) return FL_OK;
    return fl_fail(FL_ERR_ARGUMENT, "tokenizer: id = %" PRId32 ": the vocabulary has ids 0 to %" PRId64, id,
                   t->vocab.count - 1);
}

fl_status fl_decode_by_token(const fl_tokenizer *t, const int32_t *id, int64_t count, bool show_special, fl_buffer *out)
{
    fl_buffer bytes = {0};
    bool started = false;
    for (int64_t i = 0; i <= count; i++) {
        size_t before = bytes.size;
        bool apart = i == count || t->format->token_bytes(t, id[i], show_special, &started, &bytes);
        if (!apart || before == 0) continue;
        fl_utf8_repair(bytes.data, before, t->repair, out);
        memmove(bytes.data, bytes.data + before, bytes.size - before + 1);
        bytes.size -= before;
    }
    bool failed = bytes.failed || out->failed;
    fl_buffer_free(&bytes);
    return failed ? FL_ERR_MEMORY : FL_OK;
}

fl_status fl_tokenizer_decode(const fl_tokenizer *t, const int32_t *id, int64_t count, bool show_special,
                              fl_buffer *out)
{
    for (int64_t i = 0; i < count; i++)
        FL_TRY(check_id(t, id[i]));
    return t->format->decode(t, id, count, show_special, out);
}

void fl_detokenizer_init(fl_detokenizer *d, const fl_tokenizer *t, bool show_special)
{
    *d = (fl_detokenizer){.tokenizer = t, .show_special = show_special};
}

/* Pass on what is decided of pending and new bytes; keep the beginning of a character that may still be completed. */
static void assemble(fl_detokenizer *d, const char *bytes, size_t n, bool last, fl_buffer *ready)
{
    fl_buffer all = {0};
    fl_buffer_append(&all, d->pending, (size_t)d->pending_count);
    fl_buffer_append(&all, bytes, n);
    size_t keep = 0;
    for (size_t tail = all.size < 3 ? all.size : 3; !last && tail > 0 && keep == 0; tail--)
        keep = fl_utf8_incomplete(all.data + all.size - tail, tail);
    if (all.size > keep) fl_utf8_repair(all.data, all.size - keep, d->tokenizer->repair, ready);
    d->pending_count = (int)keep;
    if (keep) memcpy(d->pending, all.data + all.size - keep, keep);
    if (all.failed) ready->failed = true;
    fl_buffer_free(&all);
}

fl_status fl_detokenizer_push(fl_detokenizer *d, int32_t id, fl_buffer *ready)
{
    FL_TRY(check_id(d->tokenizer, id));
    fl_buffer bytes = {0};
    fl_buffer_append(&bytes, "", 0);
    bool apart = d->tokenizer->format->token_bytes(d->tokenizer, id, d->show_special, &d->started, &bytes);
    if (apart) fl_detokenizer_finish(d, ready);
    assemble(d, bytes.data, bytes.size, false, ready);
    bool failed = bytes.failed || ready->failed;
    fl_buffer_free(&bytes);
    return failed ? FL_ERR_MEMORY : FL_OK;
}

void fl_detokenizer_finish(fl_detokenizer *d, fl_buffer *ready)
{
    assemble(d, "", 0, true, ready);
}
