/* The K formats (ggml): 256 values, one or two fp16 scales of small integer scales and minimums per 16 or 32 values.
 *
 * The bits of a value are spread over planes. A plane of p bits per value holds 8/p chunks side by side in each run of
 * 32 bytes: byte l of the run has value l of those chunks, lowest bits first. */
#ifndef FL_KERNEL_QUANT_K_H
#define FL_KERNEL_QUANT_K_H

#include "kernel/quant_block.h"

typedef struct fl_block_q2_k {
    uint8_t scale[16]; /* per 16 values: scale in the low nibble, minimum in the high one */
    uint8_t q[64];     /* 2 bits */
    uint8_t d[2], m[2];
} fl_block_q2_k;

typedef struct fl_block_q3_k {
    uint8_t high[32];  /* third bit; clear means 4 less */
    uint8_t q[64];     /* 2 bits */
    uint8_t scale[12]; /* per 16 values, 6 bits, 32 more than meant */
    uint8_t d[2];
} fl_block_q3_k;

typedef struct fl_block_q4_k {
    uint8_t d[2], m[2];
    uint8_t scale[12]; /* per 32 values: scale and minimum, 6 bits each */
    uint8_t q[128];    /* 4 bits */
} fl_block_q4_k;

typedef struct fl_block_q5_k {
    uint8_t d[2], m[2];
    uint8_t scale[12]; /* as Q4_K */
    uint8_t high[32];  /* fifth bit */
    uint8_t q[128];    /* 4 bits */
} fl_block_q5_k;

typedef struct fl_block_q6_k {
    /* 4 bits; here, alone, a run is 64 bytes: low nibbles are chunks 0 and 1 of four, high ones chunks 2 and 3. */
    uint8_t q[128];
    uint8_t high[64]; /* 2 bits */
    int8_t scale[16]; /* per 16 values */
    uint8_t d[2];
} fl_block_q6_k;

_Static_assert(sizeof(fl_block_q2_k) == 84 && sizeof(fl_block_q3_k) == 110 && sizeof(fl_block_q4_k) == 144 &&
                   sizeof(fl_block_q5_k) == 176 && sizeof(fl_block_q6_k) == 210,
               "blocks have no padding");

static inline void fl_scales_q2_k(const void *block, fl_quant_scales *out)
{
    const fl_block_q2_k *b = block;
    out->d = fl_quant_half(b->d);
    out->m = fl_quant_half(b->m);
    for (int g = 0; g < 16; g++) {
        out->scale[g] = (int8_t)(b->scale[g] & 15);
        out->min[g] = b->scale[g] >> 4;
    }
}

/* Bytes 0..7 hold the low nibbles of scales 0..7 and 8..15; bytes 8..11 the upper bits, two of scales i, i+4, i+8, i+12
 * in byte 8+i. */
static inline void fl_scales_q3_k(const void *block, fl_quant_scales *out)
{
    const fl_block_q3_k *b = block;
    out->d = fl_quant_half(b->d);
    out->m = 0;
    for (int g = 0; g < 16; g++) {
        int low = b->scale[g % 8] >> (g / 8 * 4) & 15, high = b->scale[8 + g % 4] >> (g / 4 * 2) & 3;
        out->scale[g] = (int8_t)((low | high << 4) - 32);
        out->min[g] = 0;
    }
}

/* Six bits of scale g are in byte g, of minimum g in byte 4+g, for g < 4. The others have their low nibbles in byte
 * 4+g, scale below minimum, and their upper two bits on top of bytes g-4 and g. */
static inline void fl_scales_q4_k(const void *block, fl_quant_scales *out) /* and Q5_K */
{
    const fl_block_q4_k *b = block;
    out->d = fl_quant_half(b->d);
    out->m = fl_quant_half(b->m);
    const uint8_t *s = b->scale;
    for (int g = 0; g < 4; g++) {
        out->scale[g] = (int8_t)(s[g] & 63);
        out->min[g] = s[g + 4] & 63;
        out->scale[g + 4] = (int8_t)((s[g + 8] & 15) | (s[g] >> 6) << 4);
        out->min[g + 4] = (uint8_t)(s[g + 8] >> 4 | (s[g + 4] >> 6) << 4);
    }
}

