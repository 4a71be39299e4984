/* The scaling laws, the lower bound on the base and the closed forms, against published and worked values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "position/scaling_law.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

/* Values are published with six significant digits; the same digits must come out. */
static void same_digits(double got, double want)
{
    char a[32], b[32];
    snprintf(a, sizeof a, "%.6g", got);
    snprintf(b, sizeof b, "%.6g", want);
    assert_string_equal(a, b);
}

typedef struct tuned {
    double beta, bound;  /* bound: 2 pi beta^(92/128) */
    double raw4, raw16;  /* raw d'/2 tuned on 4096 and 16384 */
    int dim4, dim16;     /* d', 0 where the law is the larger-base one */
    int below4, below16; /* how many of beta_1..3 lie above */
} tuned;

/* Llama-2: d = 128, T = 4096, base 10000. */
static void test_llama2_table(void **state)
{
    (void)state;
    const tuned rows[] = {
        {500, 547.097, 66.7319, 81.0084, 128, 128, 3, 3},  {652, 662.095, 63.9985, 77.6902, 128, 128, 2, 3},
        {1304, 1089.65, 57.8143, 70.1829, 116, 128, 1, 3}, {2608, 1793.29, 52.7199, 63.9987, 106, 128, 0, 2},
        {5216, 2951.32, 48.4507, 58.8161, 98, 118, 0, 1},  {10000, 4711.72, 45.0269, 54.6598, 92, 110, 0, 1},
        {20000, 7754.35, 41.8754, 50.8342, 0, 102, 0, 0},  {40000, 12761.8, 39.1363, 47.509, 0, 96, 0, 0},
        {80000, 21002.7, 36.7335, 44.5922, 0, 0, 0, 0},    {160000, 34565.4, 34.6086, 42.0127, 0, 0, 0, 0},
        {320000, 56886.1, 32.7162, 39.7154, 0, 0, 0, 0},   {500000, 78399.7, 31.6035, 38.3647, 0, 0, 0, 0},
        {600000, 89377.1, 31.1704, 37.839, 0, 0, 0, 0},    {640000, 93620.7, 31.02, 37.6563, 0, 0, 0, 0},
        {1000000, 129027, 30.0179, 36.4399, 0, 0, 0, 0},
    };
    same_digits(fl_law_pair_turning(128, 1e4, 4096, 1), 45.0269);
    assert_int_equal(fl_law_critical_dimension(128, 1e4, 4096), 92);
    same_digits(fl_law_critical_base(1e4, 4096, 16384), 71738.4);
    same_digits(fl_law_critical_base(1e4, 4096, 32768), 192144);
    same_digits(fl_law_critical_base(1e4, 4096, 8192), 26784);
    assert_true(fl_law_critical_base(1e4, 4096, 4096) == 1e4);
    for (int i = 0; i < COUNT(rows); i++) {
        const tuned *t = &rows[i];
        same_digits(fl_law_window_of_base(128, 92, t->beta), t->bound);
        for (int longer = 0; longer < 2; longer++) {
            double tune = longer ? 16384 : 4096;
            int dim = longer ? t->dim16 : t->dim4;
            fl_law_prediction p = fl_law_predict(128, 1e4, 4096, t->beta, tune);
            same_digits(p.raw_pairs, longer ? t->raw16 : t->raw4);
            assert_int_equal(p.larger, dim == 0);
            assert_int_equal(p.critical_dimension, dim ? dim : 92);
            same_digits(p.window, dim ? tune : t->bound);
            assert_int_equal(p.below, longer ? t->below16 : t->below4);
        }
    }
    const double inverse[][2] = {{8192, 21588},   {16384, 56628},      {32768, 148544},
                                 {65536, 389653}, {131072, 1.02212e6}, {1048576, 1.84491e7}};
    for (int i = 0; i < COUNT(inverse); i++)
        same_digits(nearbyint(fl_law_base_of_window(128, 92, inverse[i][0])), inverse[i][1]); /* whole numbers */
    assert_true(isinf(fl_law_base_of_window(8, 0, 4096)));
}

