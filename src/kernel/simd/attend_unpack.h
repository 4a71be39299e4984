/* Stored keys and values to fp32 for vectors of FL_LANES values; included by simd/attend.h. */
#include <immintrin.h>

#include "kernel/attend.h"
#include "kernel/simd/vector.h"

#define UNPACK_BLOCK 32 /* values of a block */
#define LINE 64         /* bytes of a cache line */
#define Q8_0_BYTES 34
#define Q4_0_BYTES 18

#if FL_LANES == 16

static inline fl_vec vec_from_f16(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256(p));
}

static inline fl_vec vec_from_bf16(const void *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p)), 16));
}

static inline fl_vec vec_from_i8(const void *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p)));
}

/* The low and the high nibbles of FL_LANES bytes, less 8. */
static inline void vec_from_nibbles(const void *p, fl_vec *low, fl_vec *high)
{
    __m512i x = _mm512_cvtepu8_epi32(_mm_loadu_si128(p)), eight = _mm512_set1_epi32(8);
    *low = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_and_si512(x, _mm512_set1_epi32(15)), eight));
    *high = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_srli_epi32(x, 4), eight));
}

#else

static inline fl_vec vec_from_f16(const void *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128(p));
}

static inline fl_vec vec_from_bf16(const void *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(p)), 16));
}

static inline fl_vec vec_from_i8(const void *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p)));
}

static inline void vec_from_nibbles(const void *p, fl_vec *low, fl_vec *high)
{
    __m256i x = _mm256_cvtepu8_epi32(_mm_loadl_epi64(p)), eight = _mm256_set1_epi32(8);
    *low = _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_and_si256(x, _mm256_set1_epi32(15)), eight));
    *high = _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_srli_epi32(x, 4), eight));
}

#endif

static inline void ask_for(const char *line)
{
    _mm_prefetch(line, _MM_HINT_T1); /* the first level is full of what is being worked on */
}

static inline fl_vec vec_of_scale(const char *block)
{
    uint16_t half;
    __builtin_memcpy(&half, block, sizeof half);
    return fl_vec_set(_cvtsh_ss(half));
}

static void unpack_f16(const void *from, const void *next, int head_dim, float *to)
{
    const char *p = from;
    for (ptrdiff_t i = 0; i < (ptrdiff_t)head_dim * FL_ATTEND_KEYS; i += LINE / 2) {
        ask_for((const char *)next + 2 * i);
        ATTEND_UNROLL
        for (int j = 0; j < LINE / 2; j += FL_LANES)
            fl_vec_store(to + i + j, vec_from_f16(p + 2 * (i + j)));
    }
}

static void unpack_bf16(const void *from, const void *next, int head_dim, float *to)
{
    const char *p = from;
    for (ptrdiff_t i = 0; i < (ptrdiff_t)head_dim * FL_ATTEND_KEYS; i += LINE / 2) {
        ask_for((const char *)next + 2 * i);
        ATTEND_UNROLL
        for (int j = 0; j < LINE / 2; j += FL_LANES)
            fl_vec_store(to + i + j, vec_from_bf16(p + 2 * (i + j)));
    }
}

static void keys_q8_0(const void *from, const void *next, int head_dim, float *to)
{
    const char *scales = from, *q = scales + (ptrdiff_t)(head_dim / UNPACK_BLOCK) * 2 * FL_ATTEND_KEYS;
    const char *begin = scales;
    for (int b = 0; b < head_dim; b += UNPACK_BLOCK, scales += 2 * FL_ATTEND_KEYS) {
        ask_for((const char *)next + (scales - begin));
        ask_for((const char *)next + (scales - begin) + LINE);
        fl_vec scale[TILE_VECTORS];
        ATTEND_UNROLL
        for (int i = 0; i < TILE_VECTORS; i++)
            scale[i] = vec_from_f16(scales + 2 * i * FL_LANES);
        for (int c = 0; c < UNPACK_BLOCK; c++, q += FL_ATTEND_KEYS, to += FL_ATTEND_KEYS) {
            ask_for((const char *)next + (q - begin));
            ATTEND_UNROLL
            for (int i = 0; i < TILE_VECTORS; i++)
                fl_vec_store(to + i * FL_LANES, scale[i] * vec_from_i8(q + i * FL_LANES));
        }
    }
}

static void keys_q4_0(const void *from, const void *next, int head_dim, float *to)
{
    const char *scales = from, *q = scales + (ptrdiff_t)(head_dim / UNPACK_BLOCK) * 2 * FL_ATTEND_KEYS;
    const char *begin = scales;
    for (int b = 0; b < head_dim; b += UNPACK_BLOCK, scales += 2 * FL_ATTEND_KEYS) {
        ask_for((const char *)next + (scales - begin));
        ask_for((const char *)next + (scales - begin) + LINE);
        fl_vec scale[TILE_VECTORS];
        ATTEND_UNROLL
        for (int i = 0; i < TILE_VECTORS; i++)
            scale[i] = vec_from_f16(scales + 2 * i * FL_LANES);
        float *half = to + UNPACK_BLOCK / 2 * FL_ATTEND_KEYS;
        for (int c = 0; c < UNPACK_BLOCK / 2; c++, q += FL_ATTEND_KEYS, to += FL_ATTEND_KEYS, half += FL_ATTEND_KEYS) {
            ask_for((const char *)next + (q - begin));
            ATTEND_UNROLL
            for (int i = 0; i < TILE_VECTORS; i++) {
                fl_vec low, high;
                vec_from_nibbles(q + i * FL_LANES, &low, &high);
                fl_vec_store(to + i * FL_LANES, scale[i] * low);
                fl_vec_store(half + i * FL_LANES, scale[i] * high);
            }
        }
        to = half;
    }
}

static void values_q8_0(const void *from, const void *next, int head_dim, float *to)
{
    const char *block = from;
    const char *begin = block;
    for (ptrdiff_t b = 0; b < (ptrdiff_t)head_dim / UNPACK_BLOCK * FL_ATTEND_KEYS; b++, block += Q8_0_BYTES) {
        ask_for((const char *)next + (block - begin));
        fl_vec scale = vec_of_scale(block);
        ATTEND_UNROLL
        for (int i = 0; i < UNPACK_BLOCK; i += FL_LANES)
            fl_vec_store(to + i, scale * vec_from_i8(block + 2 + i));
        to += UNPACK_BLOCK;
    }
}

static void values_q4_0(const void *from, const void *next, int head_dim, float *to)
{
    const char *block = from;
    const char *begin = block;
    for (ptrdiff_t b = 0; b < (ptrdiff_t)head_dim / UNPACK_BLOCK * FL_ATTEND_KEYS; b++, block += Q4_0_BYTES) {
        if (b % 2 == 0) ask_for((const char *)next + (block - begin));
        fl_vec scale = vec_of_scale(block);
        ATTEND_UNROLL
        for (int i = 0; i < UNPACK_BLOCK / 2; i += FL_LANES) {
            fl_vec low, high;
            vec_from_nibbles(block + 2 + i, &low, &high);
            fl_vec_store(to + i, scale * low);
            fl_vec_store(to + UNPACK_BLOCK / 2 + i, scale * high);
        }
        to += UNPACK_BLOCK;
    }
}
