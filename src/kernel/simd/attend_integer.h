/* Keys of Q8_0 and Q4_0 against queries of 8 bits, for vectors of 4 FL_LANES bytes; included by simd/attend.h.
 *
 * A tile of keys is made scales [blocks][64] in fp32 and integers [head_dim/4][64][4]: four components of a key in
 * each 4 bytes, which one instruction multiplies with four of a query. With VNNI the integers are unsigned, 128 more
 * than they stand for, and sums begin at -128 times the sum of the query's. */
#include <immintrin.h>

#include "kernel/attend.h"
#include "kernel/attend_queries.h"
#include "kernel/simd/vector.h"

#if FL_LANES == 16

typedef __m512i ints;
#define INTS(operation) _mm512_##operation
#define LOAD_INTS(p) _mm512_loadu_si512(p)
#define STORE_INTS(p, v) _mm512_storeu_si512(p, v)
#define INTS_LOGIC(operation) _mm512_##operation##_si512
#define SCORE_ROWS FL_ATTEND_GROUP

/* Out vector i holds the 128-bit lanes number i of all four. */
ATTEND_INLINE void transpose_lanes(const ints in[4], ints out[4])
{
    ints a = _mm512_shuffle_i64x2(in[0], in[1], 0x44), b = _mm512_shuffle_i64x2(in[2], in[3], 0x44);
    ints c = _mm512_shuffle_i64x2(in[0], in[1], 0xee), d = _mm512_shuffle_i64x2(in[2], in[3], 0xee);
    out[0] = _mm512_shuffle_i64x2(a, b, 0x88);
    out[1] = _mm512_shuffle_i64x2(a, b, 0xdd);
    out[2] = _mm512_shuffle_i64x2(c, d, 0x88);
    out[3] = _mm512_shuffle_i64x2(c, d, 0xdd);
}

#else

typedef __m256i ints;
#define INTS(operation) _mm256_##operation
#define LOAD_INTS(p) _mm256_loadu_si256((const ints *)(const void *)(p))
#define STORE_INTS(p, v) _mm256_storeu_si256((ints *)(void *)(p), v)
#define INTS_LOGIC(operation) _mm256_##operation##_si256
#define SCORE_ROWS 2

ATTEND_INLINE void transpose_lanes(const ints in[4], ints out[4])
{
    out[0] = _mm256_permute2x128_si256(in[0], in[1], 0x20);
    out[1] = _mm256_permute2x128_si256(in[2], in[3], 0x20);
    out[2] = _mm256_permute2x128_si256(in[0], in[1], 0x31);
    out[3] = _mm256_permute2x128_si256(in[2], in[3], 0x31);
}

#endif

#define INT_BYTES (4 * FL_LANES)

#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)

#define KEY_OFFSET 128

typedef ints key_ints;

ATTEND_INLINE key_ints key_of(ints k)
{
    return k;
}

/* sum + four products in each lane */
ATTEND_INLINE ints add_four(ints sum, key_ints k, const int8_t *q)
{
    int32_t four;
    memcpy(&four, q, sizeof four);
#if FL_LANES == 16
    return _mm512_dpbusd_epi32(sum, k, _mm512_set1_epi32(four));
#else
    return _mm256_dpbusd_avx_epi32(sum, k, _mm256_set1_epi32(four));
#endif
}

#else

#define KEY_OFFSET 0

/* Products of 16 bits, of the even and of the odd bytes: pairs of 8-bit products do not fit 16 bits. */
typedef struct key_ints {
    ints even, odd;
} key_ints;

ATTEND_INLINE key_ints key_of(ints k)
{
    return (key_ints){INTS(srai_epi16)(INTS(slli_epi16)(k, 8), 8), INTS(srai_epi16)(k, 8)};
}

ATTEND_INLINE ints add_four(ints sum, key_ints k, const int8_t *q)
{
    int32_t even = (int32_t)((uint32_t)(uint16_t)q[0] | (uint32_t)(uint16_t)q[2] << 16);
    int32_t odd = (int32_t)((uint32_t)(uint16_t)q[1] | (uint32_t)(uint16_t)q[3] << 16);
    sum = INTS(add_epi32)(sum, INTS(madd_epi16)(k.even, INTS(set1_epi32)(even)));
    return INTS(add_epi32)(sum, INTS(madd_epi16)(k.odd, INTS(set1_epi32)(odd)));
}

