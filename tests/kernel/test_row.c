/* Row kernels of every level this CPU has, against plain loops in double precision and finite differences of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "kernel/row.h"

#define MAX_N 1100
#define CANARY 12345.0f

static const int64_t lengths[] = {1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 100, 127, 288, 1000, 1024};
#define LENGTHS ((int)(sizeof lengths / sizeof lengths[0]))

static const fl_row_kernels *level[3];
static int levels;
static fl_rng rng;

static void find_levels(void)
{
    level[levels++] = &fl_row_kernels_generic;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) level[levels++] = &fl_row_kernels_avx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq"))
        level[levels++] = &fl_row_kernels_avx512;
#endif
}

static void fill(float *x, int64_t n, double spread)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(spread * fl_rng_normal(&rng));
}

static void near(double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance)) fail_msg("got %.9g, want %.9g, tolerance %.3g", got, want, tolerance);
}

static void guard(float *y, int64_t n)
{
    y[n] = y[n + 1] = CANARY;
}
static void check_guard(const float *y, int64_t n)
{
    assert_true(y[n] == CANARY && y[n + 1] == CANARY);
}

/* Both norms in double: y, or sum(dy y) if dy is given. */
static double norm_double(const double *x, const float *w, const float *b, bool layer, double eps, double *y,
                          const float *dy, int64_t n)
{
    double mean = 0, squares = 0, loss = 0;
    for (int64_t i = 0; layer && i < n; i++)
        mean += x[i] / (double)n;
    for (int64_t i = 0; i < n; i++)
        squares += (x[i] - mean) * (x[i] - mean) / (double)n;
    for (int64_t i = 0; i < n; i++) {
        double v = (x[i] - mean) / sqrt(squares + eps) * w[i] + (b ? b[i] : 0.0);
        if (y) y[i] = v;
        if (dy) loss += v * dy[i];
    }
    return loss;
}

static void test_norms(void **state)
{
    (void)state;
    static float x[MAX_N], w[MAX_N], b[MAX_N], y[MAX_N], again[MAX_N];
    static double xd[MAX_N], want[MAX_N];
    const float eps = 1e-5f;
    for (int l = 0; l < levels; l++)
        for (int s = 0; s < LENGTHS; s++)
            for (int layer = 0; layer < 2; layer++) {
                int64_t n = lengths[s];
                fill(x, n, 3);
                fill(w, n, 1);
                fill(b, n, 1);
                for (int64_t i = 0; i < n; i++)
                    xd[i] = x[i] = x[i] + (layer ? 2.0f : 0.0f);
                float stats[2];
                guard(y, n);
                if (layer)
                    level[l]->layer_norm(x, w, b, eps, y, stats, n);
                else
                    stats[1] = level[l]->rms_norm(x, w, eps, y, n);
                check_guard(y, n);
                norm_double(xd, w, layer ? b : NULL, layer, eps, want, NULL, n);
                /* Sums of n <= 1024 squares in at least 32 chains: below 40 roundings of 6e-8 in the square root's
                 * argument, half of that in the result; for a layer norm the mean's rounding counts against a
                 * deviation that may be much smaller than x itself when n is small. */
                for (int64_t i = 0; i < n; i++)
                    near(y[i], want[i],
                         2e-6 * (fabs(want[i]) + fabs(w[i]) + (layer ? fabs((double)x[i] * w[i] * stats[1]) : 0)));
                if (layer) {
                    level[l]->layer_norm(x, w, NULL, eps, again, stats, n);
                    for (int64_t i = 0; i < n; i++)
                        near(again[i] + b[i], y[i], 1e-6 * (fabs(y[i]) + fabs(b[i])));
                }
            }
}

