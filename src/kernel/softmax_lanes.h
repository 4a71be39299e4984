/* The head's loops over one row of logits, included by every level's gemm kernels. Sixteen running values, whatever the
 * width of the registers, so that all levels give the same bits; the compiler turns the inner loops into vectors. The
 * including file defines exp_lanes(const float *x, float shift, float *out): sixteen times exp(x - shift). */
#include <math.h>

#include "kernel/simd/exp.h"

static float maximum(const float *x, int64_t n, int32_t *index)
{
    float lane[FL_SOFTMAX_LANES], best = -INFINITY;
    for (int j = 0; j < FL_SOFTMAX_LANES; j++)
        lane[j] = -INFINITY;
    int64_t i = 0;
    for (; i + FL_SOFTMAX_LANES <= n; i += FL_SOFTMAX_LANES)
        for (int j = 0; j < FL_SOFTMAX_LANES; j++)
            lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
    for (; i < n; i++)
        best = x[i] > best ? x[i] : best;
    for (int j = 0; j < FL_SOFTMAX_LANES; j++)
        best = lane[j] > best ? lane[j] : best;
    if (!index) return best;

    for (i = 0; i + FL_SOFTMAX_LANES <= n; i += FL_SOFTMAX_LANES) {
        int hits = 0;
        for (int j = 0; j < FL_SOFTMAX_LANES; j++)
            hits |= x[i + j] == best;
        if (hits) break;
    }
    while (i < n && x[i] != best)
        i++;
    *index = i < n ? (int32_t)i : 0;
    return best;
}

static double exp_sum(const float *x, float shift, int64_t n)
{
    double sum[FL_SOFTMAX_LANES] = {0};
    float e[FL_SOFTMAX_LANES];
    int64_t i = 0;
    for (; i + FL_SOFTMAX_LANES <= n; i += FL_SOFTMAX_LANES) {
        exp_lanes(x + i, shift, e);
        for (int j = 0; j < FL_SOFTMAX_LANES; j++)
            sum[j] += (double)e[j];
    }
    for (int j = 0; i < n; i++, j++)
        sum[j] += (double)fl_exp_scalar(x[i] - shift);
    for (int half = FL_SOFTMAX_LANES / 2; half > 0; half /= 2)
        for (int j = 0; j < half; j++)
            sum[j] += sum[j + half];
    return sum[0];
}

static int64_t count_above(const float *x, float limit, int64_t n)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++)
        count += x[i] > limit;
    return count;
}

static void exp_scale(float *x, float shift, float scale, int64_t n)
{
    int64_t i = 0;
    for (; i + FL_SOFTMAX_LANES <= n; i += FL_SOFTMAX_LANES) {
        exp_lanes(x + i, shift, x + i);
        for (int j = 0; j < FL_SOFTMAX_LANES; j++)
            x[i + j] *= scale;
    }
    for (; i < n; i++)
        x[i] = fl_exp_scalar(x[i] - shift) * scale;
}
