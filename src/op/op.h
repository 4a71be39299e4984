/* Differentiable operators. Each takes the run first, returns a new tensor, and returns NULL once the run has failed.
 * Shapes are [rows, cols]; a shape error names both sides. Forward and backward of each stand side by side in one
 * file of this folder. */
#ifndef FL_OP_OP_H
#define FL_OP_OP_H

#include "op/run.h"

/* Rows of the embedding table for the batch's tokens: [rows, width]. Ids outside the table fail with FL_ERR_ARGUMENT.
 */
fl_tensor *fl_embed(fl_run *r, const fl_weight *table);
/* x + table rows of the batch's positions (learned positions). Positions beyond the table fail with FL_ERR_WINDOW. */
fl_tensor *fl_embed_positions(fl_run *r, fl_tensor *x, const fl_weight *table);

/* x + sines and cosines of the batch's positions (Vaswani et al. 2017): components 2i and 2i+1 are sin and cos of
 * p / 10000^(2i/width). Nothing is trained. */
fl_tensor *fl_embed_sinusoidal(fl_run *r, fl_tensor *x);

/* x [rows, in] -> [rows, out]; bias [out] or NULL. */
fl_tensor *fl_linear(fl_run *r, fl_tensor *x, const fl_weight *w, const fl_weight *bias);

/* RMSNorm (Zhang and Sennrich 2019): x / sqrt(mean(x^2) + eps) * w. */
fl_tensor *fl_rms_norm(fl_run *r, fl_tensor *x, const fl_weight *w, double eps);
/* RMSNorm of each run of head_dim columns by itself, all with the same w [head_dim] (queries and keys of some models).
 */
fl_tensor *fl_rms_norm_heads(fl_run *r, fl_tensor *x, const fl_weight *w, double eps);
/* LayerNorm (Ba et al. 2016): (x - mean) / sqrt(variance + eps) * w + b. */
fl_tensor *fl_layer_norm(fl_run *r, fl_tensor *x, const fl_weight *w, const fl_weight *b, double eps);

/* a + b. When nothing is recorded the sum replaces a. */
fl_tensor *fl_add(fl_run *r, fl_tensor *a, fl_tensor *b);

/* Part `part` of `parts` equal column ranges inside each of `groups` equal column groups of x, side by side: what a
 * fused product (q, k and v of every head together) falls apart into. Each part is taken once.
 * x [rows, groups*parts*n] -> [rows, groups*n] */
fl_tensor *fl_split(fl_run *r, fl_tensor *x, int groups, int parts, int part);

/* silu(gate) * up (Shazeer 2020). */
fl_tensor *fl_swiglu(fl_run *r, fl_tensor *gate, fl_tensor *up);
/* GELU, tanh or erf form. */
fl_tensor *fl_gelu(fl_run *r, fl_tensor *x, bool tanh_form);

/* What is wanted of the head. Outputs are the caller's arrays; any may be NULL. */
typedef struct fl_head_spec {
    int64_t n;                /* rows evaluated */
    const int64_t *row;       /* [n] rows of the batch; NULL: 0 .. n-1 */
    const int32_t *target;    /* [n] ids, -1: none */
    float *nll;               /* [n] */
    int32_t *argmax, *rank;   /* [n] */
    float *logits;            /* [n, vocabulary] */
    const float *loss_weight; /* [n]: while recording, the loss is sum of loss_weight[i] * nll[i] */
} fl_head_spec;

/* logits = x W^T (+ bias) reduced to what spec asks for; never tokens x vocabulary. While recording with loss_weight,
 * gradients are formed in the same sweep and handed on by the backward pass. */
void fl_head(fl_run *r, fl_tensor *x, const fl_weight *w, const fl_weight *bias, const fl_head_spec *spec);

/* A block of layers: x -> fn(x), same shape. Without recording its temporaries are released and the result takes x's
 * place; while recording, gradients inside are released at its boundary; with r->recompute only x is kept and the block
 * runs again in the backward pass. With r->half what is kept is rounded to bf16 (op/compact.h), and a block with
 * r->recompute writes its result over x. fn must not keep tensors. */
typedef fl_tensor *(*fl_block_fn)(fl_run *r, const void *block, fl_tensor *x);
fl_tensor *fl_block(fl_run *r, fl_block_fn fn, const void *block, fl_tensor *x);

#endif