static void test_norm_gradients(void **state)
{
    (void)state;
    static float x[MAX_N], w[MAX_N], b[MAX_N], y[MAX_N], dy[MAX_N], dx[MAX_N], more[MAX_N];
    static double xd[MAX_N];
    const float eps = 1e-3f;
    for (int l = 0; l < levels; l++)
        for (int s = 0; s < LENGTHS; s++)
            for (int layer = 0; layer < 2; layer++) {
                int64_t n = lengths[s];
                fill(x, n, 1);
                fill(w, n, 1);
                fill(b, n, 1);
                fill(dy, n, 1);
                for (int64_t i = 0; i < n; i++)
                    xd[i] = x[i];
                float stats[2];
                guard(dx, n);
                memcpy(more, dy, sizeof more);
                if (layer) {
                    level[l]->layer_norm(x, w, b, eps, y, stats, n);
                    level[l]->layer_norm_backward(x, w, stats, dy, dx, false, n);
                    level[l]->layer_norm_backward(x, w, stats, dy, more, true, n);
                } else {
                    stats[1] = level[l]->rms_norm(x, w, eps, y, n);
                    level[l]->rms_norm_backward(x, w, stats[1], dy, dx, false, n);
                    level[l]->rms_norm_backward(x, w, stats[1], dy, more, true, n);
                }
                check_guard(dx, n);
                for (int64_t i = 0; i < n; i++) {
                    assert_true(more[i] == dx[i] + dy[i]);
                    if (i >= 20 && i < n - 20) continue; /* the finite difference costs n each */
                    const double h = 1e-5;
                    double kept = xd[i];
                    xd[i] = kept + h;
                    double up = norm_double(xd, w, b, layer, eps, NULL, dy, n);
                    xd[i] = kept - h;
                    double down = norm_double(xd, w, b, layer, eps, NULL, dy, n);
                    xd[i] = kept;
                    /* fp32 roundings of terms of size inverse * w dy, which cancel where n is small (n = 1: fully);
                     * the central difference itself is good to 1e-8 of the same size. */
                    double size = stats[1] * (3 + fabs((double)w[i] * dy[i])) * (1 + fabs((double)x[i]));
                    near(dx[i], (up - down) / (2 * h), 4e-6 * size);
                }
            }
}

static void test_add_normed(void **state)
{
    (void)state;
    static float x[MAX_N], dy[MAX_N], sum[MAX_N], before[MAX_N];
    for (int l = 0; l < levels; l++)
        for (int s = 0; s < LENGTHS; s++) {
            int64_t n = lengths[s];
            fill(x, n, 1);
            fill(dy, n, 1);
            fill(sum, n, 1);
            guard(sum, n);
            memcpy(before, sum, sizeof before);
            level[l]->add_normed(x, dy, 0.3f, 1.7f, sum, n);
            check_guard(sum, n);
            for (int64_t i = 0; i < n; i++) {
                double v = dy[i] * ((double)x[i] - 0.3f) * 1.7f;
                /* Four roundings, that of x - mean relative to the larger of the two. */
                near(sum[i], before[i] + v, 1.2e-7 * (fabs(before[i]) + 2 * fabs(v) + fabs((double)dy[i])));
            }
        }
}