typedef struct tiny {
    int dim, train;
    double raw;
    int critical;
    double bound[5]; /* at bases 2e4, 5e4, 1e5, 5e5, 1e6 */
    double base4, base8;
    int tuned[4]; /* d' at (1e4, 4T), (500, T), (500, 4T), (100, T) */
} tiny;

static void test_tiny_models(void **state)
{
    (void)state;
    const tiny rows[] = {
        {8, 256, 1.61006, 4, {888.577, 1404.96, 1986.92, 4442.88, 6283.19}, 26560.7, 106243, {6, 6, 8, 8}},
        {8, 512, 1.91109, 4, {888.577, 1404.96, 1986.92, 4442.88, 6283.19}, 106243, 424972, {6, 6, 8, 8}},
        {16, 256, 3.22012, 8, {888.577, 1404.96, 1986.92, 4442.88, 6283.19}, 26560.7, 106243, {10, 10, 14, 14}},
        {16, 512, 3.82218, 8, {888.577, 1404.96, 1986.92, 4442.88, 6283.19}, 106243, 424972, {12, 12, 16, 16}},
        {32, 256, 6.44024, 14, {478.498, 714.462, 967.564, 1956.5, 2649.6}, 113835, 555064, {18, 20, 28, 26}},
        {32, 512, 7.64436, 16, {888.577, 1404.96, 1986.92, 4442.88, 6283.19}, 106243, 424972, {22, 24, 30, 32}},
        {48, 256, 9.66036, 20, {389.292, 570.275, 761.225, 1488.51, 1986.92}, 203746, 1.07538e+06, {28, 30, 40, 40}},
        {48, 512, 11.4665, 24, {888.577, 1404.96, 1986.92, 4442.88, 6283.19}, 106243, 424972, {32, 34, 46, 46}},
        {64, 256, 12.8805, 26, {351.134, 509.491, 675.196, 1298.33, 1720.6}, 278752, 1.53538e+06, {36, 40, 54, 52}},
        {64, 512, 15.2887, 32, {888.577, 1404.96, 1986.92, 4442.88, 6283.19}, 106243, 424972, {42, 46, 60, 62}},
    };
    const double bases[] = {2e4, 5e4, 1e5, 5e5, 1e6};
    for (int i = 0; i < COUNT(rows); i++) {
        const tiny *t = &rows[i];
        same_digits(fl_law_pair_turning(t->dim, 1e4, t->train, 1), t->raw);
        assert_int_equal(fl_law_critical_dimension(t->dim, 1e4, t->train), t->critical);
        for (int k = 0; k < 5; k++)
            same_digits(fl_law_window_of_base(t->dim, t->critical, bases[k]), t->bound[k]);
        same_digits(fl_law_base_of_window(t->dim, t->critical, 4 * t->train), t->base4);
        same_digits(fl_law_base_of_window(t->dim, t->critical, 8 * t->train), t->base8);
        const double tuned_base[] = {1e4, 500, 500, 100}, times[] = {4, 1, 4, 1};
        for (int k = 0; k < 4; k++) {
            fl_law_prediction p = fl_law_predict(t->dim, 1e4, t->train, tuned_base[k], times[k] * t->train);
            assert_false(p.larger);
            assert_int_equal(p.critical_dimension, t->tuned[k]);
        }
    }
    same_digits(fl_law_critical_base(1e4, 256, 1024), 313145);
    same_digits(fl_law_critical_base(1e4, 512, 2048), 182029);
    same_digits(fl_law_critical_base(1e4, 256, 512), 55959.4);
    same_digits(fl_law_critical_base(1e4, 512, 1024), 42664.8);

    const double small[][4] = {{256, 162.975, 81.4873, 40.7437},  {512, 325.949, 162.975, 81.4873},
                               {1024, 651.899, 325.949, 162.975}, {2048, 1303.8, 651.899, 325.949},
                               {4096, 2607.59, 1303.80, 651.899}, {16384, 10430.4, 5215.19, 2607.59}};
    for (int i = 0; i < COUNT(small); i++)
        for (int which = 1; which <= 3; which++)
            same_digits(fl_law_small_base(which, small[i][0]), small[i][which]);

    const double continuous[][6] = {{256, 338.383, 489.312, 646.778, 1236.23, 1634.07},
                                    {512, 713.007, 1104.63, 1538.31, 3318.88, 4621.84},
                                    {4096, 6670.34, 12709.2, 20696.9, 64218.7, 104580}};
    for (int i = 0; i < COUNT(continuous); i++)
        for (int k = 0; k < 5; k++)
            same_digits(fl_law_window_continuous(1e4, continuous[i][0], bases[k]), continuous[i][k + 1]);
}

