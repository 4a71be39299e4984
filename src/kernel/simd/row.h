/* The row kernels written on fl_vec. A level's row.c defines FL_ROW_TABLE, the name of its table, and includes this.
 * What each kernel computes is said in kernel/row.h, and plainly in generic/row.c. */
#include <math.h>
#include <string.h>

#include "kernel/row.h"
#include "kernel/simd/vector.h"

/* Independent sums per row: enough to hide the latency of an addition. */
#define CHAINS 4

#define SQRT_TWO_OVER_PI 0.797884560802865f
#define INVERSE_SQRT_TWO_PI 0.398942280401433f
#define GELU_CUBIC 0.044715f

#define SHUFFLE __builtin_shufflevector

static void add(const float *a, const float *b, float *y, int64_t n)
{
    for (int64_t i = 0; i < n; i += FL_LANES)
        fl_vec_store_part(y + i, fl_vec_load_part(a + i, n - i) + fl_vec_load_part(b + i, n - i), n - i);
}

static void add_normed(const float *x, const float *dy, float mean, float inverse, float *sum, int64_t n)
{
    fl_vec centre = fl_vec_set(mean), scale = fl_vec_set(inverse);
    for (int64_t i = 0; i < n; i += FL_LANES) {
        fl_vec normed = (fl_vec_load_part(x + i, n - i) - centre) * scale;
        fl_vec total = fl_vec_fma(fl_vec_load_part(dy + i, n - i), normed, fl_vec_load_part(sum + i, n - i));
        fl_vec_store_part(sum + i, total, n - i);
    }
}

