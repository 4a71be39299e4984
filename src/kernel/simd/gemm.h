/* The dense kernels written on fl_vec. A level's gemm.c defines FL_GEMM_TABLE, the name of its table, and includes
 * this. What each kernel computes is said in kernel/gemm.h, and plainly in generic/gemm.c. */
#include "kernel/gemm.h"
#include "kernel/simd/vector.h"

/* MR: rows of a tile; 24 of AVX-512's 32 registers then hold sums. ROWS: the most rows of row_panels, and ROW_VECTORS
 * how many vectors of columns it reads at once. Two panels of 32 x KC would not fit the first-level cache; KC x MC
 * values of a take less than half of the second-level one. */
#if defined(__AVX512F__)
#define MR 12
#define ROWS 12
#define ROW_VECTORS(rows) ((rows) <= 2 ? 8 : (rows) <= 4 ? 4 : 2)
#define KC 320
#define MC 288
#else
#define MR 6
#define ROWS 3
#define ROW_VECTORS(rows) ((rows) == 1 ? 8 : 4)
#define KC 160
#define MC 288
#endif
#define TILE_COLS (2 * FL_LANES)
#define BYTES_AHEAD 4096 /* how far row_panels reads ahead: the hardware follows several streams well, but not one */

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

INLINE fl_vec load_f16(const uint16_t *p)
{
#if defined(__AVX512F__)
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
#else
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
#endif
}

INLINE fl_vec load_bf16(const uint16_t *p)
{
#if defined(__AVX512F__)
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
#else
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16));
#endif
}

INLINE fl_vec load_value(const fl_gemm_type type, const void *from, int64_t index)
{
    if (type == FL_GEMM_F16) return load_f16((const uint16_t *)from + index);
    if (type == FL_GEMM_BF16) return load_bf16((const uint16_t *)from + index);
    return fl_vec_load((const float *)from + index);
}

/* How many of `cols` columns fall into the vector that starts at column `first`. */
INLINE int lanes_left(int64_t cols, int64_t first)
{
    int64_t n = cols - first;
    return n <= 0 ? 0 : n < FL_LANES ? (int)n : FL_LANES;
}

/* A block of c, rows x vectors, into registers: 0 or the old values. */
INLINE void load_sums(fl_vec *sum, const int rows, const int vectors, const fl_gemm_out *out)
{
    if (!out->accumulate) {
        UNROLL
        for (int i = 0; i < rows * vectors; i++)
            sum[i] = fl_vec_set(0.0f);
        return;
    }
    bool whole = out->cols >= vectors * FL_LANES;
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int j = 0; j < vectors; j++) {
            const float *c = out->c + i * out->ldc + j * FL_LANES;
            sum[i * vectors + j] = whole ? fl_vec_load(c) : fl_vec_load_first(c, lanes_left(out->cols, j * FL_LANES));
        }
    }
}

INLINE void store_sums(fl_vec *sum, const int rows, const int vectors, const fl_gemm_out *out)
{
    if (out->bias) {
        UNROLL
        for (int j = 0; j < vectors; j++) {
            fl_vec b = fl_vec_load_first(out->bias + j * FL_LANES, lanes_left(out->cols, j * FL_LANES));
            UNROLL
            for (int i = 0; i < rows; i++)
                sum[i * vectors + j] = sum[i * vectors + j] + b;
        }
    }
    bool whole = out->cols >= vectors * FL_LANES;
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int j = 0; j < vectors; j++) {
            float *c = out->c + i * out->ldc + j * FL_LANES;
            if (whole)
                fl_vec_store(c, sum[i * vectors + j]);
            else
                fl_vec_store_first(c, sum[i * vectors + j], lanes_left(out->cols, j * FL_LANES));
        }
    }
}

INLINE void tile_of(const int rows, int64_t k, const float *a, const float *b, const fl_gemm_out *out)
{
    fl_vec sum[2 * MR];
    const char *ahead = out->ahead;
    load_sums(sum, rows, 2, out);
    for (int64_t l = 0; l < k; l++) {
        __builtin_prefetch(ahead + l * 64, 0, 2);
        fl_vec b0 = fl_vec_load(b), b1 = fl_vec_load(b + FL_LANES);
        UNROLL
        for (int i = 0; i < rows; i++) {
            fl_vec x = fl_vec_set(a[i]);
            sum[2 * i] = fl_vec_fma(x, b0, sum[2 * i]);
            sum[2 * i + 1] = fl_vec_fma(x, b1, sum[2 * i + 1]);
        }
        a += rows;
        b += FL_GEMM_PANEL;
    }
    store_sums(sum, rows, 2, out);
}