static void frequencies(double base, int dim, double *freq)
{
    for (int i = 0; i < dim / 2; i++)
        freq[i] = pow(base, -2.0 * i / dim);
}

static void test_first_negative(void **state)
{
    (void)state;
    const int dims[] = {8, 16, 32, 48, 64, 128};
    const struct {
        double base;
        int first[6];
    } rows[] = {{100, {9, 16, 28, 40, 46, 59}},
                {500, {16, 46, 103, 78, 154, 171}},
                {10000, {91, 91, 474, 706, 725, 1707}},
                {20000, {110, 335, 619, 925, 1184, 2666}},
                {50000, {47, 499, 883, 813, 1932, 5306}},
                {100000, {160, 279, 1283, 3062, 3616, 7757}},
                {500000, {242, 405, 2089, 3609, 9937, 18438}},
                {1000000, {292, 1467, 3478, 8453, 6235, 27115}}};
    double freq[64];
    for (int i = 0; i < COUNT(rows); i++)
        for (int k = 0; k < COUNT(dims); k++) {
            int pairs = dims[k] / 2;
            frequencies(rows[i].base, dims[k], freq);
            assert_int_equal(fl_law_first_negative(freq, pairs, 1 << 20), rows[i].first[k]);
            assert_int_equal(fl_law_first_negative(freq, pairs, rows[i].first[k]), rows[i].first[k]);
            assert_true(fl_law_similarity(freq, pairs, rows[i].first[k]) < 0);
            assert_true(fl_law_similarity(freq, pairs, rows[i].first[k] - 1) >= 0);
        }
    assert_true(fl_law_similarity(freq, 64, 0) == 64);
    frequencies(12000, 128, freq); /* a rounded published base fails a strict test */
    assert_int_equal(fl_law_first_negative(freq, 64, 2048), 1554);
}

static void test_lowest_base(void **state)
{
    (void)state;
    /* Three digits, as published for the grid of 1000 points per decade from 10 to 1e7; 0: none. */
    const struct {
        int dim;
        double base[5]; /* for windows 256, 512, 1024, 2048, 4096 */
    } rows[] = {{8, {5.42e5, 1.33e6, 0, 0, 0}},
                {16, {8570, 5.65e4, 4.14e5, 2.25e6, 0}},
                {32, {2173, 1.25e4, 5.82e4, 2.05e5, 1.11e6}},
                {48, {2070, 5875, 1.95e4, 6.15e4, 1.03e5}},
                {64, {1413, 3443, 7762, 2.97e4, 1.00e5}},
                {128, {891, 2070, 4295, 1.16e4, 2.86e4}}};
    for (int i = 0; i < COUNT(rows); i++)
        for (int k = 0; k < 5; k++) {
            double base = fl_law_lowest_base(rows[i].dim, 256 << k, 10, 1e7), want = rows[i].base[k];
            assert_true(fabs(base - want) <= (want > 9999 ? 0.0051 * want : 0.51));
            double freq[64];
            if (base == 0) continue;
            frequencies(base, rows[i].dim, freq);
            for (int m = 0; m < 256 << k; m++)
                assert_true(fl_law_similarity(freq, rows[i].dim / 2, m) >= 0);
        }
    /* The published bound for a window of 32,768 at d = 128: 6.4e5, by a finer search 6.3e5. */
    double base = fl_law_lowest_base(128, 32768, 10, 1e7);
    assert_true(base > 6.2e5 && base < 6.5e5);
    assert_true(fl_law_lowest_base(128, 32768, 10, 6e5) == 0);
    assert_true(fabs(fl_law_lowest_base(128, 1, 10, 1e7) - 10) < 1e-12); /* B(0) = dim/2: every base will do */
}

