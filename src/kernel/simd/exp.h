/* exp in single precision: scalar, 8 and 16 lanes, the same bits from all three.
 *
 * exp(x) = 2^k p(r), k = round(x / ln 2), r = x - k ln 2 in two exact steps (Cody and Waite), p of degree 6 fitted to
 * minimise the largest relative error on |r| <= ln(2)/2 (3.1e-9, that is 0.05 ulp). The largest error found over all
 * floats is under 1 ulp (tests/kernel/test_exp.c). Results below the normal range are rounded once, below 2^-150 they
 * are 0; above the largest float +infinity; NaN gives NaN. exp(0) is exactly 1. */
#ifndef FL_KERNEL_SIMD_EXP_H
#define FL_KERNEL_SIMD_EXP_H

#include <stdint.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define FL_EXP_LOW (-104.0f) /* exp is under half the smallest denormal */
#define FL_EXP_HIGH 89.0f    /* exp is over the largest float */
#define FL_EXP_LOG2E 0x1.715476p+0f
#define FL_EXP_ROUND 0x1.8p+23f /* adding it leaves round(x) in the low bits of the sum */
#define FL_EXP_LN2_HIGH 0x1.62e43p-1f
#define FL_EXP_LN2_LOW (-0x1.05c61p-29f)
#define FL_EXP_C2 0x1.fffffcp-2f
#define FL_EXP_C3 0x1.555492p-3f
#define FL_EXP_C4 0x1.5558f2p-5f
#define FL_EXP_C5 0x1.1239e6p-7f
#define FL_EXP_C6 0x1.6a2430p-10f

static inline float fl_exp_scalar(float x)
{
    union {
        float f;
        uint32_t u;
    } t, low, high;
    x = x < FL_EXP_LOW ? FL_EXP_LOW : x;
    x = x > FL_EXP_HIGH ? FL_EXP_HIGH : x;
    t.f = __builtin_fmaf(x, FL_EXP_LOG2E, FL_EXP_ROUND);
    float k = t.f - FL_EXP_ROUND;
    float r = __builtin_fmaf(-k, FL_EXP_LN2_HIGH, x);
    r = __builtin_fmaf(-k, FL_EXP_LN2_LOW, r);
    float p = __builtin_fmaf(FL_EXP_C6, r, FL_EXP_C5);
    p = __builtin_fmaf(p, r, FL_EXP_C4);
    p = __builtin_fmaf(p, r, FL_EXP_C3);
    p = __builtin_fmaf(p, r, FL_EXP_C2);
    p = __builtin_fmaf(p, r, 1.0f);
    p = __builtin_fmaf(p, r, 1.0f);
    /* 2^k in two factors: the first product is exact, the second rounds once, also into the denormals. The low bits
     * of t hold k + 2^22, so that its half is taken without a sign. */
    uint32_t n = t.u & 0x7fffffu, half = n >> 1;
    low.u = (half - 0x200000u + 127u) << 23;
    high.u = (n - half - 0x200000u + 127u) << 23;
    return p * low.f * high.f;
}

#if defined(__AVX2__) && defined(__FMA__)
static inline __m256 fl_exp_avx2(__m256 x)
{
    x = _mm256_max_ps(_mm256_set1_ps(FL_EXP_LOW), x); /* the second operand wins if either is NaN */
    x = _mm256_min_ps(_mm256_set1_ps(FL_EXP_HIGH), x);
    __m256 t = _mm256_fmadd_ps(x, _mm256_set1_ps(FL_EXP_LOG2E), _mm256_set1_ps(FL_EXP_ROUND));
    __m256 k = _mm256_sub_ps(t, _mm256_set1_ps(FL_EXP_ROUND));
    __m256 r = _mm256_fnmadd_ps(k, _mm256_set1_ps(FL_EXP_LN2_HIGH), x);
    r = _mm256_fnmadd_ps(k, _mm256_set1_ps(FL_EXP_LN2_LOW), r);
    __m256 p = _mm256_fmadd_ps(_mm256_set1_ps(FL_EXP_C6), r, _mm256_set1_ps(FL_EXP_C5));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(FL_EXP_C4));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(FL_EXP_C3));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(FL_EXP_C2));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    __m256i n = _mm256_sub_epi32(_mm256_castps_si256(t), _mm256_castps_si256(_mm256_set1_ps(FL_EXP_ROUND)));
    __m256i half = _mm256_srai_epi32(n, 1), bias = _mm256_set1_epi32(127);
    __m256i low = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    __m256i high = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(n, half), bias), 23);
    return _mm256_mul_ps(_mm256_mul_ps(p, _mm256_castsi256_ps(low)), _mm256_castsi256_ps(high));
}
#endif

#if defined(__AVX512F__)
static inline __m512 fl_exp_avx512(__m512 x)
{
    x = _mm512_max_ps(_mm512_set1_ps(FL_EXP_LOW), x); /* the second operand wins if either is NaN */
    x = _mm512_min_ps(_mm512_set1_ps(FL_EXP_HIGH), x);
    __m512 t = _mm512_fmadd_ps(x, _mm512_set1_ps(FL_EXP_LOG2E), _mm512_set1_ps(FL_EXP_ROUND));
    __m512 k = _mm512_sub_ps(t, _mm512_set1_ps(FL_EXP_ROUND));
    __m512 r = _mm512_fnmadd_ps(k, _mm512_set1_ps(FL_EXP_LN2_HIGH), x);
    r = _mm512_fnmadd_ps(k, _mm512_set1_ps(FL_EXP_LN2_LOW), r);
    __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(FL_EXP_C6), r, _mm512_set1_ps(FL_EXP_C5));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(FL_EXP_C4));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(FL_EXP_C3));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(FL_EXP_C2));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, k); /* rounds once, as the two factors above do */
}
#endif

#endif
