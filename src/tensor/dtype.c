#include "tensor/dtype.h"

#include <math.h>
#include <string.h>

#include "base/size.h"

#define Q8_BLOCK 32

/* As ggml stores it: 32 values share one fp16 scale. */
typedef struct q8_block {
    uint16_t scale;
    int8_t q[Q8_BLOCK];
} q8_block;
_Static_assert(sizeof(q8_block) == 34, "Q8_0 blocks have no padding");

static const fl_dtype_info infos[FL_DTYPE_COUNT] = {
    [FL_F32] = {"F32", 1, 4, true}, [FL_F16] = {"F16", 1, 2, true},    [FL_BF16] = {"BF16", 1, 2, true},
    [FL_F64] = {"F64", 1, 8, true}, [FL_I32] = {"I32", 1, 4, false},   [FL_I64] = {"I64", 1, 8, false},
    [FL_U8] = {"U8", 1, 1, false},  [FL_BOOL] = {"BOOL", 1, 1, false}, [FL_Q8_0] = {"Q8_0", Q8_BLOCK, 34, true},
};

const fl_dtype_info *fl_dtype_get(fl_dtype type)
{
    return (unsigned)type < FL_DTYPE_COUNT ? &infos[type] : NULL;
}

bool fl_dtype_bytes(fl_dtype type, size_t n, size_t *out)
{
    const fl_dtype_info *info = fl_dtype_get(type);
    return info && n % (size_t)info->block == 0 && fl_size_mul(n / (size_t)info->block, info->block_bytes, out);
}

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

/* ---- f16: 5 bits of exponent with bias 15, 10 of fraction; the bits are those of F16C --------------------------- */

static inline float widen_f16(uint16_t h)
{
    uint32_t magnitude = h & 0x7fffu, sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t normal = (magnitude << 13) + ((127u - 15u) << 23);
    /* 0.5 has its last bit at 2^-24, the unit of subnormal f16. Exact, and independent of a flush-to-zero mode. */
    uint32_t subnormal = bits_of(float_of((126u << 23) + magnitude) - 0.5f);
    uint32_t special = (magnitude << 13) | 0x7f800000u | (magnitude > 0x7c00u ? 0x400000u : 0u);
    uint32_t u = magnitude < 0x400u ? subnormal : magnitude < 0x7c00u ? normal : special;
    return float_of(u | sign);
}

static inline uint16_t narrow_f16(float x)
{
    uint32_t u = bits_of(x), magnitude = u & 0x7fffffffu, sign = (u >> 16) & 0x8000u;
    /* Rebias the exponent and round the 13 bits that go; a carry moves into the exponent and, from 65520, to infinity.
     */
    uint32_t normal = (magnitude - ((127u - 15u) << 23) + 0xfff + ((magnitude >> 13) & 1)) >> 13;
    /* Adding 0.5 lets the addition round to a multiple of 2^-24. */
    uint32_t subnormal = bits_of(float_of(magnitude) + 0.5f) - (126u << 23);
    uint32_t nan = 0x7e00u | ((magnitude >> 13) & 0x3ffu);
    uint32_t h = magnitude < (113u << 23)   ? subnormal
                 : magnitude < 0x47800000u  ? normal
                 : magnitude <= 0x7f800000u ? 0x7c00u
                                            : nan;
    return (uint16_t)(h | sign);
}

float fl_f16_to_f32(uint16_t h)
{
    return widen_f16(h);
}
uint16_t fl_f32_to_f16(float x)
{
    return narrow_f16(x);
}

/* ---- Q8_0 --------------------------------------------------------------------------------------------------- */

/* scale = max|x| / 127, q = round(x / scale), halves away from zero, as ggml. A block with an infinity or NaN becomes
 * all NaN: damage must show. */
static void quantise_block(const float *x, q8_block *out)
{
    float most = 0;
    bool finite = true;
    for (int i = 0; i < Q8_BLOCK; i++) {
        float magnitude = fabsf(x[i]);
        finite = finite && magnitude <= 3.402823466e38f;
        most = magnitude > most ? magnitude : most;
    }
    if (!finite) {
        memset(out, 0, sizeof *out);
        out->scale = 0x7e00;
        return;
    }
    float scale = most / 127.0f;
    float inverse = scale > 0 ? 1.0f / scale : 0;
    if (!(inverse <= 3.402823466e38f)) inverse = 0; /* below the range of fp16 anyway */
    out->scale = narrow_f16(scale);
    for (int i = 0; i < Q8_BLOCK; i++)
        out->q[i] = (int8_t)roundf(x[i] * inverse);
}

/* ---- rows of values ------------------------------------------------------------------------------------------ */

/* Tensors in files need not be aligned: every element is copied out before it is used. */
#define LOAD(type, name, from, i)                                                                                      \
    type name;                                                                                                         \
    memcpy(&name, (const char *)(from) + (i) * (int64_t)sizeof name, sizeof name)

void fl_to_f32(fl_dtype type, const void *from, float *to, int64_t n)
{
    switch (type) {
    case FL_F32:
        if (n > 0) memcpy(to, from, (size_t)n * sizeof *to);
        return;
    case FL_F16:
        for (int64_t i = 0; i < n; i++) {
            LOAD(uint16_t, h, from, i);
            to[i] = widen_f16(h);
        }
        return;
    case FL_BF16:
        for (int64_t i = 0; i < n; i++) {
            LOAD(uint16_t, h, from, i);
            to[i] = fl_bf16_to_f32(h);
        }
        return;
    case FL_F64:
        for (int64_t i = 0; i < n; i++) {
            LOAD(double, x, from, i);
            to[i] = (float)x;
        }
        return;
    case FL_Q8_0:
        for (int64_t b = 0; b < n / Q8_BLOCK; b++) {
            LOAD(q8_block, block, from, b);
            float scale = widen_f16(block.scale);
            for (int i = 0; i < Q8_BLOCK; i++)
                to[b * Q8_BLOCK + i] = scale * (float)block.q[i];
        }
        return;
    case FL_I32:
    case FL_I64:
    case FL_U8:
    case FL_BOOL:
    case FL_DTYPE_COUNT:
        break; /* not real: excluded by the contract, and never uninitialised memory */
    }
    if (n > 0) memset(to, 0, (size_t)n * sizeof *to);
}

#define STORE(to, i, value) memcpy((char *)(to) + (i) * (int64_t)sizeof(value), &(value), sizeof(value))

void fl_from_f32(fl_dtype type, const float *from, void *to, int64_t n)
{
    switch (type) {
    case FL_F32:
        if (n > 0) memcpy(to, from, (size_t)n * sizeof *from);
        return;
    case FL_F16:
        for (int64_t i = 0; i < n; i++) {
            uint16_t h = narrow_f16(from[i]);
            STORE(to, i, h);
        }
        return;
    case FL_BF16:
        for (int64_t i = 0; i < n; i++) {
            uint16_t h = narrow_bf16(from[i]);
            STORE(to, i, h);
        }
        return;
    case FL_F64:
        for (int64_t i = 0; i < n; i++) {
            double x = (double)from[i];
            STORE(to, i, x);
        }
        return;
    case FL_Q8_0:
        for (int64_t b = 0; b < n / Q8_BLOCK; b++) {
            q8_block block;
            quantise_block(from + b * Q8_BLOCK, &block);
            STORE(to, b, block);
        }
        return;
    case FL_I32:
    case FL_I64:
    case FL_U8:
    case FL_BOOL:
    case FL_DTYPE_COUNT:
        return;
    }
}