/* One function per height of the tile, so that each keeps its sums in registers. */
#define TILE_OF(rows)                                                                                                  \
    static void tile_##rows(int64_t k, const float *a, const float *b, const fl_gemm_out *out)                         \
    {                                                                                                                  \
        tile_of(rows, k, a, b, out);                                                                                   \
    }
typedef void (*tile_fn)(int64_t k, const float *a, const float *b, const fl_gemm_out *out);

/* `vectors` vectors of columns at once, from one panel or from several: with one row, the sums of a single vector would
 * wait for each other. */
INLINE void columns_of(const fl_gemm_type type, const int rows, const int vectors, int64_t k, const float *a,
                       int64_t lda, const void *b, int64_t panel_elements, const fl_gemm_out *out)
{
    fl_vec sum[ROWS * 2 + 8], value[8];
    const int64_t value_bytes = type == FL_GEMM_F32 ? 4 : 2;
    load_sums(sum, rows, vectors, out);
    for (int64_t l = 0; l < k; l++) {
        if (vectors * FL_LANES == FL_GEMM_PANEL)
            for (int line = 0; line < value_bytes / 2; line++)
                __builtin_prefetch((const char *)b + l * FL_GEMM_PANEL * value_bytes + line * 64 + BYTES_AHEAD);
        UNROLL
        for (int j = 0; j < vectors; j++) {
            int col = j * FL_LANES;
            value[j] =
                load_value(type, b, col / FL_GEMM_PANEL * panel_elements + l * FL_GEMM_PANEL + col % FL_GEMM_PANEL);
        }
        UNROLL
        for (int i = 0; i < rows; i++) {
            fl_vec x = fl_vec_set(a[i * lda + l]);
            UNROLL
            for (int j = 0; j < vectors; j++)
                sum[i * vectors + j] = fl_vec_fma(x, value[j], sum[i * vectors + j]);
        }
    }
    store_sums(sum, rows, vectors, out);
}

INLINE void row_panels_of(const fl_gemm_type type, const int rows, int64_t k, const float *a, int64_t lda,
                          const void *b, int64_t panel_elements, const fl_gemm_out *out)
{
    const int vectors = ROW_VECTORS(rows), panel_vectors = FL_GEMM_PANEL / FL_LANES;
    const int64_t value_bytes = type == FL_GEMM_F32 ? 4 : 2;
    fl_gemm_out part = *out;
    const char *panel = b;
    while (part.cols > 0) {
        int step = FL_GEMM_PANEL;
        if (part.cols >= vectors * FL_LANES) {
            step = vectors * FL_LANES;
            columns_of(type, rows, vectors, k, a, lda, panel, panel_elements, &part);
        } else {
            columns_of(type, rows, panel_vectors, k, a, lda, panel, panel_elements, &part);
        }
        panel += step / FL_GEMM_PANEL * panel_elements * value_bytes;
        part.c += step;
        part.cols -= step;
        if (part.bias) part.bias += step;
    }
}

