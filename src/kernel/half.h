/* The 16-bit floats as fp32: exact for every pattern; NaN comes out quiet. */
#ifndef FL_KERNEL_HALF_H
#define FL_KERNEL_HALF_H

#include <stdint.h>

typedef union fl_float_bits {
    uint32_t u;
    float f;
} fl_float_bits;

/* bf16 is the upper half of an fp32. */
static inline float fl_bf16_to_f32(uint16_t h)
{
    fl_float_bits v = {.u = (uint32_t)h << 16};
    return v.f;
}

/* f16: 5 bits of exponent with bias 15, 10 of fraction. The bits are those of F16C. Written without branches, so that
 * loops over it become vector code. */
static inline float fl_f16_to_f32(uint16_t h)
{
    const uint32_t rebias = (127u - 15u) << 23;
    int32_t magnitude = h & 0x7fff;
    uint32_t normal = ((uint32_t)magnitude << 13) + rebias;
    normal += magnitude >= 0x7c00 ? rebias : 0;    /* infinity and NaN */
    normal |= magnitude > 0x7c00 ? 0x400000u : 0u; /* quiet */
    /* 0.5 has its last bit at 2^-24, the unit of subnormal f16. Exact, and independent of a flush-to-zero mode. */
    fl_float_bits subnormal = {.u = (126u << 23) + (uint32_t)magnitude};
    subnormal.f -= 0.5f;
    uint32_t small = magnitude < 0x400 ? ~0u : 0u;
    fl_float_bits v = {.u = (uint32_t)(h & 0x8000) << 16 | (subnormal.u & small) | (normal & ~small)};
    return v.f;
}

#endif
