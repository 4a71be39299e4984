/* Attention for vectors of FL_LANES values; the attend files of avx2/ and avx512/ define ATTEND_TABLE and
 * include this. */
#include <math.h>
#include <stdbool.h>
#include <stddef.h>

#include "kernel/attend.h"
#include "kernel/simd/exp2.h"
#include "kernel/simd/vector.h"

#define ATTEND_INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define ATTEND_UNROLL _Pragma("clang loop unroll(full)")
#else
#define ATTEND_UNROLL _Pragma("GCC unroll 32")
#endif
#define TILE_VECTORS (FL_ATTEND_KEYS / FL_LANES)
#define SUM_VECTORS (FL_ATTEND_LANES / FL_LANES)
#define STRIP_VECTORS (FL_LANES == 16 ? 4 : 2) /* width of the register tile */

static const float from_zero[1], from_c[1]; /* their addresses count */
#define FROM_ZERO from_zero
#define FROM_C from_c

typedef struct product_args {
    int depth;
    const float *a;
    ptrdiff_t a_row, a_step;
    const float *b;
    ptrdiff_t ldb;
    float *c;
    ptrdiff_t ldc;
    const float *factor;
    int tail; /* values in the last vector, if it is not whole */
} product_args;

/* The register tile: rows x vectors sums, each element of a multiplied into a row of b. */
ATTEND_INLINE void strip(const int rows, const int vectors, const bool whole, const product_args *p)
{
    fl_vec sum[FL_ATTEND_GROUP * 4], value[4];
    const float *a = p->a, *b = p->b, *factor = p->factor;
    ptrdiff_t a_row = p->a_row, a_step = p->a_step, ldb = p->ldb, ldc = p->ldc;
    float *c = p->c;
    int tail = p->tail, depth = p->depth;
    ATTEND_UNROLL
    for (int r = 0; r < rows; r++) {
        ATTEND_UNROLL
        for (int i = 0; i < vectors; i++) {
            const float *from = c + r * ldc + i * FL_LANES;
            if (factor == FROM_ZERO)
                sum[r * vectors + i] = fl_vec_set(0);
            else
                sum[r * vectors + i] = whole || i < vectors - 1 ? fl_vec_load(from) : fl_vec_load_first(from, tail);
            if (factor != FROM_ZERO && factor != FROM_C) sum[r * vectors + i] *= fl_vec_set(factor[r]);
        }
    }
    for (int k = 0; k < depth; k++) {
        ATTEND_UNROLL
        for (int i = 0; i < vectors; i++)
            value[i] =
                whole || i < vectors - 1 ? fl_vec_load(b + i * FL_LANES) : fl_vec_load_first(b + i * FL_LANES, tail);
        ATTEND_UNROLL
        for (int r = 0; r < rows; r++) {
            fl_vec x = fl_vec_set(a[r * a_row]);
            ATTEND_UNROLL
            for (int i = 0; i < vectors; i++)
                sum[r * vectors + i] = fl_vec_fma(x, value[i], sum[r * vectors + i]);
        }
        a += a_step;
        b += ldb;
    }
    ATTEND_UNROLL
    for (int r = 0; r < rows; r++) {
        ATTEND_UNROLL
        for (int i = 0; i < vectors; i++) {
            float *to = c + r * ldc + i * FL_LANES;
            if (whole || i < vectors - 1)
                fl_vec_store(to, sum[r * vectors + i]);
            else
                fl_vec_store_first(to, sum[r * vectors + i], tail);
        }
    }
}

#define STRIP(rows, vectors)                                                                                           \
    static void whole_##rows##_##vectors(const product_args *p)                                                        \
    {                                                                                                                  \
        strip(rows, vectors, true, p);                                                                                 \
    }                                                                                                                  \
    static void part_##rows##_##vectors(const product_args *p)                                                         \
    {                                                                                                                  \
        strip(rows, vectors, false, p);                                                                                \
    }
#define STRIPS(vectors)                                                                                                \
    STRIP(1, vectors) STRIP(2, vectors) STRIP(3, vectors) STRIP(4, vectors) STRIP(5, vectors) STRIP(6, vectors)
#define NAMES(kind, vectors)                                                                                           \
    {                                                                                                                  \
        kind##_1_##vectors, kind##_2_##vectors, kind##_3_##vectors, kind##_4_##vectors, kind##_5_##vectors,            \
            kind##_6_##vectors                                                                                         \
    }

