/* Values of Q8_0 and Q4_0 as the integers they are, for vectors of FL_LANES sums; included by simd/attend.h. What is
 * computed is said in kernel/attend.h.
 *
 * A tile of values is made scales [blocks][64] and shares [blocks][64] in fp32, 16-bit integers [blocks][32][32][2]
 * (for each block and each pair of keys, component by component), and the largest scales [blocks]. Weights become
 * 16-bit integers, too, so that one instruction multiplies a pair of keys for FL_LANES components. Sums of integers do
 * not depend on their order: the pairs lie as packing weights leaves them. */
#include <immintrin.h>

#include "kernel/attend.h"
#include "kernel/simd/vector.h"

#define PAIRS (FL_ATTEND_KEYS / 2)
#define PAIR_INTS (2 * FL_ATTEND_BLOCK) /* 16-bit integers of a pair of keys in a block */

#if FL_LANES == 16
#define VALUE_ROWS FL_ATTEND_GROUP
#define BLOCKS_TOGETHER 2
#else
#define VALUE_ROWS 2
#define BLOCKS_TOGETHER 1
#endif

/* Weights of some rows as integers, for each block of components on its own, and what one of them stands for. */
typedef struct strip_weights {
    _Alignas(64) int16_t integer[VALUE_ROWS][BLOCKS_TOGETHER][FL_ATTEND_KEYS];
    float unit[VALUE_ROWS][BLOCKS_TOGETHER];
} strip_weights;

typedef struct value_tile {
    const float *scale, *share, *largest;
    const int16_t *integer;
} value_tile;

static value_tile value_tile_at(int head_dim, const void *tile)
{
    const int blocks = FL_ATTEND_BLOCKS(head_dim), values = blocks * FL_ATTEND_KEYS;
    const float *scale = tile;
    const int16_t *integer = (const int16_t *)(const void *)(scale + 2 * values);
    return (value_tile){scale, scale + values,
                        (const float *)(const void *)(integer + (ptrdiff_t)blocks * PAIRS * PAIR_INTS), integer};
}

/* Shares of the keys from first to last - 1, 0 for the others: their scale beside the largest, which is returned; NaN
 * if one of them is no number. */
ATTEND_INLINE float shares_of(const bool whole, const float *scale, int first, int last, float *share)
{
    fl_vec top = fl_vec_set(0), mark = fl_vec_set(0), zero = fl_vec_set(0), s[TILE_VECTORS];
    ATTEND_UNROLL
    for (int i = 0; i < TILE_VECTORS; i++) {
        s[i] = fl_vec_load(scale + i * FL_LANES);
        if (!whole) s[i] = choose(seen_lanes(first, last, i), s[i], zero);
        top = larger_of(fl_vec_abs(s[i]), top);
        mark += s[i] * zero;
    }
    float largest = largest_lane(top) + fl_vec_sum(mark);
    fl_vec one = fl_vec_set(largest == 0 ? 0 : FL_ATTEND_WEIGHT_ONE / largest);
    ATTEND_UNROLL
    for (int i = 0; i < TILE_VECTORS; i++)
        fl_vec_store(share + i * FL_LANES, s[i] * one);
    return largest;
}

#if FL_LANES == 16

/* 32 integers of a block to 16 bits, in one vector. */
ATTEND_INLINE void widen_block(const fl_attend_format format, const char *p, ints *x)
{
    __m256i bytes;
    if (format == FL_ATTEND_Q8_0) {
        bytes = _mm256_loadu_si256((const __m256i *)(const void *)p);
    } else {
        __m128i both = _mm_loadu_si128((const __m128i *)(const void *)p), low = _mm_set1_epi8(15);
        bytes = _mm256_set_m128i(_mm_and_si128(_mm_srli_epi16(both, 4), low), _mm_and_si128(both, low));
        bytes = _mm256_sub_epi8(bytes, _mm256_set1_epi8(8));
    }
    *x = _mm512_cvtepi8_epi16(bytes);
}