#define ROW_PANELS_OF(type, rows)                                                                                      \
    static void row_panels_##type##_##rows(int64_t k, const float *a, int64_t lda, const void *b,                      \
                                           int64_t panel_elements, const fl_gemm_out *out)                             \
    {                                                                                                                  \
        row_panels_of(FL_GEMM_##type, rows, k, a, lda, b, panel_elements, out);                                        \
    }
typedef void (*row_panels_fn)(int64_t k, const float *a, int64_t lda, const void *b, int64_t panel_elements,
                              const fl_gemm_out *out);

INLINE void unpack_of(const fl_gemm_type type, const void *from, float *to, int64_t n)
{
    for (int64_t i = 0; i < n; i += FL_LANES)
        fl_vec_store(to + i, load_value(type, from, i));
}

static void unpack_F32(const void *from, float *to, int64_t n)
{
    unpack_of(FL_GEMM_F32, from, to, n);
}

static void unpack_F16(const void *from, float *to, int64_t n)
{
    unpack_of(FL_GEMM_F16, from, to, n);
}

static void unpack_BF16(const void *from, float *to, int64_t n)
{
    unpack_of(FL_GEMM_BF16, from, to, n);
}

/* v[i] lane j to v[j] lane i. */
INLINE void transpose(fl_vec *v)
{
    fl_vec t[FL_LANES];
#if defined(__AVX512F__)
    /* Pairs, then fours, inside each 128-bit quarter: t[4g + j] then holds columns j, 4+j, 8+j, 12+j of rows 4g .. */
    UNROLL
    for (int i = 0; i < 16; i += 4) {
        __m512d low0 = _mm512_castps_pd(_mm512_unpacklo_ps(v[i], v[i + 1]));
        __m512d low1 = _mm512_castps_pd(_mm512_unpacklo_ps(v[i + 2], v[i + 3]));
        __m512d high0 = _mm512_castps_pd(_mm512_unpackhi_ps(v[i], v[i + 1]));
        __m512d high1 = _mm512_castps_pd(_mm512_unpackhi_ps(v[i + 2], v[i + 3]));
        t[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(low0, low1));
        t[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low0, low1));
        t[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high0, high1));
        t[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high0, high1));
    }
    UNROLL
    for (int j = 0; j < 4; j++) {
        fl_vec even0 = _mm512_shuffle_f32x4(t[j], t[4 + j], 0x88),
               even1 = _mm512_shuffle_f32x4(t[8 + j], t[12 + j], 0x88);
        fl_vec odd0 = _mm512_shuffle_f32x4(t[j], t[4 + j], 0xdd),
               odd1 = _mm512_shuffle_f32x4(t[8 + j], t[12 + j], 0xdd);
        v[j] = _mm512_shuffle_f32x4(even0, even1, 0x88);
        v[8 + j] = _mm512_shuffle_f32x4(even0, even1, 0xdd);
        v[4 + j] = _mm512_shuffle_f32x4(odd0, odd1, 0x88);
        v[12 + j] = _mm512_shuffle_f32x4(odd0, odd1, 0xdd);
    }
#else
    UNROLL
    for (int i = 0; i < 8; i += 4) {
        __m256d low0 = _mm256_castps_pd(_mm256_unpacklo_ps(v[i], v[i + 1]));
        __m256d low1 = _mm256_castps_pd(_mm256_unpacklo_ps(v[i + 2], v[i + 3]));
        __m256d high0 = _mm256_castps_pd(_mm256_unpackhi_ps(v[i], v[i + 1]));
        __m256d high1 = _mm256_castps_pd(_mm256_unpackhi_ps(v[i + 2], v[i + 3]));
        t[i] = _mm256_castpd_ps(_mm256_unpacklo_pd(low0, low1));
        t[i + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(low0, low1));
        t[i + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(high0, high1));
        t[i + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(high0, high1));
    }
    UNROLL
    for (int j = 0; j < 4; j++) {
        v[j] = _mm256_permute2f128_ps(t[j], t[4 + j], 0x20);
        v[4 + j] = _mm256_permute2f128_ps(t[j], t[4 + j], 0x31);
    }
#endif
}

/* A strip is a tile of a or a panel of b: [k][width], the width at most one vector or whole vectors, zeros where there
 * are fewer rows. All stores but the last are whole vectors: what they write past the width is written over by the next
 * k. Here k runs along memory: blocks are transposed in registers. */
static void pack_along(int64_t rows, int64_t width, int64_t k, const float *a, int64_t row_stride, float *out)
{
    for (int64_t first = 0; first < width; first += FL_LANES) {
        int have = lanes_left(rows, first);
        const float *from = a + first * row_stride;
        float *to = out + first;
        for (int64_t l = 0; l < k; l += FL_LANES) {
            int steps = lanes_left(k, l);
            fl_vec v[FL_LANES];
            UNROLL
            for (int i = 0; i < FL_LANES; i++)
                v[i] = i < have ? fl_vec_load_part(from + i * row_stride + l, steps) : fl_vec_set(0.0f);
            transpose(v);
            if ((k - l - FL_LANES) * width >= FL_LANES) {
                UNROLL
                for (int i = 0; i < FL_LANES; i++)
                    fl_vec_store(to + (l + i) * width, v[i]);
            } else {
                for (int i = 0; i < steps; i++)
                    fl_vec_store_part(to + (l + i) * width, v[i], (k - l - i) * width - first);
            }
        }
    }
}

