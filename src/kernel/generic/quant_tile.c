/* Panels of quantised weights, which are the same at every level, and their products in plain C. */
#include "kernel/quant_tile.h"

#include "kernel/quant_iq4_nl.h"
#include "kernel/quant_k.h"
#include "kernel/quant_legacy.h"

#define PANEL FL_QUANT_PANEL
#define CHUNK FL_QUANT_CHUNK

/* ---- packing weights ------------------------------------------------------------------------------------------ */

/* Where d and m are in a file's block. An offset of Q4_1 and Q5_1 is a minimum with the other sign. */
typedef struct block_of_file {
    fl_quant_format format;
    int d, m;
} block_of_file;

/* IQ4_NL's indices are nibbles as in Q4_0. */
static block_of_file file_format(fl_quant_type type)
{
    switch (type) {
    case FL_QUANT_Q8_0:
        return (block_of_file){FL_FORMAT_Q8_0, 0, 0};
    case FL_QUANT_Q4_0:
    case FL_QUANT_IQ4_NL:
        return (block_of_file){FL_FORMAT_Q4_0, 0, 0};
    case FL_QUANT_Q4_1:
        return (block_of_file){FL_FORMAT_Q4_1, 0, 2};
    case FL_QUANT_Q5_0:
        return (block_of_file){FL_FORMAT_Q5_0, 0, 0};
    case FL_QUANT_Q5_1:
        return (block_of_file){FL_FORMAT_Q5_1, 0, 2};
    case FL_QUANT_Q2_K:
        return (block_of_file){FL_FORMAT_Q2_K, offsetof(fl_block_q2_k, d), offsetof(fl_block_q2_k, m)};
    case FL_QUANT_Q3_K:
        return (block_of_file){FL_FORMAT_Q3_K, offsetof(fl_block_q3_k, d), 0};
    case FL_QUANT_Q4_K:
        return (block_of_file){FL_FORMAT_Q4_K, offsetof(fl_block_q4_k, d), offsetof(fl_block_q4_k, m)};
    case FL_QUANT_Q5_K:
        return (block_of_file){FL_FORMAT_Q5_K, offsetof(fl_block_q5_k, d), offsetof(fl_block_q5_k, m)};
    default:
        return (block_of_file){FL_FORMAT_Q6_K, offsetof(fl_block_q6_k, d), 0};
    }
}

/* The 32 values of one row, four in each word: `bits` bits of their bytes from `shift` on to the row's place in a
 * plane. Words of which only so many bits count lie in one word of the plane together. */
static void put_plane(const uint32_t u[8], int bits, int shift, char *plane)
{
    uint32_t mask = 0x01010101u * ((1u << bits) - 1u);
    for (int run = 0; run < bits; run++, plane += 4 * PANEL) {
        uint32_t word = 0;
        for (int j = run; j < 8; j += bits)
            word |= (u[j] >> shift & mask) << (j - run);
        memcpy(plane, &word, sizeof word);
    }
}

