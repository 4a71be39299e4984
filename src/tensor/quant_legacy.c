/* Quantisation gives the bits of ggml's quantize_row_*_ref. A block with an infinity or NaN becomes all NaN: damage
 * must show. */
#include "kernel/quant_legacy.h"

#include <float.h>
#include <math.h>

#include "tensor/dtype.h"
#include "tensor/quant.h"

#define VALUES FL_QUANT_CHUNK

/* ---- to fp32 ------------------------------------------------------------------------------------------------- */

static void dequantise_q8_0(const void *from, float *to, int64_t blocks)
{
    fl_dequantise(FL_FORMAT_Q8_0, from, to, blocks);
}

static void dequantise_q4_0(const void *from, float *to, int64_t blocks)
{
    fl_dequantise(FL_FORMAT_Q4_0, from, to, blocks);
}

static void dequantise_q4_1(const void *from, float *to, int64_t blocks)
{
    fl_dequantise(FL_FORMAT_Q4_1, from, to, blocks);
}

static void dequantise_q5_0(const void *from, float *to, int64_t blocks)
{
    fl_dequantise(FL_FORMAT_Q5_0, from, to, blocks);
}

static void dequantise_q5_1(const void *from, float *to, int64_t blocks)
{
    fl_dequantise(FL_FORMAT_Q5_1, from, to, blocks);
}

/* ---- from fp32 ----------------------------------------------------------------------------------------------- */

static void put_half(uint8_t to[2], float x)
{
    uint16_t h = fl_f32_to_f16(x);
    to[0] = (uint8_t)h;
    to[1] = (uint8_t)(h >> 8);
}

static bool all_finite(const float *x)
{
    uint32_t largest = 0;
    for (int i = 0; i < VALUES; i++) {
        fl_float_bits v = {.f = x[i]};
        uint32_t exponent = v.u & 0x7f800000u;
        largest = exponent > largest ? exponent : largest;
    }
    return largest < 0x7f800000u;
}

/* Blocks of `bytes` bytes, each made by `quantise` from 32 finite values. */
static inline __attribute__((always_inline)) void quantise_blocks(const float *from, char *to, int64_t blocks,
                                                                  size_t bytes, void (*quantise)(const float *, void *))
{
    for (int64_t b = 0; b < blocks; b++, from += VALUES, to += bytes) {
        if (all_finite(from)) {
            quantise(from, to);
        } else {
            memset(to, 0, bytes);
            put_half((uint8_t *)to, NAN); /* every format begins with its scale */
        }
    }
}

/* 0 where fp32 cannot hold it: such a scale is 0 in fp16 too. */
static float inverse_of(float scale)
{
    float inverse = scale != 0 ? 1.0f / scale : 0;
    return fabsf(inverse) <= FLT_MAX ? inverse : 0;
}

/* The value of largest magnitude, the first among equals, becomes -most: there is one more step below zero than above.
 */
static float scale_by_largest(const float *x, int most)
{
    float largest = x[0];
    for (int i = 1; i < VALUES; i++)
        largest = fabsf(x[i]) > fabsf(largest) ? x[i] : largest;
    return largest / (float)-most;
}

static void limits_of(const float *x, float *low, float *high)
{
    float least = x[0], most = x[0];
    for (int i = 1; i < VALUES; i++) {
        least = x[i] < least ? x[i] : least;
        most = x[i] > most ? x[i] : most;
    }
    *low = least;
    *high = most;
}

/* q[i] = (x[i] - low) * inverse + shift, which is not negative, cut to an integer of at most `most`. */
static void to_steps(const float *x, float low, float inverse, float shift, int most, uint8_t q[VALUES])
{
    for (int i = 0; i < VALUES; i++) {
        float step = (x[i] - low) * inverse + shift;
        q[i] = (uint8_t)(step < (float)most ? (int)step : most); /* NaN, where high - low overflows: most */
    }
}

static void put_nibbles(const uint8_t q[VALUES], uint8_t to[16])
{
    for (int i = 0; i < 16; i++)
        to[i] = (uint8_t)((q[i] & 15) | (q[i + 16] & 15) << 4);
}

