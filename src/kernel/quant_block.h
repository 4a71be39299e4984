/* Blocks of quantised weights, common part. The formats are ggml's, as GGUF files hold them; kernel/quant_legacy.h,
 * quant_k.h and quant_iq4_nl.h have one structure and two readers for each.
 *
 * A block has 32 values or 256, cut into chunks of 32 (an activation block of kernel/quant.h) and those into groups of
 * 16 or 32 that share a small integer scale and, in some formats, a minimum:
 *
 *     value k = d * scale[g] * q[k] - m * min[g],    g = k / group
 *
 * d * scale and m * min are exact in fp32 (11 bits times at most 8), so multiplied in this order fp32 gives the bits of
 * ggml's own loops. The structures are made of bytes: a block may lie at any address. */
#ifndef FL_KERNEL_QUANT_BLOCK_H
#define FL_KERNEL_QUANT_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernel/half.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "files are little-endian and are read in place"
#endif

#define FL_QUANT_CHUNK 32
#define FL_QUANT_GROUPS 16 /* the most groups in a block */

typedef struct fl_quant_scales {
    float d, m; /* m: 0 in formats without minimums */
    int8_t scale[FL_QUANT_GROUPS];
    uint8_t min[FL_QUANT_GROUPS];
} fl_quant_scales;

/* What a format is to loops over its blocks: constants, so that inlining leaves a loop of its own for each format. */
typedef struct fl_quant_format {
    size_t bytes; /* of a block */
    int chunks;   /* of 32 values in a block */
    int group;    /* values that share a scale: 16 or 32 */
    bool has_min;
    void (*scales)(const void *block, fl_quant_scales *out);
    void (*values)(const void *block, int chunk, int8_t q[FL_QUANT_CHUNK]);
} fl_quant_format;

static inline float fl_quant_half(const uint8_t bytes[2])
{
    return fl_f16_to_f32((uint16_t)(bytes[0] | bytes[1] << 8));
}

/* Sixteen bytes at once: compilers do not find this form by themselves. */
typedef uint32_t fl_quant_words __attribute__((vector_size(16)));
typedef uint8_t fl_quant_bytes __attribute__((vector_size(16)));

/* Bytes from[0..15] >> shift & mask; mask is one byte four times, without the bits that a shift of whole words brings
 * in from the neighbour. */
static inline fl_quant_words fl_quant_field(const uint8_t *from, int shift, uint32_t mask)
{
    fl_quant_words w;
    memcpy(&w, from, sizeof w);
    return w >> (uint32_t)shift & mask;
}

/* to[0..15] = bytes of w, less offset */
static inline void fl_quant_put(fl_quant_words w, uint8_t offset, int8_t *to)
{
    fl_quant_bytes bytes = (fl_quant_bytes)w - offset;
    memcpy(to, &bytes, sizeof bytes);
}

#endif
