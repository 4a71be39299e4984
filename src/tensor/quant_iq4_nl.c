#include "kernel/quant_iq4_nl.h"
#include "tensor/quant.h"

/* A value is looked up when it is already multiplied: with bytes looked up first, the vector code that follows would
 * wait for each of them. */
static void dequantise_iq4_nl(const void *from, float *to, int64_t blocks)
{
    const fl_block_iq4_nl *b = from;
    for (const fl_block_iq4_nl *end = b + blocks; b < end; b++, to += FL_QUANT_CHUNK) {
        float d = fl_quant_half(b->d), scaled[16];
        for (int i = 0; i < 16; i++)
            scaled[i] = d * (float)fl_iq4_nl_table[i];
        for (int i = 0; i < 16; i++) {
            to[i] = scaled[b->q[i] & 15];
            to[i + 16] = scaled[b->q[i] >> 4];
        }
    }
}

const fl_codec fl_codec_iq4_nl = {dequantise_iq4_nl, NULL};
