/* Products of many activation rows with quantised weights that lie in panels: the values of kernel/quant.h, to the bit,
 * at every level, for any number of rows and any cut into tiles.
 *
 * A panel holds 32 rows of the weight (outputs) side by side, in about as many bytes as the file's blocks, and is the
 * same at every level. Block after block of the format, it is
 *
 *     d [32] fp16                             scales, and m [32] fp16 in formats with minimums
 *     s [groups][32] int8, t [groups][32]     in the K formats: the integer scales (and minimums) of all groups
 *     chunks of 32 values each:
 *         low bits, then high bits of u       u = q + offset >= 0, or IQ4_NL's index into its table
 *
 * Where a plane of a chunk has 8 bits per value, byte 128 j + 4 i + l of it is value 4 j + l of row i (j < 8, l < 4):
 * what an instruction multiplies with four activations and adds up is 4 neighbours. With fewer bits p, byte b of the
 * plane holds in its bits p f .. p f + p - 1 what byte b + 128 p f of a plane of 8 bits would be.
 *
 * A tile of activations has `height` rows, one, two, four or six, of which the last may be padding. Chunk after chunk
 * of 32 values it is, in 4-byte numbers,
 *
 *     scale [height]          fp32
 *     start [2][height]       int32: where the sums of u times q begin, so that they end as those of q_w times q
 *     sum [2][height]         fp32: scale times the sums of q
 *     q [8][height][4]        int8
 *
 * start and sum are of two groups of 16, or of one group of 32 and a second that is not used. */
#ifndef FL_KERNEL_QUANT_TILE_H
#define FL_KERNEL_QUANT_TILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernel/gemm.h"
#include "kernel/quant.h"

#define FL_QUANT_PANEL 32
#define FL_QUANT_LAYOUT "quant32/1" /* of the panels above, in files: a new number where their bytes change */
#define FL_QUANT_MOST_HEIGHT 6
#define FL_QUANT_ROW_CHUNK_BYTES 52 /* of one row's chunk in a tile */

_Static_assert(FL_QUANT_PANEL == FL_GEMM_PANEL, "callers cut outputs in one way");

typedef struct fl_quant_layout {
    int chunks;     /* of 32 values in a block */
    int group;      /* values that share a scale: 16 or 32 */
    int low, high;  /* bits of u in the two planes */
    int offset;     /* of u, or of the table's values as unsigned numbers */
    bool has_min;   /* minimums: in the K formats with integer factors, else factors of 1 */
    bool is_scaled; /* the K formats: integer scales */
    bool has_table;
} fl_quant_layout;

static const fl_quant_layout fl_quant_layouts[FL_QUANT_TYPES] = {
    [FL_QUANT_Q8_0] = {1, 32, 8, 0, 128, false, false, false},
    [FL_QUANT_Q4_0] = {1, 32, 4, 0, 8, false, false, false},
    [FL_QUANT_Q4_1] = {1, 32, 4, 0, 0, true, false, false},
    [FL_QUANT_Q5_0] = {1, 32, 4, 1, 16, false, false, false},
    [FL_QUANT_Q5_1] = {1, 32, 4, 1, 0, true, false, false},
    [FL_QUANT_IQ4_NL] = {1, 32, 4, 0, 128, false, false, true},
    [FL_QUANT_Q2_K] = {8, 16, 2, 0, 0, true, true, false},
    [FL_QUANT_Q3_K] = {8, 16, 2, 1, 4, false, true, false},
    [FL_QUANT_Q4_K] = {8, 32, 4, 0, 0, true, true, false},
    [FL_QUANT_Q5_K] = {8, 32, 4, 1, 0, true, true, false},
    [FL_QUANT_Q6_K] = {8, 16, 4, 2, 32, false, true, false},
};

static inline int64_t fl_quant_chunk_bytes(fl_quant_layout l)
{
    return 128 * (l.low + l.high);
}

/* What comes before the chunks of a block: d and m, then s, then t. */
static inline int64_t fl_quant_scales_at(fl_quant_layout l)
{
    return 64 * (1 + l.has_min);
}

static inline int64_t fl_quant_minimums_at(fl_quant_layout l)
{
    return fl_quant_scales_at(l) + l.chunks * 32 / l.group * FL_QUANT_PANEL;
}

static inline int64_t fl_quant_chunks_at(fl_quant_layout l)
{
    if (!l.is_scaled) return fl_quant_scales_at(l);
    return fl_quant_minimums_at(l) + (l.has_min ? l.chunks * 32 / l.group * FL_QUANT_PANEL : 0);
}

/* Bytes of a panel of k values per row, k a multiple of the format's block. */
static inline int64_t fl_quant_panel_bytes(fl_quant_type type, int64_t k)
{
    fl_quant_layout l = fl_quant_layouts[type];
    return k / (32 * l.chunks) * (fl_quant_chunks_at(l) + l.chunks * fl_quant_chunk_bytes(l));
}

/* `rows` <= 32 rows of a weight, row_bytes apart and at any address, as one panel; zeros after the last row. */
void fl_quant_pack_panel(fl_quant_type type, int rows, int64_t k, const void *weights, int64_t row_bytes, void *panel);

/* The height of the tile that holds 1 <= rows <= 6 rows. */
static inline int fl_quant_height(int64_t rows)
{
    return rows <= 2 ? (int)rows : rows <= 4 ? 4 : FL_QUANT_MOST_HEIGHT;
}

static inline int64_t fl_quant_tile_bytes(int64_t rows, int64_t k)
{
    return fl_quant_height(rows) * FL_QUANT_ROW_CHUNK_BYTES * (k / 32);
}

/* Put one chunk of row `row` into its place in a tile; sums of q over the two groups of 16. */
static inline void fl_quant_put_chunk(const fl_quant_layout l, int offset, int height, int row, const int8_t q[32],
                                      float scale, int sum0, int sum1, char *chunk)
{
    bool two = l.group == 16;
    float sum[2] = {scale * (float)(two ? sum0 : sum0 + sum1), scale * (float)sum1};
    int32_t start[2] = {-offset * (two ? sum0 : sum0 + sum1), -offset * sum1};
    char *at = chunk + 4 * row;
    memcpy(at, &scale, 4);
    for (int g = 0; g < 2; g++) {
        memcpy(at + 4 * height * (1 + g), &start[g], 4);
        memcpy(at + 4 * height * (3 + g), &sum[g], 4);
    }
    for (int j = 0; j < 8; j++)
        memcpy(at + 4 * height * (5 + j), q + 4 * j, 4);
}

typedef struct fl_quant_tile_kernels {
    int height; /* the most rows of a tile: 4 or 6 */

    /* Rows x[i*ldx + k], 1 <= rows <= height, as a tile for weights of the type. */
    void (*pack_rows)(fl_quant_type type, int rows, int64_t k, const float *x, int64_t ldx, void *tile);

    /* c of the tile's rows and one panel; out as in fl_gemm_kernels' tile, `ahead` unused. With accumulate the chain
     * of kernel/quant.h begins at the old c. */
    void (*tile[FL_QUANT_TYPES])(int rows, int64_t k, const void *tile, const void *panel, const fl_gemm_out *out);
} fl_quant_tile_kernels;

extern const fl_quant_tile_kernels fl_quant_tile_kernels_generic;
#if defined(__x86_64__)
extern const fl_quant_tile_kernels fl_quant_tile_kernels_avx2, fl_quant_tile_kernels_avx2_vnni,
    fl_quant_tile_kernels_avx512_vnni;
#endif

#endif
