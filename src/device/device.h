/* The device table: the only place where tensor data is touched. Operators above check shapes and keep the tape;
 * devices compute. All tensors are F32 [rows, cols] with row stride ld unless said. No function here fails: what could
 * fail (shapes, memory) has been checked or allocated by the caller. Nothing overlaps unless said.
 *
 * Bits: each output element is one chain of fused multiply-adds in increasing k (or key) order, whatever the number of
 * rows, threads or chunks, so inference does not depend on them. */
#ifndef FL_DEVICE_DEVICE_H
#define FL_DEVICE_DEVICE_H

#include "base/pool.h"
#include "base/slab.h"
#include "tensor/kv_page.h"
#include "tensor/tensor.h"

typedef struct fl_device fl_device;

/* A device's own form of a weight matrix, made once at open or mapped: panels for the register tile, storage type kept. */
typedef struct fl_packed fl_packed;

/* The right-hand side of a product: packed when the weights are frozen, stored when they train or are used once. */
typedef struct fl_operand {
    const fl_packed *packed; /* used if not NULL */
    fl_stored stored;        /* always filled in: rows = outputs, cols = inputs */
} fl_operand;

/* One sequence of an attention call. Row r (0 .. rows-1) sees keys lo[r] <= j < hi[r] of its kv view; an empty range
 * gives a zero row with lse -infinity. */
typedef struct fl_attend_seq {
    int64_t first_row, rows; /* rows of q, out, lse */
    const int64_t *lo, *hi;  /* [rows] each */
    fl_kv_view kv;
    int64_t first_key; /* the first row's own key, the next rows follow; only looked at with slopes */
} fl_attend_seq;

typedef struct fl_attend_args {
    int sequences;
    const fl_attend_seq *seq;
    int heads;           /* query heads; a multiple of kv_heads; head h reads kv head h / (heads / kv_heads) */
    float scale;         /* logits = scale * q.k */
    const fl_tensor *q;  /* [rows, heads*head_dim], rotated */
    fl_tensor *out;      /* [rows, heads*head_dim] */
    float *lse;          /* [rows][heads] natural log of the sum of exp(logits) */
    bool merge;          /* combine with what out and lse already hold (a second pass) instead of replacing it */
    const float *slope;  /* [heads]: slope * (key - the row's own key) is added to the logits (ALiBi); NULL: nothing */
} fl_attend_args;

typedef struct fl_attend_backward_args {
    fl_attend_args forward;   /* as in the forward call, merge false; kv pages hold the same keys and values */
    const fl_tensor *k, *v;   /* the same keys (rotated) and values as rows: [rows, kv_heads*head_dim]; sequence s uses
                                 its first_row.. for key 0.. */
    const fl_tensor *dout;    /* gradient of out */
    fl_tensor *dq, *dk, *dv;  /* written, not accumulated */
} fl_attend_backward_args;

/* The head: logits = x W^T (+ bias) for chosen rows, never all rows x vocabulary at once. Any output may be NULL. */
#define FL_HEAD_MOST_VOCABULARY ((int64_t)1 << 23) /* the caller refuses more: one row of logits fits into scratch */
typedef struct fl_head_args {
    const fl_tensor *x;       /* [rows, width] */
    fl_operand w;             /* [vocabulary, width] */
    const float *bias;        /* [vocabulary] or NULL */
    int64_t n;                /* rows evaluated */
    const int64_t *row;       /* [n] indices into x, NULL: 0 .. n-1 */
    const int32_t *target;    /* [n], -1: none; NULL: none */
    float *nll;               /* [n] -log softmax(logits)[target]; 0 where there is no target */
    int32_t *argmax;          /* [n] lowest id among equals */
    int32_t *rank;            /* [n] how many ids have a larger logit than the target; -1 where there is none */
    float *logits;            /* [n, vocabulary], contiguous */
    /* Training: dx[row] = loss_weight[i] * d nll[i] / dx and dw += the same for W, in one sweep with the forward. */
    const float *loss_weight; /* [n]; NULL: forward only */
    fl_tensor *dx;            /* [rows, width] zero-filled by the device before use */
    float *dw;                /* [vocabulary, width] contiguous, accumulated; NULL: W is frozen */
} fl_head_args;

