#include "text/pieces.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "text/pipeline.h"
#include "text/sentencepiece.h"

static const char WHERE[] = "tokenizer";

static fl_status unfit(const char *what)
{
    return fl_fail(FL_ERR_UNSUPPORTED,
                   "%s: %s: no list of scored pieces says the same; pass the model's tokenizer.model (--tokenizer), or "
                   "leave the tokenizer out (--no-tokenizer)",
                   WHERE, what);
}

void fl_pieces_free(fl_pieces *p)
{
    fl_vocab_free(&p->vocab);
    fl_free(p->score);
    fl_free(p->type);
    *p = (fl_pieces){0};
}

static bool one(const fl_tokens *t, int32_t id)
{
    return t->count == 1 && t->id[0] == id;
}

fl_status fl_pieces_around(const fl_tokenizer *t, bool *add_bos, bool *add_eos)
{
    *add_bos = one(&t->prefix, t->bos);
    *add_eos = one(&t->suffix, t->eos);
    if ((!t->prefix.count || *add_bos) && (!t->suffix.count || *add_eos)) return FL_OK;
    return unfit("puts other tokens around a text than BOS and EOS");
}

/* ---- SentencePiece and llama2.c -----------------------------------------------------------------------------------
 */

/* llama2.c spells spaces as they are, and line ends around BOS and EOS. */
static fl_status set_llama2c(fl_pieces *p, int64_t id, const char *piece, size_t length, int type)
{
    fl_buffer text = {0};
    size_t from = 0, to = length;
    if (type == FL_PIECE_CONTROL && length > 2 && piece[0] == '\n' && piece[length - 1] == '\n') from++, to--;
    for (size_t i = from; i < to; i++)
        if (piece[i] == ' ')
            fl_buffer_text(&text, FL_SPACE_SYMBOL);
        else
            fl_buffer_append(&text, piece + i, 1);
    fl_status status = text.failed ? FL_ERR_MEMORY : fl_vocab_set(&p->vocab, id, text.data, text.size);
    fl_buffer_free(&text);
    return status;
}

static fl_status of_sentencepiece(fl_pieces *p, const fl_tokenizer *t)
{
    const fl_sentencepiece *sp = t->sp;
    if (sp->treat_whitespace_as_suffix) return unfit("treat_whitespace_as_suffix");
    if (!sp->escape_whitespaces && !sp->llama2c) return unfit("escape_whitespaces = false");
    for (int64_t id = 0; id < sp->pieces; id++) {
        size_t length = 0;
        const char *piece = fl_vocab_piece(&t->vocab, id, &length);
        p->score[id] = sp->score[id];
        p->type[id] = sp->type[id];
        FL_TRY(sp->llama2c ? set_llama2c(p, id, piece, length, sp->type[id])
                           : fl_vocab_set(&p->vocab, id, piece, length));
    }
    p->unigram = t->is_unigram;
    p->add_dummy_prefix = sp->add_dummy_prefix || sp->llama2c;
    p->remove_extra_whitespaces = sp->remove_extra_whitespaces;
    if (sp->charsmap.blob.size) {
        p->charsmap = sp->charsmap.blob.data;
        p->charsmap_size = sp->charsmap.blob.size;
    }
    return FL_OK;
}

/* ---- tokenizer.json -----------------------------------------------------------------------------------------------
 */

static int by_rank(const void *a, const void *b)
{
    uint32_t x = (*(const fl_bpe_rule *const *)a)->rank, y = (*(const fl_bpe_rule *const *)b)->rank;
    return (x > y) - (x < y);
}

const fl_bpe_rule **fl_pieces_rules(const fl_tokenizer *t, size_t *count)
{
    const fl_bpe_rule **rule = fl_calloc((size_t)t->bpe.rules + 1, sizeof *rule);
    *count = 0;
    if (!rule) return NULL;
    for (uint64_t i = 0; t->bpe.rule && i <= t->bpe.mask; i++)
        if (t->bpe.rule[i].rank != FL_BPE_NO_RANK) rule[(*count)++] = &t->bpe.rule[i];
    qsort(rule, *count, sizeof *rule, by_rank);
    return rule;
}