static void put_fifth_bits(const uint8_t q[VALUES], uint8_t to[4])
{
    uint32_t high = 0;
    for (int i = 0; i < VALUES; i++)
        high |= (uint32_t)(q[i] >> 4) << i;
    memcpy(to, &high, sizeof high);
}

static void quantise_q8_0_block(const float *x, void *to)
{
    fl_block_q8_0 *b = to;
    float most = 0;
    for (int i = 0; i < VALUES; i++)
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    float scale = most / 127.0f, inverse = inverse_of(scale);
    put_half(b->d, scale);
    for (int i = 0; i < VALUES; i++) {
        /* roundf, halves away from zero. The float below 0.5: 0.5 itself would carry the one below it to 1. */
        float y = x[i] * inverse;
        b->q[i] = (int8_t)(int)(y + copysignf(0x1.fffffep-2f, y));
    }
}

static void quantise_q4_0_block(const float *x, void *to)
{
    fl_block_q4_0 *b = to;
    float scale = scale_by_largest(x, 8);
    uint8_t q[VALUES];
    to_steps(x, 0, inverse_of(scale), 8.5f, 15, q);
    put_half(b->d, scale);
    put_nibbles(q, b->q);
}

static void quantise_q4_1_block(const float *x, void *to)
{
    fl_block_q4_1 *b = to;
    float low, high;
    limits_of(x, &low, &high);
    float scale = (high - low) / 15.0f;
    uint8_t q[VALUES];
    to_steps(x, low, inverse_of(scale), 0.5f, 15, q);
    put_half(b->d, scale);
    put_half(b->offset, low);
    put_nibbles(q, b->q);
}

static void quantise_q5_0_block(const float *x, void *to)
{
    fl_block_q5_0 *b = to;
    float scale = scale_by_largest(x, 16);
    uint8_t q[VALUES];
    to_steps(x, 0, inverse_of(scale), 16.5f, 31, q);
    put_half(b->d, scale);
    put_fifth_bits(q, b->high);
    put_nibbles(q, b->q);
}

static void quantise_q5_1_block(const float *x, void *to)
{
    fl_block_q5_1 *b = to;
    float low, high;
    limits_of(x, &low, &high);
    float scale = (high - low) / 31.0f;
    uint8_t q[VALUES];
    to_steps(x, low, inverse_of(scale), 0.5f, 31, q);
    put_half(b->d, scale);
    put_half(b->offset, low);
    put_fifth_bits(q, b->high);
    put_nibbles(q, b->q);
}

static void quantise_q8_0(const float *from, void *to, int64_t blocks)
{
    quantise_blocks(from, to, blocks, sizeof(fl_block_q8_0), quantise_q8_0_block);
}

static void quantise_q4_0(const float *from, void *to, int64_t blocks)
{
    quantise_blocks(from, to, blocks, sizeof(fl_block_q4_0), quantise_q4_0_block);
}

static void quantise_q4_1(const float *from, void *to, int64_t blocks)
{
    quantise_blocks(from, to, blocks, sizeof(fl_block_q4_1), quantise_q4_1_block);
}

static void quantise_q5_0(const float *from, void *to, int64_t blocks)
{
    quantise_blocks(from, to, blocks, sizeof(fl_block_q5_0), quantise_q5_0_block);
}

static void quantise_q5_1(const float *from, void *to, int64_t blocks)
{
    quantise_blocks(from, to, blocks, sizeof(fl_block_q5_1), quantise_q5_1_block);
}

const fl_codec fl_codec_q8_0 = {dequantise_q8_0, quantise_q8_0};
const fl_codec fl_codec_q4_0 = {dequantise_q4_0, quantise_q4_0};
const fl_codec fl_codec_q4_1 = {dequantise_q4_1, quantise_q4_1};
const fl_codec fl_codec_q5_0 = {dequantise_q5_0, quantise_q5_0};
const fl_codec fl_codec_q5_1 = {dequantise_q5_1, quantise_q5_1};
