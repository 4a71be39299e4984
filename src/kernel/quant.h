/* Products of quantised weights with activations that are quantised to int8 for the purpose, as llama.cpp's CPU path
 * does it: the weights stay as the file stores them and all multiplications inside a block are of integers.
 *
 * An activation row of n values, n a multiple of 32, becomes x[k] = scale[k / 32] * q[k] with |q| <= 127. With the
 * weights of kernel/quant_block.h the product is a sum over the groups of 16 or 32 values that share
 * an integer scale (1 in formats without):
 *
 *     sum = fma(scale, (d * s) * n, sum)        n: sum of q_w[k] * q[k] over the group, s: its integer scale
 *     sum = fma(-(m * t), scale * n_1, sum)     n_1: sum of q[k] over the group, in formats with minimums t
 *
 * Bits: this is the definition at every level. n is an integer below 2^20 and d * s and m * t have at most 19 bits, so
 * they are exact in fp32 and the order inside a group does not matter. Groups come in increasing order, the two lines
 * in this order. With F such lines and T the sum of their terms' magnitudes, the result is within (F + 1) * 2^-24 * T
 * (+ its square) of the exact product with the quantised activations, where nothing underflows.
 *
 * Minimums need no products with q_w, only the sums of q over groups; offsets that a kernel subtracts late (unsigned
 * weights for VNNI) use the same sums. */
#ifndef FL_KERNEL_QUANT_H
#define FL_KERNEL_QUANT_H

#include <stdint.h>

typedef enum fl_quant_type {
    FL_QUANT_Q8_0,
    FL_QUANT_Q4_0,
    FL_QUANT_Q4_1,
    FL_QUANT_Q5_0,
    FL_QUANT_Q5_1,
    FL_QUANT_IQ4_NL,
    FL_QUANT_Q2_K,
    FL_QUANT_Q3_K,
    FL_QUANT_Q4_K,
    FL_QUANT_Q5_K,
    FL_QUANT_Q6_K,
    FL_QUANT_TYPES
} fl_quant_type;

/* One row of n values; the caller owns the arrays. */
typedef struct fl_quant_row {
    int8_t *q;    /* [n] */
    float *scale; /* [n / 32] */
    int16_t *sum; /* [n / 16] of 16 values q each */
} fl_quant_row;

typedef struct fl_quant_kernels {
    /* scale = max|x| / 127, q = x * (127 / max|x|) rounded to nearest even; so |x - scale q| <= 0.50005 scale. A block
     * whose scale would be below fp32's normal numbers becomes 0; one with an infinity or NaN gets a NaN as its scale.
     */
    void (*quantise)(const float *x, int64_t n, const fl_quant_row *out);

    /* n a multiple of the format's block, 32 or 256; weights at any address. */
    float (*dot[FL_QUANT_TYPES])(const void *weights, const fl_quant_row *row, int64_t n);
} fl_quant_kernels;

extern const fl_quant_kernels fl_quant_kernels_generic;

#endif