/* A piece's score is by how many other pieces its rules come after; rules that make one piece must stand together. */
static fl_status score_by_rules(fl_pieces *p, const fl_tokenizer *t, uint8_t *made)
{
    size_t count;
    const fl_bpe_rule **rule = fl_pieces_rules(t, &count);
    if (!rule) return FL_ERR_MEMORY;
    float score = 0;
    int32_t last = -1;
    fl_status status = FL_OK;
    for (size_t i = 0; i < count && status == FL_OK; i++) {
        int32_t result = rule[i]->result;
        if (result == last) continue;
        if (made[result]) status = unfit("merges of one piece lie apart");
        made[result] = 1;
        p->score[last = result] = score;
        score -= 1;
    }
    fl_free(rule);
    for (int64_t id = 0; id < t->vocab.count && status == FL_OK; id++)
        if (!made[id]) p->score[id] = score;
    return status;
}

/* "Prepend U+2581, replace spaces by it" as normalizers, or Metaspace. */
static fl_status read_prefix(fl_pieces *p, const fl_pipeline *line)
{
    bool replaces = false;
    for (int i = 0; i < line->normalizers; i++) {
        const fl_pipeline_normalizer *n = &line->normalizer[i];
        bool symbol = n->content && !strcmp(n->content, FL_SPACE_SYMBOL);
        if (n->kind == FL_PIPELINE_PREPEND && symbol)
            p->add_dummy_prefix = true;
        else if (n->kind == FL_PIPELINE_REPLACE && symbol && n->pattern.text && !strcmp(n->pattern.text, " "))
            replaces = true;
        else
            return unfit("its normalizer");
    }
    if (line->splitters == 1 && line->splitter[0].kind == FL_PIPELINE_METASPACE && !replaces &&
        !strcmp(line->splitter[0].replacement, FL_SPACE_SYMBOL) && !line->splitter[0].split) {
        p->add_dummy_prefix = line->splitter[0].scheme != FL_PIPELINE_NEVER;
        return FL_OK;
    }
    return line->splitters == 0 && replaces ? FL_OK : unfit("its pre_tokenizer");
}

static int type_of(const fl_tokenizer *t, int64_t id, const char *piece, size_t length)
{
    const fl_pipeline *line = t->pipeline;
    if (id == t->unk) return FL_PIECE_UNKNOWN;
    if (line->added_of[id] >= 0)
        return line->added[line->added_of[id]].special ? FL_PIECE_CONTROL : FL_PIECE_USER_DEFINED;
    return fl_byte_piece(piece, length) >= 0 ? FL_PIECE_BYTE : FL_PIECE_NORMAL;
}

static fl_status of_pipeline(fl_pieces *p, const fl_tokenizer *t)
{
    if (t->is_unigram || !t->pipeline->byte_fallback) return unfit("is no BPE with byte fallback");
    if (t->unk < 0) return unfit("has no unk_token");
    FL_TRY(read_prefix(p, t->pipeline));
    uint8_t *made = fl_calloc((size_t)t->vocab.count, 1);
    fl_status status = made ? score_by_rules(p, t, made) : FL_ERR_MEMORY;
    for (int64_t id = 0; id < t->vocab.count && status == FL_OK; id++) {
        size_t length = 0;
        const char *piece = fl_vocab_piece(&t->vocab, id, &length);
        if (!piece) continue;
        p->type[id] = (uint8_t)type_of(t, id, piece, length);
        if (p->type[id] == FL_PIECE_NORMAL && !made[id] && fl_utf8_lead(piece, length) < length)
            status = unfit("has pieces that no merge makes");
        else
            status = fl_vocab_set(&p->vocab, id, piece, length);
    }
    fl_free(made);
    return status;
}

/* ---- */

fl_status fl_pieces_of(fl_pieces *p, const fl_tokenizer *t)
{
    *p = (fl_pieces){.bos = t->bos, .eos = t->eos, .unk = t->unk};
    if (!t->sp && !t->pipeline) return unfit(t->kind);
    FL_TRY(fl_pieces_around(t, &p->add_bos, &p->add_eos));
    p->score = fl_calloc((size_t)t->vocab.count, sizeof *p->score);
    p->type = fl_calloc((size_t)t->vocab.count, 1);
    if (!p->score || !p->type) return FL_ERR_MEMORY;
    fl_status status = t->sp ? of_sentencepiece(p, t) : of_pipeline(p, t);
    return status == FL_ERR_FORMAT ? fl_fail_within(status, "%s", WHERE) : status;
}