static void test_rotation(void **state)
{
    (void)state;
    enum { HEADS = 3 };
    static float x[HEADS * 256 + 2], mixed[HEADS * 256 + 2], y[HEADS * 256 + 2], z[HEADS * 256 + 2];
    float cos_row[128], sin_row[128];
    for (int l = 0; l < levels; l++)
        for (int pairs = 1; pairs <= 64; pairs += (pairs < 20 ? 1 : 11))
            for (int rest = 0; rest <= 5; rest += 5) {
                int dim = 2 * pairs + rest, n = HEADS * dim;
                fill(x, n, 1);
                for (int i = 0; i < pairs; i++) {
                    double angle = 6.3 * fl_rng_uniform(&rng);
                    cos_row[i] = (float)cos(angle);
                    sin_row[i] = (float)sin(angle);
                }
                guard(y, n);
                level[l]->rotate(x, HEADS, dim, cos_row, sin_row, pairs, false, 1, y);
                check_guard(y, n);
                for (int h = 0; h < HEADS; h++)
                    for (int i = 0; i < dim; i++) {
                        const float *v = x + h * dim;
                        double want = v[i];
                        if (i < pairs)
                            want = (double)v[i] * cos_row[i] - (double)v[i + pairs] * sin_row[i];
                        else if (i < 2 * pairs)
                            want = (double)v[i] * cos_row[i - pairs] + (double)v[i - pairs] * sin_row[i - pairs];
                        near(y[h * dim + i], want, 4e-7 * 3); /* two roundings of values below 3 or so */
                    }
                /* The other layout: the same pairs elsewhere, bit for bit. */
                for (int k = 0; k < n; k++) {
                    int i = k % dim, at = i < 2 * pairs ? i / 2 + (i % 2) * pairs : i;
                    mixed[k] = x[k - i + at];
                }
                guard(z, n);
                level[l]->rotate(mixed, HEADS, dim, cos_row, sin_row, pairs, true, 1, z);
                check_guard(z, n);
                for (int k = 0; k < n; k++) {
                    int i = k % dim, at = i < 2 * pairs ? i / 2 + (i % 2) * pairs : i;
                    assert_true(z[k] == y[k - i + at]);
                }
                /* In place, and back again. */
                memcpy(z, x, sizeof x);
                level[l]->rotate(z, HEADS, dim, cos_row, sin_row, pairs, false, 1, z);
                assert_memory_equal(z, y, (size_t)n * sizeof *z);
                level[l]->rotate(z, HEADS, dim, cos_row, sin_row, pairs, false, -1, z);
                level[l]->rotate(mixed, HEADS, dim, cos_row, sin_row, pairs, true, 1, mixed);
                level[l]->rotate(mixed, HEADS, dim, cos_row, sin_row, pairs, true, -1, mixed);
                for (int k = 0; k < n; k++) {
                    int i = k % dim, at = i < 2 * pairs ? i / 2 + (i % 2) * pairs : i;
                    near(z[k], x[k], 2e-6);
                    near(mixed[k], x[k - i + at], 2e-6);
                }
            }
}

static double silu_double(double x)
{
    return x / (1 + exp(-x));
}
static double gelu_erf_double(double x)
{
    return 0.5 * x * erfc(-x / sqrt(2.0));
}
static double tanh_argument(double x)
{
    return 2 * sqrt(2 / acos(-1.0)) * (x + 0.044715 * x * x * x);
}
static double gelu_tanh_double(double x)
{
    return x / (1 + exp(-tanh_argument(x)));
}

static double slope(double (*f)(double), double x)
{
    return (f(x + 1e-5) - f(x - 1e-5)) / 2e-5;
}