typedef struct fl_adamw_args {
    int64_t n;
    float *weight, *moment1, *moment2; /* [n] */
    const float *grad;
    float lr, beta1, beta2, eps, weight_decay, grad_scale; /* grad_scale multiplies the gradient (clipping) */
    double bias1, bias2;                                   /* 1 - beta^step */
} fl_adamw_args;

typedef struct fl_device_table {
    const char *name;

    /* Weights. pack fails only with FL_ERR_MEMORY. */
    fl_status (*pack)(fl_device *d, const fl_stored *w, fl_packed **out);
    /* Panels that were packed before, used where they lie: they must outlive *out. FL_ERR_UNSUPPORTED: of another
     * layout; FL_ERR_FORMAT: of another size, or not aligned. */
    fl_status (*packed_from)(fl_device *d, const fl_panels *panels, fl_packed **out);
    fl_panels (*panels)(const fl_device *d, const fl_packed *p); /* valid while p is */
    void (*packed_free)(fl_device *d, fl_packed *p);
    size_t (*packed_bytes)(const fl_device *d, const fl_stored *w);

    /* y = x W^T (+ bias), or y += with accumulate. x [m, cols], y [m, rows of W]. */
    void (*linear)(fl_device *d, const fl_operand *w, const float *bias, const fl_tensor *x, fl_tensor *y,
                   bool accumulate);
    /* c[m, n] (+)= sum over k of a(m, k) * b(n, k); a F32, b of any real type, both with free strides.
     * c has row stride ldc. Serves every backward product. */
    void (*matmul)(fl_device *d, const fl_stored *a, const fl_stored *b, float *c, int64_t ldc, bool accumulate);

    /* out[i] = table row tokens[i] (times scale); backward: grad row tokens[i] += dout[i], deterministic. */
    void (*embed)(fl_device *d, const fl_stored *table, const int32_t *tokens, fl_tensor *out, bool accumulate);
    void (*embed_backward)(fl_device *d, const int32_t *tokens, const fl_tensor *dout, float *dtable, int64_t cols);

    /* y = x / sqrt(mean(x^2) + eps) * w; inverse [rows] keeps 1/sqrt(...) for the backward (NULL: not wanted).
     * dx is accumulated when accumulate, dw [cols] always (NULL: frozen). */
    void (*rms_norm)(fl_device *d, const fl_tensor *x, const float *w, float eps, fl_tensor *y, float *inverse);
    void (*rms_norm_backward)(fl_device *d, const fl_tensor *x, const float *w, const float *inverse,
                              const fl_tensor *dy, fl_tensor *dx, bool accumulate, float *dw);
    /* y = (x - mean) / sqrt(var + eps) * w + b; stats [rows][2] keep mean and 1/sqrt(...). */
    void (*layer_norm)(fl_device *d, const fl_tensor *x, const float *w, const float *b, float eps, fl_tensor *y,
                       float *stats);
    void (*layer_norm_backward)(fl_device *d, const fl_tensor *x, const float *w, const float *stats,
                                const fl_tensor *dy, fl_tensor *dx, bool accumulate, float *dw, float *db);

    /* Rotate the first `2*pairs` components of each of `heads` heads of head_dim by the row's angles:
     * cos, sin [rows][pairs]. interleaved: pair i is (2i, 2i+1), else (i, i+pairs). inverse rotates back (for
     * gradients the magnitude still multiplies). y may be x. */
    void (*rotate)(fl_device *d, const fl_tensor *x, int heads, int head_dim, const float *cos, const float *sin,
                   int pairs, bool interleaved, bool inverse, fl_tensor *y);

    /* y[r] = x[r] * factor[r]; y may be x. */
    void (*scale_rows)(fl_device *d, const fl_tensor *x, const float *factor, fl_tensor *y);

    /* Write rows of k and v as tokens first_token .. of a sequence's pages (any alignment). */
    void (*kv_write)(fl_device *d, const fl_kv_view *kv, int64_t first_token, const fl_tensor *k, const fl_tensor *v,
                     int64_t first_row, int64_t rows);
    /* Keys first .. of `from`, first a multiple of FL_TILE_KEYS, turned by the angles cos, sin [tiles][pairs][64] (the
     * first tile holds key `first`), and their values, into the fp32 pages of `to` as the same keys. */
    void (*kv_rotate)(fl_device *d, const fl_kv_view *from, int64_t first, const float *cos, const float *sin,
                      int pairs, bool interleaved, const fl_kv_view *to);
    void (*attend)(fl_device *d, const fl_attend_args *args);
    void (*attend_backward)(fl_device *d, const fl_attend_backward_args *args);

    /* y = silu(gate) * up, elementwise (y may be gate); backward writes dgate and dup. */
    void (*swiglu)(fl_device *d, const fl_tensor *gate, const fl_tensor *up, fl_tensor *y);
    void (*swiglu_backward)(fl_device *d, const fl_tensor *gate, const fl_tensor *up, const fl_tensor *dy,
                            fl_tensor *dgate, fl_tensor *dup);
    /* GELU; tanh_form: 0.5x(1+tanh(sqrt(2/pi)(x+0.044715x^3))), else the erf form. y may be x. */
    void (*gelu)(fl_device *d, const fl_tensor *x, bool tanh_form, fl_tensor *y);
    void (*gelu_backward)(fl_device *d, const fl_tensor *x, bool tanh_form, const fl_tensor *dy, fl_tensor *dx);

    void (*add)(fl_device *d, const fl_tensor *a, const fl_tensor *b, fl_tensor *y); /* y may be a or b */
    void (*copy)(fl_device *d, const fl_tensor *from, fl_tensor *to);
    void (*zero)(fl_device *d, fl_tensor *t);
    void (*scale)(fl_device *d, float factor, fl_tensor *t);
    /* n fp32 values to bf16 (nearest even), to <= from in one buffer or apart, and back, to >= from or apart. */
    void (*narrow)(fl_device *d, void *to, const void *from, int64_t n);
    void (*widen)(fl_device *d, void *to, const void *from, int64_t n);
    void (*column_sum)(fl_device *d, const fl_tensor *x, float *sum); /* sum[cols] += column sums (bias gradients) */

    void (*head)(fl_device *d, const fl_head_args *args);

    /* Optimiser on contiguous arrays. */
    double (*sum_squares)(fl_device *d, const float *x, int64_t n); /* same bits for any number of threads */
    void (*adamw)(fl_device *d, const fl_adamw_args *args);
} fl_device_table;

