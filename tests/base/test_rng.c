#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"

/* splitmix64 from 1234567: the first four outputs of Vigna's reference program, as listed on Rosetta Code. */
static void test_seed_is_splitmix64(void **state)
{
    (void)state;
    fl_rng r;
    fl_rng_seed(&r, 1234567);
    assert_true(r.s[0] == 6457827717110365317u);
    assert_true(r.s[1] == 3203168211198807973u);
    assert_true(r.s[2] == 9817491932198370423u);
    assert_true(r.s[3] == 4593380528125082431u);
}

/* From the state 1, 2, 3, 4: the outputs of Blackman and Vigna's xoshiro256starstar.c, as in the tests of rand_xoshiro.
 */
static void test_next_is_xoshiro256starstar(void **state)
{
    (void)state;
    static const uint64_t expected[] = {
        11520u,
        0u,
        1509978240u,
        1215971899390074240u,
        1216172134540287360u,
        607988272756665600u,
        16172922978634559625u,
        8476171486693032832u,
        10595114339597558777u,
        2904607092377533576u,
    };
    fl_rng r = {{1, 2, 3, 4}};
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
        assert_true(fl_rng_next(&r) == expected[i]);
}

static void test_uniform_is_in_range_and_even(void **state)
{
    (void)state;
    fl_rng r;
    fl_rng_seed(&r, 42);
    const int n = 200000;
    double sum = 0, squares = 0;
    for (int i = 0; i < n; i++) {
        double x = fl_rng_uniform(&r);
        assert_true(x >= 0 && x < 1);
        sum += x;
        squares += x * x;
    }
    /* Five standard errors: sd of x is 1/sqrt(12), of x^2 is sqrt(4/45). */
    assert_true(fabs(sum / n - 0.5) < 5 / sqrt(12.0 * n));
    assert_true(fabs(squares / n - 1.0 / 3) < 5 * sqrt(4.0 / 45 / n));
}

static void test_below_has_no_bias(void **state)
{
    (void)state;
    fl_rng r;
    fl_rng_seed(&r, 7);
    int counts[6] = {0};
    const int n = 60000;
    for (int i = 0; i < n; i++) {
        uint64_t k = fl_rng_below(&r, 6);
        assert_true(k < 6);
        counts[k]++;
    }
    double chi = 0;
    for (int i = 0; i < 6; i++)
        chi += pow(counts[i] - n / 6.0, 2) / (n / 6.0);
    assert_true(chi < 20.52); /* chi squared, 5 degrees of freedom, p = 0.001 */

    /* A bound of 3/4 of the range: without rejection two thirds of the results would fall into its lower half... */
    const uint64_t bound = (uint64_t)3 << 62;
    int low = 0;
    for (int i = 0; i < n; i++) {
        uint64_t k = fl_rng_below(&r, bound);
        assert_true(k < bound);
        low += k % 3 == 0; /* ...and the residues mod 3 would come 2:1:1 */
    }
    assert_true(fabs(low - n / 3.0) < 5 * sqrt(n * 2.0 / 9));
    for (int i = 0; i < 100; i++)
        assert_true(fl_rng_below(&r, 1) == 0);
}

static void test_normal_moments(void **state)
{
    (void)state;
    fl_rng r;
    fl_rng_seed(&r, 3);
    const int n = 200000;
    double sum = 0, squares = 0, fourths = 0;
    for (int i = 0; i < n; i++) {
        double x = fl_rng_normal(&r);
        assert_true(isfinite(x));
        sum += x;
        squares += x * x;
        fourths += x * x * x * x;
    }
    /* Five standard errors; the variances of x, x^2 and x^4 are 1, 2 and 96. */
    assert_true(fabs(sum / n) < 5 / sqrt(n));
    assert_true(fabs(squares / n - 1) < 5 * sqrt(2.0 / n));
    assert_true(fabs(fourths / n - 3) < 5 * sqrt(96.0 / n));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seed_is_splitmix64),
        cmocka_unit_test(test_next_is_xoshiro256starstar),
        cmocka_unit_test(test_uniform_is_in_range_and_even),
        cmocka_unit_test(test_below_has_no_bias),
        cmocka_unit_test(test_normal_moments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
