/* Reader of SentencePiece models: the protocol buffer wire format of sentencepiece_model.proto, by hand. The few fields
 * that encoding needs are taken straight from the mapped bytes; all others are skipped, lengths are checked. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "text/sentencepiece.h"

typedef struct wire {
    const uint8_t *at, *end;
    const uint8_t *file; /* first byte of the file, for offsets in messages */
} wire;

typedef struct field {
    uint32_t number;
    int type;       /* 0 varint, 1 eight bytes, 2 length-delimited, 5 four bytes */
    uint64_t value; /* types 0, 1, 5 */
    wire content;   /* type 2 */
} field;

static fl_status malformed(const wire *w, const char *what)
{
    return fl_fail(FL_ERR_FORMAT, "offset %td: %s; the file is damaged or not a SentencePiece model", w->at - w->file,
                   what);
}

static bool read_varint(wire *w, uint64_t *out)
{
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && w->at < w->end; shift += 7) {
        uint8_t byte = *w->at++;
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            *out = value;
            return true;
        }
    }
    return false;
}

static fl_status read_fixed(wire *w, int bytes, uint64_t *out)
{
    if (w->end - w->at < bytes) return malformed(w, "a number runs past the end");
    *out = 0;
    for (int i = 0; i < bytes; i++)
        *out |= (uint64_t)*w->at++ << 8 * i;
    return FL_OK;
}

static fl_status read_field(wire *w, field *f)
{
    uint64_t tag, length;
    if (!read_varint(w, &tag) || tag >> 3 == 0 || tag >> 3 > UINT32_MAX) return malformed(w, "no field tag");
    f->number = (uint32_t)(tag >> 3);
    f->type = (int)(tag & 7);
    switch (f->type) {
    case 0:
        return read_varint(w, &f->value) ? FL_OK : malformed(w, "a number runs past the end");
    case 1:
        return read_fixed(w, 8, &f->value);
    case 5:
        return read_fixed(w, 4, &f->value);
    case 2:
        if (!read_varint(w, &length) || length > (uint64_t)(w->end - w->at))
            return malformed(w, "a field runs past the end");
        f->content = (wire){w->at, w->at + length, w->file};
        w->at += length;
        return FL_OK;
    default:
        return malformed(w, "a field of a type that does not exist");
    }
}

static size_t content_size(const field *f)
{
    return (size_t)(f->content.end - f->content.at);
}

/* What the specs say; read before the pieces can be judged. */
typedef struct specs {
    int64_t model_type; /* 1 unigram, 2 BPE, 3 word, 4 char */
    field unk_surface, bos_piece, eos_piece, charsmap;
} specs;

static fl_status read_piece(fl_tokenizer *t, wire w)
{
    field piece = {0};
    float score = 0;
    int64_t type = FL_PIECE_NORMAL;
    const wire start = w;
    while (w.at < w.end) {
        field f;
        FL_TRY(read_field(&w, &f));
        if (f.number == 1 && f.type == 2) piece = f;
        if (f.number == 2 && f.type == 5) {
            uint32_t bits = (uint32_t)f.value;
            memcpy(&score, &bits, sizeof(score));
        }
        /* An unknown type counts as absent, as in the original. */
        if (f.number == 3 && f.type == 0 && f.value >= 1 && f.value <= 6) type = (int64_t)f.value;
    }
    int64_t id = t->sp->pieces;
    size_t length = content_size(&piece);
    const char *text = (const char *)piece.content.at;
    if (length == 0) return malformed(&start, "pieces.piece is empty");
    if (length > FL_PIECE_BYTES)
        return fl_fail(FL_ERR_FORMAT, "pieces[%" PRId64 "].piece: %zu bytes; at most %d are taken", id, length,
                       FL_PIECE_BYTES);
    if (!fl_utf8_valid(text, length)) return fl_fail(FL_ERR_FORMAT, "pieces[%" PRId64 "].piece is not UTF-8", id);
    if (isnan(score)) return fl_fail(FL_ERR_FORMAT, "pieces[%" PRId64 "].score is not a number", id);
    fl_status status = fl_vocab_set(&t->vocab, id, text, length);
    if (status != FL_OK) return fl_fail_within(status, "pieces");
    return fl_sentencepiece_add(t, score, (int)type) ? FL_OK : FL_ERR_MEMORY;
}

static fl_status read_trainer_spec(fl_tokenizer *t, specs *s, wire w)
{
    while (w.at < w.end) {
        field f;
        FL_TRY(read_field(&w, &f));
        if (f.type == 0) {
            if (f.number == 3) s->model_type = (int64_t)f.value;
            if (f.number == 24) t->sp->treat_whitespace_as_suffix = f.value != 0;
            if (f.number == 35) t->sp->byte_fallback = f.value != 0;
        } else if (f.type == 2) {
            if (f.number == 44) s->unk_surface = f;
            if (f.number == 46) s->bos_piece = f;
            if (f.number == 47) s->eos_piece = f;
        }
    }
    return FL_OK;
}