ATTEND_INLINE void store_pair(const ints *x, const ints *y, int16_t *to)
{
    const ints front = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11),
               back = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    ints low = _mm512_unpacklo_epi16(*x, *y), high = _mm512_unpackhi_epi16(*x, *y);
    STORE_INTS(to, _mm512_permutex2var_epi64(low, front, high));
    STORE_INTS(to + FL_ATTEND_BLOCK, _mm512_permutex2var_epi64(low, back, high));
}

#else

ATTEND_INLINE void widen_block(const fl_attend_format format, const char *p, ints *x)
{
    __m128i first = _mm_loadu_si128((const __m128i *)(const void *)p), second, low = _mm_set1_epi8(15);
    if (format == FL_ATTEND_Q8_0) {
        second = _mm_loadu_si128((const __m128i *)(const void *)(p + FL_ATTEND_BLOCK / 2));
    } else {
        __m128i eight = _mm_set1_epi8(8);
        second = _mm_sub_epi8(_mm_and_si128(_mm_srli_epi16(first, 4), low), eight);
        first = _mm_sub_epi8(_mm_and_si128(first, low), eight);
    }
    x[0] = _mm256_cvtepi8_epi16(first);
    x[1] = _mm256_cvtepi8_epi16(second);
}

ATTEND_INLINE void store_pair(const ints *x, const ints *y, int16_t *to)
{
    for (int i = 0; i < 2; i++) {
        ints low = _mm256_unpacklo_epi16(x[i], y[i]), high = _mm256_unpackhi_epi16(x[i], y[i]);
        STORE_INTS(to + i * FL_ATTEND_BLOCK, _mm256_permute2x128_si256(low, high, 0x20));
        STORE_INTS(to + i * FL_ATTEND_BLOCK + 2 * FL_LANES, _mm256_permute2x128_si256(low, high, 0x31));
    }
}

#endif