static void pack_any(int64_t rows, int64_t width, int64_t k, const float *a, int64_t row_stride, int64_t col_stride,
                     float *out)
{
    for (int64_t l = 0; l < k; l++)
        for (int64_t i = 0; i < width; i++)
            out[l * width + i] = i < rows ? a[i * row_stride + l * col_stride] : 0.0f;
}

/* Rows run along memory: a few strips at once are copied, as many as fill some cache lines of each k. The rows of a few
 * k later are asked for, since each lies on a page of its own. */
#define STRIPS 8
#define ROWS_AHEAD 8

static void prefetch_row(const float *from, int64_t values)
{
    for (int64_t i = 0; i < values; i += 16)
        __builtin_prefetch(from + i);
}

static void pack_tiles_across(int64_t rows, int64_t tiles, int64_t k, const float *a, int64_t col_stride, float *out)
{
    for (int64_t begin = 0; begin < tiles; begin += STRIPS) {
        int64_t end = begin + STRIPS < tiles ? begin + STRIPS : tiles;
        int64_t left = fl_gemm_share(rows, tiles, begin), right = fl_gemm_share(rows, tiles, end);
        for (int64_t l = 0; l < k; l++) {
            const float *from = a + l * col_stride;
            if (l + ROWS_AHEAD < k) prefetch_row(from + ROWS_AHEAD * col_stride + left, right - left);
            for (int64_t t = begin, first = left; t < end; t++) {
                int64_t height = rows / tiles + (t < rows % tiles);
                float *to = out + first * k + l * height;
                fl_vec_store_part(to, fl_vec_load_part(from + first, rows - first), (k - l) * height);
                first += height;
            }
        }
    }
}

static void pack_panels_across(int64_t rows, int64_t k, const float *b, int64_t col_stride, float *out,
                               int64_t panel_stride)
{
    for (int64_t left = 0; left < rows; left += STRIPS * FL_GEMM_PANEL) {
        int64_t right = left + STRIPS * FL_GEMM_PANEL < rows ? left + STRIPS * FL_GEMM_PANEL : rows;
        for (int64_t l = 0; l < k; l++) {
            const float *from = b + l * col_stride;
            if (l + ROWS_AHEAD < k) prefetch_row(from + ROWS_AHEAD * col_stride + left, right - left);
            for (int64_t first = left; first < right; first += FL_GEMM_PANEL) {
                float *to = out + first / FL_GEMM_PANEL * panel_stride + l * FL_GEMM_PANEL;
                UNROLL
                for (int i = 0; i < FL_GEMM_PANEL; i += FL_LANES)
                    fl_vec_store(to + i, fl_vec_load_part(from + first + i, lanes_left(rows, first + i)));
            }
        }
    }
}

static void pack_tiles(int64_t rows, int64_t tiles, int64_t k, const float *a, int64_t row_stride, int64_t col_stride,
                       float *out)
{
    if (row_stride == 1 && col_stride != 1) {
        pack_tiles_across(rows, tiles, k, a, col_stride, out);
        return;
    }
    for (int64_t t = 0; t < tiles; t++) {
        int64_t first = fl_gemm_share(rows, tiles, t), height = fl_gemm_share(rows, tiles, t + 1) - first;
        const float *from = a + first * row_stride;
        if (col_stride == 1)
            pack_along(height, height, k, from, row_stride, out + first * k);
        else
            pack_any(height, height, k, from, row_stride, col_stride, out + first * k);
    }
}

static void pack_panels(int64_t rows, int64_t k, const float *b, int64_t row_stride, int64_t col_stride, float *out,
                        int64_t panel_stride)
{
    if (row_stride == 1 && col_stride != 1) {
        pack_panels_across(rows, k, b, col_stride, out, panel_stride);
        return;
    }
    for (int64_t first = 0; first < rows; first += FL_GEMM_PANEL) {
        int64_t have = rows - first < FL_GEMM_PANEL ? rows - first : FL_GEMM_PANEL;
        const float *from = b + first * row_stride;
        float *to = out + first / FL_GEMM_PANEL * panel_stride;
        if (col_stride == 1)
            pack_along(have, FL_GEMM_PANEL, k, from, row_stride, to);
        else
            pack_any(have, FL_GEMM_PANEL, k, from, row_stride, col_stride, to);
    }
}