static void test_activations(void **state)
{
    (void)state;
    enum { N = 1024 };
    static float x[N], up[N], dy[N], y[N + 2], dgate[N + 2], dup[N + 2];
    for (int l = 0; l < levels; l++)
        for (int sweep = 0; sweep < 60; sweep++) {
            int64_t n = sweep < LENGTHS ? lengths[sweep] : N;
            double spread = sweep % 3 == 0 ? 1 : sweep % 3 == 1 ? 6 : 20;
            fill(x, n, spread);
            fill(up, n, 1);
            fill(dy, n, 1);
            guard(y, n);
            level[l]->swiglu(x, up, y, n);
            check_guard(y, n);
            /* Relative errors: the accuracy stated in row.h, where results are not denormal. */
            for (int64_t i = 0; i < n; i++)
                near(y[i], silu_double(x[i]) * up[i], 6e-7 * fabs(silu_double(x[i]) * up[i]) + 1e-37);
            guard(dgate, n);
            guard(dup, n);
            level[l]->swiglu_backward(x, up, dy, dgate, dup, n);
            check_guard(dgate, n);
            check_guard(dup, n);
            for (int64_t i = 0; i < n; i++) {
                double d = dy[i];
                near(dup[i], silu_double(x[i]) * d, 6e-7 * fabs(silu_double(x[i]) * d) + 1e-37);
                near(dgate[i], slope(silu_double, x[i]) * up[i] * d, 1e-6 * fabs(up[i] * d));
            }
            for (int form = 0; form < 2; form++) {
                double (*f)(double) = form ? gelu_tanh_double : gelu_erf_double;
                guard(y, n);
                level[l]->gelu(x, form, y, n);
                check_guard(y, n);
                for (int64_t i = 0; i < n; i++) {
                    double relative = form ? 1e-6 + 2e-7 * fabs(tanh_argument(x[i])) : 1e-6;
                    if (f(x[i]) > -1e-36 && f(x[i]) < 0) relative = 1; /* denormals on the way */
                    near(y[i], f(x[i]), relative * fabs(f(x[i])) + 1e-37);
                }
                guard(dgate, n);
                level[l]->gelu_backward(x, form, dy, dgate, n);
                check_guard(dgate, n);
                for (int64_t i = 0; i < n; i++)
                    near(dgate[i], slope(f, x[i]) * dy[i], 2e-6 * fabs(dy[i]));
                float in_place[N];
                memcpy(in_place, x, sizeof in_place);
                level[l]->gelu(in_place, form, in_place, n);
                assert_memory_equal(in_place, y, (size_t)n * sizeof *y);
            }
        }
}

static void test_activation_limits(void **state)
{
    (void)state;
    const float x[] = {0, -0.0f, 100, -100, 1e5f, -1e5f, 3e38f, -3e38f, 1e-30f, -1e-30f, INFINITY, NAN};
    enum { N = sizeof x / sizeof x[0] };
    float y[3][N], ones[N], gate[N], up[N];
    for (int i = 0; i < N; i++)
        ones[i] = 1;
    for (int l = 0; l < levels; l++) {
        level[l]->swiglu(x, ones, y[0], N);
        level[l]->gelu(x, false, y[1], N);
        level[l]->gelu(x, true, y[2], N);
        for (int k = 0; k < 3; k++) {
            assert_true(y[k][0] == 0 && y[k][1] == 0);
            assert_true(y[k][2] == 100 && y[k][4] == 1e5f && y[k][6] == 3e38f && y[k][10] == INFINITY);
            assert_true(fabsf(y[k][3]) < 1e-40f && fabsf(y[k][5]) == 0 && fabsf(y[k][7]) == 0);
            near(y[k][8], 0.5 * x[8], 1e-6 * fabs(x[8]));
            near(y[k][9], 0.5 * x[9], 1e-6 * fabs(x[9]));
            assert_true(isnan(y[k][11]));
        }
        level[l]->swiglu_backward(x, ones, ones, gate, up, N);
        assert_true(gate[0] == 0.5f && gate[2] == 1 && gate[6] == 1 && fabsf(gate[3]) < 1e-40f && gate[7] == 0);
        level[l]->gelu_backward(x, false, ones, gate, N);
        assert_true(gate[2] == 1 && gate[6] == 1 && gate[3] == 0 && gate[7] == 0 && isnan(gate[11]));
        near(gate[0], 0.5, 1e-6);
    }
}

