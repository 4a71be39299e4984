/* Tables for encoding, made once from the pieces of a SentencePiece or llama2.c vocabulary. */
#include <float.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "text/sentencepiece.h"

#define UNKNOWN_PENALTY 10.0F /* kUnkPenalty of unigram_model.cc */

bool fl_sentencepiece_add(fl_tokenizer *t, float score, int type)
{
    fl_sentencepiece *sp = t->sp;
    if (sp->pieces == sp->piece_capacity) {
        int64_t capacity = sp->piece_capacity ? sp->piece_capacity * 2 : 1024;
        uint8_t *types = fl_realloc(sp->type, (size_t)capacity, 1);
        if (!types) return false;
        sp->type = types;
        float *scores = fl_realloc(sp->score, (size_t)capacity, sizeof(float));
        if (!scores) return false;
        sp->score = scores;
        sp->piece_capacity = capacity;
    }
    sp->type[sp->pieces] = (uint8_t)type;
    sp->score[sp->pieces++] = score;
    return true;
}

void fl_sentencepiece_close(fl_tokenizer *t)
{
    fl_sentencepiece *sp = t->sp;
    if (!sp) return;
    fl_free(sp->type);
    fl_free(sp->score);
    fl_free(sp->unk_surface);
    fl_charsmap_free(&sp->charsmap);
    fl_trie_free(&sp->user_defined);
    fl_trie_free(&sp->special);
    fl_free(sp->character);
    fl_free(sp);
    t->sp = NULL;
}

/* ---- characters --------------------------------------------------------------------------------------------- */

static uint64_t character_key(const char *s, size_t length)
{
    uint64_t key = length; /* never 0 */
    for (size_t i = 0; i < length; i++)
        key = key << 8 | (uint8_t)s[i];
    return key;
}

static struct fl_character *probe(const fl_sentencepiece *sp, uint64_t key)
{
    uint64_t i = fl_text_mix(key ^ sp->character_seed) & sp->character_mask;
    while (sp->character[i].key && sp->character[i].key != key)
        i = (i + 1) & sp->character_mask;
    return &sp->character[i];
}

int32_t fl_sentencepiece_character(const fl_tokenizer *t, const char *s, size_t length)
{
    if (!t->sp->character) return (int32_t)t->vocab.count;
    const struct fl_character *c = probe(t->sp, character_key(s, length));
    return c->key ? c->symbol : (int32_t)t->vocab.count;
}

static fl_status add_character(fl_tokenizer *t, const char *s, size_t length, int32_t *symbol)
{
    fl_sentencepiece *sp = t->sp;
    if (!sp->character || (uint64_t)sp->characters * 2 > sp->character_mask) {
        uint64_t slots = sp->character ? (sp->character_mask + 1) * 2 : 1024;
        struct fl_character *table = fl_calloc(slots, sizeof(*table)), *old = sp->character;
        uint64_t old_slots = old ? sp->character_mask + 1 : 0;
        if (!table) return FL_ERR_MEMORY;
        sp->character = table;
        sp->character_mask = slots - 1;
        sp->character_seed = fl_text_mix((uint64_t)(uintptr_t)table);
        for (uint64_t i = 0; i < old_slots; i++)
            if (old[i].key) *probe(sp, old[i].key) = old[i];
        fl_free(old);
    }
    struct fl_character *c = probe(sp, character_key(s, length));
    if (!c->key) {
        int32_t id = fl_vocab_find(&t->vocab, s, length);
        bool piece = id >= 0 && (sp->type[id] == FL_PIECE_NORMAL || sp->type[id] == FL_PIECE_UNUSED);
        c->key = character_key(s, length);
        c->symbol = piece ? id : sp->next_symbol++;
        sp->characters++;
    }
    *symbol = c->symbol;
    return FL_OK;
}

/* ---- merge rules -------------------------------------------------------------------------------------------- */

typedef struct scored {
    float score;
    int32_t id;
} scored;