void fl_quant_pack_panel(fl_quant_type type, int rows, int64_t k, const void *weights, int64_t row_bytes, void *panel)
{
    const fl_quant_layout l = fl_quant_layouts[type];
    const block_of_file file = file_format(type);
    int offset = type == FL_QUANT_IQ4_NL ? 8 : l.offset, groups = l.chunks * CHUNK / l.group;
    char *to = panel;
    if (rows < PANEL) memset(to, 0, (size_t)fl_quant_panel_bytes(type, k));
    for (int64_t block = 0; block < k / (CHUNK * l.chunks); block++) {
        const char *from = (const char *)weights + block * (int64_t)file.format.bytes;
        for (int i = 0; i < rows; i++) {
            const char *row = from + i * row_bytes;
            fl_quant_scales scales;
            file.format.scales(row, &scales);
            memcpy(to + 2 * i, row + file.d, 2);
            if (l.has_min) memcpy(to + 64 + 2 * i, row + file.m, 2);
            if (l.has_min && !l.is_scaled) to[64 + 2 * i + 1] = (char)(to[64 + 2 * i + 1] ^ (char)0x80);
            for (int g = 0; g < groups && l.is_scaled; g++) {
                to[fl_quant_scales_at(l) + g * PANEL + i] = (char)scales.scale[g];
                if (l.has_min) to[fl_quant_minimums_at(l) + g * PANEL + i] = (char)scales.min[g];
            }
        }
        to += fl_quant_chunks_at(l);
        for (int chunk = 0; chunk < l.chunks; chunk++, to += fl_quant_chunk_bytes(l)) {
            for (int i = 0; i < rows; i++) {
                int8_t q[CHUNK];
                uint32_t u[8];
                file.format.values(from + i * row_bytes, chunk, q);
                for (int j = 0; j < CHUNK; j++)
                    q[j] = (int8_t)(q[j] + offset); /* as an unsigned byte */
                memcpy(u, q, sizeof u);
                put_plane(u, l.low, 0, to + 4 * i);
                if (l.high) put_plane(u, l.high, l.low, to + 128 * l.low + 4 * i);
            }
        }
    }
}

/* ---- activations ---------------------------------------------------------------------------------------------- */

static void pack_rows(fl_quant_type type, int rows, int64_t k, const float *x, int64_t ldx, void *tile)
{
    const fl_quant_layout l = fl_quant_layouts[type];
    int height = fl_quant_height(rows);
    memset(tile, 0, (size_t)fl_quant_tile_bytes(rows, k));
    for (int64_t c = 0; c < k / CHUNK; c++) {
        for (int i = 0; i < rows; i++) {
            int8_t q[CHUNK];
            float scale;
            int16_t sum[2];
            fl_quant_row row = {q, &scale, sum};
            fl_quant_kernels_generic.quantise(x + i * ldx + c * CHUNK, CHUNK, &row);
            fl_quant_put_chunk(l, l.offset, height, i, q, scale, sum[0], sum[1],
                               (char *)tile + c * height * FL_QUANT_ROW_CHUNK_BYTES);
        }
    }
}

/* ---- products ------------------------------------------------------------------------------------------------- */

#define INLINE static inline __attribute__((always_inline))

INLINE void get_plane(const uint8_t *plane, int bits, int shift, uint8_t u[PANEL * CHUNK])
{
    int bytes = 128 * bits;
    for (int f = 0; f < 8 / bits; f++)
        for (int i = 0; i < bytes; i++)
            u[f * bytes + i] = (uint8_t)(u[f * bytes + i] | ((plane[i] >> (f * bits)) & ((1 << bits) - 1)) << shift);
}

INLINE float half_at(const char *from)
{
    uint8_t bytes[2];
    memcpy(bytes, from, 2);
    return fl_quant_half(bytes);
}

