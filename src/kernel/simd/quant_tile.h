/* The products with quantised weights written on vectors of integers and fl_vec. A level's quant.c defines
 * FL_QUANT_TABLE, the name of its table, and includes this. What is computed is said in kernel/quant_tile.h, and
 * plainly in generic/quant_tile.c.
 */
#include <float.h>
#include <math.h>

#include "kernel/quant_iq4_nl.h"
#include "kernel/quant_tile.h"
#include "kernel/simd/vector.h"

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

#define VECTOR_BYTES (4 * FL_LANES)
/* Few rows wait for memory: as in simd/gemm.h the hardware is helped with a single stream. */
#define BYTES_AHEAD 8192

/* The largest of eight magnitudes, which order as their bits do, with infinities and NaN above all that is finite. */
INLINE float largest_of_eight(__m256i v)
{
    __m128i four = _mm_max_epu32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    four = _mm_max_epu32(four, _mm_unpackhi_epi64(four, four));
    four = _mm_max_epu32(four, _mm_shuffle_epi32(four, 0xb1));
    return _mm_cvtss_f32(_mm_castsi128_ps(four));
}

/* HEIGHT: rows of a tile; VECTORS: of columns at once, so that their sums and the integer sums under way stay in
 * registers. */
#if defined(__AVX512F__)

#define HEIGHT FL_QUANT_MOST_HEIGHT
#define VECTORS(rows) 2
#define OFFSET(l) ((l).offset)

typedef __m512i ints;

INLINE ints load_ints(const void *p)
{
    return _mm512_loadu_si512(p);
}

INLINE ints set_ints(const void *p)
{
    int32_t x;
    memcpy(&x, p, 4);
    return _mm512_set1_epi32(x);
}

INLINE ints set_bytes(int x)
{
    return _mm512_set1_epi8((char)x);
}

INLINE ints right(ints v, int shift)
{
    return _mm512_srli_epi16(v, (unsigned)shift);
}

INLINE ints left(ints v, int shift)
{
    return _mm512_slli_epi16(v, (unsigned)shift);
}

INLINE ints look_up(ints index)
{
    __m128i table = _mm_loadu_si128((const __m128i *)(const void *)fl_iq4_nl_table);
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_xor_si128(table, _mm_set1_epi8((char)0x80))), index);
}

INLINE fl_vec to_float(ints v)
{
    return _mm512_cvtepi32_ps(v);
}

INLINE fl_vec signed_bytes(const void *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p)));
}

INLINE fl_vec unsigned_bytes(const void *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(p)));
}

INLINE fl_vec halves(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256(p));
}

/* sum[i] + four products; q the same four bytes in each lane. */
INLINE ints add_products(const fl_quant_layout l, ints sum, ints u, ints q)
{
    (void)l;
    return _mm512_dpbusd_epi32(sum, u, q);
}

INLINE float largest_of(const float x[32])
{
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    __m512i all = _mm512_max_epu32(_mm512_loadu_si512(x) & magnitude, _mm512_loadu_si512(x + 16) & magnitude);
    return largest_of_eight(_mm256_max_epu32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1)));
}

/* Truncation makes a zero of what NaN and infinities times 0 are converted to. */
INLINE __m256i quantised(const float x[32], float inverse)
{
    __m512 factor = _mm512_set1_ps(inverse);
    __m128i first = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_loadu_ps(x) * factor));
    __m128i second = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_loadu_ps(x + 16) * factor));
    return _mm256_inserti128_si256(_mm256_castsi128_si256(first), second, 1);
}

#else

#define HEIGHT 4
#define VECTORS(rows) ((rows) == 1 ? 4 : (rows) == 2 ? 2 : 1)
#if defined(__AVXVNNI__)
#define OFFSET(l) ((l).offset)
#else
/* Products of unsigned and signed bytes are added in pairs that must fit 16 bits, so 8-bit weights are split into
 * magnitude and sign, 128 * 127 * 2 = 32512, and keep their sign: offset 0. The others are at most 63. */
#define OFFSET(l) ((l).offset == 128 ? 0 : (l).offset)
#endif

typedef __m256i ints;

INLINE ints load_ints(const void *p)
{
    return _mm256_loadu_si256(p);
}