static inline void fl_scales_q6_k(const void *block, fl_quant_scales *out)
{
    const fl_block_q6_k *b = block;
    out->d = fl_quant_half(b->d);
    out->m = 0;
    memcpy(out->scale, b->scale, sizeof b->scale);
    memset(out->min, 0, sizeof out->min);
}

static inline void fl_values_q2_k(const void *block, int chunk, int8_t q[FL_QUANT_CHUNK])
{
    const fl_block_q2_k *b = block;
    const uint8_t *low = b->q + chunk / 4 * 32;
    for (int i = 0; i < FL_QUANT_CHUNK; i += 16)
        fl_quant_put(fl_quant_field(low + i, chunk % 4 * 2, 0x03030303u), 0, q + i);
}

static inline void fl_values_q3_k(const void *block, int chunk, int8_t q[FL_QUANT_CHUNK])
{
    const fl_block_q3_k *b = block;
    const uint8_t *low = b->q + chunk / 4 * 32;
    for (int i = 0; i < FL_QUANT_CHUNK; i += 16)
        fl_quant_put(fl_quant_field(low + i, chunk % 4 * 2, 0x03030303u) |
                         fl_quant_field(b->high + i, chunk, 0x01010101u) << 2,
                     4, q + i);
}

static inline void fl_values_q4_k(const void *block, int chunk, int8_t q[FL_QUANT_CHUNK])
{
    const fl_block_q4_k *b = block;
    const uint8_t *low = b->q + chunk / 2 * 32;
    for (int i = 0; i < FL_QUANT_CHUNK; i += 16)
        fl_quant_put(fl_quant_field(low + i, chunk % 2 * 4, 0x0f0f0f0fu), 0, q + i);
}

static inline void fl_values_q5_k(const void *block, int chunk, int8_t q[FL_QUANT_CHUNK])
{
    const fl_block_q5_k *b = block;
    const uint8_t *low = b->q + chunk / 2 * 32;
    for (int i = 0; i < FL_QUANT_CHUNK; i += 16)
        fl_quant_put(fl_quant_field(low + i, chunk % 2 * 4, 0x0f0f0f0fu) |
                         fl_quant_field(b->high + i, chunk, 0x01010101u) << 4,
                     0, q + i);
}

static inline void fl_values_q6_k(const void *block, int chunk, int8_t q[FL_QUANT_CHUNK])
{
    const fl_block_q6_k *b = block;
    int run = chunk / 4, part = chunk % 4;
    const uint8_t *low = b->q + run * 64 + part % 2 * 32, *high = b->high + run * 32;
    for (int i = 0; i < FL_QUANT_CHUNK; i += 16)
        fl_quant_put(fl_quant_field(low + i, part / 2 * 4, 0x0f0f0f0fu) |
                         fl_quant_field(high + i, part * 2, 0x03030303u) << 4,
                     32, q + i);
}

#define FL_FORMAT_Q2_K ((fl_quant_format){sizeof(fl_block_q2_k), 8, 16, true, fl_scales_q2_k, fl_values_q2_k})
#define FL_FORMAT_Q3_K ((fl_quant_format){sizeof(fl_block_q3_k), 8, 16, false, fl_scales_q3_k, fl_values_q3_k})
#define FL_FORMAT_Q4_K ((fl_quant_format){sizeof(fl_block_q4_k), 8, 32, true, fl_scales_q4_k, fl_values_q4_k})
#define FL_FORMAT_Q5_K ((fl_quant_format){sizeof(fl_block_q5_k), 8, 32, true, fl_scales_q4_k, fl_values_q5_k})
#define FL_FORMAT_Q6_K ((fl_quant_format){sizeof(fl_block_q6_k), 8, 16, false, fl_scales_q6_k, fl_values_q6_k})

#endif