struct fl_device {
    const fl_device_table *table;
    fl_pool *pool;              /* shared with the engine */
    const struct fl_kernels *kernels; /* CPU devices */
    void *scratch;              /* the implementation's own */
    fl_slabs weights;           /* of CPU devices: where packed weights lie */
};

/* The CPU device computing with the given kernels. */
fl_status fl_cpu_device_create(fl_device **out, fl_pool *pool, const struct fl_kernels *kernels);
void fl_cpu_device_destroy(fl_device *d);

/* A device that computes nothing: with a counting arena it turns a run into its exact byte count. */
fl_device *fl_null_device(void);

/* What a pass would compute. */
typedef struct fl_work {
    double packed_flops;          /* products with packed weights, two per multiply-add */
    double plain_flops;           /* products with weights that train, and every backward product */
    double weight_bytes;          /* packed weights, read once per product */
    double attend_flops;          /* 4 per query, key and component of a head */
    double attend_backward_flops; /* 10 of the same */
    double cache_bytes;           /* keys and values read */
    double row_bytes;             /* read and written by everything that works row by row, and by the optimiser */
    int64_t calls;                /* of the table */
} fl_work;

/* The null device, adding up in *work (borrowed) what it is asked for. */
fl_device fl_counting_device(fl_work *work);

#endif