/* sum + two products in each lane */
ATTEND_INLINE ints add_two(ints sum, ints values, const int16_t *weights)
{
    int32_t two;
    memcpy(&two, weights, sizeof two);
#if FL_LANES == 16 && defined(__AVX512VNNI__)
    /* Not by the intrinsic: with 24 sums gcc 12 copies each before it is overwritten, and stores it, too. */
    __asm__("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(values), "v"(_mm512_set1_epi32(two)));
    return sum;
#elif FL_LANES == 8 && defined(__AVXVNNI__)
    return _mm256_dpwssd_avx_epi32(sum, values, _mm256_set1_epi32(two));
#else
    return INTS(add_epi32)(sum, INTS(madd_epi16)(values, INTS(set1_epi32)(two)));
#endif
}

ATTEND_INLINE void spread_values(const fl_attend_format format, int head_dim, const char *from, const char *next,
                                 float *scale)
{
    const int blocks = FL_ATTEND_BLOCKS(head_dim), bytes = block_bytes(format), values = blocks * FL_ATTEND_KEYS;
    const ptrdiff_t row = (ptrdiff_t)blocks * bytes;
    float *share = scale + values;
    int16_t *integer = (int16_t *)(void *)(share + values);
    float *largest = (float *)(void *)(integer + (ptrdiff_t)blocks * PAIRS * PAIR_INTS);
    for (ptrdiff_t i = 0; i < row * FL_ATTEND_KEYS; i += LINE)
        _mm_prefetch(next + i, _MM_HINT_T1);
    for (int b = 0; b < blocks; b++, from += bytes, integer += PAIRS * PAIR_INTS) {
        uint16_t half[FL_ATTEND_KEYS];
        /* Two vectors of weights are packed to one, two pairs of each in turn. */
        int16_t *to = integer;
        for (int key = 0; key < FL_ATTEND_KEYS; key += key % FL_LANES == FL_LANES - 4 ? FL_LANES + 4 : 4) {
            ATTEND_UNROLL
            for (int i = 0; i < 4; i++) {
                const int at = key + i / 2 * FL_LANES + i % 2 * 2;
                const char *q = from + at * row;
                ints x[BLOCK_VECTORS / 2], y[BLOCK_VECTORS / 2];
                memcpy(&half[at], q, sizeof *half);
                memcpy(&half[at + 1], q + row, sizeof *half);
                widen_block(format, q + 2, x);
                widen_block(format, q + row + 2, y);
                store_pair(x, y, to);
                to += PAIR_INTS;
            }
        }
        ATTEND_UNROLL
        for (int key = 0; key < FL_ATTEND_KEYS; key += FL_LANES)
            fl_vec_store(scale + b * FL_ATTEND_KEYS + key, vec_from_f16(half + key));
        largest[b] = shares_of(true, scale + b * FL_ATTEND_KEYS, 0, FL_ATTEND_KEYS, share + b * FL_ATTEND_KEYS);
    }
}

static void integer_values(fl_attend_format format, int head_dim, const void *from, const void *next, void *tile)
{
    if (format == FL_ATTEND_Q8_0)
        spread_values(FL_ATTEND_Q8_0, head_dim, from, next, tile);
    else
        spread_values(FL_ATTEND_Q4_0, head_dim, from, next, tile);
}

/* Integers of a row's weights: between -32767 and 32767. */
ATTEND_INLINE void integer_weights(const float *weight, const float *share, int16_t *to)
{
    ATTEND_UNROLL
    for (int i = 0; i < TILE_VECTORS; i += 2) {
        const int at = i * FL_LANES;
        ints a = INTS(cvtps_epi32)(fl_vec_load(weight + at) * fl_vec_load(share + at));
        ints b = INTS(cvtps_epi32)(fl_vec_load(weight + at + FL_LANES) * fl_vec_load(share + at + FL_LANES));
        STORE_INTS(to + at, INTS(packs_epi32)(a, b));
    }
}

/* Some rows, `vectors` vectors of components, each of BLOCK_VECTORS with its own weights and units:
 * out = out * factor + integer sums * unit. */
ATTEND_INLINE void value_strip(const int rows, const int vectors, const strip_weights *w, const int16_t *value,
                               const float *factor, int cols, float *out, ptrdiff_t ldo)
{
    const int tail = cols - (vectors - 1) * FL_LANES;
    ints sum[VALUE_ROWS * BLOCKS_TOGETHER * BLOCK_VECTORS], v[4];
    const int16_t *weight = &w->integer[0][0][0];
    ATTEND_UNROLL
    for (int i = 0; i < rows * vectors; i++)
        sum[i] = INTS(set1_epi32)(0);
    for (int pair = 0; pair < PAIRS; pair++) {
        ATTEND_UNROLL
        for (int i = 0; i < vectors; i++)
            v[i] = LOAD_INTS(value + i / BLOCK_VECTORS * PAIRS * PAIR_INTS + i % BLOCK_VECTORS * 2 * FL_LANES);
        ATTEND_UNROLL
        for (int r = 0; r < rows; r++) {
            ATTEND_UNROLL
            for (int i = 0; i < vectors; i++)
                sum[r * vectors + i] = add_two(sum[r * vectors + i], v[i],
                                               weight + (r * BLOCKS_TOGETHER + i / BLOCK_VECTORS) * FL_ATTEND_KEYS);
        }
        value += PAIR_INTS;
        weight += 2;
    }
    ATTEND_UNROLL
    for (int r = 0; r < rows; r++) {
        ATTEND_UNROLL
        for (int i = 0; i < vectors; i++) {
            float *to = out + r * ldo + i * FL_LANES;
            fl_vec x = INTS(cvtepi32_ps)(sum[r * vectors + i]);
            fl_vec old = i < vectors - 1 ? fl_vec_load(to) : fl_vec_load_first(to, tail);
            x = fl_vec_fma(x, fl_vec_set(w->unit[r][i / BLOCK_VECTORS]), old * fl_vec_set(factor[r]));
            if (i < vectors - 1)
                fl_vec_store(to, x);
            else
                fl_vec_store_first(to, x, tail);
        }
    }
}

ATTEND_INLINE void value_strip_of(const int vectors, int rows, const strip_weights *w, const int16_t *value,
                                  const float *factor, int cols, float *out, ptrdiff_t ldo)
{
    switch (rows) {
    case 1:
        value_strip(1, vectors, w, value, factor, cols, out, ldo);
        break;
    case 2:
        value_strip(2, vectors, w, value, factor, cols, out, ldo);
        break;
#if FL_LANES == 16
    case 3:
        value_strip(3, vectors, w, value, factor, cols, out, ldo);
        break;
    case 4:
        value_strip(4, vectors, w, value, factor, cols, out, ldo);
        break;
    case 5:
        value_strip(5, vectors, w, value, factor, cols, out, ldo);
        break;
    default:
        value_strip(6, vectors, w, value, factor, cols, out, ldo);
#endif
    }
}

static void value_strips(int rows, const strip_weights *w, const int16_t *value, const float *factor, int cols,
                         float *out, ptrdiff_t ldo)
{
    int vectors = (cols + FL_LANES - 1) / FL_LANES;
    if (vectors >= 4)
        value_strip_of(4, rows, w, value, factor, cols, out, ldo);
    else if (vectors == 3)
        value_strip_of(3, rows, w, value, factor, cols, out, ldo);
    else if (vectors == 2)
        value_strip_of(2, rows, w, value, factor, cols, out, ldo);
    else
        value_strip_of(1, rows, w, value, factor, cols, out, ldo);
}

/* Row `row` of a strip in block b of the tile: its weights as integers and what one of them stands for. */
ATTEND_INLINE void row_integers(const value_tile *v, int b, const float *weight, float peak, int first, int last,
                                int16_t *integer, float *unit)
{
    float own[FL_ATTEND_KEYS], largest = v->largest[b];
    const float *share = v->share + b * FL_ATTEND_KEYS;
    if (first > 0 || last < FL_ATTEND_KEYS) {
        largest = shares_of(false, v->scale + b * FL_ATTEND_KEYS, first, last, own);
        share = own;
    }
    *unit = peak == 0 ? 0 : peak * (largest * (1 / FL_ATTEND_WEIGHT_ONE));
    if (peak == 0)
        memset(integer, 0, FL_ATTEND_KEYS * sizeof *integer);
    else
        integer_weights(weight, share, integer);
}

static void add_integer_values(int rows, int head_dim, const float *weight, const float *peak, const float *factor,
                               const uint8_t *first, const uint8_t *last, const void *tile, float *out)
{
    const value_tile v = value_tile_at(head_dim, tile);
    const int blocks = FL_ATTEND_BLOCKS(head_dim);
    strip_weights w;
    for (int from = 0; from < rows; from += VALUE_ROWS) {
        const int some = rows - from < VALUE_ROWS ? rows - from : VALUE_ROWS;
        for (int b = 0; b < blocks; b += BLOCKS_TOGETHER) {
            const int together = blocks - b < BLOCKS_TOGETHER ? blocks - b : BLOCKS_TOGETHER;
            for (int i = 0; i < some; i++)
                for (int j = 0; j < together; j++)
                    row_integers(&v, b + j, weight + (from + i) * FL_ATTEND_KEYS, peak[from + i],
                                 first ? first[from + i] : 0, last ? last[from + i] : FL_ATTEND_KEYS, w.integer[i][j],
                                 &w.unit[i][j]);
            const int cols = head_dim - b * FL_ATTEND_BLOCK, most = BLOCKS_TOGETHER * FL_ATTEND_BLOCK;
            value_strips(some, &w, v.integer + (ptrdiff_t)b * PAIRS * PAIR_INTS, factor + from,
                         cols < most ? cols : most, out + (ptrdiff_t)from * head_dim + b * FL_ATTEND_BLOCK, head_dim);
        }
    }
}