#endif

/* Component c of INT_BYTES keys, from where the integers of a tile begin. */
ATTEND_INLINE ints load_component(const fl_attend_format format, const char *q, int c)
{
    const int half = FL_ATTEND_BLOCK / 2;
    if (format == FL_ATTEND_Q8_0)
        return INTS_LOGIC(xor)(LOAD_INTS(q + c * FL_ATTEND_KEYS), INTS(set1_epi8)((char)KEY_OFFSET));
    int block = c / FL_ATTEND_BLOCK, within = c % FL_ATTEND_BLOCK;
    ints x = LOAD_INTS(q + (block * half + within % half) * FL_ATTEND_KEYS);
    if (within >= half) x = INTS(srli_epi16)(x, 4);
    return INTS(add_epi8)(INTS_LOGIC(and)(x, INTS(set1_epi8)(15)), INTS(set1_epi8)((char)(KEY_OFFSET - 8)));
}

ATTEND_INLINE void interleave_keys(const fl_attend_format format, int head_dim, const char *from, const char *next,
                                   float *scale)
{
    const int blocks = FL_ATTEND_BLOCKS(head_dim), scale_bytes = 2 * blocks * FL_ATTEND_KEYS;
    char *to = (char *)(scale + blocks * FL_ATTEND_KEYS);
    for (int i = 0; i < blocks * FL_ATTEND_KEYS; i += FL_LANES)
        fl_vec_store(scale + i, vec_from_f16(from + 2 * i));
    for (int i = 0; i < scale_bytes; i += LINE)
        _mm_prefetch(next + i, _MM_HINT_T1);
    const int bytes = format == FL_ATTEND_Q8_0 ? 4 * FL_ATTEND_KEYS : 2 * FL_ATTEND_KEYS; /* of four components */
    from += scale_bytes;
    next += scale_bytes;
    for (int c = 0; c < head_dim; c += 4, to += 4 * FL_ATTEND_KEYS) {
        for (int i = 0; i < bytes; i += LINE)
            _mm_prefetch(next + c / 4 * bytes + i, _MM_HINT_T1);
        ATTEND_UNROLL
        for (int key = 0; key < FL_ATTEND_KEYS; key += INT_BYTES) {
            ints x[4], quarter[4], whole[4];
            ATTEND_UNROLL
            for (int i = 0; i < 4; i++)
                x[i] = load_component(format, from + key, c + i);
            ints low01 = INTS(unpacklo_epi8)(x[0], x[1]), high01 = INTS(unpackhi_epi8)(x[0], x[1]);
            ints low23 = INTS(unpacklo_epi8)(x[2], x[3]), high23 = INTS(unpackhi_epi8)(x[2], x[3]);
            quarter[0] = INTS(unpacklo_epi16)(low01, low23);
            quarter[1] = INTS(unpackhi_epi16)(low01, low23);
            quarter[2] = INTS(unpacklo_epi16)(high01, high23);
            quarter[3] = INTS(unpackhi_epi16)(high01, high23);
            transpose_lanes(quarter, whole);
            ATTEND_UNROLL
            for (int i = 0; i < 4; i++)
                STORE_INTS(to + 4 * key + i * INT_BYTES, whole[i]);
        }
    }
}

static void integer_keys(fl_attend_format format, int head_dim, const void *from, const void *next, void *tile)
{
    if (format == FL_ATTEND_Q8_0)
        interleave_keys(FL_ATTEND_Q8_0, head_dim, from, next, tile);
    else
        interleave_keys(FL_ATTEND_Q4_0, head_dim, from, next, tile);
}

