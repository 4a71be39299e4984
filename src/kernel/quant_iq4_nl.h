/* IQ4_NL: 32 values, one fp16 scale, four bits that index a table of 16 unevenly spaced values (ggml). */
#ifndef FL_KERNEL_QUANT_IQ4_NL_H
#define FL_KERNEL_QUANT_IQ4_NL_H

#include "kernel/quant_legacy.h"

typedef struct fl_block_iq4_nl {
    uint8_t d[2];
    uint8_t q[16]; /* nibbles as in Q4_0 */
} fl_block_iq4_nl;
_Static_assert(sizeof(fl_block_iq4_nl) == 18, "blocks have no padding");

static const int8_t fl_iq4_nl_table[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

static inline void fl_values_iq4_nl(const void *block, int chunk, int8_t q[FL_QUANT_CHUNK])
{
    const fl_block_iq4_nl *b = block;
    (void)chunk;
    for (int i = 0; i < 16; i++) {
        q[i] = fl_iq4_nl_table[b->q[i] & 15];
        q[i + 16] = fl_iq4_nl_table[b->q[i] >> 4];
    }
}

#define FL_FORMAT_IQ4_NL ((fl_quant_format){sizeof(fl_block_iq4_nl), 1, 32, false, fl_scales_q8_0, fl_values_iq4_nl})

#endif
