/* Kernels that read each value of a row once or twice: norms, rotation, activations, sums, the optimiser's step.
 * Every function works on one row (or one run of a contiguous array) in fp32; callers loop over rows and threads.
 *
 * Bits: an output element depends on its own row only and on nothing but the level: sums over a row go through a fixed
 * number of lanes in a fixed order, and the last, partial vector of a row runs the same instructions as a full one.
 * Accuracy of the vector levels, relative, largest error found over dense sweeps: SiLU 2.5e-7, GELU (erf) 5e-7, GELU
 * (tanh) 1e-6 + 2e-7 |2u|, where u is the argument of tanh: its rounding counts in the negative tail. Their slopes:
 * 3e-7 absolute. */
#ifndef FL_KERNEL_ROW_H
#define FL_KERNEL_ROW_H

#include <stdbool.h>
#include <stdint.h>

/* The constants of one AdamW step, prepared in double by the caller. */
typedef struct fl_row_adamw {
    float keep; /* 1 - lr * weight_decay */
    float beta1, beta2;
    float step;         /* lr / (1 - beta1^t) */
    float inverse_bias; /* 1 / sqrt(1 - beta2^t) */
    float eps;
    float grad_scale;
} fl_row_adamw;

typedef struct fl_row_kernels {
    void (*add)(const float *a, const float *b, float *y, int64_t n); /* y may be a or b */

    /* sum += dy * (x - mean) * inverse: one row's part of the gradient of a norm's weight. */
    void (*add_normed)(const float *x, const float *dy, float mean, float inverse, float *sum, int64_t n);

    /* y = x * inverse * w; returns inverse = 1/sqrt(mean(x^2) + eps). */
    float (*rms_norm)(const float *x, const float *w, float eps, float *y, int64_t n);
    void (*rms_norm_backward)(const float *x, const float *w, float inverse, const float *dy, float *dx,
                              bool accumulate, int64_t n);
    /* y = (x - mean) * inverse * w + b (b may be NULL); stats gets mean and inverse = 1/sqrt(var + eps). */
    void (*layer_norm)(const float *x, const float *w, const float *b, float eps, float *y, float *stats, int64_t n);
    void (*layer_norm_backward)(const float *x, const float *w, const float *stats, const float *dy, float *dx,
                                bool accumulate, int64_t n);

    /* Rotate the first 2*pairs components of each head by the row's angles (cos, sin [pairs]); the rest is copied.
     * direction: 1 forward, -1 back. y may be x. */
    void (*rotate)(const float *x, int heads, int head_dim, const float *cos, const float *sin, int pairs,
                   bool interleaved, float direction, float *y);

    void (*swiglu)(const float *gate, const float *up, float *y, int64_t n);
    void (*swiglu_backward)(const float *gate, const float *up, const float *dy, float *dgate, float *dup, int64_t n);
    void (*gelu)(const float *x, bool tanh_form, float *y, int64_t n); /* y may be x */
    void (*gelu_backward)(const float *x, bool tanh_form, const float *dy, float *dx, int64_t n);

    double (*sum_squares)(const float *x, int64_t n); /* in double */
    void (*adamw)(const fl_row_adamw *a, float *weight, float *moment1, float *moment2, const float *grad, int64_t n);
} fl_row_kernels;

extern const fl_row_kernels fl_row_kernels_generic;
#if defined(__x86_64__)
extern const fl_row_kernels fl_row_kernels_avx2, fl_row_kernels_avx512;
#endif

#endif
