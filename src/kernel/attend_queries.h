/* Queries as integers, for keys that are stored as such: 8 bits, a scale for every 32 components. */
#ifndef FL_KERNEL_ATTEND_QUERIES_H
#define FL_KERNEL_ATTEND_QUERIES_H

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernel/attend.h"

/* Of some rows. */
typedef struct queries {
    const float *scale; /* [rows][blocks] */
    const int32_t *sum; /* [rows][blocks] of the integers */
    const int8_t *q;    /* [rows][blocks * 32], 0 behind the last component */
} queries;

static queries queries_at(const void *q8, int all_rows, int head_dim, int row)
{
    ptrdiff_t blocks = FL_ATTEND_BLOCKS(head_dim);
    const float *scale = q8;
    const int32_t *sum = (const int32_t *)(const void *)(scale + all_rows * blocks);
    const int8_t *q = (const int8_t *)(sum + all_rows * blocks);
    return (queries){scale + row * blocks, sum + row * blocks, q + row * blocks * FL_ATTEND_BLOCK};
}

/* Nearest integers to x * 127 / max|x|; all 0 with a scale of NaN where x is not finite, of 0 where the scale would be
 * below the normal range. Adding 1.5 2^23 leaves the integer in the low bits of the sum. */
static inline void quantise_block(const int n, const float *x, float *scale, int32_t *sum, int8_t *q)
{
    /* Sizes as integers: these have a largest, which vectors find. */
    uint32_t bits[FL_ATTEND_BLOCK], largest = 0;
    memcpy(bits, x, (size_t)n * sizeof *bits);
    for (int i = 0; i < n; i++) {
        uint32_t size = bits[i] & 0x7fffffffu;
        largest = size > largest ? size : largest;
    }
    float most;
    memcpy(&most, &largest, sizeof most);
    bool finite = most <= FLT_MAX, normal = finite && most / 127.0f >= FLT_MIN;
    *scale = !finite ? NAN : normal ? most / 127.0f : 0;
    *sum = 0;
    memset(q, 0, FL_ATTEND_BLOCK);
    if (!normal) return;
    float inverse = 127.0f / most;
    int total = 0;
    for (int i = 0; i < n; i++) {
        int rounded = (int)((x[i] * inverse + 0x1.8p23f) - 0x1.8p23f);
        q[i] = (int8_t)rounded;
        total += rounded;
    }
    *sum = total;
}

static void quantise_queries(int rows, int head_dim, const float *q, void *q8)
{
    const int blocks = FL_ATTEND_BLOCKS(head_dim);
    float *scale = q8;
    int32_t *sum = (int32_t *)(void *)(scale + (ptrdiff_t)rows * blocks);
    int8_t *integers = (int8_t *)(sum + (ptrdiff_t)rows * blocks);
    for (int r = 0; r < rows; r++, q += head_dim)
        for (int b = 0; b < blocks; b++, scale++, sum++, integers += FL_ATTEND_BLOCK) {
            int n = head_dim - b * FL_ATTEND_BLOCK < FL_ATTEND_BLOCK ? head_dim - b * FL_ATTEND_BLOCK : FL_ATTEND_BLOCK;
            if (n == FL_ATTEND_BLOCK)
                quantise_block(FL_ATTEND_BLOCK, q + b * FL_ATTEND_BLOCK, scale, sum, integers);
            else
                quantise_block(n, q + b * FL_ATTEND_BLOCK, scale, sum, integers);
        }
}

#endif
