/* Rows of quantised blocks to and from fp32: one codec per format, one file per family of formats. */
#ifndef FL_TENSOR_QUANT_H
#define FL_TENSOR_QUANT_H

#include "kernel/quant_block.h"

/* How rows of a storage type become fp32 and back. A plain value is a block of its own; blocks lie at any address. */
typedef struct fl_codec {
    void (*to_f32)(const void *from, float *to, int64_t blocks);
    void (*from_f32)(const float *from, void *to, int64_t blocks); /* NULL: the type is only read */
} fl_codec;

extern const fl_codec fl_codec_q8_0, fl_codec_q4_0, fl_codec_q4_1, fl_codec_q5_0, fl_codec_q5_1;
extern const fl_codec fl_codec_q2_k, fl_codec_q3_k, fl_codec_q4_k, fl_codec_q5_k, fl_codec_q6_k;
extern const fl_codec fl_codec_iq4_nl;

/* The bits of ggml's dequantize_row_*: the formula of kernel/quant_block.h, in its order. format must be a constant. */
static inline __attribute__((always_inline)) void fl_dequantise(const fl_quant_format format, const void *from,
                                                                float *to, int64_t blocks)
{
    for (int64_t b = 0; b < blocks; b++) {
        const char *block = (const char *)from + b * (int64_t)format.bytes;
        fl_quant_scales scales;
        format.scales(block, &scales);
        for (int chunk = 0; chunk < format.chunks; chunk++) {
            int8_t q[FL_QUANT_CHUNK];
            format.values(block, chunk, q);
            for (int first = 0; first < FL_QUANT_CHUNK; first += format.group) {
                int g = (chunk * FL_QUANT_CHUNK + first) / format.group;
                float scale = scales.d * (float)scales.scale[g], min = scales.m * (float)scales.min[g];
                for (int i = first; i < first + format.group; i++)
                    to[i] = format.has_min ? scale * (float)q[i] - min : scale * (float)q[i];
            }
            to += FL_QUANT_CHUNK;
        }
    }
}

#endif