_Static_assert(FL_ATTEND_GROUP == 6, "one function for each number of rows");
STRIPS(1)
STRIPS(2)
#if FL_LANES == 16
STRIPS(3)
STRIPS(4)
#endif

typedef void (*strip_fn)(const product_args *p);
static const strip_fn whole_strips[STRIP_VECTORS][FL_ATTEND_GROUP] = {
    NAMES(whole, 1),
    NAMES(whole, 2),
#if FL_LANES == 16
    NAMES(whole, 3),
    NAMES(whole, 4),
#endif
};
static const strip_fn part_strips[STRIP_VECTORS][FL_ATTEND_GROUP] = {
    NAMES(part, 1),
    NAMES(part, 2),
#if FL_LANES == 16
    NAMES(part, 3),
    NAMES(part, 4),
#endif
};

static void product(int rows, int cols, int depth, const float *a, ptrdiff_t a_row, ptrdiff_t a_step, const float *b,
                    ptrdiff_t ldb, float *c, ptrdiff_t ldc, const float *factor)
{
    int vectors = (cols + FL_LANES - 1) / FL_LANES, strips = (vectors + STRIP_VECTORS - 1) / STRIP_VECTORS;
    int tail = cols - (vectors - 1) * FL_LANES;
    for (int s = 0, at = 0; s < strips; s++) {
        /* Strips of about the same width: narrow ones leave the units idle. */
        int width = (vectors - at) / (strips - s), column = at * FL_LANES;
        const strip_fn *row = tail < FL_LANES && s == strips - 1 ? part_strips[width - 1] : whole_strips[width - 1];
        at += width;
        for (int r = 0; r < rows; r += FL_ATTEND_GROUP) {
            int group = rows - r < FL_ATTEND_GROUP ? rows - r : FL_ATTEND_GROUP;
            product_args p = {.depth = depth,
                              .a = a + r * a_row,
                              .a_row = a_row,
                              .a_step = a_step,
                              .b = b + column,
                              .ldb = ldb,
                              .c = c + r * ldc + column,
                              .ldc = ldc,
                              .factor = factor == FROM_ZERO || factor == FROM_C ? factor : factor + r,
                              .tail = tail};
            row[group - 1](&p);
        }
    }
}

#if FL_LANES == 16

typedef __mmask16 lanes;

ATTEND_INLINE fl_vec vec_exp2(fl_vec x)
{
    return fl_exp2_avx512(x);
}

/* Lanes of vector i of a tile that a row sees. */
ATTEND_INLINE lanes seen_lanes(int first, int last, int i)
{
    uint64_t below = last >= 64 ? ~0ULL : (1ULL << last) - 1, bits = first >= 64 ? 0 : below >> first << first;
    return (lanes)(bits >> (i * 16));
}
ATTEND_INLINE fl_vec choose(lanes m, fl_vec yes, fl_vec no)
{
    return _mm512_mask_blend_ps(m, no, yes);
}
ATTEND_INLINE fl_vec larger_of(fl_vec a, fl_vec b)
{
    return _mm512_max_ps(a, b);
}
ATTEND_INLINE fl_vec zero_if_equal(fl_vec v, fl_vec to)
{
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(v, to, _CMP_NEQ_UQ), v);
}
ATTEND_INLINE float largest_lane(fl_vec v)
{
    return _mm512_reduce_max_ps(v);
}
/* Each the larger of a's and of b's even and odd quarters: a's two, then b's two. */
ATTEND_INLINE fl_vec larger_quarters(fl_vec a, fl_vec b)
{
    return larger_of(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
}
/* In each quarter, two values for a and two for b. */
ATTEND_INLINE fl_vec larger_pairs(fl_vec a, fl_vec b)
{
    return larger_of(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
}
ATTEND_INLINE fl_vec larger_singles(fl_vec ab, fl_vec cd)
{
    __m512d x = _mm512_castps_pd(ab), y = _mm512_castps_pd(cd);
    return larger_of(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)), _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
}
/* The largest lane of each of v[16]. */
ATTEND_INLINE fl_vec largest_of_each(const fl_vec *v)
{
    fl_vec x[4];
    ATTEND_UNROLL
    for (int i = 0; i < 4; i++)
        x[i] = larger_quarters(larger_quarters(v[i], v[4 + i]), larger_quarters(v[8 + i], v[12 + i]));
    return larger_singles(larger_pairs(x[0], x[1]), larger_pairs(x[2], x[3]));
}

#else

typedef __m256 lanes;

ATTEND_INLINE fl_vec vec_exp2(fl_vec x)
{
    return fl_exp2_avx2(x);
}

ATTEND_INLINE lanes seen_lanes(int first, int last, int i)
{
    __m256i lane = _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(i * 8));
    __m256i below = _mm256_cmpgt_epi32(_mm256_set1_epi32(last), lane);
    return _mm256_castsi256_ps(_mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(first), lane), below));
}
ATTEND_INLINE fl_vec choose(lanes m, fl_vec yes, fl_vec no)
{
    return _mm256_blendv_ps(no, yes, m);
}
ATTEND_INLINE fl_vec larger_of(fl_vec a, fl_vec b)
{
    return _mm256_max_ps(a, b);
}
ATTEND_INLINE fl_vec zero_if_equal(fl_vec v, fl_vec to)
{
    return _mm256_and_ps(v, _mm256_cmp_ps(v, to, _CMP_NEQ_UQ));
}
ATTEND_INLINE float largest_lane(fl_vec v)
{
    __m128 x = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}