/* Some rows against `vectors` vectors of keys. */
ATTEND_INLINE void score_strip(const int rows, const int vectors, int head_dim, const queries *some, const float *scale,
                               const char *k, float *logit)
{
    const int blocks = FL_ATTEND_BLOCKS(head_dim);
    const ptrdiff_t row = blocks * FL_ATTEND_BLOCK;
    fl_vec sum[FL_ATTEND_GROUP * 4];
    ATTEND_UNROLL
    for (int i = 0; i < rows * vectors; i++)
        sum[i] = fl_vec_set(0);
    for (int b = 0; b < blocks; b++) {
        const int8_t *q = some->q + b * FL_ATTEND_BLOCK;
        ints integer[FL_ATTEND_GROUP * 4];
        ATTEND_UNROLL
        for (int r = 0; r < rows; r++) {
            ATTEND_UNROLL
            for (int i = 0; i < vectors; i++)
                integer[r * vectors + i] = INTS(set1_epi32)(-KEY_OFFSET * some->sum[r * blocks + b]);
        }
        const int fours = head_dim - b * FL_ATTEND_BLOCK < FL_ATTEND_BLOCK ? (head_dim - b * FL_ATTEND_BLOCK + 3) / 4
                                                                           : FL_ATTEND_BLOCK / 4;
        for (int four = 0; four < fours; four++) {
            key_ints keys[4];
            ATTEND_UNROLL
            for (int i = 0; i < vectors; i++)
                keys[i] = key_of(LOAD_INTS(k + i * INT_BYTES));
            ATTEND_UNROLL
            for (int r = 0; r < rows; r++) {
                ATTEND_UNROLL
                for (int i = 0; i < vectors; i++)
                    integer[r * vectors + i] = add_four(integer[r * vectors + i], keys[i], q + r * row + 4 * four);
            }
            k += 4 * FL_ATTEND_KEYS;
        }
        ATTEND_UNROLL
        for (int i = 0; i < vectors; i++) {
            fl_vec of_keys = fl_vec_load(scale + b * FL_ATTEND_KEYS + i * FL_LANES);
            ATTEND_UNROLL
            for (int r = 0; r < rows; r++) {
                fl_vec x = INTS(cvtepi32_ps)(integer[r * vectors + i]);
                sum[r * vectors + i] =
                    fl_vec_fma(x, of_keys * fl_vec_set(some->scale[r * blocks + b]), sum[r * vectors + i]);
            }
        }
    }
    ATTEND_UNROLL
    for (int r = 0; r < rows; r++) {
        ATTEND_UNROLL
        for (int i = 0; i < vectors; i++)
            fl_vec_store(logit + r * FL_ATTEND_KEYS + i * FL_LANES, sum[r * vectors + i]);
    }
}

ATTEND_INLINE void score_strips(const int rows, const int vectors, int head_dim, const queries *some, const void *tile,
                                float *logit)
{
    const float *scale = tile;
    const char *k = (const char *)(scale + FL_ATTEND_BLOCKS(head_dim) * FL_ATTEND_KEYS);
    for (int key = 0; key < FL_ATTEND_KEYS; key += vectors * FL_LANES)
        score_strip(rows, vectors, head_dim, some, scale + key, k + 4 * key, logit + key);
}

static void integer_scores(int rows, int head_dim, const queries *some, const void *tile, float *logit)
{
    const int blocks = FL_ATTEND_BLOCKS(head_dim);
    for (int r = 0; r < rows; r += SCORE_ROWS) {
        queries part = {some->scale + r * blocks, some->sum + r * blocks, some->q + r * blocks * FL_ATTEND_BLOCK};
        float *to = logit + r * FL_ATTEND_KEYS;
        switch (rows - r < SCORE_ROWS ? rows - r : SCORE_ROWS) {
        case 1:
            score_strips(1, 4, head_dim, &part, tile, to);
            break;
        case 2:
            score_strips(2, 2, head_dim, &part, tile, to);
            break;
#if FL_LANES == 16
        case 3:
            score_strips(3, 2, head_dim, &part, tile, to);
            break;
        case 4:
            score_strips(4, 2, head_dim, &part, tile, to);
            break;
        case 5:
            score_strips(5, 2, head_dim, &part, tile, to);
            break;
        default:
            score_strips(6, 2, head_dim, &part, tile, to);
#endif
        }
    }
}