static void test_closed_forms(void **state)
{
    (void)state;
    const struct {
        int dim;
        double base[4];
    } ntk[] = {{128, {20221.3, 40889.9, 82684.6, 167199}},
               {64, {20452.2, 41829.4, 85550.4, 174970}},
               {32, {20945.9, 43873, 91895.9, 192484}},
               {16, {22081.8, 48760.5, 107672, 237759}},
               {8, {25198.4, 63496, 160000, 403175}}};
    for (int i = 0; i < COUNT(ntk); i++)
        for (int k = 0; k < 4; k++)
            same_digits(fl_law_ntk_base(1e4, ntk[i].dim, 2 << k), ntk[i].base[k]);

    const struct {
        double factor, base[4];
    } dynamic[] = {{1, {10002.5, 15096.9, 20221.3, 40889.9}},
                   {2, {10005, 20221.3, 30527.7, 72195.9}},
                   {4, {10009.9, 30527.7, 51293.8, 135402}}};
    const double lengths[] = {4097, 6144, 8192, 16384};
    for (int i = 0; i < COUNT(dynamic); i++)
        for (int k = 0; k < 4; k++)
            same_digits(fl_law_dynamic_base(1e4, 128, dynamic[i].factor, lengths[k], 4096), dynamic[i].base[k]);
    assert_true(fl_law_dynamic_base(1e4, 128, 4, 4096, 4096) == 1e4);

    const double yarn[] = {1.06931, 1.13863, 1.20794, 1.27726, 1.34657};
    const double longrope[] = {1.04083, 1.08012, 1.11803, 1.1547, 1.19024};
    for (int k = 0; k < 5; k++) {
        same_digits(fl_law_yarn_magnitude(2 << k, 1), yarn[k]);
        same_digits(fl_law_longrope_magnitude(2 << k, 4096), longrope[k]);
    }
    assert_true(fl_law_yarn_magnitude(1, 1) == 1 && fl_law_longrope_magnitude(1, 4096) == 1);
    same_digits(fl_law_yarn_magnitude(40, 0.707), 1 + 0.0707 * log(40));

    const int64_t positions[] = {0, 4095, 8191, 16383, 131071};
    const double log_n[] = {1, 1, 1.08333, 1.16667, 1.41667};
    for (int k = 0; k < 5; k++)
        same_digits(fl_law_log_n(positions[k], 4096), log_n[k]);

    same_digits(fl_law_interpolation_bound(294731, 1e4, 1e-3), 1); /* 32 ln 10000 = 294.731 */
    same_digits(fl_law_pair_turning(128, 1e4, 4096, 32), 20.9445); /* the ends of YaRN's ramp */
    same_digits(fl_law_xpos_zeta(64, 0), 0.285714);
    same_digits(fl_law_xpos_zeta(64, 16), 0.642857);
    same_digits(fl_law_xpos_zeta(64, 31), 0.977679);
    same_digits(pow(fl_law_xpos_zeta(64, 0), 2048.0 / 512), 0.00666389);
}

static void test_alibi(void **state)
{
    (void)state;
    double slope[64];
    const double six[] = {0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125};
    const double twelve[] = {0.707107, 0.353553, 0.176777, 0.0883883};
    fl_law_alibi_slopes(8, slope);
    for (int h = 0; h < 8; h++)
        same_digits(slope[h], 1.0 / (2 << h));
    fl_law_alibi_slopes(6, slope);
    for (int h = 0; h < 6; h++)
        same_digits(slope[h], six[h]);
    fl_law_alibi_slopes(12, slope);
    for (int h = 0; h < 12; h++)
        same_digits(slope[h], h < 8 ? 1.0 / (2 << h) : twelve[h - 8]);
    fl_law_alibi_slopes(1, slope);
    same_digits(slope[0], 1.0 / 256);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama2_table), cmocka_unit_test(test_tiny_models),  cmocka_unit_test(test_first_negative),
        cmocka_unit_test(test_lowest_base),  cmocka_unit_test(test_closed_forms), cmocka_unit_test(test_alibi),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
