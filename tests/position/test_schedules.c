/* The schedules that no other tool has a name for, against the formulas of their papers written another way, and the
 * scores that positions beyond the window can reach. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "position/rope.h"

#define DIM 128
#define PAIRS (DIM / 2)
#define TWO_PI 6.283185307179586

static fl_rope_spec spec_of(fl_rope_kind kind, double factor)
{
    fl_rope_spec spec;
    fl_rope_spec_init(&spec, 1e4, DIM, 4096);
    spec.kind = kind;
    spec.factor = factor;
    spec.window = (int64_t)(factor * 4096);
    return spec;
}

static double frequencies(const fl_rope_spec *spec, int64_t length, double *freq)
{
    double magnitude;
    assert_int_equal(fl_rope_frequencies(spec, length, freq, &magnitude), FL_OK);
    return magnitude;
}

/* Both are a few roundings of double arithmetic away from the exact number. */
static void same(double got, double want)
{
    if (!(fabs(got - want) <= 1e-13 * fabs(want))) fail_msg("got %.17g, want %.17g", got, want);
}

static double plain(int pair)
{
    return pow(1e4, -2.0 * pair / DIM);
}

/* Each dynamic schedule is the fixed one whose factor is length / window, and the plain one up to the window. */
static void test_dynamic(void **state)
{
    (void)state;
    const fl_rope_kind kinds[][2] = {{FL_ROPE_DYNAMIC_LINEAR, FL_ROPE_LINEAR}, {FL_ROPE_DYNAMIC_YARN, FL_ROPE_YARN}};
    double freq[PAIRS], want[PAIRS];
    for (int k = 0; k < 2; k++) {
        fl_rope_spec spec = spec_of(kinds[k][0], 4);
        assert_true(fl_rope_depends_on_length(&spec));
        assert_int_equal(fl_rope_scaled_window(&spec), 16384);
        for (int64_t length = 1; length <= 4096; length *= 8) {
            assert_true(frequencies(&spec, length, freq) == 1);
            for (int i = 0; i < PAIRS; i++)
                same(freq[i], plain(i));
        }
        for (int64_t length = 4097; length < 100000; length = length * 3 / 2) {
            fl_rope_spec fixed = spec_of(kinds[k][1], (double)length / 4096);
            same(frequencies(&spec, length, freq), frequencies(&fixed, length, want));
            for (int i = 0; i < PAIRS; i++)
                same(freq[i], want[i]);
        }
    }
}

/* YaRN's table (worked values: test_rope.c) with logits left alone. */
static void test_ntk_parts(void **state)
{
    (void)state;
    fl_rope_spec spec = spec_of(FL_ROPE_NTK_PARTS, 16), yarn = spec_of(FL_ROPE_YARN, 16);
    double freq[PAIRS], want[PAIRS];
    assert_true(frequencies(&spec, 1, freq) == 1);
    assert_true(frequencies(&yarn, 1, want) > 1.2);
    assert_memory_equal(freq, want, sizeof freq);
}

/* Men et al. 2024, the second design for 32768 tokens on a model of 4096: pairs from 44 on turn at 1/8, the others with
 * base 1e4 * 8^(128/88), so that no angle of a slow pair leaves its trained range. */
static void test_ntk_linear(void **state)
{
    (void)state;
    fl_rope_spec spec = spec_of(FL_ROPE_NTK_LINEAR, 8);
    double freq[PAIRS];
    spec.shape = 44;
    assert_true(frequencies(&spec, 1, freq) == 1);
    double base = 1e4 * pow(8, 128.0 / 88);
    for (int i = 0; i < PAIRS; i++) {
        same(freq[i], i < 44 ? pow(base, -2.0 * i / 128) : plain(i) / 8);
        if (i >= 44) assert_true(freq[i] * 32768 <= plain(i) * 4096 * (1 + 1e-12));
    }
    /* Left to itself it divides in full from the critical pair on: 45 of Llama 2 turn whole within 4096 tokens. */
    spec.shape = 0;
    assert_true(fl_rope_shape(&spec) == 45);
}

/* bojone's variant: exp(-a (i+1)^b) with a = ln k / (d/2)^b; an exponent of 0 would be interpolation, of 1 NTK. */
static void test_mixed_radix(void **state)
{
    (void)state;
    fl_rope_spec spec = spec_of(FL_ROPE_MIXED_RADIX, 12);
    double freq[PAIRS];
    for (double b = 0.25; b <= 1; b += 0.25) {
        spec.shape = b == 0.75 ? 0 : b; /* 0.75 is the default */
        assert_true(frequencies(&spec, 1, freq) == 1);
        double a = log(12) / pow(PAIRS, b);
        for (int i = 0; i < PAIRS; i++)
            same(freq[i], plain(i) * exp(-a * pow(i + 1, b)));
        same(freq[PAIRS - 1], plain(PAIRS - 1) / 12);
    }
}

/* Giraffe. Power, exponent 1/2: square roots. Truncation at a period of 4096 tokens: below the cut-off a constant, then
 * nothing. */