/* An element's bits must not depend on where in a vector it lies, nor on what lies beside it. */
static void test_elements_alone(void **state)
{
    (void)state;
    enum { N = 97 };
    float x[N], b[N], c[N], all[3][N], one[3];
    fill(x, N, 3);
    fill(b, N, 1);
    fill(c, N, 1);
    for (int l = 0; l < levels; l++)
        for (int kind = 0; kind < 6; kind++) {
            for (int64_t i = -1; i < N; i++) {
                int64_t at = i < 0 ? 0 : i, n = i < 0 ? N : 1;
                float *to = i < 0 ? all[0] : &one[0], *second = i < 0 ? all[1] : &one[1];
                if (kind == 0) level[l]->add(x + at, b + at, to, n);
                if (kind == 1) level[l]->swiglu(x + at, b + at, to, n);
                if (kind == 2) level[l]->swiglu_backward(x + at, b + at, c + at, to, second, n);
                if (kind >= 3 && kind < 5) level[l]->gelu(x + at, kind == 4, to, n);
                if (kind == 5) level[l]->gelu_backward(x + at, false, c + at, to, n);
                if (i >= 0) assert_memory_equal(one, &all[0][i], sizeof(float));
                if (i >= 0 && kind == 2) assert_memory_equal(&one[1], &all[1][i], sizeof(float));
            }
        }
}

static void test_sum_squares(void **state)
{
    (void)state;
    static float x[MAX_N];
    for (int l = 0; l < levels; l++)
        for (int s = 0; s < LENGTHS; s++) {
            fill(x, lengths[s], 1e3);
            long double want = 0;
            for (int64_t i = 0; i < lengths[s]; i++)
                want += (long double)x[i] * x[i];
            near(level[l]->sum_squares(x, lengths[s]), (double)want, 1e-13 * (double)want);
        }
    assert_true(level[0]->sum_squares(x, 0) == 0);
}

/* Thirty steps of the update as Loshchilov and Hutter write it (decoupled decay), in double beside the kernels. */
static void test_adamw(void **state)
{
    (void)state;
    enum { N = 77 };
    const double lr = 1e-2, beta1 = 0.9, beta2 = 0.95, eps = 1e-8, decay = 0.1, scale = 0.5;
    for (int l = 0; l < levels; l++) {
        float w[N + 2], m[N + 2] = {0}, v[N + 2] = {0}, g[N];
        double wd[N], md[N] = {0}, vd[N] = {0};
        fill(w, N, 1);
        guard(w, N);
        guard(m, N);
        guard(v, N);
        for (int i = 0; i < N; i++)
            wd[i] = w[i];
        for (int t = 1; t <= 30; t++) {
            fill(g, N, 1);
            g[5] = 0;
            fl_row_adamw a = {.keep = (float)(1 - lr * decay),
                              .beta1 = (float)beta1,
                              .beta2 = (float)beta2,
                              .step = (float)(lr / (1 - pow(beta1, t))),
                              .inverse_bias = (float)(1 / sqrt(1 - pow(beta2, t))),
                              .eps = (float)eps,
                              .grad_scale = (float)scale};
            level[l]->adamw(&a, w, m, v, g, N);
            for (int i = 0; i < N; i++) {
                double d = g[i] * scale;
                wd[i] *= 1 - lr * decay;
                md[i] = beta1 * md[i] + (1 - beta1) * d;
                vd[i] = beta2 * vd[i] + (1 - beta2) * d * d;
                wd[i] -= lr * (md[i] / (1 - pow(beta1, t))) / (sqrt(vd[i] / (1 - pow(beta2, t))) + eps);
            }
        }
        check_guard(w, N);
        check_guard(m, N);
        check_guard(v, N);
        for (int i = 0; i < N; i++) {
            near(w[i], wd[i], 30 * 2e-7 * (1 + fabs(wd[i]))); /* thirty roundings of w, thirty small steps */
            near(m[i], md[i], 2e-6);
            near(v[i], vd[i], 2e-6);
        }
    }
}

int main(void)
{
    find_levels();
    fl_rng_seed(&rng, 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norms),          cmocka_unit_test(test_norm_gradients),
        cmocka_unit_test(test_add_normed),     cmocka_unit_test(test_rotation),
        cmocka_unit_test(test_activations),    cmocka_unit_test(test_activation_limits),
        cmocka_unit_test(test_elements_alone), cmocka_unit_test(test_sum_squares),
        cmocka_unit_test(test_adamw),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
