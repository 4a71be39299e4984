/* tokenizer.bin of llama2.c (run.c): u32 bytes of the longest piece, then for each piece f32 score, u32 length, bytes;
 * little-endian. The number of pieces stands nowhere: it is the model's vocabulary. Piece 0 is <unk>, 1 BOS, 2 EOS,
 * 3 to 258 the bytes. */
#include <inttypes.h>
#include <math.h>

#include "base/alloc.h"
#include "text/sentencepiece.h"

#define BOS 1
#define EOS 2
#define FIRST_BYTE 3
#define FIRST_PIECE 259

static uint32_t u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static int type_of(int64_t id)
{
    if (id == 0) return FL_PIECE_UNKNOWN;
    if (id < FIRST_BYTE) return FL_PIECE_CONTROL;
    return id < FIRST_PIECE ? FL_PIECE_BYTE : FL_PIECE_NORMAL;
}

static fl_status read_pieces(fl_tokenizer *t, const uint8_t *p, size_t size, int64_t vocab)
{
    if (size < 4) return fl_fail(FL_ERR_FORMAT, "%zu bytes: too short for a llama2.c tokenizer", size);
    const uint8_t *end = p + size;
    uint32_t longest = u32(p);
    p += 4;
    if (longest == 0 || longest > FL_PIECE_BYTES)
        return fl_fail(FL_ERR_FORMAT,
                       "max_token_length = %" PRIu32 ": must be from 1 to %d; is this a tokenizer at all?", longest,
                       FL_PIECE_BYTES);
    int64_t id = 0;
    for (; p < end && (vocab <= 0 || id < vocab); id++) {
        if (end - p < 8) return fl_fail(FL_ERR_FORMAT, "piece %" PRId64 ": the file ends inside it", id);
        uint32_t bits = u32(p), length = u32(p + 4);
        float score;
        memcpy(&score, &bits, sizeof(score));
        p += 8;
        if (length == 0 || length > longest)
            return fl_fail(FL_ERR_FORMAT,
                           "piece %" PRId64 ": length = %" PRIu32 ": must be from 1 to max_token_length = %" PRIu32, id,
                           length, longest);
        if (length > (size_t)(end - p)) return fl_fail(FL_ERR_FORMAT, "piece %" PRId64 ": the file ends inside it", id);
        if (isnan(score)) return fl_fail(FL_ERR_FORMAT, "piece %" PRId64 ": the score is not a number", id);
        const char *piece = (const char *)p;
        if (!fl_utf8_valid(piece, length) || memchr(piece, 0, length))
            return fl_fail(FL_ERR_FORMAT, "piece %" PRId64 " is not UTF-8 text", id);
        if (type_of(id) == FL_PIECE_BYTE && fl_byte_piece(piece, length) != id - FIRST_BYTE)
            return fl_fail(FL_ERR_FORMAT, "piece %" PRId64 " = \"%.*s\": pieces 3 to 258 must be <0x00> to <0xFF>", id,
                           (int)(length < 60 ? length : 60), piece);
        fl_status status = fl_vocab_set(&t->vocab, id, piece, length);
        if (status != FL_OK) return fl_fail_within(status, "pieces");
        if (!fl_sentencepiece_add(t, score, type_of(id))) return FL_ERR_MEMORY;
        p += length;
    }
    if (id < FIRST_PIECE || (vocab > 0 && id < vocab))
        return fl_fail(FL_ERR_FORMAT, "%" PRId64 " pieces; %s has %" PRId64, id,
                       vocab > 0 ? "the model's vocabulary" : "the smallest llama2.c vocabulary",
                       vocab > 0 ? vocab : FIRST_PIECE);
    if (p < end)
        return fl_fail(FL_ERR_FORMAT,
                       "%td bytes follow piece %" PRId64
                       ", the last of the model's vocabulary: another model's tokenizer",
                       end - p, id - 1);
    if (fl_vocab_find(&t->vocab, " ", 1) < 0)
        return fl_fail(FL_ERR_FORMAT, "no piece \" \": llama2.c puts one before every text");
    return FL_OK;
}

/* Bytes that run.c takes for one character: one byte, and the continuation bytes after it, four at most. */
static size_t character(const char *s, size_t n)
{
    size_t length = 1;
    while (length < n && length < 4 && ((uint8_t)s[length] & 0xC0) == 0x80)
        length++;
    return length;
}

static fl_status encode_part(const fl_tokenizer *t, fl_encode_work *w, const char *s, size_t n, fl_tokens *out)
{
    int64_t count = 0;
    if (!fl_encode_work_symbols(w, n + 1)) return FL_ERR_MEMORY;
    w->symbol[count++] = fl_vocab_find(&t->vocab, " ", 1);
    for (size_t i = 0; i < n;) {
        size_t length = character(s + i, n - i);
        int32_t id = fl_vocab_find(&t->vocab, s + i, length);
        if (id >= 0)
            w->symbol[count++] = id;
        else
            for (size_t k = 0; k < length; k++)
                w->symbol[count++] = (uint8_t)s[i + k] + FIRST_BYTE;
        i += length;
        w->steps++;
    }
    FL_TRY(fl_bpe_merge(&t->bpe, &w->bpe, w->symbol, &count));
    for (int64_t i = 0; i < count; i++)
        FL_TRY(fl_tokens_push(out, w->symbol[i]));
    return FL_OK;
}

static fl_status encode(const fl_tokenizer *t, fl_encode_work *w, const char *text, size_t length, bool parse_special,
                        fl_tokens *out)
{
    return fl_encode_between(t, w, &t->sp->special, text, length, parse_special, encode_part, out);
}

/* After BOS, and at the start of a sequence without it, one leading space goes. *started: a piece has been shown. */
static bool token_bytes(const fl_tokenizer *t, int32_t id, bool show_special, bool *started, fl_buffer *out)
{
    size_t length = 0;
    const char *piece = fl_vocab_piece(&t->vocab, id, &length);
    if (id != BOS && id != EOS) {
        int byte = fl_byte_piece(piece, length);
        char c = (char)byte;
        bool strip = !*started && piece[0] == ' ';
        if (byte >= 0)
            fl_buffer_append(out, &c, 1);
        else
            fl_buffer_append(out, piece + strip, length - strip);
    } else if (show_special) {
        fl_buffer_append(out, piece, length);
    }
    *started = id != BOS;
    return false; /* run.c prints bytes as they come */
}

const fl_tokenizer_format FL_LLAMA2C_FORMAT = {fl_sentencepiece_close, encode, fl_decode_by_token, token_bytes};

fl_status fl_llama2c_load(fl_tokenizer *t, const fl_buffer *bytes, const char *path, int64_t vocab)
{
    t->format = &FL_LLAMA2C_FORMAT;
    t->kind = "llama2c-bpe";
    t->repair = FL_REPAIR_EACH_BYTE;
    if (!(t->sp = fl_calloc(1, sizeof(*t->sp)))) return FL_ERR_MEMORY;
    t->sp->llama2c = t->sp->byte_fallback = true;
    fl_status status = read_pieces(t, (const uint8_t *)bytes->data, bytes->size, vocab);
    if (status == FL_OK) status = fl_sentencepiece_prepare(t);
    if (status != FL_OK) return status == FL_ERR_MEMORY ? status : fl_fail_within(status, "%s", path);
    t->bos = BOS;
    t->eos = EOS;
    return fl_tokens_push(&t->prefix, BOS);
}
