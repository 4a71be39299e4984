/* Stored keys and values, read as vectors of FL_LANES fp32 values; included by simd/attend.h. */
#include <immintrin.h>

#include "kernel/attend.h"
#include "kernel/simd/vector.h"

#define LINE 64 /* bytes of a cache line */
#define BLOCK_VECTORS (FL_ATTEND_BLOCK / FL_LANES)

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

static inline fl_vec vec_of_scale(const char *block)
{
    uint16_t half;
    __builtin_memcpy(&half, block, sizeof half);
    return fl_vec_set(_cvtsh_ss(half));
}

ATTEND_INLINE int block_bytes(const fl_attend_format format)
{
    return format == FL_ATTEND_F32 ? 128 : format == FL_ATTEND_Q8_0 ? 34 : format == FL_ATTEND_Q4_0 ? 18 : 64;
}

/* Vector `i` of the values from `p` on; p is where a block begins if the format has any. */
ATTEND_INLINE fl_vec load_stored(const fl_attend_format format, const char *p, const int i)
{
    const int within = i % BLOCK_VECTORS * FL_LANES;
    const char *block = p + i / BLOCK_VECTORS * block_bytes(format);
    fl_vec low, high;
    switch (format) {
    case FL_ATTEND_F16:
        return vec_from_f16(p + 2 * i * FL_LANES);
    case FL_ATTEND_BF16:
        return vec_from_bf16(p + 2 * i * FL_LANES);
    case FL_ATTEND_Q8_0:
        return vec_of_scale(block) * vec_from_i8(block + 2 + within);
    case FL_ATTEND_Q4_0:
        vec_from_nibbles(block + 2 + within % (FL_ATTEND_BLOCK / 2), &low, &high);
        return vec_of_scale(block) * (within < FL_ATTEND_BLOCK / 2 ? low : high);
    default:
        return fl_vec_load((const float *)(const void *)p + i * FL_LANES);
    }
}

ATTEND_INLINE void unpack_blocks(const fl_attend_format format, ptrdiff_t n, const char *from, const char *next,
                                 float *to)
{
    const int bytes = block_bytes(format);
    for (ptrdiff_t i = 0; i < n; i += FL_ATTEND_BLOCK, from += bytes, next += bytes) {
        _mm_prefetch(next, _MM_HINT_T1); /* the first level is full of what is being worked on */
        ATTEND_UNROLL
        for (int j = 0; j < BLOCK_VECTORS; j++)
            fl_vec_store(to + i + j * FL_LANES, load_stored(format, from, j));
    }
}

/* The same function for each format, which the compiler then knows. */
#define FOR_FORMAT(format, call)                                                                                       \
    switch (format) {                                                                                                  \
    case FL_ATTEND_F16:                                                                                                \
        call(FL_ATTEND_F16);                                                                                           \
        break;                                                                                                         \
    case FL_ATTEND_BF16:                                                                                               \
        call(FL_ATTEND_BF16);                                                                                          \
        break;                                                                                                         \
    case FL_ATTEND_Q8_0:                                                                                               \
        call(FL_ATTEND_Q8_0);                                                                                          \
        break;                                                                                                         \
    case FL_ATTEND_Q4_0:                                                                                               \
        call(FL_ATTEND_Q4_0);                                                                                          \
        break;                                                                                                         \
    default:                                                                                                           \
        call(FL_ATTEND_F32);                                                                                           \
    }

static void unpack(fl_attend_format format, ptrdiff_t n, const void *from, const void *next, float *to)
{
#define UNPACK(f) unpack_blocks(f, n, from, next, to)
    FOR_FORMAT(format, UNPACK)
#undef UNPACK
}

/* ---- few rows: values become fp32 in registers --------------------------------------------------------------------
 */

#define FEW_ROWS (FL_LANES == 16 ? 4 : 2)

static bool reads_stored(fl_attend_format format, int rows, int cols)
{
    (void)format;
    return rows <= FEW_ROWS && cols % FL_LANES == 0;
}

