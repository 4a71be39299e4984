/* The attention kernels of every level against the plain loops: equal to the bit, whatever the shapes, the masks and
 * the garbage behind the masks. What the plain loops compute is tested with the device. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "kernel/attend.h"
#include "kernel/kernel.h"

#define MAX_DIM 300
#define MARGIN 32 /* behind each array: nothing may be written there */
#define UNTOUCHED 12345.0f

static fl_rng rng;
#define LEVELS 4
static const fl_attend_kernels *fast[LEVELS];
static int fast_levels;

static int64_t below(int64_t bound)
{
    return (int64_t)fl_rng_below(&rng, (uint64_t)bound);
}

static float *array(int64_t n, double spread)
{
    float *x = malloc((size_t)(n + MARGIN) * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(spread * fl_rng_normal(&rng));
    for (int64_t i = n; i < n + MARGIN; i++)
        x[i] = UNTOUCHED;
    return x;
}

static float *copy(const float *from, int64_t n)
{
    float *x = malloc((size_t)(n + MARGIN) * sizeof *x);
    assert_non_null(x);
    memcpy(x, from, (size_t)(n + MARGIN) * sizeof *x);
    return x;
}

static void assert_same(const float *a, const float *b, int64_t n)
{
    assert_memory_equal(a, b, (size_t)(n + MARGIN) * sizeof *a);
}

/* Rows that see all, nothing, a causal triangle or anything; NULL for all of everything. */
static bool fill_seen(int rows, uint8_t *first, uint8_t *last)
{
    int kind = (int)below(5), start = (int)below(70) - 3;
    for (int r = 0; r < rows; r++) {
        first[r] = 0;
        last[r] = 64;
        int edge = start + r < 0 ? 0 : start + r > 64 ? 64 : start + r;
        if (kind == 1) last[r] = (uint8_t)edge;
        if (kind == 2) first[r] = (uint8_t)edge;
        if (kind == 3) {
            first[r] = (uint8_t)below(65);
            last[r] = (uint8_t)below(65);
        }
        if (kind == 4 && below(3) == 0) last[r] = 0;
    }
    return kind > 0;
}

/* NaN where no row of the block looks. */
static void spoil(float *tile, int dim, bool transposed, int rows, const uint8_t *first, const uint8_t *last)
{
    for (int j = 0; j < 64; j++) {
        bool seen = false;
        for (int r = 0; r < rows; r++)
            seen |= j >= first[r] && j < last[r];
        for (int i = 0; i < dim && !seen; i++)
            tile[transposed ? i * 64 + j : j * dim + i] = NAN;
    }
}

/* A tile of a format: random halves or blocks with scales of about 0.01, for keys with the scales apart. */
static void *stored(fl_attend_format format, int dim, bool keys)
{
    if (format == FL_ATTEND_F32) return array((int64_t)dim * 64, 1);
    int64_t n = (int64_t)FL_ATTEND_BLOCKS(dim) * FL_ATTEND_BLOCK * 64;
    uint8_t *to = malloc((size_t)n * 2 + 128);
    assert_non_null(to);
    for (int64_t i = 0; i < 2 * n; i++)
        to[i] = (uint8_t)below(256);
    if (format == FL_ATTEND_F16 || format == FL_ATTEND_BF16) {
        for (int64_t i = 1; i < 2 * n; i += 2) /* exponents of numbers below 4 */
            to[i] = (uint8_t)((to[i] & 0x80) | (format == FL_ATTEND_F16 ? below(0x44) : 0x30 + below(0x10)));
        return to;
    }
    int64_t bytes = format == FL_ATTEND_Q8_0 ? 34 : 18;
    for (int64_t b = 0; b < n / 32; b++)
        to[(keys ? 2 : bytes) * b + 1] = (uint8_t)((below(4) ? 0x20 : 0xa0) + below(4));
    return to;
}

static void test_forward(void **state)
{
    (void)state;
    for (int i = 0; i < 300; i++) {
        fl_attend_format k_format = (fl_attend_format)below(5), v_format = (fl_attend_format)below(5);
        int dim = 1 + (int)below(i % 3 ? 130 : MAX_DIM), rows = 1 + (int)below(i % 2 ? FL_ATTEND_ROWS : 8);
        if (i % 5 == 0) dim = (dim + 31) / 32 * 32;
        float *q = array(rows * dim, 0.3), *max = array(rows, 0), *sum = array(rows * 16, 0),
              *out = array(rows * dim, 0);
        float *weight = array(rows * 64, 1), *slope = i % 4 ? NULL : array(rows, 0.1), *offset = array(rows, 100);
        void *q8 = malloc(FL_ATTEND_Q8_BYTES(rows, dim + 32));
        if (k_format >= FL_ATTEND_Q8_0) fl_attend_kernels_generic.quantise_queries(rows, dim, q, q8);
        void *scratch = aligned_alloc(64, 2 * FL_ATTEND_SCRATCH(dim));
        for (int r = 0; r < rows; r++)
            max[r] = -INFINITY;
        float *fast_max[LEVELS], *fast_sum[LEVELS], *fast_out[LEVELS], *fast_weight[LEVELS];
        for (int l = 0; l < fast_levels; l++) {
            fast_max[l] = copy(max, rows);
            fast_sum[l] = copy(sum, rows * 16);
            fast_out[l] = copy(out, rows * dim);
            fast_weight[l] = copy(weight, rows * 64);
        }
        for (int tile = 0; tile < 3; tile++) {
            void *k = stored(k_format, dim, true), *v = stored(v_format, dim, false);
            uint8_t first[FL_ATTEND_ROWS], last[FL_ATTEND_ROWS];
            bool partial = fill_seen(rows, first, last);
            if (k_format == FL_ATTEND_F32) spoil(k, dim, true, rows, first, last);
            if (v_format == FL_ATTEND_F32) spoil(v, dim, false, rows, first, last);
            fl_attend_state s = {rows, dim, q, q8, max, sum, out, weight, slope, offset};
            fl_attend_tile t = {k_format, v_format, k, v, k, v, scratch, (char *)scratch + FL_ATTEND_SCRATCH(dim)};
            fl_attend_kernels_generic.forward(&s, &t, partial ? first : NULL, partial ? last : NULL);
            for (int l = 0; l < fast_levels; l++) {
                fl_attend_state f = {rows,           dim,   q,     q8, fast_max[l], fast_sum[l], fast_out[l],
                                     fast_weight[l], slope, offset};
                fast[l]->forward(&f, &t, partial ? first : NULL, partial ? last : NULL);
                assert_same(max, fast_max[l], rows);
                assert_same(sum, fast_sum[l], rows * 16);
                assert_same(out, fast_out[l], rows * dim);
            }
            free(k);
            free(v);
        }
        for (int r = 0; r < rows * dim; r++)
            assert_true(isfinite(out[r]));
        for (int l = 0; l < fast_levels; l++) {
            free(fast_max[l]);
            free(fast_sum[l]);
            free(fast_out[l]);
            free(fast_weight[l]);
        }
        free(scratch);
        free(q8);
        free(q);
        free(max);
        free(sum);
        free(out);
        free(weight);
        free(slope);
        free(offset);
    }
}

static void test_backward(void **state)
{
    (void)state;
    for (int i = 0; i < 300; i++) {
        int dim = 1 + (int)below(i % 3 ? 130 : MAX_DIM), rows = 1 + (int)below(FL_ATTEND_ROWS);
        int stride = 64 + (int)below(40);
        float *q = array(rows * dim, 0.3), *dout = array(rows * dim, 1), *lse = array(rows, 1), *mean = array(rows, 1);
        float *k = array(dim * 64, 1), *v = array(dim * 64, 1), *rows_of_k = array(64 * dim, 1);
        float *dk = array(64 * dim, 1), *dv = array(64 * dim, 1), *weight = array(rows * 64, 1);
        float *dlogit = array(rows * stride, 1), *dq = array(rows * (dim + 3), 1);
        uint8_t first[FL_ATTEND_ROWS], last[FL_ATTEND_ROWS];
        bool partial = fill_seen(rows, first, last);
        for (int r = 0; r < rows; r++)
            lse[r] = partial && first[r] >= last[r] ? -INFINITY : fabsf(lse[r]) + 4;
        spoil(k, dim, true, rows, first, last);
        spoil(v, dim, true, rows, first, last);
        bool accumulate = below(2);
        float *slope = i % 4 ? NULL : array(rows, 0.01), *offset = array(rows, 100);
        for (int l = 0; l < fast_levels; l++) {
            float *fast_dk = copy(dk, 64 * dim), *fast_dv = copy(dv, 64 * dim), *fast_weight = copy(weight, rows * 64);
            float *fast_dlogit = copy(dlogit, rows * stride), *fast_dq = copy(dq, rows * (dim + 3));
            float *slow_dk = copy(dk, 64 * dim), *slow_dv = copy(dv, 64 * dim), *slow_weight = copy(weight, rows * 64);
            float *slow_dlogit = copy(dlogit, rows * stride), *slow_dq = copy(dq, rows * (dim + 3));
            fl_attend_pair slow = {rows,        dim,    q,       dout,    lse,   mean,  slow_weight,
                                   slow_dlogit, stride, slow_dk, slow_dv, slope, offset};
            fl_attend_pair quick = {rows,        dim,    q,       dout,    lse,   mean,  fast_weight,
                                    fast_dlogit, stride, fast_dk, fast_dv, slope, offset};
            fl_attend_kernels_generic.backward(&slow, k, v, partial ? first : NULL, partial ? last : NULL);
            fast[l]->backward(&quick, k, v, partial ? first : NULL, partial ? last : NULL);
            assert_same(slow_weight, fast_weight, rows * 64);
            assert_same(slow_dlogit, fast_dlogit, rows * stride);
            assert_same(slow_dk, fast_dk, 64 * dim);
            assert_same(slow_dv, fast_dv, 64 * dim);
            fl_attend_kernels_generic.backward_query(rows, dim, 64, slow_dlogit, stride, rows_of_k, slow_dq, dim + 3,
                                                     accumulate);
            fast[l]->backward_query(rows, dim, 64, fast_dlogit, stride, rows_of_k, fast_dq, dim + 3, accumulate);
            assert_same(slow_dq, fast_dq, rows * (dim + 3));
            for (int j = 0; j < 64 * dim; j++)
                assert_true(isfinite(slow_dk[j]) && isfinite(slow_dv[j]));
            float *copies[] = {fast_dk, fast_dv, fast_weight, fast_dlogit, fast_dq,
                               slow_dk, slow_dv, slow_weight, slow_dlogit, slow_dq};
            for (size_t n = 0; n < sizeof copies / sizeof *copies; n++)
                free(copies[n]);
        }
        float *arrays[] = {q, dout, lse, mean, k, v, rows_of_k, dk, dv, weight, dlogit, dq, slope, offset};
        for (size_t n = 0; n < sizeof arrays / sizeof *arrays; n++)
            free(arrays[n]);
    }
}

/* Half a million of the numbers from -0 to -infinity, and runs that do not fill a vector. */
static void test_exp2(void **state)
{
    (void)state;
    const uint32_t zero = 0x80000000u, infinity = 0xff800000u, step = 4099;
    uint32_t bits = zero;
    for (int n = 0; bits < infinity; n = (n + 1) % 71) {
        float x[70], slow[70], quick[70];
        for (int i = 0; i < 70; i++, bits += step)
            memcpy(&x[i], bits < infinity ? &bits : &infinity, sizeof x[i]);
        memcpy(slow, x, sizeof x);
        fl_attend_kernels_generic.exp2(slow, n);
        for (int i = 0; i < n; i++) { /* a unit in the last place, or of the smallest denormal */
            double exact = exp2(x[i]);
            assert_true(fabs(slow[i] - exact) <= 0x1p-23 * exact + 0x1p-149);
        }
        for (int l = 0; l < fast_levels; l++) {
            memcpy(quick, x, sizeof x);
            fast[l]->exp2(quick, n);
            assert_memory_equal(quick, slow, sizeof slow);
        }
    }
}

int main(void)
{
    fl_rng_seed(&rng, 5);
#if defined(__x86_64__)
    const fl_kernels *found;
    if (fl_kernels_select(&found, "avx2") == FL_OK) {
        fast[fast_levels++] = &fl_attend_kernels_avx2;
        if (found == &fl_kernels_avx2_vnni) fast[fast_levels++] = &fl_attend_kernels_avx2_vnni;
    }
    if (fl_kernels_select(&found, "avx512") == FL_OK) {
        fast[fast_levels++] = &fl_attend_kernels_avx512;
        if (found == &fl_kernels_avx512_vnni) fast[fast_levels++] = &fl_attend_kernels_avx512_vnni;
    }
#endif
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forward),
        cmocka_unit_test(test_backward),
        cmocka_unit_test(test_exp2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
