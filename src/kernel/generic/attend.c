/* Attention in plain loops: what runs where there is no vector level, and the reference for those that exist. */
#include "kernel/attend.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

#include "kernel/quant_legacy.h"
#include "kernel/simd/exp2.h"

static const float from_zero[1], from_c[1]; /* their addresses count */
#define FROM_ZERO from_zero
#define FROM_C from_c

static void product(int rows, int cols, int depth, const float *a, ptrdiff_t a_row, ptrdiff_t a_step, const float *b,
                    ptrdiff_t ldb, float *c, ptrdiff_t ldc, const float *factor)
{
    for (int r = 0; r < rows; r++) {
        for (int i = 0; i < cols && factor != FROM_C; i++)
            c[r * ldc + i] = factor == FROM_ZERO ? 0 : c[r * ldc + i] * factor[r];
        for (int k = 0; k < depth; k++)
            for (int i = 0; i < cols; i++)
                c[r * ldc + i] = fmaf(a[r * a_row + k * a_step], b[k * ldb + i], c[r * ldc + i]);
    }
}

static bool is_seen(const uint8_t *first, const uint8_t *last, int row, int key)
{
    return !first || (key >= first[row] && key < last[row]);
}

static void softmax(int rows, float *s, float *max, float *sum, float *factor, const uint8_t *first,
                    const uint8_t *last)
{
    for (int r = 0; r < rows; r++) {
        float *w = s + r * FL_ATTEND_KEYS, *lane = sum + r * FL_ATTEND_LANES, top = max[r];
        for (int j = 0; j < FL_ATTEND_KEYS; j++)
            if (is_seen(first, last, r, j) && w[j] > top) top = w[j];
        /* Nothing seen yet: any finite number will do, since every weight is 0. */
        float shift = top == -INFINITY ? 0 : top;
        for (int j = 0; j < FL_ATTEND_KEYS; j++)
            w[j] = is_seen(first, last, r, j) ? fl_exp2_scalar(w[j] - shift) : 0;
        factor[r] = fl_exp2_scalar(max[r] - shift);
        for (int i = 0; i < FL_ATTEND_LANES; i++)
            lane[i] = fmaf(lane[i], factor[r], (w[i] + w[i + 16]) + (w[i + 32] + w[i + 48]));
        max[r] = top;
    }
}

static void scale_row(float *x, int n, float factor)
{
    for (int i = 0; i < n; i++)
        x[i] *= factor;
}

static void softmax_backward(int rows, float *w, float *dw, ptrdiff_t dw_stride, const float *lse, const float *mean,
                             const uint8_t *first, const uint8_t *last)
{
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < FL_ATTEND_KEYS; j++) {
            float *weight = &w[r * FL_ATTEND_KEYS + j], *gradient = &dw[r * dw_stride + j];
            bool visible = is_seen(first, last, r, j);
            *weight = visible ? fl_exp2_scalar(*weight - lse[r]) : 0;
            *gradient = visible ? *weight * (*gradient - mean[r]) : 0;
        }
}

static void exp2_all(float *x, int n)
{
    for (int i = 0; i < n; i++)
        x[i] = fl_exp2_scalar(x[i]);
}

#include "kernel/attend_tile.h"

/* ---- stored keys and values to fp32 ------------------------------------------------------------------------------ */

static float half_at(const void *from, ptrdiff_t i)
{
    uint16_t half;
    memcpy(&half, (const char *)from + 2 * i, sizeof half);
    return fl_f16_to_f32(half);
}

static void unpack_f16(const void *from, const void *next, int head_dim, float *to)
{
    (void)next;
    for (ptrdiff_t i = 0; i < (ptrdiff_t)head_dim * FL_ATTEND_KEYS; i++)
        to[i] = half_at(from, i);
}

static void unpack_bf16(const void *from, const void *next, int head_dim, float *to)
{
    (void)next;
    for (ptrdiff_t i = 0; i < (ptrdiff_t)head_dim * FL_ATTEND_KEYS; i++) {
        uint16_t half;
        memcpy(&half, (const char *)from + 2 * i, sizeof half);
        to[i] = fl_bf16_to_f32(half);
    }
}

static void keys_q8_0(const void *from, const void *next, int head_dim, float *to)
{
    (void)next;
    const int8_t *q = (const int8_t *)from + head_dim / FL_QUANT_CHUNK * 2 * FL_ATTEND_KEYS;
    for (ptrdiff_t c = 0; c < head_dim; c++)
        for (int j = 0; j < FL_ATTEND_KEYS; j++)
            to[c * FL_ATTEND_KEYS + j] =
                half_at(from, c / FL_QUANT_CHUNK * FL_ATTEND_KEYS + j) * (float)q[c * FL_ATTEND_KEYS + j];
}

static void keys_q4_0(const void *from, const void *next, int head_dim, float *to)
{
    (void)next;
    const uint8_t *q = (const uint8_t *)from + head_dim / FL_QUANT_CHUNK * 2 * FL_ATTEND_KEYS;
    for (ptrdiff_t c = 0; c < head_dim; c++) {
        ptrdiff_t block = c / FL_QUANT_CHUNK, within = c % FL_QUANT_CHUNK;
        const uint8_t *byte = q + (block * (FL_QUANT_CHUNK / 2) + within % (FL_QUANT_CHUNK / 2)) * FL_ATTEND_KEYS;
        for (int j = 0; j < FL_ATTEND_KEYS; j++) {
            int nibble = within < FL_QUANT_CHUNK / 2 ? byte[j] & 15 : byte[j] >> 4;
            to[c * FL_ATTEND_KEYS + j] = half_at(from, block * FL_ATTEND_KEYS + j) * (float)(nibble - 8);
        }
    }
}

static inline void values_of(const fl_quant_format format, const void *from, int head_dim, float *to)
{
    const char *block = from;
    for (int b = 0; b < head_dim / FL_QUANT_CHUNK * FL_ATTEND_KEYS; b++, block += format.bytes) {
        int8_t q[FL_QUANT_CHUNK];
        format.values(block, 0, q);
        for (int i = 0; i < FL_QUANT_CHUNK; i++)
            *to++ = half_at(block, 0) * (float)q[i];
    }
}

static void values_q8_0(const void *from, const void *next, int head_dim, float *to)
{
    (void)next;
    values_of(FL_FORMAT_Q8_0, from, head_dim, to);
}

static void values_q4_0(const void *from, const void *next, int head_dim, float *to)
{
    (void)next;
    values_of(FL_FORMAT_Q4_0, from, head_dim, to);
}

const fl_attend_kernels fl_attend_kernels_generic = {
    .forward = forward,
    .backward = backward,
    .backward_query = backward_query,
    .exp2 = exp2_all,
    .keys = {unpack_f16, unpack_bf16, keys_q8_0, keys_q4_0},
    .values = {unpack_f16, unpack_bf16, values_q8_0, values_q4_0},
};
