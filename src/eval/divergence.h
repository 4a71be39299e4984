/* How far the predictions of one model are from those of another. */
#ifndef FL_EVAL_DIVERGENCE_H
#define FL_EVAL_DIVERGENCE_H

#include "eval/scorer.h"

/* Of the tokens judged in one window, or more of them: sums, but for the largest. */
typedef struct fl_divergence {
    int64_t tokens, agree; /* agree: both find the same token most likely */
    double kl, squares, most, reference_nll;
} fl_divergence;

/* KL(p || q) in nats of the distributions that [n] logits of each stand for. */
double fl_divergence_row(const float *p, const float *q, int64_t n);

/* Judge ids[first .. count-1] by both, a piece at a time so that few rows of logits are held. nll: [count - first], of
 * the model. */
fl_status fl_divergence_text(fl_divergence *out, fl_scorer *model, fl_scorer *reference, const int32_t *ids,
                             int64_t count, int64_t first, float *nll);

#endif