static fl_status read_normalizer_spec(fl_tokenizer *t, specs *s, wire w)
{
    while (w.at < w.end) {
        field f;
        FL_TRY(read_field(&w, &f));
        if (f.number == 2 && f.type == 2) s->charsmap = f;
        if (f.type == 0) {
            if (f.number == 3) t->sp->add_dummy_prefix = f.value != 0;
            if (f.number == 4) t->sp->remove_extra_whitespaces = f.value != 0;
            if (f.number == 5) t->sp->escape_whitespaces = f.value != 0;
        }
    }
    return FL_OK;
}

static fl_status check_denormalizer(wire w)
{
    while (w.at < w.end) {
        field f;
        FL_TRY(read_field(&w, &f));
        if (f.number == 2 && f.type == 2 && content_size(&f))
            return fl_fail(FL_ERR_UNSUPPORTED, "denormalizer_spec.precompiled_charsmap: rules for decoding are not "
                                               "supported; use the model without them");
    }
    return FL_OK;
}

/* Id of the piece a spec names (the default when it does not), if it is a control piece; -1 else. */
static int32_t control_piece(const fl_tokenizer *t, const field *f, const char *default_name)
{
    const char *name = content_size(f) ? (const char *)f->content.at : default_name;
    size_t length = content_size(f) ? content_size(f) : strlen(default_name);
    int32_t id = fl_vocab_find(&t->vocab, name, length);
    return id >= 0 && t->sp->type[id] == FL_PIECE_CONTROL ? id : -1;
}

static fl_status read_model(fl_tokenizer *t, wire w)
{
    specs s = {.model_type = 1};
    while (w.at < w.end) {
        field f;
        FL_TRY(read_field(&w, &f));
        if (f.type != 2) continue;
        if (f.number == 1) FL_TRY(read_piece(t, f.content));
        if (f.number == 2) FL_TRY(read_trainer_spec(t, &s, f.content));
        if (f.number == 3) FL_TRY(read_normalizer_spec(t, &s, f.content));
        if (f.number == 5) FL_TRY(check_denormalizer(f.content));
    }
    if (t->sp->pieces == 0) return malformed(&w, "no pieces");
    if (s.model_type != 1 && s.model_type != 2)
        return fl_fail(FL_ERR_UNSUPPORTED,
                       "trainer_spec.model_type = %" PRId64 " (%s): only unigram (1) and BPE (2) are supported",
                       s.model_type,
                       s.model_type == 3   ? "word"
                       : s.model_type == 4 ? "char"
                                           : "unknown");
    t->is_unigram = s.model_type == 1;
    t->kind = t->is_unigram ? "sentencepiece-unigram" : "sentencepiece-bpe";
    if (content_size(&s.charsmap) &&
        fl_charsmap_open(&t->sp->charsmap, s.charsmap.content.at, content_size(&s.charsmap)) != FL_OK)
        return fl_fail_within(FL_ERR_FORMAT, "normalizer_spec.precompiled_charsmap");
    const char *surface = s.unk_surface.type == 2 ? (const char *)s.unk_surface.content.at : " \xE2\x81\x87 ";
    size_t surface_length = s.unk_surface.type == 2 ? content_size(&s.unk_surface) : strlen(surface);
    if (surface_length > FL_PIECE_BYTES || !fl_utf8_valid(surface, surface_length))
        return fl_fail(FL_ERR_FORMAT, "trainer_spec.unk_surface is not UTF-8 of at most %d bytes", FL_PIECE_BYTES);
    if (!(t->sp->unk_surface = fl_strndup(surface, surface_length))) return FL_ERR_MEMORY;
    FL_TRY(fl_sentencepiece_prepare(t));
    t->bos = control_piece(t, &s.bos_piece, "<s>");
    t->eos = control_piece(t, &s.eos_piece, "</s>");
    /* The file does not say whether the model wants BOS; models that have one were trained with it, without EOS. A
     * tokenizer_config.json may say otherwise. */
    return t->bos >= 0 ? fl_tokens_push(&t->prefix, t->bos) : FL_OK;
}

fl_status fl_sentencepiece_load(fl_tokenizer *t, const fl_buffer *bytes, const char *path)
{
    t->format = &FL_SENTENCEPIECE_FORMAT;
    t->repair = FL_REPAIR_EACH_BYTE;
    if (!(t->sp = fl_calloc(1, sizeof(*t->sp)))) return FL_ERR_MEMORY;
    t->sp->add_dummy_prefix = t->sp->remove_extra_whitespaces = t->sp->escape_whitespaces = true;
    const uint8_t *start = (const uint8_t *)bytes->data;
    fl_status status = read_model(t, (wire){start, start + bytes->size, start});
    return status == FL_OK || status == FL_ERR_MEMORY ? status : fl_fail_within(status, "%s", path);
}
