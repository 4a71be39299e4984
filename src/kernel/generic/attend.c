/* Attention in plain loops: what runs where there is no vector level, and the reference for those that exist. */
#include "kernel/attend.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

#include "kernel/attend_queries.h"
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

static void softmax(int rows, float *s, float *max, float *sum, float *factor, float *peak, const uint8_t *first,
                    const uint8_t *last)
{
    for (int r = 0; r < rows; r++) {
        float *w = s + r * FL_ATTEND_KEYS, *lane = sum + r * FL_ATTEND_LANES, here = -INFINITY;
        for (int j = 0; j < FL_ATTEND_KEYS; j++)
            if (is_seen(first, last, r, j) && w[j] > here) here = w[j];
        float top = here > max[r] ? here : max[r];
        /* Nothing seen yet: any finite number will do, since every weight is 0. */
        float all = top == -INFINITY ? 0 : top, shift = peak && here > -INFINITY ? here : all;
        float height = peak ? fl_exp2_scalar(here - all) : 1;
        for (int j = 0; j < FL_ATTEND_KEYS; j++)
            w[j] = is_seen(first, last, r, j) ? fl_exp2_scalar(w[j] - shift) : 0;
        factor[r] = fl_exp2_scalar(max[r] - all);
        for (int i = 0; i < FL_ATTEND_LANES; i++)
            lane[i] = fmaf(lane[i], factor[r], ((w[i] + w[i + 16]) + (w[i + 32] + w[i + 48])) * height);
        max[r] = top;
        if (peak) peak[r] = height;
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

/* ---- stored keys and values -------------------------------------------------------------------------------------- */

static float half_at(const void *from, ptrdiff_t i)
{
    uint16_t half;
    memcpy(&half, (const char *)from + 2 * i, sizeof half);
    return fl_f16_to_f32(half);
}

static void unpack(fl_attend_format format, ptrdiff_t n, const void *from, const void *next, float *to)
{
    (void)next;
    const fl_quant_format quantised = format == FL_ATTEND_Q8_0 ? FL_FORMAT_Q8_0 : FL_FORMAT_Q4_0;
    const char *block = from;
    for (ptrdiff_t i = 0; i < n; i++) {
        if (format == FL_ATTEND_F16) {
            to[i] = half_at(from, i);
        } else if (format == FL_ATTEND_BF16) {
            uint16_t half;
            memcpy(&half, (const char *)from + 2 * i, sizeof half);
            to[i] = fl_bf16_to_f32(half);
        } else if (i % FL_ATTEND_BLOCK == 0) {
            int8_t q[FL_ATTEND_BLOCK];
            quantised.values(block, 0, q);
            for (int j = 0; j < FL_ATTEND_BLOCK; j++)
                to[i + j] = half_at(block, 0) * (float)q[j];
            block += quantised.bytes;
        }
    }
}

static bool reads_stored(fl_attend_format format, int rows, int cols)
{
    (void)format, (void)rows, (void)cols;
    return false;
}

static void product_stored(fl_attend_format format, int rows, int cols, int depth, const float *a, ptrdiff_t a_row,
                           const char *b, ptrdiff_t b_row, const char *next, float *c, ptrdiff_t ldc,
                           const float *factor)
{
    (void)format, (void)rows, (void)cols, (void)depth, (void)a, (void)a_row;
    (void)b, (void)b_row, (void)next, (void)c, (void)ldc, (void)factor;
}

/* Scales [blocks][64], then integers [blocks * 32][64]. */
static void integer_keys(fl_attend_format format, int head_dim, const void *from, const void *next, void *tile)
{
    (void)next;
    int blocks = FL_ATTEND_BLOCKS(head_dim), half = FL_ATTEND_BLOCK / 2;
    float *scale = tile;
    int8_t *to = (int8_t *)(scale + blocks * FL_ATTEND_KEYS);
    const uint8_t *q = (const uint8_t *)from + 2 * blocks * FL_ATTEND_KEYS;
    for (int i = 0; i < blocks * FL_ATTEND_KEYS; i++)
        scale[i] = half_at(from, i);
    for (ptrdiff_t c = 0; c < blocks * FL_ATTEND_BLOCK; c++) {
        ptrdiff_t block = c / FL_ATTEND_BLOCK, within = c % FL_ATTEND_BLOCK;
        for (int j = 0; j < FL_ATTEND_KEYS; j++) {
            if (format == FL_ATTEND_Q8_0) {
                to[c * FL_ATTEND_KEYS + j] = (int8_t)q[c * FL_ATTEND_KEYS + j];
                continue;
            }
            uint8_t byte = q[(block * half + within % half) * FL_ATTEND_KEYS + j];
            to[c * FL_ATTEND_KEYS + j] = (int8_t)((within < half ? byte & 15 : byte >> 4) - 8);
        }
    }
}

static void integer_scores(int rows, int head_dim, const queries *some, const void *tile, float *logit)
{
    int blocks = FL_ATTEND_BLOCKS(head_dim);
    const float *scale = tile;
    const int8_t *k = (const int8_t *)(scale + blocks * FL_ATTEND_KEYS);
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < FL_ATTEND_KEYS; j++) {
            float x = 0;
            for (int b = 0; b < blocks; b++) {
                int sum = 0;
                for (int c = b * FL_ATTEND_BLOCK; c < (b + 1) * FL_ATTEND_BLOCK; c++)
                    sum += some->q[r * blocks * FL_ATTEND_BLOCK + c] * k[c * FL_ATTEND_KEYS + j];
                x = fmaf((float)sum, scale[b * FL_ATTEND_KEYS + j] * some->scale[r * blocks + b], x);
            }
            logit[r * FL_ATTEND_KEYS + j] = x;
        }
}

/* Scales [blocks][64], then integers [blocks][64][32]. */
static void integer_values(fl_attend_format format, int head_dim, const void *from, const void *next, void *tile)
{
    (void)next;
    const fl_quant_format quantised = format == FL_ATTEND_Q8_0 ? FL_FORMAT_Q8_0 : FL_FORMAT_Q4_0;
    int blocks = FL_ATTEND_BLOCKS(head_dim);
    float *scale = tile;
    int8_t *to = (int8_t *)(scale + blocks * FL_ATTEND_KEYS);
    const char *block = from;
    for (int key = 0; key < FL_ATTEND_KEYS; key++)
        for (int b = 0; b < blocks; b++, block += quantised.bytes) {
            scale[b * FL_ATTEND_KEYS + key] = half_at(block, 0);
            quantised.values(block, 0, to + (b * FL_ATTEND_KEYS + key) * FL_ATTEND_BLOCK);
        }
}

/* A row's weights as integers, 0 where it does not see, and what one of them stands for. */
static float integer_weights(const float *weight, float peak, const float *scale, int from, int to, int *integer)
{
    float largest = 0;
    for (int j = from; j < to; j++)
        largest = !isfinite(scale[j]) || isnan(largest) ? NAN : fmaxf(largest, fabsf(scale[j]));
    float one = largest == 0 ? 0 : FL_ATTEND_WEIGHT_ONE / largest;
    for (int j = 0; j < FL_ATTEND_KEYS; j++) {
        float x = j >= from && j < to && peak != 0 ? weight[j] * (scale[j] * one) : 0;
        /* Adding 1.5 2^23 rounds to the nearest integer. */
        integer[j] = isnan(x) ? 0 : (int)((x + 0x1.8p23f) - 0x1.8p23f);
    }
    return peak == 0 ? 0 : peak * (largest * (1 / FL_ATTEND_WEIGHT_ONE));
}

static void add_integer_values(int rows, int head_dim, const float *weight, const float *peak, const float *factor,
                               const uint8_t *first, const uint8_t *last, const void *tile, float *out)
{
    int blocks = FL_ATTEND_BLOCKS(head_dim), integer[FL_ATTEND_KEYS];
    const float *scale = tile;
    const int8_t *v = (const int8_t *)(scale + blocks * FL_ATTEND_KEYS);
    for (int r = 0; r < rows; r++)
        for (int b = 0; b < blocks; b++) {
            float unit = integer_weights(weight + r * FL_ATTEND_KEYS, peak[r], scale + b * FL_ATTEND_KEYS,
                                         first ? first[r] : 0, last ? last[r] : FL_ATTEND_KEYS, integer);
            for (int i = 0; i < FL_ATTEND_BLOCK && b * FL_ATTEND_BLOCK + i < head_dim; i++) {
                float *to = out + r * head_dim + b * FL_ATTEND_BLOCK + i;
                int sum = 0;
                for (int j = 0; j < FL_ATTEND_KEYS; j++)
                    sum += integer[j] * v[(b * FL_ATTEND_KEYS + j) * FL_ATTEND_BLOCK + i];
                *to = fmaf((float)sum, unit, *to * factor[r]);
            }
        }
}

#include "kernel/attend_tile.h"

const fl_attend_kernels fl_attend_kernels_generic = {
    .forward = forward,
    .backward = backward,
    .backward_query = backward_query,
    .unpack_keys = unpack_keys,
    .unpack_values = unpack_values,
    .quantise_queries = quantise_queries,
    .exp2 = exp2_all,
};