ATTEND_INLINE int vec_bytes(const fl_attend_format format)
{
    return (format == FL_ATTEND_F32 ? 4 : 2) * FL_LANES;
}

typedef struct stored_args {
    int depth;
    const float *a;
    ptrdiff_t a_row;
    const char *b, *next;
    ptrdiff_t b_row;
    float *c;
    ptrdiff_t ldc;
    const float *factor;
} stored_args;

ATTEND_INLINE void stored_strip(const fl_attend_format format, const int rows, const int vectors, const stored_args *p)
{
    fl_vec sum[FEW_ROWS * 4];
    const int bytes = vectors * vec_bytes(format);
    const float *a = p->a, *factor = p->factor;
    const char *b = p->b, *next = p->next;
    ATTEND_UNROLL
    for (int r = 0; r < rows; r++) {
        ATTEND_UNROLL
        for (int i = 0; i < vectors; i++) {
            fl_vec *x = &sum[r * vectors + i];
            *x = factor == FROM_ZERO ? fl_vec_set(0) : fl_vec_load(p->c + r * p->ldc + i * FL_LANES);
            if (factor != FROM_ZERO && factor != FROM_C) *x *= fl_vec_set(factor[r]);
        }
    }
    for (int k = 0; k < p->depth; k++) {
        ATTEND_UNROLL
        for (int line = 0; line < bytes; line += LINE)
            _mm_prefetch(next + line, _MM_HINT_T0);
        ATTEND_UNROLL
        for (int i = 0; i < vectors; i++) {
            fl_vec value = load_stored(format, b, i);
            ATTEND_UNROLL
            for (int r = 0; r < rows; r++)
                sum[r * vectors + i] = fl_vec_fma(fl_vec_set(a[r * p->a_row]), value, sum[r * vectors + i]);
        }
        a++;
        b += p->b_row;
        next += p->b_row;
    }
    ATTEND_UNROLL
    for (int r = 0; r < rows; r++) {
        ATTEND_UNROLL
        for (int i = 0; i < vectors; i++)
            fl_vec_store(p->c + r * p->ldc + i * FL_LANES, sum[r * vectors + i]);
    }
}

ATTEND_INLINE void stored_strip_of(const fl_attend_format format, const int vectors, int rows, const stored_args *p)
{
    if (rows == 1)
        stored_strip(format, 1, vectors, p);
    else if (rows == 2)
        stored_strip(format, 2, vectors, p);
#if FL_LANES == 16
    else if (rows == 3)
        stored_strip(format, 3, vectors, p);
    else
        stored_strip(format, 4, vectors, p);
#endif
}

/* Strips of four vectors, then of one. */
ATTEND_INLINE void stored_strips(const fl_attend_format format, int rows, int cols, stored_args p)
{
    while (cols > 0) {
        int vectors = cols >= 4 * FL_LANES ? 4 : 1;
        if (vectors == 4)
            stored_strip_of(format, 4, rows, &p);
        else
            stored_strip_of(format, 1, rows, &p);
        cols -= vectors * FL_LANES;
        p.b += vectors * vec_bytes(format);
        p.next += vectors * vec_bytes(format);
        p.c += vectors * FL_LANES;
    }
}

static void product_stored(fl_attend_format format, int rows, int cols, int depth, const float *a, ptrdiff_t a_row,
                           const char *b, ptrdiff_t b_row, const char *next, float *c, ptrdiff_t ldc,
                           const float *factor)
{
    stored_args p = {depth, a, a_row, b, next, b_row, c, ldc, factor};
    if (format == FL_ATTEND_F16)
        stored_strips(FL_ATTEND_F16, rows, cols, p);
    else if (format == FL_ATTEND_BF16)
        stored_strips(FL_ATTEND_BF16, rows, cols, p);
    else
        stored_strips(FL_ATTEND_F32, rows, cols, p);
}