INLINE ints set_ints(const void *p)
{
    int32_t x;
    memcpy(&x, p, 4);
    return _mm256_set1_epi32(x);
}

INLINE ints set_bytes(int x)
{
    return _mm256_set1_epi8((char)x);
}

INLINE ints right(ints v, int shift)
{
    return _mm256_srli_epi16(v, shift);
}

INLINE ints left(ints v, int shift)
{
    return _mm256_slli_epi16(v, shift);
}

INLINE ints look_up(ints index)
{
    __m128i table = _mm_loadu_si128((const __m128i *)(const void *)fl_iq4_nl_table);
    return _mm256_xor_si256(_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), index), set_bytes(0x80));
}

INLINE fl_vec to_float(ints v)
{
    return _mm256_cvtepi32_ps(v);
}

INLINE fl_vec signed_bytes(const void *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p)));
}

INLINE fl_vec unsigned_bytes(const void *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(p)));
}

INLINE fl_vec halves(const void *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128(p));
}

INLINE ints add_products(const fl_quant_layout l, ints sum, ints u, ints q)
{
#if defined(__AVXVNNI__)
    (void)l;
    return _mm256_dpbusd_avx_epi32(sum, u, q);
#else
    if (l.offset == 128) {
        ints w = _mm256_xor_si256(u, set_bytes(0x80));
        u = _mm256_abs_epi8(w);
        q = _mm256_sign_epi8(q, w);
    }
    return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(u, q), _mm256_set1_epi16(1)));
#endif
}

INLINE float largest_of(const float x[32])
{
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    __m256i all = _mm256_setzero_si256();
    for (int i = 0; i < 32; i += 8)
        all = _mm256_max_epu32(all, _mm256_and_si256(load_ints(x + i), magnitude));
    return largest_of_eight(all);
}

INLINE __m256i quantised(const float x[32], float inverse)
{
    __m256i n[4];
    for (int i = 0; i < 4; i++) {
        fl_vec v = fl_vec_load(x + 8 * i) * fl_vec_set(inverse);
        n[i] = _mm256_cvtps_epi32(_mm256_and_ps(v, _mm256_cmp_ps(v, v, _CMP_ORD_Q))); /* 0 for NaN */
    }
    /* Packing works in halves of 128 bits; the permutation puts runs of four back into order. */
    __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(n[0], n[1]), _mm256_packs_epi32(n[2], n[3]));
    return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

#endif

#define AT_ONCE 16 /* chunks whose divisions are done together */

/* From the largest magnitudes to scales and their inverses; what is not finite gets 0 for an inverse and NaN as scale,
 * what would be denormal two zeros. */
INLINE void find_scales(const float largest[AT_ONCE], float scale[AT_ONCE], float inverse[AT_ONCE])
{
    for (int c = 0; c < AT_ONCE; c++) {
        float most = largest[c], one = most / 127.0f, per = 127.0f / most;
        bool finite = most <= FLT_MAX, normal = finite && one >= FLT_MIN;
        scale[c] = finite ? normal ? one : 0.0f : NAN;
        inverse[c] = normal ? per : 0.0f;
    }
}

