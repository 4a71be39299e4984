/* One name per vector operation, so that a kernel is written once and compiled for 8 lanes (AVX2) and 16 (AVX-512).
 * Arithmetic other than fused multiply-adds uses the compilers' operators on vector types. */
#ifndef FL_KERNEL_SIMD_VECTOR_H
#define FL_KERNEL_SIMD_VECTOR_H

#include <immintrin.h>
#include <stdint.h>

#include "kernel/simd/exp.h"

#if defined(__AVX512F__)

#define FL_LANES 16
typedef __m512 fl_vec;
typedef __m512d fl_vec_double; /* half as many lanes */

static inline fl_vec fl_vec_set(float x)
{
    return _mm512_set1_ps(x);
}

static inline fl_vec fl_vec_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

static inline void fl_vec_store(float *p, fl_vec v)
{
    _mm512_storeu_ps(p, v);
}

static inline __mmask16 fl_vec_first(int64_t n)
{
    return (__mmask16)((1u << n) - 1u);
}

/* The first n < FL_LANES lanes; the others read as 0 and are not written. */
static inline fl_vec fl_vec_load_first(const float *p, int64_t n)
{
    return _mm512_maskz_loadu_ps(fl_vec_first(n), p);
}

static inline void fl_vec_store_first(float *p, fl_vec v, int64_t n)
{
    _mm512_mask_storeu_ps(p, fl_vec_first(n), v);
}

static inline fl_vec fl_vec_keep_first(fl_vec v, int64_t n)
{
    return _mm512_maskz_mov_ps(fl_vec_first(n), v);
}

/* ab + c */
static inline fl_vec fl_vec_fma(fl_vec a, fl_vec b, fl_vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}

/* c - ab */
static inline fl_vec fl_vec_minus_product(fl_vec c, fl_vec a, fl_vec b)
{
    return _mm512_fnmadd_ps(a, b, c);
}

static inline fl_vec fl_vec_sqrt(fl_vec v)
{
    return _mm512_sqrt_ps(v);
}

static inline fl_vec fl_vec_abs(fl_vec v)
{
    return _mm512_abs_ps(v);
}

static inline fl_vec fl_vec_exp(fl_vec v)
{
    return fl_exp_avx512(v);
}

/* Lanes of a where v has its sign bit set, lanes of b elsewhere. */
static inline fl_vec fl_vec_if_negative(fl_vec v, fl_vec a, fl_vec b)
{
    return _mm512_mask_blend_ps(_mm512_movepi32_mask(_mm512_castps_si512(v)), b, a);
}

static inline fl_vec_double fl_vec_double_zero(void)
{
    return _mm512_setzero_pd();
}

static inline fl_vec_double fl_vec_low_double(fl_vec v)
{
    return _mm512_cvtps_pd(_mm512_castps512_ps256(v));
}

static inline fl_vec_double fl_vec_high_double(fl_vec v)
{
    return _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
}

static inline fl_vec_double fl_vec_double_fma(fl_vec_double a, fl_vec_double b, fl_vec_double c)
{
    return _mm512_fmadd_pd(a, b, c);
}

#else

#define FL_LANES 8
typedef __m256 fl_vec;
typedef __m256d fl_vec_double;

static inline fl_vec fl_vec_set(float x)
{
    return _mm256_set1_ps(x);
}

static inline fl_vec fl_vec_load(const float *p)
{
    return _mm256_loadu_ps(p);
}

static inline void fl_vec_store(float *p, fl_vec v)
{
    _mm256_storeu_ps(p, v);
}

static inline __m256i fl_vec_first(int64_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline fl_vec fl_vec_load_first(const float *p, int64_t n)
{
    return _mm256_maskload_ps(p, fl_vec_first(n));
}

static inline void fl_vec_store_first(float *p, fl_vec v, int64_t n)
{
    _mm256_maskstore_ps(p, fl_vec_first(n), v);
}

static inline fl_vec fl_vec_keep_first(fl_vec v, int64_t n)
{
    return _mm256_and_ps(v, _mm256_castsi256_ps(fl_vec_first(n)));
}

static inline fl_vec fl_vec_fma(fl_vec a, fl_vec b, fl_vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}

static inline fl_vec fl_vec_minus_product(fl_vec c, fl_vec a, fl_vec b)
{
    return _mm256_fnmadd_ps(a, b, c);
}

static inline fl_vec fl_vec_sqrt(fl_vec v)
{
    return _mm256_sqrt_ps(v);
}

static inline fl_vec fl_vec_abs(fl_vec v)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v);
}

static inline fl_vec fl_vec_exp(fl_vec v)
{
    return fl_exp_avx2(v);
}

static inline fl_vec fl_vec_if_negative(fl_vec v, fl_vec a, fl_vec b)
{
    return _mm256_blendv_ps(b, a, v);
}

static inline fl_vec_double fl_vec_double_zero(void)
{
    return _mm256_setzero_pd();
}

static inline fl_vec_double fl_vec_low_double(fl_vec v)
{
    return _mm256_cvtps_pd(_mm256_castps256_ps128(v));
}

static inline fl_vec_double fl_vec_high_double(fl_vec v)
{
    return _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
}

static inline fl_vec_double fl_vec_double_fma(fl_vec_double a, fl_vec_double b, fl_vec_double c)
{
    return _mm256_fmadd_pd(a, b, c);
}

#endif

/* As load and store, but n >= FL_LANES takes a whole vector and a smaller n only its first lanes. */
static inline fl_vec fl_vec_load_part(const float *p, int64_t n)
{
    return n >= FL_LANES ? fl_vec_load(p) : fl_vec_load_first(p, n);
}

static inline void fl_vec_store_part(float *p, fl_vec v, int64_t n)
{
    if (n >= FL_LANES)
        fl_vec_store(p, v);
    else
        fl_vec_store_first(p, v, n);
}

/* Sums of all lanes, always in the same order: the upper half onto the lower one, down to one lane. */
static inline float fl_vec_sum(fl_vec v)
{
#if defined(__AVX512F__)
    __m256 w = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
#else
    __m256 w = v;
#endif
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(w), _mm256_extractf128_ps(w, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}

static inline double fl_vec_double_sum(fl_vec_double v)
{
#if defined(__AVX512F__)
    __m256d w = _mm256_add_pd(_mm512_castpd512_pd256(v), _mm512_extractf64x4_pd(v, 1));
#else
    __m256d w = v;
#endif
    __m128d x = _mm_add_pd(_mm256_castpd256_pd128(w), _mm256_extractf128_pd(w, 1));
    return _mm_cvtsd_f64(_mm_add_sd(x, _mm_unpackhi_pd(x, x)));
}

#endif
