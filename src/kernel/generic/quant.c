/* Quantised products in plain C: what vector levels must equal to the bit. */
#include "kernel/quant.h"

#include <float.h>
#include <math.h>

#include "kernel/quant_iq4_nl.h"
#include "kernel/quant_k.h"
#include "kernel/quant_legacy.h"

#define CHUNK FL_QUANT_CHUNK
#define SUMMED 16 /* values in a sum of fl_quant_row */

/* To nearest even, |x| < 2^22: the addition leaves no bits after the point. */
static int8_t nearest(float x)
{
    return (int8_t)(int)((x + 0x1.8p23f) - 0x1.8p23f);
}

static void quantise(const float *x, int64_t n, const fl_quant_row *out)
{
    for (int64_t c = 0; c < n / CHUNK; c++, x += CHUNK) {
        float most = 0;
        bool finite = true;
        for (int i = 0; i < CHUNK; i++) {
            finite = finite && fabsf(x[i]) <= FLT_MAX;
            most = fmaxf(most, fabsf(x[i]));
        }
        float scale = most / 127.0f;
        bool normal = finite && scale >= FLT_MIN;
        out->scale[c] = !finite ? NAN : normal ? scale : 0;
        float inverse = normal ? 127.0f / most : 0;
        int8_t *q = out->q + c * CHUNK;
        for (int i = 0; i < CHUNK; i++)
            q[i] = finite ? nearest(x[i] * inverse) : 0;
        for (int g = 0; g < CHUNK / SUMMED; g++) {
            int sum = 0;
            for (int i = 0; i < SUMMED; i++)
                sum += q[g * SUMMED + i];
            out->sum[c * (CHUNK / SUMMED) + g] = (int16_t)sum;
        }
    }
}

static inline __attribute__((always_inline)) float dot(const fl_quant_format format, const void *weights,
                                                       const fl_quant_row *row, int64_t n)
{
    const char *block = weights;
    float sum = 0;
    int64_t chunks = n / CHUNK;
    const int group = format.group;
    for (int64_t first = 0; first < chunks; first += format.chunks, block += format.bytes) {
        fl_quant_scales scales;
        format.scales(block, &scales);
        for (int chunk = 0; chunk < format.chunks; chunk++) {
            int64_t c = first + chunk;
            const int8_t *activation = row->q + c * CHUNK;
            int8_t weight[CHUNK];
            format.values(block, chunk, weight);
            for (int i = 0; i < CHUNK; i += group) {
                int g = (chunk * CHUNK + i) / group;
                int32_t product = 0, activations = 0;
                for (int k = i; k < i + group; k++)
                    product += weight[k] * activation[k];
                for (int k = i; k < i + group; k += SUMMED)
                    activations += row->sum[(c * CHUNK + k) / SUMMED];
                sum = __builtin_fmaf(row->scale[c], scales.d * (float)scales.scale[g] * (float)product, sum);
                if (format.has_min)
                    sum = __builtin_fmaf(-(scales.m * (float)scales.min[g]), row->scale[c] * (float)activations, sum);
            }
        }
    }
    return sum;
}

#define DOT(name, format)                                                                                              \
    static float dot_##name(const void *weights, const fl_quant_row *row, int64_t n)                                   \
    {                                                                                                                  \
        return dot(format, weights, row, n);                                                                           \
    }
DOT(q8_0, FL_FORMAT_Q8_0)
DOT(q4_0, FL_FORMAT_Q4_0)
DOT(q4_1, FL_FORMAT_Q4_1)
DOT(q5_0, FL_FORMAT_Q5_0)
DOT(q5_1, FL_FORMAT_Q5_1)
DOT(iq4_nl, FL_FORMAT_IQ4_NL)
DOT(q2_k, FL_FORMAT_Q2_K)
DOT(q3_k, FL_FORMAT_Q3_K)
DOT(q4_k, FL_FORMAT_Q4_K)
DOT(q5_k, FL_FORMAT_Q5_K)
DOT(q6_k, FL_FORMAT_Q6_K)

const fl_quant_kernels fl_quant_kernels_generic = {
    .quantise = quantise,
    .dot = {[FL_QUANT_Q8_0] = dot_q8_0,
            [FL_QUANT_Q4_0] = dot_q4_0,
            [FL_QUANT_Q4_1] = dot_q4_1,
            [FL_QUANT_Q5_0] = dot_q5_0,
            [FL_QUANT_Q5_1] = dot_q5_1,
            [FL_QUANT_IQ4_NL] = dot_iq4_nl,
            [FL_QUANT_Q2_K] = dot_q2_k,
            [FL_QUANT_Q3_K] = dot_q3_k,
            [FL_QUANT_Q4_K] = dot_q4_k,
            [FL_QUANT_Q5_K] = dot_q5_k,
            [FL_QUANT_Q6_K] = dot_q6_k},
};