ATTEND_INLINE fl_vec larger_halves(fl_vec a, fl_vec b)
{
    return larger_of(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
}
ATTEND_INLINE fl_vec larger_pairs(fl_vec a, fl_vec b)
{
    return larger_of(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
}
ATTEND_INLINE fl_vec larger_singles(fl_vec ab, fl_vec cd)
{
    __m256d x = _mm256_castps_pd(ab), y = _mm256_castps_pd(cd);
    return larger_of(_mm256_castpd_ps(_mm256_unpacklo_pd(x, y)), _mm256_castpd_ps(_mm256_unpackhi_pd(x, y)));
}
/* The largest lane of each of v[8]. */
ATTEND_INLINE fl_vec largest_of_each(const fl_vec *v)
{
    fl_vec x[4];
    ATTEND_UNROLL
    for (int i = 0; i < 4; i++)
        x[i] = larger_halves(v[i], v[4 + i]);
    return larger_singles(larger_pairs(x[0], x[1]), larger_pairs(x[2], x[3]));
}

#endif

/* The largest logit of a row, still spread over the lanes. */
ATTEND_INLINE fl_vec row_top(const bool whole, const float *s, int first, int last)
{
    fl_vec nothing = fl_vec_set(-INFINITY), top[4];
    ATTEND_UNROLL
    for (int i = 0; i < TILE_VECTORS; i++) {
        fl_vec v = fl_vec_load(s + i * FL_LANES);
        if (!whole) v = choose(seen_lanes(first, last, i), v, nothing);
        top[i % 4] = i < 4 ? v : larger_of(v, top[i % 4]);
    }
    return larger_of(larger_of(top[0], top[1]), larger_of(top[2], top[3]));
}

ATTEND_INLINE void row_weights(const bool whole, float *s, float *sum, float shift, float factor, float peak, int first,
                               int last)
{
    fl_vec top = fl_vec_set(shift), weight[TILE_VECTORS];
    ATTEND_UNROLL
    for (int i = 0; i < TILE_VECTORS; i++) {
        weight[i] = vec_exp2(fl_vec_load(s + i * FL_LANES) - top);
        if (!whole) weight[i] = choose(seen_lanes(first, last, i), weight[i], fl_vec_set(0));
        fl_vec_store(s + i * FL_LANES, weight[i]);
    }
    ATTEND_UNROLL
    for (int i = 0; i < SUM_VECTORS; i++) {
        fl_vec w = (weight[i] + weight[i + SUM_VECTORS]) + (weight[i + 2 * SUM_VECTORS] + weight[i + 3 * SUM_VECTORS]);
        fl_vec_store(sum + i * FL_LANES,
                     fl_vec_fma(fl_vec_load(sum + i * FL_LANES), fl_vec_set(factor), w * fl_vec_set(peak)));
    }
}

/* n <= FL_LANES rows, whose maxima fill one vector. */
ATTEND_INLINE void softmax_rows(const bool whole, int n, float *s, float *max, float *sum, float *factor, float *peak,
                                const uint8_t *first, const uint8_t *last)
{
    fl_vec nothing = fl_vec_set(-INFINITY), top[FL_LANES];
    _Alignas(64) float shift[FL_LANES], factors[FL_LANES], peaks[FL_LANES];
    for (int r = 0; r < n; r++)
        top[r] = row_top(whole, s + r * FL_ATTEND_KEYS, whole ? 0 : first[r], whole ? FL_ATTEND_KEYS : last[r]);
    for (int r = n; r < FL_LANES; r++)
        top[r] = nothing;
    fl_vec here = largest_of_each(top), before = fl_vec_load_part(max, n), now = larger_of(here, before);
    fl_vec_store_part(max, now, n);
    /* Nothing seen yet: any finite number will do, since every weight is 0. */
    now = zero_if_equal(now, nothing);
    fl_vec_store(shift, peak ? zero_if_equal(here, nothing) : now);
    fl_vec_store(peaks, peak ? vec_exp2(here - now) : fl_vec_set(1));
    fl_vec_store(factors, vec_exp2(before - now));
    for (int r = 0; r < n; r++) {
        row_weights(whole, s + r * FL_ATTEND_KEYS, sum + r * FL_ATTEND_LANES, shift[r], factors[r], peaks[r],
                    whole ? 0 : first[r], whole ? FL_ATTEND_KEYS : last[r]);
        factor[r] = factors[r];
        if (peak) peak[r] = peaks[r];
    }
}

static void softmax(int rows, float *s, float *max, float *sum, float *factor, float *peak, const uint8_t *first,
                    const uint8_t *last)
{
    for (int r = 0; r < rows; r += FL_LANES) {
        int n = rows - r < FL_LANES ? rows - r : FL_LANES;
        float *logits = s + r * FL_ATTEND_KEYS, *sums = sum + r * FL_ATTEND_LANES, *peaks = peak ? peak + r : NULL;
        if (first)
            softmax_rows(false, n, logits, max + r, sums, factor + r, peaks, first + r, last + r);
        else
            softmax_rows(true, n, logits, max + r, sums, factor + r, peaks, NULL, NULL);
    }
}

static void scale_row(float *x, int n, float factor)
{
    fl_vec f = fl_vec_set(factor);
    for (int i = 0; i < n; i += FL_LANES)
        fl_vec_store_part(x + i, fl_vec_load_part(x + i, n - i) * f, n - i);
}

ATTEND_INLINE void backward_rows(const bool whole, int rows, float *w, float *dw, ptrdiff_t dw_stride, const float *lse,
                                 const float *mean, const uint8_t *first, const uint8_t *last)
{
    fl_vec zero = fl_vec_set(0);
    for (int r = 0; r < rows; r++) {
        fl_vec row_lse = fl_vec_set(lse[r]), row_mean = fl_vec_set(mean[r]);
        ATTEND_UNROLL
        for (int i = 0; i < TILE_VECTORS; i++) {
            float *weight = w + r * FL_ATTEND_KEYS + i * FL_LANES, *gradient = dw + r * dw_stride + i * FL_LANES;
            fl_vec p = vec_exp2(fl_vec_load(weight) - row_lse);
            fl_vec g = p * (fl_vec_load(gradient) - row_mean);
            if (!whole) {
                lanes m = seen_lanes(first[r], last[r], i);
                p = choose(m, p, zero);
                g = choose(m, g, zero);
            }
            fl_vec_store(weight, p);
            fl_vec_store(gradient, g);
        }
    }
}

static void softmax_backward(int rows, float *w, float *dw, ptrdiff_t dw_stride, const float *lse, const float *mean,
                             const uint8_t *first, const uint8_t *last)
{
    if (first)
        backward_rows(false, rows, w, dw, dw_stride, lse, mean, first, last);
    else
        backward_rows(true, rows, w, dw, dw_stride, lse, mean, NULL, NULL);
}

static void exp2_all(float *x, int n)
{
    for (int i = 0; i < n; i += FL_LANES)
        fl_vec_store_part(x + i, vec_exp2(fl_vec_load_part(x + i, n - i)), n - i);
}

#include "kernel/simd/attend_stored.h"

#include "kernel/simd/attend_integer.h"

#include "kernel/simd/attend_values.h"

#include "kernel/attend_tile.h"

const fl_attend_kernels ATTEND_TABLE = {
    .forward = forward,
    .backward = backward,
    .backward_query = backward_query,
    .unpack_keys = unpack_keys,
    .unpack_values = unpack_values,
    .quantise_queries = quantise_queries,
    .exp2 = exp2_all,
};
