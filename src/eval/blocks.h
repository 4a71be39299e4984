/* Blocks of target tokens spread over texts, judged after contexts of any length: what comparisons of the same
 * targets are made of. */
#ifndef FL_EVAL_BLOCKS_H
#define FL_EVAL_BLOCKS_H

#include "eval/scorer.h"

typedef struct fl_blocks {
    int32_t *ids; /* of one text after the other: BOS, if the model has one, and the text */
    int64_t tokens, score, count;
    int64_t *end; /* [count] behind the last target of each, ascending */
    int texts;    /* long enough to be used */
} fl_blocks;

/* `count` blocks of `score` tokens in each text[texts], evenly spread and apart, each with at least `longest` tokens of
 * its text up to its end. A text that is too short is left out if skip_short, else FL_ERR_ARGUMENT, with how long it
 * must be; so is it when none is left. */
fl_status fl_blocks_create(fl_blocks *b, const fl_document *text, int texts, int32_t bos, int64_t longest,
                           int64_t score, int64_t count, bool skip_short);
void fl_blocks_destroy(fl_blocks *b);

/* nll[i]: mean over the targets of block i when the model reads `length` tokens, the targets included; [count]. */
fl_status fl_blocks_judge(const fl_blocks *b, fl_scorer *scorer, int64_t length, double *nll);

/* Mean of a[i] - b[i] and its standard error; of a[i] when b is NULL. n > 1. */
void fl_paired(const double *a, const double *b, int64_t n, double *mean, double *error);

#endif
