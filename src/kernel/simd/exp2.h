/* 2^x in single precision for x <= 0, the weights of a softmax: scalar, 8 and 16 lanes, the same bits from all three.
 *
 * x = k + r, k = round(x), exactly; 2^x = 2^k p(r), p of degree 6 fitted to minimise the largest relative error on
 * |r| <= 1/2 (3.0e-9, that is 0.05 ulp). The largest error found over all floats is under 1 ulp
 * (tests/kernel/test_attend.c). Results below the normal range are rounded once, below 2^-150 they are 0; NaN gives
 * NaN. 2^0 is exactly 1. */
#ifndef FL_KERNEL_SIMD_EXP2_H
#define FL_KERNEL_SIMD_EXP2_H

#include <stdint.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define FL_EXP2_LOW (-150.0f)    /* 2^x is at most half the smallest denormal */
#define FL_EXP2_ROUND 0x1.8p+23f /* adding it leaves round(x) in the low bits of the sum */
#define FL_EXP2_C1 0x1.62e43p-1f
#define FL_EXP2_C2 0x1.ebfbdcp-3f
#define FL_EXP2_C3 0x1.c6af7cp-5f
#define FL_EXP2_C4 0x1.3b2dep-7f
#define FL_EXP2_C5 0x1.5f082ep-10f
#define FL_EXP2_C6 0x1.416b52p-13f

static inline float fl_exp2_scalar(float x)
{
    union {
        float f;
        uint32_t u;
    } t, low, high;
    x = x < FL_EXP2_LOW ? FL_EXP2_LOW : x;
    t.f = x + FL_EXP2_ROUND;
    float r = x - (t.f - FL_EXP2_ROUND);
    float p = __builtin_fmaf(FL_EXP2_C6, r, FL_EXP2_C5);
    p = __builtin_fmaf(p, r, FL_EXP2_C4);
    p = __builtin_fmaf(p, r, FL_EXP2_C3);
    p = __builtin_fmaf(p, r, FL_EXP2_C2);
    p = __builtin_fmaf(p, r, FL_EXP2_C1);
    p = __builtin_fmaf(p, r, 1.0f);
    /* 2^k in two factors: the first product is exact, the second rounds once, also into the denormals. The low bits
     * of t hold k + 2^22, so that its half is taken without a sign. */
    uint32_t n = t.u & 0x7fffffu, half = n >> 1;
    low.u = (half - 0x200000u + 127u) << 23;
    high.u = (n - half - 0x200000u + 127u) << 23;
    return p * low.f * high.f;
}

#if defined(__AVX2__) && defined(__FMA__)
static inline __m256 fl_exp2_avx2(__m256 x)
{
    x = _mm256_max_ps(_mm256_set1_ps(FL_EXP2_LOW), x); /* the second operand wins if either is NaN */
    __m256 t = _mm256_add_ps(x, _mm256_set1_ps(FL_EXP2_ROUND));
    __m256 r = _mm256_sub_ps(x, _mm256_sub_ps(t, _mm256_set1_ps(FL_EXP2_ROUND)));
    __m256 p = _mm256_fmadd_ps(_mm256_set1_ps(FL_EXP2_C6), r, _mm256_set1_ps(FL_EXP2_C5));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(FL_EXP2_C4));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(FL_EXP2_C3));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(FL_EXP2_C2));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(FL_EXP2_C1));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    __m256i n = _mm256_sub_epi32(_mm256_castps_si256(t), _mm256_castps_si256(_mm256_set1_ps(FL_EXP2_ROUND)));
    __m256i half = _mm256_srai_epi32(n, 1), bias = _mm256_set1_epi32(127);
    __m256i low = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    __m256i high = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(n, half), bias), 23);
    return _mm256_mul_ps(_mm256_mul_ps(p, _mm256_castsi256_ps(low)), _mm256_castsi256_ps(high));
}
#endif

#if defined(__AVX512F__) && defined(__AVX512DQ__)
static inline __m512 fl_exp2_avx512(__m512 x)
{
    /* x - round(x) to nearest even; 0 for -infinity, whose power then is 0, too. */
    __m512 r = _mm512_reduce_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(FL_EXP2_C6), r, _mm512_set1_ps(FL_EXP2_C5));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(FL_EXP2_C4));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(FL_EXP2_C3));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(FL_EXP2_C2));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(FL_EXP2_C1));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, _mm512_sub_ps(x, r)); /* rounds once, as the two factors above do */
}
#endif

#endif
