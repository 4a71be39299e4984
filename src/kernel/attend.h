/* Kernels of attention: a block of query rows against one tile of 64 keys.
 *
 * Logits are in base 2: queries come multiplied by the scale and by log2(e), so that weights are powers of 2.
 *
 * Keys of a tile lie transposed, [head_dim][64]. A row sees keys first[r] <= j < last[r] of the tile (0 .. 64; last <=
 * first: none); with first and last NULL every row sees all 64. What a row does not see may be anything, NaN included:
 * it is computed beside and dropped, or not touched at all.
 *
 * Keys and values may be stored in other types (tensor/kv_page.h). F16 and BF16 count as the fp32 numbers they are,
 * exactly. Keys and values of Q8_0 and Q4_0 are integers with a scale for every 32 components (the last of them may be
 * fewer), and are multiplied as such. Queries meet keys quantised likewise to 8 bits for every 32 components, as
 * activations that meet quantised weights. Weights meet values as 16 bits: a row's weights in a tile, relative to its
 * largest there (the peak), times the scales of the values relative to the largest that the row sees, are rounded to
 * multiples of 1/32767, and integer sums return times peak and largest scale. So a weight is off by no more than
 * 1/65534 of the tile's largest, the scale beside the largest taken in.
 *
 * Bits: a logit is one chain of fused multiply-adds over head_dim, or over its blocks of 32 (integer sum times the
 * product of both scales), begun at 0; a row's output one chain over its keys in order, begun at the rescaled output,
 * or over its tiles (integer sum times its unit); 2^x has the same bits at every level, and the sum of a row runs in 16
 * lanes. So a row's result depends on its own query, range and keys only, and all levels agree to the bit. */
#ifndef FL_KERNEL_ATTEND_H
#define FL_KERNEL_ATTEND_H

#include <stddef.h>
#include <stdint.h>

#define FL_ATTEND_KEYS 64  /* keys of a tile */
#define FL_ATTEND_LANES 16 /* lanes of a row's sum */
#define FL_ATTEND_GROUP 6  /* rows of a register tile: a block of a multiple of it wastes nothing */
#define FL_ATTEND_ROWS 96  /* the most rows of a block */
#define FL_ATTEND_BLOCK 32 /* components that share a scale */
#define FL_ATTEND_BLOCKS(head_dim) (((head_dim) + FL_ATTEND_BLOCK - 1) / FL_ATTEND_BLOCK)
#define FL_ATTEND_WEIGHT_ONE 32767.0f /* the integer of the largest weight of a row in a tile */

/* Softmax so far of a block of rows (Milakov, Gimelshein 2018; Dao et al. 2022, FlashAttention). It begins with max
 * -infinity, sum 0 and out 0. */
typedef struct fl_attend_state {
    int rows, head_dim; /* rows <= FL_ATTEND_ROWS */
    const float *q;     /* [rows][head_dim], times scale * log2(e) */
    const void *q8;     /* the same as quantise_queries leaves it; used with keys of Q8_0 and Q4_0 only */
    float *max;         /* [rows] largest logit seen */
    float *sum;         /* [rows][16]: lane i sums 2^(logit - max) of keys i, i+16, i+32, i+48 of each tile, for
                           values of Q8_0 and Q4_0 as 2^(peak - max) times the sum of 2^(logit - peak) */
    float *out;         /* [rows][head_dim] sum of 2^(logit - max) * value */
    float *weight;      /* scratch [rows][64] */
    /* A bias of the logits that falls with distance, slope[r] * (offset[r] + key of the tile): [rows] each, slopes
     * times log2(e), offsets the tile's first key minus the row's own. slope NULL: none. */
    const float *slope, *offset;
} fl_attend_state;

/* A block of query rows against a tile, backward. */
typedef struct fl_attend_pair {
    int rows, head_dim; /* rows <= FL_ATTEND_ROWS */
    const float *q;     /* [rows][head_dim], times scale * log2(e) */
    const float *dout;  /* [rows][head_dim] gradient of out */
    const float *lse;   /* [rows] log2 of the sum of 2^logit, over all keys */
    const float *mean;  /* [rows] sum of out * dout: the mean of the gradients of the weights under the weights */
    float *weight;      /* scratch [rows][64] */
    float *dlogit;      /* [rows][dlogit_stride]: 64 gradients of the natural logits, 0 where a row does not see */
    int dlogit_stride;
    float *dk, *dv;              /* [64][head_dim], accumulated; dk is log2(e) times the gradient, as q is */
    const float *slope, *offset; /* as forward */
} fl_attend_pair;

/* How keys and values are stored; the layouts are those of tensor/kv_page.h. */
typedef enum fl_attend_format {
    FL_ATTEND_F32,
    FL_ATTEND_F16,
    FL_ATTEND_BF16,
    FL_ATTEND_Q8_0,
    FL_ATTEND_Q4_0,
} fl_attend_format;

/* 64 keys and values as they are stored. next_k and next_v are where the next 64 lie, or anything readable: they are
 * asked for from memory meanwhile, since between two calls nothing else is. */
typedef struct fl_attend_tile {
    fl_attend_format k_format, v_format;
    const void *k, *v, *next_k, *next_v;
    void *k_scratch, *v_scratch; /* FL_ATTEND_SCRATCH(head_dim) bytes each, aligned to 64 */
} fl_attend_tile;

#define FL_ATTEND_SCRATCH(head_dim)                                                                                    \
    ((size_t)FL_ATTEND_BLOCKS(head_dim) * FL_ATTEND_BLOCK * FL_ATTEND_KEYS * sizeof(float))
/* Of quantised queries: for each block a scale, a sum and 32 bytes. */
#define FL_ATTEND_Q8_BYTES(rows, head_dim) ((size_t)(rows)*FL_ATTEND_BLOCKS(head_dim) * (FL_ATTEND_BLOCK + 8))

typedef struct fl_attend_kernels {
    /* Take in one tile. */
    void (*forward)(const fl_attend_state *s, const fl_attend_tile *tile, const uint8_t *first, const uint8_t *last);

    /* 64 keys to fp32 [head_dim][64], 64 values to [64][head_dim]. */
    void (*unpack_keys)(fl_attend_format format, int head_dim, const void *from, float *to);
    void (*unpack_values)(fl_attend_format format, int head_dim, const void *from, float *to);

    /* q[rows][head_dim] to q8 of FL_ATTEND_Q8_BYTES, aligned to 4. */
    void (*quantise_queries)(int rows, int head_dim, const float *q, void *q8);

    /* weight = 2^(logit - lse), dlogit = weight * (dout v^T - mean), dv += weight^T dout, dk += dlogit^T q.
     * k and v are both [head_dim][64]. */
    void (*backward)(const fl_attend_pair *p, const float *k, const float *v, const uint8_t *first,
                     const uint8_t *last);

    /* dq[rows][ldq] (+)= dlogit[rows][stride] k[keys][head_dim], chains over keys in order; k holds no NaN. */
    void (*backward_query)(int rows, int head_dim, int keys, const float *dlogit, int dlogit_stride, const float *k,
                           float *dq, int64_t ldq, int accumulate);

    /* x = 2^x, x <= 0 */
    void (*exp2)(float *x, int n);
} fl_attend_kernels;

extern const fl_attend_kernels fl_attend_kernels_generic;
#if defined(__x86_64__)
extern const fl_attend_kernels fl_attend_kernels_avx2, fl_attend_kernels_avx2_vnni, fl_attend_kernels_avx512,
    fl_attend_kernels_avx512_vnni;
#endif

#endif