static void pack_rows(fl_quant_type type, int rows, int64_t k, const float *x, int64_t ldx, void *tile)
{
    const fl_quant_layout l = fl_quant_layouts[type];
    const int height = fl_quant_height(rows);
    if (height > rows) memset(tile, 0, (size_t)fl_quant_tile_bytes(rows, k));
    for (int i = 0; i < rows; i++, x += ldx) {
        char *chunk = tile;
        for (int64_t first = 0; first < k / 32; first += AT_ONCE) {
            float largest[AT_ONCE] = {0}, scale[AT_ONCE], inverse[AT_ONCE];
            const float *from = x + first * 32;
            const int count = (int)(k / 32 - first < AT_ONCE ? k / 32 - first : AT_ONCE);
            for (int c = 0; c < count; c++) {
                __builtin_prefetch(from + (2 * AT_ONCE + c) * 32);
                __builtin_prefetch(from + (2 * AT_ONCE + c) * 32 + 16);
                largest[c] = largest_of(from + c * 32);
            }
            find_scales(largest, scale, inverse);
            for (int c = 0; c < count; c++, chunk += height * FL_QUANT_ROW_CHUNK_BYTES) {
                __m256i bytes = quantised(from + c * 32, inverse[c]);
                /* Sums of eight bytes, each 128 too large, then of sixteen. */
                __m256i sums =
                    _mm256_sad_epu8(_mm256_xor_si256(bytes, _mm256_set1_epi8((char)0x80)), _mm256_setzero_si256());
                sums = _mm256_add_epi64(sums, _mm256_unpackhi_epi64(sums, sums));
                int8_t q[32];
                _mm256_storeu_si256((__m256i *)(void *)q, bytes);
                fl_quant_put_chunk(l, OFFSET(l), height, i, q, scale[c],
                                   _mm_cvtsi128_si32(_mm256_castsi256_si128(sums)) - 16 * 128,
                                   _mm_cvtsi128_si32(_mm256_extracti128_si256(sums, 1)) - 16 * 128, chunk);
            }
        }
    }
}

/* u of one vector of columns and the values 4 j .. 4 j + 3: bytes 128 j on of what would be 8 bits per value. */
INLINE ints get_values(const fl_quant_layout l, const int j, const char *chunk)
{
    const int low_runs = l.low, run = j % low_runs, field = j / low_runs * l.low;
    ints u = load_ints(chunk + run * 128);
    if (l.low < 8) {
        if (field) u = right(u, field);
        u &= set_bytes((1 << l.low) - 1);
    }
    if (l.high) {
        const int at = j / l.high * l.high;
        ints high = load_ints(chunk + 128 * l.low + j % l.high * 128);
        high = at > l.low ? right(high, at - l.low) : at < l.low ? left(high, l.low - at) : high;
        u |= high & set_bytes(((1 << l.high) - 1) << l.low);
    }
    return l.has_table ? look_up(u) : u;
}

INLINE fl_vec set_float(const void *p)
{
    float x;
    memcpy(&x, p, 4);
    return fl_vec_set(x);
}

/* How many of `cols` columns fall into the vector that starts at column `first`. */
INLINE int lanes_left(int64_t cols, int64_t first)
{
    int64_t n = cols - first;
    return n <= 0 ? 0 : n < FL_LANES ? (int)n : FL_LANES;
}

