#include "tensor/dtype.h"

#include <string.h>

#include "base/size.h"
#include "tensor/quant.h"

static inline uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static inline float float_of(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* ---- bf16: the upper half of an fp32 ------------------------------------------------------------------------- */

static inline uint16_t narrow_bf16(float x)
{
    uint32_t u = bits_of(x);
    uint32_t rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
    uint32_t quiet_nan = (u >> 16) | 0x40; /* rounding could carry a NaN into infinity */
    return (uint16_t)((u & 0x7fffffff) > 0x7f800000 ? quiet_nan : rounded);
}

uint16_t fl_f32_to_bf16(float x)
{
    return narrow_bf16(x);
}

/* ---- f16: the bits are those of F16C --------------------------------------------------------------------------- */

static inline uint16_t narrow_f16(float x)
{
    uint32_t u = bits_of(x), sign = (u >> 16) & 0x8000u;
    int32_t magnitude = (int32_t)(u & 0x7fffffffu);
    /* Rebias the exponent and round the 13 bits that go; a carry moves into the exponent and, from 65520, to infinity.
     */
    uint32_t normal = ((uint32_t)magnitude - ((127u - 15u) << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13;
    normal = magnitude < 0x47800000 ? normal : 0x7c00u;
    normal = magnitude <= 0x7f800000 ? normal : 0x7e00u | (magnitude >> 13 & 0x3ff); /* NaN */
    /* Adding 0.5 lets the addition round to a multiple of 2^-24. Masks, not branches, so that loops become vector code.
     */
    uint32_t subnormal = bits_of(float_of((uint32_t)magnitude) + 0.5f) - (126u << 23);
    uint32_t small = magnitude < 113 << 23 ? ~0u : 0u;
    return (uint16_t)(sign | (subnormal & small) | (normal & ~small));
}

uint16_t fl_f32_to_f16(float x)
{
    return narrow_f16(x);
}

/* ---- rows of plain values ------------------------------------------------------------------------------------ */

/* Tensors in files need not be aligned: every element is copied out before it is used. */
#define LOAD(type, name, from, i)                                                                                      \
    type name;                                                                                                         \
    memcpy(&name, (const char *)(from) + (i) * (int64_t)sizeof name, sizeof name)
#define STORE(to, i, value) memcpy((char *)(to) + (i) * (int64_t)sizeof(value), &(value), sizeof(value))

static void read_f32(const void *from, float *to, int64_t n)
{
    memcpy(to, from, (size_t)n * sizeof *to);
}

static void write_f32(const float *from, void *to, int64_t n)
{
    memcpy(to, from, (size_t)n * sizeof *from);
}

static void read_f16(const void *from, float *to, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        LOAD(uint16_t, h, from, i);
        to[i] = fl_f16_to_f32(h);
    }
}

static void write_f16(const float *from, void *to, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint16_t h = narrow_f16(from[i]);
        STORE(to, i, h);
    }
}

static void read_bf16(const void *from, float *to, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        LOAD(uint16_t, h, from, i);
        to[i] = fl_bf16_to_f32(h);
    }
}

static void write_bf16(const float *from, void *to, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint16_t h = narrow_bf16(from[i]);
        STORE(to, i, h);
    }
}

static void read_f64(const void *from, float *to, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        LOAD(double, x, from, i);
        to[i] = (float)x;
    }
}

static void write_f64(const float *from, void *to, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        double x = (double)from[i];
        STORE(to, i, x);
    }
}

static const fl_codec codec_f32 = {read_f32, write_f32}, codec_f16 = {read_f16, write_f16};
static const fl_codec codec_bf16 = {read_bf16, write_bf16}, codec_f64 = {read_f64, write_f64};

/* ---- the table ----------------------------------------------------------------------------------------------- */

static const struct {
    fl_dtype_info info;
    const fl_codec *codec; /* NULL: not real */
} types[FL_DTYPE_COUNT] = {
    [FL_F32] = {{"F32", 1, 4, true, true}, &codec_f32},
    [FL_F16] = {{"F16", 1, 2, true, true}, &codec_f16},
    [FL_BF16] = {{"BF16", 1, 2, true, true}, &codec_bf16},
    [FL_F64] = {{"F64", 1, 8, true, true}, &codec_f64},
    [FL_I32] = {{"I32", 1, 4, false, false}, NULL},
    [FL_I64] = {{"I64", 1, 8, false, false}, NULL},
    [FL_U8] = {{"U8", 1, 1, false, false}, NULL},
    [FL_BOOL] = {{"BOOL", 1, 1, false, false}, NULL},
    [FL_Q8_0] = {{"Q8_0", 32, 34, true, true}, &fl_codec_q8_0},
    [FL_Q4_0] = {{"Q4_0", 32, 18, true, true}, &fl_codec_q4_0},
    [FL_Q4_1] = {{"Q4_1", 32, 20, true, true}, &fl_codec_q4_1},
    [FL_Q5_0] = {{"Q5_0", 32, 22, true, true}, &fl_codec_q5_0},
    [FL_Q5_1] = {{"Q5_1", 32, 24, true, true}, &fl_codec_q5_1},
    [FL_IQ4_NL] = {{"IQ4_NL", 32, 18, true, false}, &fl_codec_iq4_nl},
    [FL_Q2_K] = {{"Q2_K", 256, 84, true, false}, &fl_codec_q2_k},
    [FL_Q3_K] = {{"Q3_K", 256, 110, true, false}, &fl_codec_q3_k},
    [FL_Q4_K] = {{"Q4_K", 256, 144, true, false}, &fl_codec_q4_k},
    [FL_Q5_K] = {{"Q5_K", 256, 176, true, false}, &fl_codec_q5_k},
    [FL_Q6_K] = {{"Q6_K", 256, 210, true, false}, &fl_codec_q6_k},
};

const fl_dtype_info *fl_dtype_get(fl_dtype type)
{
    return (unsigned)type < FL_DTYPE_COUNT ? &types[type].info : NULL;
}

bool fl_dtype_bytes(fl_dtype type, size_t n, size_t *out)
{
    const fl_dtype_info *info = fl_dtype_get(type);
    return info && n % (size_t)info->block == 0 && fl_size_mul(n / (size_t)info->block, info->block_bytes, out);
}

/* What the contract excludes is zeros and never uninitialised memory. */
void fl_to_f32(fl_dtype type, const void *from, float *to, int64_t n)
{
    if (n <= 0) return;
    const fl_codec *codec = types[type].codec;
    if (codec)
        codec->to_f32(from, to, n / types[type].info.block);
    else
        memset(to, 0, (size_t)n * sizeof *to);
}

void fl_from_f32(fl_dtype type, const float *from, void *to, int64_t n)
{
    if (n <= 0) return;
    const fl_codec *codec = types[type].codec;
    int64_t blocks = n / types[type].info.block;
    if (codec && codec->from_f32)
        codec->from_f32(from, to, blocks);
    else
        memset(to, 0, (size_t)blocks * types[type].info.block_bytes);
}
