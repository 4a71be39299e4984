/* What all layers of a pass through a model share: for each pass of attention, which keys every row sees and at which
 * angles queries and keys are rotated. The layer's own header; built by fl_attention_prepare. */
#ifndef FL_LAYER_ATTENTION_PLAN_H
#define FL_LAYER_ATTENTION_PLAN_H

#include "layer/self_attention.h"

typedef struct fl_angles {
    float *cos, *sin;
} fl_angles;

/* Angles by which the stored keys of one sequence are turned for a pass: tile by tile, [pairs][FL_TILE_KEYS], from key
 * `first`, a multiple of FL_PAGE_TOKENS, on. Keys before it are not seen. */
typedef struct fl_key_angles {
    int64_t first;
    fl_angles tile;
} fl_key_angles;

typedef struct fl_attention_pass {
    int64_t *lo, *hi;    /* [rows] keys of the row's sequence, counted as its memory holds them */
    fl_angles query;     /* [rows][pairs] */
    fl_key_angles *keys; /* [sequences]; NULL: keys serve as they are stored */
    bool seen;           /* some row sees something */
} fl_attention_pass;

typedef struct fl_attention_plan {
    const fl_scheme *scheme;
    int pairs; /* 0: nothing is rotated */
    int passes;
    bool one_query;     /* all passes rotate the queries alike */
    fl_angles stored;   /* [rows][pairs] at which new keys are stored; NULL: unrotated */
    float *logit_scale; /* [rows] factors of log-n scaling; NULL: off */
    bool halves;        /* passes 0 and 1 are of one half of the heads each (layer/shifted_attention.h) */
    fl_attention_pass pass[FL_PASSES_MAX];
} fl_attention_plan;

/* count elements of `size` bytes that live as long as the run's pass; NULL once the run has failed. */
void *fl_attention_memory(fl_run *r, size_t count, size_t size);
/* Keys that the memory of s holds: key number fl_attention_keys(s) + j is that of row j. */
int64_t fl_attention_keys(const fl_batch_seq *s);

/* The sequences of the batch with the pages of their keys and values, new rows written; self_attention.c. */
fl_attend_seq *fl_attention_gather(fl_run *r, int layer, const fl_attention_shape *shape, fl_tensor *k, fl_tensor *v);
/* Their key ranges in a pass. */
void fl_attention_set_ranges(const fl_run *r, fl_attend_seq *seq, int pass);

#endif
