/* Row kernels in plain loops: what runs where there is no vector level, and the reference for those that exist. */
#include "kernel/row.h"

#include <math.h>
#include <string.h>

#define SQRT_HALF 0.70710678118654752
#define SQRT_TWO_OVER_PI 0.79788456080286536
#define INVERSE_SQRT_TWO_PI 0.39894228040143268
#define GELU_CUBIC 0.044715

static void add(const float *a, const float *b, float *y, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = a[i] + b[i];
}

static void add_normed(const float *x, const float *dy, float mean, float inverse, float *sum, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        sum[i] += dy[i] * ((x[i] - mean) * inverse);
}

static float rms_norm(const float *x, const float *w, float eps, float *y, int64_t n)
{
    double squares = 0;
    for (int64_t i = 0; i < n; i++)
        squares += (double)x[i] * x[i];
    float inverse = (float)(1.0 / sqrt(squares / (double)n + eps));
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] * inverse * w[i];
    return inverse;
}

/* dx = inverse * (g - x * inverse^2 * mean(g x)) with g = w dy */
static void rms_norm_backward(const float *x, const float *w, float inverse, const float *dy, float *dx,
                              bool accumulate, int64_t n)
{
    double product = 0;
    for (int64_t i = 0; i < n; i++)
        product += (double)w[i] * dy[i] * x[i];
    float slope = (float)(product / (double)n * inverse * inverse);
    for (int64_t i = 0; i < n; i++) {
        float g = inverse * (w[i] * dy[i] - x[i] * slope);
        dx[i] = accumulate ? dx[i] + g : g;
    }
}

static void layer_norm(const float *x, const float *w, const float *b, float eps, float *y, float *stats, int64_t n)
{
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i];
    float mean = (float)(sum / (double)n);
    for (int64_t i = 0; i < n; i++)
        squares += (double)(x[i] - mean) * (x[i] - mean);
    float inverse = (float)(1.0 / sqrt(squares / (double)n + eps));
    for (int64_t i = 0; i < n; i++)
        y[i] = (x[i] - mean) * inverse * w[i] + (b ? b[i] : 0.0f);
    stats[0] = mean;
    stats[1] = inverse;
}

/* dx = inverse * (g - mean(g) - h mean(g h)) with g = w dy and h the normalised x */
static void layer_norm_backward(const float *x, const float *w, const float *stats, const float *dy, float *dx,
                                bool accumulate, int64_t n)
{
    float mean = stats[0], inverse = stats[1];
    double sum = 0, product = 0;
    for (int64_t i = 0; i < n; i++) {
        double g = (double)w[i] * dy[i];
        sum += g;
        product += g * (x[i] - mean);
    }
    float offset = (float)(sum / (double)n), slope = (float)(product / (double)n * inverse * inverse);
    for (int64_t i = 0; i < n; i++) {
        float g = inverse * (w[i] * dy[i] - offset - (x[i] - mean) * slope);
        dx[i] = accumulate ? dx[i] + g : g;
    }
}

static void rotate(const float *x, int heads, int head_dim, const float *cos, const float *sin, int pairs,
                   bool interleaved, float direction, float *y)
{
    int first = interleaved ? 2 : 1, second = interleaved ? 1 : pairs;
    for (int h = 0; h < heads; h++) {
        const float *from = x + (int64_t)h * head_dim;
        float *to = y + (int64_t)h * head_dim;
        for (int i = 0; i < pairs; i++) {
            float a = from[i * first], b = from[i * first + second], s = direction * sin[i];
            to[i * first] = a * cos[i] - b * s;
            to[i * first + second] = b * cos[i] + a * s;
        }
        if (to != from) memcpy(to + 2 * pairs, from + 2 * pairs, (size_t)(head_dim - 2 * pairs) * sizeof(float));
    }
}

/* 1 / (1 + exp(-x)) and its complement, neither of which loses digits to 1 - (something near 1). */
static float sigmoid(float x, float *complement)
{
    float e = expf(-fabsf(x)), near_one = 1.0f / (1.0f + e), near_zero = e / (1.0f + e);
    *complement = x < 0 ? near_one : near_zero;
    return x < 0 ? near_zero : near_one;
}

static void swiglu(const float *gate, const float *up, float *y, int64_t n)
{
    float rest;
    for (int64_t i = 0; i < n; i++)
        y[i] = gate[i] * sigmoid(gate[i], &rest) * up[i];
}

static void swiglu_backward(const float *gate, const float *up, const float *dy, float *dgate, float *dup, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float rest, s = sigmoid(gate[i], &rest), d = dy[i];
        dgate[i] = d * up[i] * s * (1.0f + gate[i] * rest);
        dup[i] = d * gate[i] * s;
    }
}

/* 0.5 (1 + tanh(u)) = sigmoid(2u), which keeps its digits where tanh(u) is near -1. */
static void gelu(const float *x, bool tanh_form, float *y, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        double v = x[i];
        if (tanh_form)
            y[i] = (float)(v / (1.0 + exp(-2.0 * SQRT_TWO_OVER_PI * (v + GELU_CUBIC * v * v * v))));
        else
            y[i] = (float)(0.5 * v * erfc(-SQRT_HALF * v));
    }
}

static void gelu_backward(const float *x, bool tanh_form, const float *dy, float *dx, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        double v = x[i], slope;
        if (tanh_form) {
            double e = exp(-2.0 * SQRT_TWO_OVER_PI * fabs(v + GELU_CUBIC * v * v * v));
            double s = (v < 0 ? e : 1.0) / (1.0 + e), bell = e / ((1.0 + e) * (1.0 + e)); /* s (1 - s) */
            slope = s + v * bell * 2.0 * SQRT_TWO_OVER_PI * (1.0 + 3.0 * GELU_CUBIC * v * v);
        } else {
            slope = 0.5 * erfc(-SQRT_HALF * v) + v * INVERSE_SQRT_TWO_PI * exp(-0.5 * v * v);
        }
        dx[i] = (float)(dy[i] * slope);
    }
}

static double sum_squares(const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    return sum;
}

static void adamw(const fl_row_adamw *a, float *weight, float *moment1, float *moment2, const float *grad, int64_t n)
{
    float gain1 = 1.0f - a->beta1, gain2 = 1.0f - a->beta2;
    for (int64_t i = 0; i < n; i++) {
        float g = grad[i] * a->grad_scale;
        float m = moment1[i] = a->beta1 * moment1[i] + gain1 * g;
        float v = moment2[i] = a->beta2 * moment2[i] + gain2 * g * g;
        weight[i] = weight[i] * a->keep - a->step * m / (sqrtf(v) * a->inverse_bias + a->eps);
    }
}

const fl_row_kernels fl_row_kernels_generic = {
    .add = add,
    .add_normed = add_normed,
    .rms_norm = rms_norm,
    .rms_norm_backward = rms_norm_backward,
    .layer_norm = layer_norm,
    .layer_norm_backward = layer_norm_backward,
    .rotate = rotate,
    .swiglu = swiglu,
    .swiglu_backward = swiglu_backward,
    .gelu = gelu,
    .gelu_backward = gelu_backward,
    .sum_squares = sum_squares,
    .adamw = adamw,
};