static void test_giraffe(void **state)
{
    (void)state;
    fl_rope_spec spec = spec_of(FL_ROPE_POWER, 2);
    double freq[PAIRS], divisor[PAIRS], magnitude;
    assert_true(frequencies(&spec, 1, freq) == 1);
    for (int i = 0; i < PAIRS; i++)
        same(freq[i], plain(i) * sqrt((64.0 - i) / 64));
    same(freq[63], plain(63) / 8);
    spec.shape = 2;
    frequencies(&spec, 1, freq);
    same(freq[32], plain(32) / 4);

    spec = spec_of(FL_ROPE_TRUNCATED, 2);
    assert_true(frequencies(&spec, 1, freq) == 1);
    assert_int_equal(fl_rope_divisors(&spec, 1, divisor, &magnitude), FL_OK);
    int kept = 0, slowed = 0, still = 0;
    for (int i = 0; i < PAIRS; i++) {
        double period = TWO_PI / plain(i);
        if (period <= 4096) {
            same(freq[i], plain(i));
            assert_true(divisor[i] == 1);
            kept++;
        } else if (period <= 8 * 4096) {
            same(TWO_PI / freq[i], 16 * 4096);
            slowed++;
        } else {
            assert_true(freq[i] == 0 && divisor[i] == FL_ROPE_STILL);
            still++;
        }
    }
    /* 2 pi 10000^(i/64) <= 4096 up to i = 45.03, <= 32768 up to i = 59.5. */
    assert_true(kept == 46 && slowed == 14 && still == 4);
}

/* ---- scores beyond the window ------------------------------------------------------------------------------------ */

/* Householder QR: the x that brings a [rows][cols] nearest to y. Both are overwritten. */
static void least_squares(double *a, double *y, int rows, int cols, double *x)
{
    for (int c = 0; c < cols; c++) {
        double norm = 0, dot;
        for (int r = c; r < rows; r++)
            norm += a[r * cols + c] * a[r * cols + c];
        norm = copysign(sqrt(norm), a[c * cols + c]);
        double head = a[c * cols + c] + norm, scale = 1 / (norm * head); /* v = (head, a below), v v / 2 = norm head */
        for (int j = c + 1; j <= cols; j++) {
            double *column = j < cols ? a + j : y;
            int stride = j < cols ? cols : 1;
            dot = head * column[c * stride];
            for (int r = c + 1; r < rows; r++)
                dot += a[r * cols + c] * column[r * stride];
            dot *= scale;
            column[c * stride] -= dot * head;
            for (int r = c + 1; r < rows; r++)
                column[r * stride] -= dot * a[r * cols + c];
        }
        a[c * cols + c] = -norm;
    }
    for (int c = cols - 1; c >= 0; c--) {
        x[c] = y[c];
        for (int j = c + 1; j < cols; j++)
            x[c] -= a[c * cols + j] * x[j];
        x[c] /= a[c * cols + c];
    }
}

static void basis(const double *freq, double position, double *row)
{
    for (int i = 0; i < PAIRS; i++) {
        row[i] = cos(position * freq[i]);
        row[PAIRS + i] = sin(position * freq[i]);
    }
}

static double score(const double *freq, const double *x, double position)
{
    double row[DIM], sum = 0;
    basis(freq, position, row);
    for (int i = 0; i < DIM; i++)
        sum += row[i] * x[i];
    return sum;
}

/* Chen et al. 2023, section 2.2: some query and key have scores of about 1 at every distance of a window of 2048 and
 * of thousands beyond it; interpolated positions, between the fitted ones, stay bounded. 2048 scores drawn from a
 * normal distribution are fitted by the 128 functions that a head of 128 components has. */
static void test_catastrophic_scores(void **state)
{
    (void)state;
    enum { WINDOW = 2048 };
    fl_rng rng;
    fl_rng_seed(&rng, 1);
    fl_rope_spec spec = spec_of(FL_ROPE_PLAIN, 1), interpolated = spec_of(FL_ROPE_LINEAR, 2);
    double freq[PAIRS], slow[PAIRS], x[DIM], y[WINDOW];
    frequencies(&spec, 1, freq);
    frequencies(&interpolated, 1, slow);
    double *a = fl_calloc((size_t)WINDOW * DIM, sizeof *a);
    for (int r = 0; r < WINDOW; r++) {
        basis(freq, r, a + r * DIM);
        y[r] = fl_rng_normal(&rng);
    }
    least_squares(a, y, WINDOW, DIM, x);
    fl_free(a);
    double inside = 0, outside = 0, by_interpolation = 0;
    for (int m = 0; m < WINDOW; m++)
        inside = fmax(inside, fabs(score(freq, x, m)));
    for (int m = WINDOW; m < 2 * WINDOW; m++) {
        outside = fmax(outside, fabs(score(freq, x, m)));
        by_interpolation = fmax(by_interpolation, fabs(score(slow, x, m)));
    }
    if (!(inside < 3 && outside > 1000 && by_interpolation < 3))
        fail_msg("largest score inside %g, beyond %g, interpolated %g", inside, outside, by_interpolation);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_dynamic),    cmocka_unit_test(test_ntk_parts),
                                       cmocka_unit_test(test_ntk_linear), cmocka_unit_test(test_mixed_radix),
                                       cmocka_unit_test(test_giraffe),    cmocka_unit_test(test_catastrophic_scores)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
