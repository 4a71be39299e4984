/* Byte pair encoding over symbols: merge rules, and the merging of a row of symbols in n log n.
 *
 * A symbol is a number below 2^31: a piece of the vocabulary, or a private number of the caller. A rule says that the
 * neighbours (left, right) may become `result`, and how early (rank, lowest first). Merging takes, again and again, the
 * pair of lowest rank, the leftmost among equals, until no rule applies: the order of GPT-2, of the tokenizers library
 * (rank = place in the list of merges), of SentencePiece and of llama2.c (rank by falling score). */
#ifndef FL_TEXT_BPE_H
#define FL_TEXT_BPE_H

#include "base/status.h"

#define FL_BPE_NO_RANK UINT32_MAX

typedef struct fl_bpe_rule {
    uint32_t left, right;
    uint32_t rank; /* FL_BPE_NO_RANK: empty slot */
    int32_t result;
} fl_bpe_rule;

typedef struct fl_bpe {
    fl_bpe_rule *rule; /* open addressing by (left, right) */
    uint64_t mask, seed;
    int64_t rules;
    uint32_t ranks; /* largest rank + 1 */
    uint64_t *seam; /* open addressing: pairs of unmerged symbols across which some rule reaches; 0 empty */
    uint64_t seam_mask, seam_seed;
    int64_t seams;
} fl_bpe;

/* A later rule for the same pair replaces the earlier one. FL_ERR_MEMORY. */
fl_status fl_bpe_add(fl_bpe *b, int32_t left, int32_t right, uint32_t rank, int32_t result);
/* Tell that a rule can join symbols at a place where, before any merge, `last` stood left and `first` right. A row is
 * cut where no rule can reach across, so every rule needs its seams. FL_ERR_MEMORY. */
fl_status fl_bpe_seam(fl_bpe *b, int32_t last, int32_t first);
void fl_bpe_free(fl_bpe *b);

/* Rule for the pair, or NULL. */
const fl_bpe_rule *fl_bpe_find(const fl_bpe *b, int32_t left, int32_t right);

/* Scratch memory of one thread; start from zero. */
typedef struct fl_bpe_work {
    struct fl_bpe_queue *queue;
    int64_t steps; /* elementary steps so far: how tests see that time grows like n log n */
    /* By result, or NULL: the rule that fl_bpe_merge_long last met as a candidate. Freed with the rest. */
    const fl_bpe_rule **seen;
} fl_bpe_work;
void fl_bpe_work_free(fl_bpe_work *w);

/* Merge symbol[0 .. *count) in place; *count becomes the number that is left. FL_ERR_MEMORY; FL_ERR_UNSUPPORTED for a
 * stretch of 2^32 - 1 symbols or more without a place to cut. */
fl_status fl_bpe_merge(const fl_bpe *b, fl_bpe_work *w, int32_t *symbol, int64_t *count);

/* The part of fl_bpe_merge for long stretches (bpe_queue.c); count < 2^32 - 1. Returns the symbols left, or -1 when
 * memory is out. */
int64_t fl_bpe_merge_long(const fl_bpe *b, fl_bpe_work *w, int32_t *symbol, int64_t count);
void fl_bpe_queue_free(struct fl_bpe_queue *q);

#endif
