/* One forward pass (and its backward): who computes, for which rows, into which memory, and what was recorded.
 *
 * A model is written once. Recording builds a tape for the backward pass; a counting run (null device, counting arenas)
 * executes the same code with shapes and bytes only. The first error sticks: later operators return NULL at once, and
 * the caller looks at the status once. */
#ifndef FL_OP_RUN_H
#define FL_OP_RUN_H

#include <stdatomic.h>

#include "base/arena.h"
#include "device/engine.h"
#include "memory/memory.h"

/* A weight of a model. Matrices are packed once at open for inference; vectors (norms, biases) are fp32 values. */
typedef struct fl_weight {
    const char *name;    /* Hugging Face name */
    int index;           /* position in the model's list: the key of an overlay */
    fl_stored stored;    /* rows = outputs, cols = inputs; without data where a packed file has panels alone */
    fl_packed *packed;   /* matrices used in products; NULL for vectors and look-up tables */
    const float *values; /* vectors: [stored.cols] */
} fl_weight;

/* A low-rank update of a matrix W [out, in] (Hu et al. 2021, LoRA): its product becomes W x + scale * B (A x). */
typedef struct fl_adapter {
    int64_t rank;     /* 0: none */
    float scale;      /* alpha / rank */
    float *down, *up; /* A [rank, in], B [out, rank] */
    float *down_grad, *up_grad;
} fl_adapter;

/* What training adds to a model without touching it, by weight index: fp32 master copies and their gradients, and
 * adapters. A NULL master means frozen. Everything points into two contiguous blocks, values and gradients. */
typedef struct fl_overlay {
    int count;
    float **master, **grad;
    const fl_adapter *adapter; /* [count]; NULL: none at all. Matrices of fl_linear only */
} fl_overlay;

/* One sequence of a batch. Rows are tokens read now; earlier ones are in the memory. */
typedef struct fl_batch_seq {
    fl_memory *memory; /* NULL: the sequence stands alone and keeps nothing */
    int64_t first_row, rows;
    int64_t first_position; /* of the first row; normally the memory's token count */
    int64_t length;         /* tokens the sequence will hold when its text is read: schedules that depend on the length
                               use it, so that chunks and a whole agree; 0: first_position + rows */
    const double *position; /* [rows] where rotary rows stand instead, whole numbers or not; without a memory only.
                               NULL: first_position, first_position + 1, ... */
} fl_batch_seq;

typedef struct fl_batch {
    int sequences;
    const fl_batch_seq *seq;
    int64_t rows;
    const int32_t *tokens;          /* [rows] */
    const struct fl_scheme *scheme; /* how positions reach attention (layer/self_attention.h); NULL: the model's own */
} fl_batch;

typedef struct fl_run fl_run;
typedef struct fl_node fl_node;

/* A recorded operator: embedded first in the operator's own struct. */
struct fl_node {
    fl_node *previous;
    void (*backward)(fl_run *r, fl_node *node);
};

/* Numbers of the data arena that are never rounded. */
typedef struct fl_exact {
    const struct fl_exact *older;
    const void *data;
    size_t bytes; /* with the arena's padding */
} fl_exact;

struct fl_attention_plan; /* layer/self_attention.h */

struct fl_run {
    fl_engine *engine;
    fl_device *device;         /* the engine's, or the null device of a counting run */
    fl_arena *data, *grads;    /* activations; gradients */
    fl_arena *nodes;           /* headers of tensors and nodes: small, real also when counting */
    const fl_overlay *overlay; /* NULL: nothing trains */
    const fl_batch *batch;
    struct fl_attention_plan *attention; /* tables shared by all layers of this pass */
    const atomic_bool *cancel;           /* checked between blocks; may be NULL */
    fl_node *tape;                       /* newest first; NULL: nothing recorded */
    bool recording;
    bool half;      /* keep the activations of earlier blocks as bf16 (op/compact.h) */
    const fl_exact *exact; /* statistics of this pass, newest first */
    bool recompute; /* keep only block inputs, compute blocks again in the backward pass */
    fl_status status;
    char message[FL_ERROR_CAPACITY];
};

/* counting: arenas only count and the null device is used. limit_bytes per arena, 0: physical memory. */
fl_status fl_run_create(fl_run **out, fl_engine *engine, size_t limit_bytes, bool counting);
void fl_run_destroy(fl_run *r);

/* Start a pass: arenas emptied, status cleared. batch and overlay are borrowed until the next begin. */
void fl_run_begin(fl_run *r, const fl_batch *batch, const fl_overlay *overlay, bool recording);

/* Walk the tape from its newest node. Weight gradients are accumulated into the overlay. */
void fl_run_backward(fl_run *r);

/* Walk from the newest node down to, not including, `stop`. */
void fl_run_backward_to(fl_run *r, fl_node *stop);

/* Status of the pass; the message is put into this thread's error. */
fl_status fl_run_status(fl_run *r);

/* Record the first failure with names and shapes; returns NULL so that an operator can return it. */
void *fl_run_fail(fl_run *r, fl_status code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* ---- for operators ------------------------------------------------------------------------------------------ */

/* A new fp32 tensor in the data arena; NULL once the run has failed. */
fl_tensor *fl_run_tensor(fl_run *r, int64_t rows, int64_t cols);
/* Plain floats in the data arena (statistics kept for the backward pass). */
float *fl_run_floats(fl_run *r, int64_t n);

/* A node of `size` bytes pushed on the tape; only while recording. */
void *fl_run_record(fl_run *r, size_t size, void (*backward)(fl_run *, fl_node *));

/* The gradient of t as a tensor to write into. *accumulate tells whether it already holds a part. NULL when t needs no
 * gradient. */
fl_tensor *fl_run_grad(fl_run *r, fl_tensor *t, bool *accumulate);
/* The finished gradient of an operator's output as a tensor; NULL when nothing reached it. */
fl_tensor *fl_run_grad_of(fl_run *r, const fl_tensor *t);

/* The weight as the right-hand side of a product: the trained copy if there is one. */
fl_operand fl_run_operand(const fl_run *r, const fl_weight *w);
/* The same values as fp32 in the data arena when w's type comes in blocks, whose columns cannot be walked: what a product
 * with the transposed weight needs. Else w itself. */
fl_stored fl_run_unblocked(fl_run *r, fl_stored w);
const float *fl_run_vector(const fl_run *r, const fl_weight *w);
/* Where this weight's gradient is accumulated; NULL: frozen. */
float *fl_run_weight_grad(const fl_run *r, const fl_weight *w);
/* The weight's adapter; NULL: none. */
const fl_adapter *fl_run_adapter(const fl_run *r, const fl_weight *w);

#endif