static fl_vec close_chains(const fl_vec *sum)
{
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

static float rms_norm(const float *x, const float *w, float eps, float *y, int64_t n)
{
    fl_vec sum[CHAINS] = {0};
    int64_t i = 0;
    for (; i + CHAINS * FL_LANES <= n; i += CHAINS * FL_LANES)
        for (int k = 0; k < CHAINS; k++) {
            fl_vec v = fl_vec_load(x + i + k * FL_LANES);
            sum[k] = fl_vec_fma(v, v, sum[k]);
        }
    for (int k = 0; i < n; i += FL_LANES, k++) {
        fl_vec v = fl_vec_load_part(x + i, n - i);
        sum[k] = fl_vec_fma(v, v, sum[k]);
    }
    float inverse = 1.0f / sqrtf(fl_vec_sum(close_chains(sum)) / (float)n + eps);
    for (i = 0; i < n; i += FL_LANES) {
        fl_vec v = fl_vec_load_part(x + i, n - i) * fl_vec_set(inverse) * fl_vec_load_part(w + i, n - i);
        fl_vec_store_part(y + i, v, n - i);
    }
    return inverse;
}

static void rms_norm_backward(const float *x, const float *w, float inverse, const float *dy, float *dx,
                              bool accumulate, int64_t n)
{
    fl_vec sum[CHAINS] = {0};
    int64_t i = 0;
    for (; i + CHAINS * FL_LANES <= n; i += CHAINS * FL_LANES)
        for (int k = 0; k < CHAINS; k++) {
            int64_t at = i + k * FL_LANES;
            sum[k] = fl_vec_fma(fl_vec_load(w + at) * fl_vec_load(dy + at), fl_vec_load(x + at), sum[k]);
        }
    for (int k = 0; i < n; i += FL_LANES, k++) {
        fl_vec g = fl_vec_load_part(w + i, n - i) * fl_vec_load_part(dy + i, n - i);
        sum[k] = fl_vec_fma(g, fl_vec_load_part(x + i, n - i), sum[k]);
    }
    fl_vec slope = fl_vec_set(fl_vec_sum(close_chains(sum)) / (float)n * inverse * inverse);
    for (i = 0; i < n; i += FL_LANES) {
        fl_vec g = fl_vec_load_part(w + i, n - i) * fl_vec_load_part(dy + i, n - i);
        g = fl_vec_minus_product(g, fl_vec_load_part(x + i, n - i), slope) * fl_vec_set(inverse);
        if (accumulate) g += fl_vec_load_part(dx + i, n - i);
        fl_vec_store_part(dx + i, g, n - i);
    }
}

static void layer_norm(const float *x, const float *w, const float *b, float eps, float *y, float *stats, int64_t n)
{
    fl_vec sum[CHAINS] = {0}, squares[CHAINS] = {0};
    int64_t i = 0;
    for (; i + CHAINS * FL_LANES <= n; i += CHAINS * FL_LANES)
        for (int k = 0; k < CHAINS; k++)
            sum[k] += fl_vec_load(x + i + k * FL_LANES);
    for (int k = 0; i < n; i += FL_LANES, k++)
        sum[k] += fl_vec_load_part(x + i, n - i);
    float mean = fl_vec_sum(close_chains(sum)) / (float)n;

    fl_vec centre = fl_vec_set(mean);
    for (i = 0; i + CHAINS * FL_LANES <= n; i += CHAINS * FL_LANES)
        for (int k = 0; k < CHAINS; k++) {
            fl_vec v = fl_vec_load(x + i + k * FL_LANES) - centre;
            squares[k] = fl_vec_fma(v, v, squares[k]);
        }
    for (int k = 0; i < n; i += FL_LANES, k++) {
        fl_vec v = fl_vec_load_part(x + i, n - i) - centre;
        if (n - i < FL_LANES) v = fl_vec_keep_first(v, n - i);
        squares[k] = fl_vec_fma(v, v, squares[k]);
    }
    float inverse = 1.0f / sqrtf(fl_vec_sum(close_chains(squares)) / (float)n + eps);
    for (i = 0; i < n; i += FL_LANES) {
        fl_vec v = (fl_vec_load_part(x + i, n - i) - centre) * fl_vec_set(inverse);
        fl_vec offset = b ? fl_vec_load_part(b + i, n - i) : fl_vec_set(0);
        fl_vec_store_part(y + i, fl_vec_fma(v, fl_vec_load_part(w + i, n - i), offset), n - i);
    }
    stats[0] = mean;
    stats[1] = inverse;
}

static void layer_norm_backward(const float *x, const float *w, const float *stats, const float *dy, float *dx,
                                bool accumulate, int64_t n)
{
    fl_vec sum[CHAINS] = {0}, product[CHAINS] = {0};
    fl_vec mean = fl_vec_set(stats[0]), inverse = fl_vec_set(stats[1]);
    int64_t i = 0;
    for (; i + CHAINS * FL_LANES <= n; i += CHAINS * FL_LANES)
        for (int k = 0; k < CHAINS; k++) {
            int64_t at = i + k * FL_LANES;
            fl_vec g = fl_vec_load(w + at) * fl_vec_load(dy + at);
            sum[k] += g;
            product[k] = fl_vec_fma(g, fl_vec_load(x + at) - mean, product[k]);
        }
    for (int k = 0; i < n; i += FL_LANES, k++) {
        fl_vec g = fl_vec_load_part(w + i, n - i) * fl_vec_load_part(dy + i, n - i);
        sum[k] += g;
        product[k] = fl_vec_fma(g, fl_vec_load_part(x + i, n - i) - mean, product[k]);
    }
    fl_vec offset = fl_vec_set(fl_vec_sum(close_chains(sum)) / (float)n);
    fl_vec slope = fl_vec_set(fl_vec_sum(close_chains(product)) / (float)n * stats[1] * stats[1]);
    for (i = 0; i < n; i += FL_LANES) {
        fl_vec g = fl_vec_load_part(w + i, n - i) * fl_vec_load_part(dy + i, n - i) - offset;
        g = fl_vec_minus_product(g, fl_vec_load_part(x + i, n - i) - mean, slope) * inverse;
        if (accumulate) g += fl_vec_load_part(dx + i, n - i);
        fl_vec_store_part(dx + i, g, n - i);
    }
}

/* Each of a pair is one product and one fused multiply-add, so both layouts give the same bits. */
static void rotate_half(const float *x, const float *cos, const float *sin, int pairs, fl_vec direction, float *y)
{
    for (int i = 0; i < pairs; i += FL_LANES) {
        int n = pairs - i;
        fl_vec c = fl_vec_load_part(cos + i, n), s = direction * fl_vec_load_part(sin + i, n);
        fl_vec a = fl_vec_load_part(x + i, n), b = fl_vec_load_part(x + pairs + i, n);
        fl_vec_store_part(y + i, fl_vec_minus_product(a * c, b, s), n);
        fl_vec_store_part(y + pairs + i, fl_vec_fma(a, s, b * c), n);
    }
}

#if defined(__AVX512F__)
#define EVEN_OF_TWO(a, b) SHUFFLE(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30)
#define ODD_OF_TWO(a, b) SHUFFLE(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31)
#define ZIP_LOW(a, b) SHUFFLE(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define ZIP_HIGH(a, b) SHUFFLE(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#else
#define EVEN_OF_TWO(a, b) SHUFFLE(a, b, 0, 2, 4, 6, 8, 10, 12, 14)
#define ODD_OF_TWO(a, b) SHUFFLE(a, b, 1, 3, 5, 7, 9, 11, 13, 15)
#define ZIP_LOW(a, b) SHUFFLE(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define ZIP_HIGH(a, b) SHUFFLE(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#endif

static void rotate_interleaved(const float *x, const float *cos, const float *sin, int pairs, fl_vec direction,
                               float *y)
{
    for (int i = 0; i < pairs; i += FL_LANES) {
        int n = pairs - i, low = 2 * n, high = 2 * n - FL_LANES; /* floats of the two vectors that hold these pairs */
        fl_vec c = fl_vec_load_part(cos + i, n), s = direction * fl_vec_load_part(sin + i, n);
        fl_vec u = fl_vec_load_part(x + 2 * i, low), v = fl_vec_set(0);
        if (high > 0) v = fl_vec_load_part(x + 2 * i + FL_LANES, high);
        fl_vec a = EVEN_OF_TWO(u, v), b = ODD_OF_TWO(u, v);
        fl_vec first = fl_vec_minus_product(a * c, b, s), second = fl_vec_fma(a, s, b * c);
        fl_vec_store_part(y + 2 * i, ZIP_LOW(first, second), low);
        if (high > 0) fl_vec_store_part(y + 2 * i + FL_LANES, ZIP_HIGH(first, second), high);
    }
}

static void rotate(const float *x, int heads, int head_dim, const float *cos, const float *sin, int pairs,
                   bool interleaved, float direction, float *y)
{
    for (int h = 0; h < heads; h++) {
        const float *from = x + (int64_t)h * head_dim;
        float *to = y + (int64_t)h * head_dim;
        if (interleaved)
            rotate_interleaved(from, cos, sin, pairs, fl_vec_set(direction), to);
        else
            rotate_half(from, cos, sin, pairs, fl_vec_set(direction), to);
        if (to != from) memcpy(to + 2 * pairs, from + 2 * pairs, (size_t)(head_dim - 2 * pairs) * sizeof(float));
    }
}

/* 1 / (1 + exp(-x)) and its complement, both to full relative precision. */
static inline fl_vec sigmoid(fl_vec x, fl_vec *complement)
{
    fl_vec one = fl_vec_set(1), e = fl_vec_exp(-fl_vec_abs(x));
    fl_vec near_one = one / (one + e), near_zero = e * near_one;
    *complement = fl_vec_if_negative(x, near_one, near_zero);
    return fl_vec_if_negative(x, near_zero, near_one);
}

static void swiglu(const float *gate, const float *up, float *y, int64_t n)
{
    for (int64_t i = 0; i < n; i += FL_LANES) {
        fl_vec rest, g = fl_vec_load_part(gate + i, n - i), s = sigmoid(g, &rest);
        fl_vec_store_part(y + i, g * s * fl_vec_load_part(up + i, n - i), n - i);
    }
}

static void swiglu_backward(const float *gate, const float *up, const float *dy, float *dgate, float *dup, int64_t n)
{
    for (int64_t i = 0; i < n; i += FL_LANES) {
        fl_vec rest, g = fl_vec_load_part(gate + i, n - i), s = sigmoid(g, &rest);
        fl_vec d = fl_vec_load_part(dy + i, n - i) * s, slope = fl_vec_fma(g, rest, fl_vec_set(1));
        fl_vec_store_part(dgate + i, d * fl_vec_load_part(up + i, n - i) * slope, n - i);
        fl_vec_store_part(dup + i, d * g, n - i);
    }
}

/* The normal distribution: returns P(X < x) and sets *density to exp(-x^2/2). The tail is P(X > |x|) =
 * exp(-x^2/2) t p(t), t = 1/(1 + |x|/4), with p of degree 9 fitted to the smallest largest relative error (3.4e-8; in
 * single precision the product is within 6 units in the last place). The square's rounding error goes back into the
 * exponential, so that the relative error does not grow with |x|. */
static inline fl_vec normal(fl_vec x, fl_vec *density)
{
    fl_vec one = fl_vec_set(1), half = fl_vec_set(0.5f);
    fl_vec square = x * x, lost = fl_vec_minus_product(square, x, x); /* square - x^2 exactly */
    /* Where the square overflows, lost would be inf - inf; the exponential is 0 there whatever the factor. */
    fl_vec e = fl_vec_exp(-half * square);
    e = fl_vec_if_negative(square - fl_vec_set(1000), fl_vec_fma(e, half * lost, e), fl_vec_set(0));
    fl_vec t = one / fl_vec_fma(fl_vec_abs(x), fl_vec_set(0.25f), one);
    fl_vec p = fl_vec_set(0x1.441bc8p-6f);
    p = fl_vec_fma(p, t, fl_vec_set(-0x1.4b4606p-4f));
    p = fl_vec_fma(p, t, fl_vec_set(0x1.8790d0p-4f));
    p = fl_vec_fma(p, t, fl_vec_set(-0x1.03d46cp-5f));
    p = fl_vec_fma(p, t, fl_vec_set(0x1.04e954p-4f));
    p = fl_vec_fma(p, t, fl_vec_set(0x1.e31fe4p-5f));
    p = fl_vec_fma(p, t, fl_vec_set(0x1.4e3f0ep-4f));
    p = fl_vec_fma(p, t, fl_vec_set(0x1.7ed694p-4f));
    p = fl_vec_fma(p, t, fl_vec_set(0x1.98853ap-4f));
    p = fl_vec_fma(p, t, fl_vec_set(0x1.988452p-4f));
    fl_vec tail = p * t * e;
    *density = e;
    return fl_vec_if_negative(x, tail, one - tail);
}

/* 2u of the tanh form; 0.5 (1 + tanh(u)) = sigmoid(2u). */
static inline fl_vec tanh_argument(fl_vec x)
{
    fl_vec cube = x * x * x;
    return fl_vec_set(2 * SQRT_TWO_OVER_PI) * fl_vec_fma(cube, fl_vec_set(GELU_CUBIC), x);
}

static void gelu(const float *x, bool tanh_form, float *y, int64_t n)
{
    for (int64_t i = 0; i < n; i += FL_LANES) {
        fl_vec unused, v = fl_vec_load_part(x + i, n - i);
        fl_vec share = tanh_form ? sigmoid(tanh_argument(v), &unused) : normal(v, &unused);
        fl_vec_store_part(y + i, v * share, n - i);
    }
}

static void gelu_backward(const float *x, bool tanh_form, const float *dy, float *dx, int64_t n)
{
    for (int64_t i = 0; i < n; i += FL_LANES) {
        fl_vec v = fl_vec_load_part(x + i, n - i), slope;
        if (tanh_form) {
            fl_vec rest, s = sigmoid(tanh_argument(v), &rest);
            fl_vec inner =
                fl_vec_fma(v * v, fl_vec_set(6 * SQRT_TWO_OVER_PI * GELU_CUBIC), fl_vec_set(2 * SQRT_TWO_OVER_PI));
            slope = fl_vec_fma(v * inner, s * rest, s);
        } else {
            fl_vec density, share = normal(v, &density);
            slope = fl_vec_fma(v * fl_vec_set(INVERSE_SQRT_TWO_PI), density, share);
        }
        fl_vec_store_part(dx + i, fl_vec_load_part(dy + i, n - i) * slope, n - i);
    }
}

static double sum_squares(const float *x, int64_t n)
{
    fl_vec_double low[2] = {fl_vec_double_zero(), fl_vec_double_zero()}, high[2] = {low[0], low[0]};
    int64_t i = 0;
    for (; i + 2 * FL_LANES <= n; i += 2 * FL_LANES)
        for (int k = 0; k < 2; k++) {
            fl_vec v = fl_vec_load(x + i + k * FL_LANES);
            low[k] = fl_vec_double_fma(fl_vec_low_double(v), fl_vec_low_double(v), low[k]);
            high[k] = fl_vec_double_fma(fl_vec_high_double(v), fl_vec_high_double(v), high[k]);
        }
    for (int k = 0; i < n; i += FL_LANES, k++) {
        fl_vec v = fl_vec_load_part(x + i, n - i);
        low[k] = fl_vec_double_fma(fl_vec_low_double(v), fl_vec_low_double(v), low[k]);
        high[k] = fl_vec_double_fma(fl_vec_high_double(v), fl_vec_high_double(v), high[k]);
    }
    return fl_vec_double_sum((low[0] + low[1]) + (high[0] + high[1]));
}

static void adamw(const fl_row_adamw *a, float *weight, float *moment1, float *moment2, const float *grad, int64_t n)
{
    fl_vec keep = fl_vec_set(a->keep), beta1 = fl_vec_set(a->beta1), beta2 = fl_vec_set(a->beta2);
    fl_vec gain1 = fl_vec_set(1.0f - a->beta1), gain2 = fl_vec_set(1.0f - a->beta2), step = fl_vec_set(a->step);
    fl_vec inverse_bias = fl_vec_set(a->inverse_bias), eps = fl_vec_set(a->eps), scale = fl_vec_set(a->grad_scale);
    for (int64_t i = 0; i < n; i += FL_LANES) {
        int64_t left = n - i;
        fl_vec g = fl_vec_load_part(grad + i, left) * scale, w = fl_vec_load_part(weight + i, left) * keep;
        fl_vec m = fl_vec_fma(beta1, fl_vec_load_part(moment1 + i, left), gain1 * g);
        fl_vec v = fl_vec_fma(beta2, fl_vec_load_part(moment2 + i, left), gain2 * g * g);
        w -= step * m / fl_vec_fma(fl_vec_sqrt(v), inverse_bias, eps);
        fl_vec_store_part(moment1 + i, m, left);
        fl_vec_store_part(moment2 + i, v, left);
        fl_vec_store_part(weight + i, w, left);
    }
}

const fl_row_kernels FL_ROW_TABLE = {
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
