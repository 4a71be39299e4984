/* ggml's first formats: 32 values, one fp16 scale, and in Q4_1 and Q5_1 an fp16 offset. */
#ifndef FL_KERNEL_QUANT_LEGACY_H
#define FL_KERNEL_QUANT_LEGACY_H

#include "kernel/quant_block.h"

typedef struct fl_block_q8_0 {
    uint8_t d[2];
    int8_t q[32];
} fl_block_q8_0;

/* Of nibbles, the low ones are values 0..15, the high ones values 16..31. */
typedef struct fl_block_q4_0 {
    uint8_t d[2];
    uint8_t q[16];
} fl_block_q4_0;

typedef struct fl_block_q4_1 {
    uint8_t d[2], offset[2];
    uint8_t q[16];
} fl_block_q4_1;

/* Bit k of high, as a little-endian number, is the fifth bit of value k. */
typedef struct fl_block_q5_0 {
    uint8_t d[2];
    uint8_t high[4];
    uint8_t q[16];
} fl_block_q5_0;

typedef struct fl_block_q5_1 {
    uint8_t d[2], offset[2];
    uint8_t high[4];
    uint8_t q[16];
} fl_block_q5_1;

_Static_assert(sizeof(fl_block_q8_0) == 34 && sizeof(fl_block_q4_0) == 18 && sizeof(fl_block_q4_1) == 20 &&
                   sizeof(fl_block_q5_0) == 22 && sizeof(fl_block_q5_1) == 24,
               "blocks have no padding");

static inline void fl_scales_q8_0(const void *block, fl_quant_scales *out) /* and Q4_0, Q5_0, IQ4_NL: d comes first */
{
    out->d = fl_quant_half(block);
    out->m = 0;
    out->scale[0] = 1;
    out->min[0] = 0;
}

static inline void fl_scales_q4_1(const void *block, fl_quant_scales *out) /* and Q5_1 */
{
    const fl_block_q4_1 *b = block;
    out->d = fl_quant_half(b->d);
    out->m = -fl_quant_half(b->offset);
    out->scale[0] = 1;
    out->min[0] = 1;
}

static inline void fl_values_q8_0(const void *block, int chunk, int8_t q[FL_QUANT_CHUNK])
{
    (void)chunk;
    memcpy(q, ((const fl_block_q8_0 *)block)->q, FL_QUANT_CHUNK);
}

static inline void fl_quant_nibbles(const uint8_t q[16], uint8_t offset, int8_t to[FL_QUANT_CHUNK])
{
    fl_quant_put(fl_quant_field(q, 0, 0x0f0f0f0fu), offset, to);
    fl_quant_put(fl_quant_field(q, 4, 0x0f0f0f0fu), offset, to + 16);
}

/* 16 in each of 16 bytes whose bit is set, from two bytes of bits. */
static inline fl_quant_words fl_quant_fifth_bits(const uint8_t high[2])
{
    const fl_quant_bytes bit = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    typedef uint64_t pair __attribute__((vector_size(16)));
    pair copies = {high[0] * 0x0101010101010101u, high[1] * 0x0101010101010101u};
    fl_quant_bytes set = (fl_quant_bytes)(((fl_quant_bytes)copies & bit) == bit) & 16;
    return (fl_quant_words)set;
}

static inline void fl_quant_five_bits(const uint8_t q[16], const uint8_t high[4], uint8_t offset,
                                      int8_t to[FL_QUANT_CHUNK])
{
    fl_quant_put(fl_quant_field(q, 0, 0x0f0f0f0fu) | fl_quant_fifth_bits(high), offset, to);
    fl_quant_put(fl_quant_field(q, 4, 0x0f0f0f0fu) | fl_quant_fifth_bits(high + 2), offset, to + 16);
}

static inline void fl_values_q4_0(const void *block, int chunk, int8_t q[FL_QUANT_CHUNK])
{
    (void)chunk;
    fl_quant_nibbles(((const fl_block_q4_0 *)block)->q, 8, q);
}

static inline void fl_values_q4_1(const void *block, int chunk, int8_t q[FL_QUANT_CHUNK])
{
    (void)chunk;
    fl_quant_nibbles(((const fl_block_q4_1 *)block)->q, 0, q);
}

static inline void fl_values_q5_0(const void *block, int chunk, int8_t q[FL_QUANT_CHUNK])
{
    const fl_block_q5_0 *b = block;
    (void)chunk;
    fl_quant_five_bits(b->q, b->high, 16, q);
}

static inline void fl_values_q5_1(const void *block, int chunk, int8_t q[FL_QUANT_CHUNK])
{
    const fl_block_q5_1 *b = block;
    (void)chunk;
    fl_quant_five_bits(b->q, b->high, 0, q);
}

#define FL_FORMAT_Q8_0 ((fl_quant_format){sizeof(fl_block_q8_0), 1, 32, false, fl_scales_q8_0, fl_values_q8_0})
#define FL_FORMAT_Q4_0 ((fl_quant_format){sizeof(fl_block_q4_0), 1, 32, false, fl_scales_q8_0, fl_values_q4_0})
#define FL_FORMAT_Q4_1 ((fl_quant_format){sizeof(fl_block_q4_1), 1, 32, true, fl_scales_q4_1, fl_values_q4_1})
#define FL_FORMAT_Q5_0 ((fl_quant_format){sizeof(fl_block_q5_0), 1, 32, false, fl_scales_q8_0, fl_values_q5_0})
#define FL_FORMAT_Q5_1 ((fl_quant_format){sizeof(fl_block_q5_1), 1, 32, true, fl_scales_q4_1, fl_values_q5_1})

#endif