static int by_score(const void *a, const void *b)
{
    const scored *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

/* Symbol of a part of a piece: of one character, or of a piece that merging can make; -1 if it can never stand there.
 */
static fl_status part_symbol(fl_tokenizer *t, const char *s, size_t length, int32_t *symbol)
{
    const fl_sentencepiece *sp = t->sp;
    int32_t id = fl_vocab_find(&t->vocab, s, length);
    if (sp->llama2c) {
        *symbol = id;
        return FL_OK;
    }
    *symbol = -1;
    if (id >= 0 && sp->type[id] == FL_PIECE_USER_DEFINED) return FL_OK; /* stands alone, whatever is beside it */
    if (fl_utf8_lead(s, length) == length) return add_character(t, s, length, symbol);
    if (id >= 0 && (sp->type[id] == FL_PIECE_NORMAL || sp->type[id] == FL_PIECE_UNUSED)) *symbol = id;
    return FL_OK;
}

/* Two symbols merge when their spellings together are a piece; the best score goes first. */
static fl_status add_rules(fl_tokenizer *t, int32_t id, uint32_t rank)
{
    size_t length = 0;
    const char *piece = fl_vocab_piece(&t->vocab, id, &length);
    size_t last = 0; /* where the character before the cut begins */
    for (size_t cut = fl_utf8_lead(piece, length); cut < length;) {
        size_t next = fl_utf8_lead(piece + cut, length - cut);
        int32_t left, right, last_symbol, first_symbol;
        FL_TRY(part_symbol(t, piece, cut, &left));
        FL_TRY(part_symbol(t, piece + cut, length - cut, &right));
        if (left >= 0 && right >= 0) {
            FL_TRY(fl_bpe_add(&t->bpe, left, right, rank, id));
            if (!t->sp->llama2c) {
                FL_TRY(part_symbol(t, piece + last, cut - last, &last_symbol));
                FL_TRY(part_symbol(t, piece + cut, next, &first_symbol));
                if (last_symbol >= 0 && first_symbol >= 0) FL_TRY(fl_bpe_seam(&t->bpe, last_symbol, first_symbol));
            }
        }
        last = cut;
        cut += next;
    }
    return FL_OK;
}

/* llama2.c merges by the spellings of tokens, which for byte tokens and special tokens are not the text they stand
 * for. Before any merge stand: single characters, byte tokens, BOS. The last of them inside a token's spelling, and the
 * token itself, if it can stand there unmerged, are what a seam needs. */
static fl_status llama2c_seams(fl_tokenizer *t)
{
    for (uint64_t i = 0; t->bpe.rule && i <= t->bpe.mask; i++) {
        const fl_bpe_rule *r = &t->bpe.rule[i];
        if (r->rank == FL_BPE_NO_RANK) continue;
        size_t left_length = 0, right_length = 0;
        const char *left = fl_vocab_piece(&t->vocab, r->left, &left_length);
        const char *right = fl_vocab_piece(&t->vocab, r->right, &right_length);
        size_t back = left_length - 1;
        while (back > 0 && ((uint8_t)left[back] & 0xC0) == 0x80)
            back--;
        int32_t lasts[2] = {fl_vocab_find(&t->vocab, left + back, left_length - back), (int32_t)r->left};
        int32_t firsts[2] = {fl_vocab_find(&t->vocab, right, fl_utf8_lead(right, right_length)), (int32_t)r->right};
        for (int a = 0; a < 2; a++)
            for (int b = 0; b < 2; b++)
                if (lasts[a] >= 0 && firsts[b] >= 0) FL_TRY(fl_bpe_seam(&t->bpe, lasts[a], firsts[b]));
    }
    return FL_OK;
}

static fl_status prepare_bpe(fl_tokenizer *t)
{
    fl_sentencepiece *sp = t->sp;
    scored *order = fl_realloc(NULL, (size_t)sp->pieces, sizeof(scored));
    if (!order) return FL_ERR_MEMORY;
    size_t count = 0;
    for (int32_t id = 0; id < sp->pieces; id++)
        if (sp->llama2c ? sp->score[id] > -1e10F : sp->type[id] == FL_PIECE_NORMAL || sp->type[id] == FL_PIECE_UNUSED)
            order[count++] = (scored){sp->score[id], id};
    qsort(order, count, sizeof(*order), by_score);
    fl_status status = FL_OK;
    uint32_t rank = 0;
    for (size_t i = 0; i < count && status == FL_OK; i++) {
        if (i && order[i].score != order[i - 1].score) rank++; /* equal scores merge from left to right */
        status = add_rules(t, order[i].id, rank);
    }
    fl_free(order);
    return status == FL_OK && sp->llama2c ? llama2c_seams(t) : status;
}

/* ---- unigram ------------------------------------------------------------------------------------------------ */

static fl_status prepare_unigram(fl_tokenizer *t)
{
    fl_sentencepiece *sp = t->sp;
    fl_unigram *u = &t->unigram;
    float least = FLT_MAX, most = FLT_MIN; /* as the original starts them */
    fl_trie_key *keys = fl_calloc((size_t)sp->pieces, sizeof(*keys));
    u->score = fl_calloc((size_t)sp->pieces, sizeof(double));
    if (!keys || !u->score) {
        fl_free(keys);
        return FL_ERR_MEMORY;
    }
    for (int64_t id = 0; id < sp->pieces; id++)
        if (sp->type[id] == FL_PIECE_NORMAL) {
            least = sp->score[id] < least ? sp->score[id] : least;
            most = sp->score[id] > most ? sp->score[id] : most;
        }
    size_t count = 0;
    for (int32_t id = 0; id < sp->pieces; id++) {
        if (sp->type[id] != FL_PIECE_NORMAL && sp->type[id] != FL_PIECE_USER_DEFINED) continue;
        fl_trie_key *key = &keys[count++];
        key->bytes = fl_vocab_piece(&t->vocab, id, &key->length);
        key->value = id;
        /* A user-defined piece gets a bonus with which it is always chosen. */
        u->score[id] =
            sp->type[id] == FL_PIECE_NORMAL ? (double)sp->score[id] : (double)((float)key->length * most) - 0.1;
    }
    u->unk = t->unk;
    u->unk_score = (double)(least - UNKNOWN_PENALTY);
    u->single = true;
    fl_status status = fl_trie_build(&u->trie, keys, count);
    fl_free(keys);
    return status;
}

/* ---- */

static fl_status build_trie(fl_tokenizer *t, fl_piece_type type, fl_trie *trie)
{
    fl_sentencepiece *sp = t->sp;
    fl_trie_key *keys = fl_calloc((size_t)sp->pieces, sizeof(*keys));
    if (!keys) return FL_ERR_MEMORY;
    size_t count = 0;
    for (int32_t id = 0; id < sp->pieces; id++)
        if (sp->type[id] == type) {
            fl_trie_key *key = &keys[count++];
            key->bytes = fl_vocab_piece(&t->vocab, id, &key->length);
            key->value = id;
            /* llama2.c's files spell <s> and </s> with line ends around them; nobody writes them so. */
            for (; sp->llama2c && key->length > 2 && *key->bytes == '\n'; key->length--)
                key->bytes++;
            while (sp->llama2c && key->length > 1 && key->bytes[key->length - 1] == '\n')
                key->length--;
        }
    fl_status status = fl_trie_build(trie, keys, count);
    fl_free(keys);
    return status;
}

static fl_status find_bytes(fl_tokenizer *t)
{
    fl_sentencepiece *sp = t->sp;
    for (int i = 0; i < 256; i++)
        sp->byte_id[i] = -1;
    for (int32_t id = 0; id < sp->pieces; id++) {
        if (sp->type[id] != FL_PIECE_BYTE) continue;
        size_t length = 0;
        const char *piece = fl_vocab_piece(&t->vocab, id, &length);
        int byte = fl_byte_piece(piece, length);
        if (byte < 0)
            return fl_fail(FL_ERR_FORMAT, "pieces[%d].piece = \"%.60s\": a BYTE piece must be spelled <0x00> to <0xFF>",
                           id, piece);
        if (!sp->byte_fallback)
            return fl_fail(FL_ERR_FORMAT, "pieces[%d].type = BYTE, but trainer_spec.byte_fallback is off", id);
        sp->byte_id[byte] = id;
    }
    for (int i = 0; sp->byte_fallback && i < 256; i++)
        if (sp->byte_id[i] < 0)
            return fl_fail(FL_ERR_FORMAT, "trainer_spec.byte_fallback is on, but there is no piece <0x%02X>", i);
    return FL_OK;
}

fl_status fl_sentencepiece_prepare(fl_tokenizer *t)
{
    fl_sentencepiece *sp = t->sp;
    t->unk = -1;
    for (int32_t id = 0; id < sp->pieces; id++) {
        if (sp->type[id] == FL_PIECE_UNUSED) sp->has_unused = true;
        if (sp->type[id] != FL_PIECE_UNKNOWN) continue;
        if (t->unk >= 0) return fl_fail(FL_ERR_FORMAT, "pieces[%d].type = UNKNOWN: pieces[%d] already is", id, t->unk);
        t->unk = id;
    }
    if (t->unk < 0) return fl_fail(FL_ERR_FORMAT, "pieces: none of type UNKNOWN");
    FL_TRY(find_bytes(t));
    FL_TRY(build_trie(t, FL_PIECE_USER_DEFINED, &sp->user_defined));
    FL_TRY(build_trie(t, FL_PIECE_CONTROL, &sp->special));
    sp->next_symbol = (int32_t)t->vocab.count + 1;
    if (!t->is_unigram) {
        for (int32_t id = 0; id < sp->pieces && !sp->llama2c; id++) {
            size_t length = 0;
            const char *piece = fl_vocab_piece(&t->vocab, id, &length);
            int32_t symbol;
            if (fl_utf8_lead(piece, length) == length &&
                (sp->type[id] == FL_PIECE_NORMAL || sp->type[id] == FL_PIECE_UNUSED))
                FL_TRY(add_character(t, piece, length, &symbol));
        }
        return prepare_bpe(t);
    }
    return prepare_unigram(t);
}
