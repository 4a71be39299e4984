/* Shifted sparse attention (LongLoRA, Chen et al. 2023, section 3.2), in the form without wrap-around: for half of the
 * heads the tokens of a sequence are cut into groups, for the other half the cuts lie half a group further, and a token
 * sees the tokens of its group up to itself. For training alone. */
#ifndef FL_LAYER_SHIFTED_ATTENTION_H
#define FL_LAYER_SHIFTED_ATTENTION_H

#include "layer/attention_plan.h"

typedef struct fl_attend_tensors {
    fl_tensor *q, *k, *v, *out; /* rotated; see fl_self_attend */
    float *lse;                 /* [2][rows][heads / 2] */
} fl_attend_tensors;

/* Whether the heads fall into halves with key heads of their own, or share the only one; else the run has failed. */
bool fl_shifted_fits(fl_run *r, const fl_attention_shape *shape);

void fl_shifted_attend(fl_run *r, int layer, const fl_attention_shape *shape, float scale, const fl_attend_tensors *t);
/* dq, dk, dv: written. */
void fl_shifted_attend_backward(fl_run *r, int layer, const fl_attention_shape *shape, float scale,
                                const fl_attend_tensors *t, const fl_tensor *dout, fl_tensor *dq, fl_tensor *dk,
                                fl_tensor *dv);

#endif