static inline void exp_lanes(const float *x, float shift, float *out)
{
    UNROLL
    for (int j = 0; j < FL_SOFTMAX_LANES; j += FL_LANES)
        fl_vec_store(out + j, fl_vec_exp(fl_vec_load(x + j) - fl_vec_set(shift)));
}

#include "kernel/softmax_lanes.h"

TILE_OF(1)
TILE_OF(2)
TILE_OF(3)
TILE_OF(4)
TILE_OF(5)
TILE_OF(6)
#if MR == 12
TILE_OF(7)
TILE_OF(8)
TILE_OF(9)
TILE_OF(10)
TILE_OF(11)
TILE_OF(12)
#endif

static void tile(int rows, int64_t k, const float *a, const float *b, const fl_gemm_out *out)
{
    static const tile_fn of_height[MR] = {
        tile_1,
        tile_2,
        tile_3,
        tile_4,
        tile_5,
        tile_6,
#if MR == 12
        tile_7,
        tile_8,
        tile_9,
        tile_10,
        tile_11,
        tile_12,
#endif
    };
    fl_gemm_out part = *out;
    for (int first = 0; first < FL_GEMM_PANEL && part.cols > 0; first += TILE_COLS) {
        of_height[rows - 1](k, a, b + first, &part);
        part.c += TILE_COLS;
        part.cols -= TILE_COLS;
        if (part.bias) part.bias += TILE_COLS;
    }
}

#if ROWS == 12
#define ROW_PANELS_FROM_4(type)                                                                                        \
    ROW_PANELS_OF(type, 4)                                                                                             \
    ROW_PANELS_OF(type, 5)                                                                                             \
    ROW_PANELS_OF(type, 6)                                                                                             \
    ROW_PANELS_OF(type, 7)                                                                                             \
    ROW_PANELS_OF(type, 8)                                                                                             \
    ROW_PANELS_OF(type, 9)                                                                                             \
    ROW_PANELS_OF(type, 10)                                                                                            \
    ROW_PANELS_OF(type, 11)                                                                                            \
    ROW_PANELS_OF(type, 12)
#define ROW_PANELS_NAMES_FROM_4(type)                                                                                  \
    row_panels_##type##_4, row_panels_##type##_5, row_panels_##type##_6, row_panels_##type##_7, row_panels_##type##_8, \
        row_panels_##type##_9, row_panels_##type##_10, row_panels_##type##_11, row_panels_##type##_12,
#else
#define ROW_PANELS_FROM_4(type)
#define ROW_PANELS_NAMES_FROM_4(type)
#endif

#define ROW_PANELS(type)                                                                                               \
    ROW_PANELS_OF(type, 1)                                                                                             \
    ROW_PANELS_OF(type, 2)                                                                                             \
    ROW_PANELS_OF(type, 3)                                                                                             \
    ROW_PANELS_FROM_4(type)                                                                                            \
    static void row_panels_##type(int rows, int64_t k, const float *a, int64_t lda, const void *b,                     \
                                  int64_t panel_elements, const fl_gemm_out *out)                                      \
    {                                                                                                                  \
        static const row_panels_fn of_height[ROWS] = {row_panels_##type##_1, row_panels_##type##_2,                    \
                                                      row_panels_##type##_3, ROW_PANELS_NAMES_FROM_4(type)};           \
        of_height[rows - 1](k, a, lda, b, panel_elements, out);                                                        \
    }

ROW_PANELS(F32)
ROW_PANELS(F16)
ROW_PANELS(BF16)

const fl_gemm_kernels FL_GEMM_TABLE = {
    .mr = MR,
    .kc = KC,
    .mc = MC,
    .row_panels_rows = ROWS,
    .tile = tile,
    .row_panels = {[FL_GEMM_F32] = row_panels_F32, [FL_GEMM_F16] = row_panels_F16, [FL_GEMM_BF16] = row_panels_BF16},
    .unpack = {[FL_GEMM_F32] = unpack_F32, [FL_GEMM_F16] = unpack_F16, [FL_GEMM_BF16] = unpack_BF16},
    .pack_tiles = pack_tiles,
    .pack_panels = pack_panels,
    .maximum = maximum,
    .exp_sum = exp_sum,
    .count_above = count_above,
    .exp_scale = exp_scale,
};