INLINE void tile_of(const fl_quant_layout l, int rows, int64_t k, const char *tile, const char *panel,
                    const fl_gemm_out *out)
{
    int height = fl_quant_height(rows), groups = CHUNK / l.group;
    float c[FL_QUANT_MOST_HEIGHT][PANEL] = {{0}};
    for (int i = 0; i < rows && out->accumulate; i++)
        memcpy(c[i], out->c + i * out->ldc, (size_t)out->cols * sizeof(float));
    for (int64_t block = 0; block < k / (CHUNK * l.chunks); block++) {
        const char *chunks = panel + fl_quant_chunks_at(l);
        float d[PANEL], m[PANEL] = {0};
        for (int n = 0; n < PANEL; n++) {
            d[n] = half_at(panel + 2 * n);
            if (l.has_min) m[n] = half_at(panel + 64 + 2 * n);
        }
        for (int chunk = 0; chunk < l.chunks; chunk++) {
            uint8_t u[PANEL * CHUNK] = {0};
            get_plane((const uint8_t *)chunks, l.low, 0, u);
            if (l.high) get_plane((const uint8_t *)chunks + 128 * l.low, l.high, l.low, u);
            for (int i = 0; i < PANEL * CHUNK && l.has_table; i++)
                u[i] = (uint8_t)(fl_iq4_nl_table[u[i]] + 128);
            const int8_t *s = (const int8_t *)panel + fl_quant_scales_at(l) + chunk * groups * PANEL;
            const uint8_t *t = (const uint8_t *)panel + fl_quant_minimums_at(l) + chunk * groups * PANEL;
            for (int i = 0; i < rows; i++) {
                const char *at = tile + 4 * i;
                float scale;
                memcpy(&scale, at, 4);
                for (int g = 0; g < groups; g++) {
                    int32_t start, product[PANEL];
                    float sum;
                    memcpy(&start, at + 4 * height * (1 + g), 4);
                    memcpy(&sum, at + 4 * height * (3 + g), 4);
                    for (int n = 0; n < PANEL; n++)
                        product[n] = start;
                    for (int j = g * 8 / groups; j < (g + 1) * 8 / groups; j++) {
                        int8_t q[4];
                        memcpy(q, at + 4 * height * (5 + j), 4);
                        for (int n = 0; n < PANEL; n++)
                            for (int e = 0; e < 4; e++)
                                product[n] += u[j * 128 + n * 4 + e] * q[e];
                    }
                    for (int n = 0; n < PANEL; n++) {
                        float factor = l.is_scaled ? d[n] * (float)s[g * PANEL + n] : d[n];
                        c[i][n] = __builtin_fmaf(scale, factor * (float)product[n], c[i][n]);
                        if (!l.has_min) continue;
                        float minimum = l.is_scaled ? m[n] * (float)t[g * PANEL + n] : m[n];
                        c[i][n] = __builtin_fmaf(-minimum, sum, c[i][n]);
                    }
                }
            }
            chunks += fl_quant_chunk_bytes(l);
            tile += height * FL_QUANT_ROW_CHUNK_BYTES;
        }
        panel = chunks;
    }
    for (int i = 0; i < rows; i++)
        for (int64_t n = 0; n < out->cols; n++)
            out->c[i * out->ldc + n] = out->bias ? c[i][n] + out->bias[n] : c[i][n];
}

#define TILE(name, type)                                                                                               \
    static void tile_##name(int rows, int64_t k, const void *tile, const void *panel, const fl_gemm_out *out)          \
    {                                                                                                                  \
        tile_of(fl_quant_layouts[type], rows, k, tile, panel, out);                                                    \
    }
TILE(q8_0, FL_QUANT_Q8_0)
TILE(q4_0, FL_QUANT_Q4_0)
TILE(q4_1, FL_QUANT_Q4_1)
TILE(q5_0, FL_QUANT_Q5_0)
TILE(q5_1, FL_QUANT_Q5_1)
TILE(iq4_nl, FL_QUANT_IQ4_NL)
TILE(q2_k, FL_QUANT_Q2_K)
TILE(q3_k, FL_QUANT_Q3_K)
TILE(q4_k, FL_QUANT_Q4_K)
TILE(q5_k, FL_QUANT_Q5_K)
TILE(q6_k, FL_QUANT_Q6_K)

const fl_quant_tile_kernels fl_quant_tile_kernels_generic = {
    .height = FL_QUANT_MOST_HEIGHT,
    .pack_rows = pack_rows,
    .tile = {[FL_QUANT_Q8_0] = tile_q8_0,
             [FL_QUANT_Q4_0] = tile_q4_0,
             [FL_QUANT_Q4_1] = tile_q4_1,
             [FL_QUANT_Q5_0] = tile_q5_0,
             [FL_QUANT_Q5_1] = tile_q5_1,
             [FL_QUANT_IQ4_NL] = tile_iq4_nl,
             [FL_QUANT_Q2_K] = tile_q2_k,
             [FL_QUANT_Q3_K] = tile_q3_k,
             [FL_QUANT_Q4_K] = tile_q4_k,
             [FL_QUANT_Q5_K] = tile_q5_k,
             [FL_QUANT_Q6_K] = tile_q6_k},
};