/* Columns `first` .. of the panel, as many vectors of them; height rows, of which `rows` exist. */
INLINE void columns_of(const fl_quant_layout l, const int height, const int vectors, int first, int rows, int64_t k,
                       const char *tile, const char *panel, const fl_gemm_out *out)
{
    fl_vec sum[FL_QUANT_MOST_HEIGHT * 4];
    const int groups = 32 / l.group, fours = l.group / 4;
    const int lines = 2 * (l.low + l.high) * vectors * FL_LANES / FL_QUANT_PANEL; /* of 64 bytes in a chunk's columns */
    const int header_lines = (int)fl_quant_chunks_at(l) / 64;
    UNROLL
    for (int i = 0; i < height; i++) {
        UNROLL
        for (int v = 0; v < vectors; v++) {
            int column = first + v * FL_LANES;
            sum[i * vectors + v] = out->accumulate && i < rows ? fl_vec_load_first(out->c + i * out->ldc + column,
                                                                                   lanes_left(out->cols, column))
                                                               : fl_vec_set(0.0f);
        }
    }
    const fl_vec zero = fl_vec_set(0.0f);
    for (int64_t block = 0; block < k / (32 * l.chunks); block++) {
        const char *chunk = panel + fl_quant_chunks_at(l) + 4 * first;
        const char *s = panel + fl_quant_scales_at(l) + first, *t = panel + fl_quant_minimums_at(l) + first;
        fl_vec d[4], m[4];
        if (height <= 2) {
            UNROLL
            for (int line = 0; line < header_lines; line++)
                __builtin_prefetch(panel + BYTES_AHEAD + line * 64, 0, 3);
        }
        UNROLL
        for (int v = 0; v < vectors; v++) {
            d[v] = halves(panel + 2 * (first + v * FL_LANES));
            if (l.has_min) m[v] = halves(panel + 64 + 2 * (first + v * FL_LANES));
        }
        for (int c = 0; c < l.chunks; c++) {
            if (height <= 2) {
                UNROLL
                for (int line = 0; line < lines; line++)
                    __builtin_prefetch(chunk + BYTES_AHEAD + line * 64, 0, 3);
            }
            UNROLL
            for (int g = 0; g < groups; g++) {
                ints integer[FL_QUANT_MOST_HEIGHT * 4];
                UNROLL
                for (int i = 0; i < height; i++) {
                    UNROLL
                    for (int v = 0; v < vectors; v++)
                        integer[i * vectors + v] = set_ints(tile + 4 * (height * (1 + g) + i));
                }
                UNROLL
                for (int four = 0; four < fours; four++) {
                    const int j = g * fours + four;
                    ints u[4];
                    UNROLL
                    for (int v = 0; v < vectors; v++)
                        u[v] = get_values(l, j, chunk + v * VECTOR_BYTES);
                    UNROLL
                    for (int i = 0; i < height; i++) {
                        ints q = set_ints(tile + 4 * (height * (5 + j) + i));
                        UNROLL
                        for (int v = 0; v < vectors; v++)
                            integer[i * vectors + v] = add_products(l, integer[i * vectors + v], u[v], q);
                    }
                }
                UNROLL
                for (int v = 0; v < vectors; v++) {
                    fl_vec factor = d[v];
                    if (l.is_scaled) factor = factor * signed_bytes(s + g * FL_QUANT_PANEL + v * FL_LANES);
                    UNROLL
                    for (int i = 0; i < height; i++) {
                        fl_vec *to = &sum[i * vectors + v];
                        *to = fl_vec_fma(set_float(tile + 4 * i), factor * to_float(integer[i * vectors + v]), *to);
                    }
                    if (!l.has_min) continue;
                    fl_vec minimum = m[v];
                    if (l.is_scaled) minimum = minimum * unsigned_bytes(t + g * FL_QUANT_PANEL + v * FL_LANES);
                    UNROLL
                    for (int i = 0; i < height; i++) {
                        fl_vec *to = &sum[i * vectors + v];
                        *to = fl_vec_minus_product(*to, minimum, set_float(tile + 4 * (height * (3 + g) + i)));
                    }
                }
            }
            chunk += fl_quant_chunk_bytes(l);
            s += groups * FL_QUANT_PANEL;
            t += groups * FL_QUANT_PANEL;
            tile += height * FL_QUANT_ROW_CHUNK_BYTES;
        }
        panel = chunk - 4 * first;
    }
    UNROLL
    for (int v = 0; v < vectors; v++) {
        int column = first + v * FL_LANES, lanes = lanes_left(out->cols, column);
        fl_vec bias = out->bias ? fl_vec_load_first(out->bias + column, lanes) : zero;
        UNROLL
        for (int i = 0; i < height; i++) {
            if (i >= rows) continue;
            fl_vec x = sum[i * vectors + v];
            if (out->bias) x = x + bias;
            fl_vec_store_first(out->c + i * out->ldc + column, x, lanes);
        }
    }
}

INLINE void tile_of_height(const fl_quant_layout l, const int height, int rows, int64_t k, const char *tile,
                           const char *panel, const fl_gemm_out *out)
{
    const int vectors = VECTORS(height);
    for (int first = 0; first < FL_QUANT_PANEL && first < out->cols; first += vectors * FL_LANES)
        columns_of(l, height, vectors, first, rows, k, tile, panel, out);
}

INLINE void tile_of(const fl_quant_layout l, int rows, int64_t k, const char *tile, const char *panel,
                    const fl_gemm_out *out)
{
    if (rows > 4 && HEIGHT > 4)
        tile_of_height(l, FL_QUANT_MOST_HEIGHT, rows, k, tile, panel, out);
    else if (rows > 2)
        tile_of_height(l, 4, rows, k, tile, panel, out);
    else if (rows == 2)
        tile_of_height(l, 2, rows, k, tile, panel, out);
    else
        tile_of_height(l, 1, rows, k, tile, panel, out);
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

const fl_quant_tile_kernels FL_QUANT_TABLE = {
    .height = HEIGHT,
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
