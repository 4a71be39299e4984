/* Self-attention of a batch: rotation, memory, key ranges, and the passes that a position scheme compiles to. */
#ifndef FL_LAYER_SELF_ATTENTION_H
#define FL_LAYER_SELF_ATTENTION_H

#include "op/op.h"
#include "position/passes.h"
#include "position/rope.h"

/* How positions reach attention. Shared by all layers of a pass. */
typedef struct fl_scheme {
    const fl_rope_spec *rope; /* NULL: q and k are not rotated */
    bool interleaved;         /* pair i at (2i, 2i+1), else (i, i + dim/2) */
    bool bidirectional;       /* every row sees every key of its sequence; plain passes only */
    fl_passes passes;         /* windows, sinks, and changed distances */
    fl_logn logn;
    int64_t logn_window; /* L, at least 2 */
    int64_t shifted_group; /* > 0: shifted sparse attention in groups of so many tokens, for training; 0: full */
    const float *alibi;  /* [heads] slopes of a bias that falls with distance (Press et al. 2021); NULL: none. Plain
                            passes only, as with xpos */
    bool xpos;           /* with rope: queries and keys are scaled by their positions too (Sun et al. 2022) */
} fl_scheme;

typedef struct fl_attention_shape {
    int heads, kv_heads, head_dim;
    double scale; /* of the logits; 0: 1/sqrt(head_dim) */
} fl_attention_shape;

/* Build what all layers of this pass share (angles, key ranges) for r->batch. Call once before the first block.
 * Schedules that depend on the length store unrotated keys and rotate them at use. While recording, passes must be
 * plain: the other schemes are for inference (FL_ERR_UNSUPPORTED). */
void fl_attention_prepare(fl_run *r, const fl_scheme *scheme);

/* Give up whole blocks of keys and values of a memory that no token to come can see: under a streaming scheme, what
 * lies between the sinks and the window. One page more stays, so that as many tokens may be taken back. */
void fl_attention_evict(const fl_scheme *scheme, fl_memory *memory);

/* q [rows, heads*head_dim], k and v [rows, kv_heads*head_dim], unrotated; q and k are rotated in place.
 * Keys and values are written to the memories of the batch as pending tokens of `layer`. -> [rows, heads*head_dim] */
fl_tensor *fl_self_attend(fl_run *r, int layer, const fl_attention_shape *shape, fl_tensor *q, fl_tensor *k,
                          fl_tensor *v);

#endif
