#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "kernel/quant.h"
#include "tensor/dtype.h"

/* group: values that share an integer scale; half, second_half: offsets of fp16 numbers, -1 for none; q, q_bytes: the
 * bits of values that minimums are beside. */
static const struct {
    fl_quant_type type;
    fl_dtype dtype;
    int group, half, second_half, q, q_bytes;
} formats[] = {
    {FL_QUANT_Q8_0, FL_Q8_0, 32, 0, -1, 0, 0},    {FL_QUANT_Q4_0, FL_Q4_0, 32, 0, -1, 0, 0},
    {FL_QUANT_Q4_1, FL_Q4_1, 32, 0, 2, 4, 16},    {FL_QUANT_Q5_0, FL_Q5_0, 32, 0, -1, 0, 0},
    {FL_QUANT_Q5_1, FL_Q5_1, 32, 0, 2, 4, 20},    {FL_QUANT_IQ4_NL, FL_IQ4_NL, 32, 0, -1, 0, 0},
    {FL_QUANT_Q2_K, FL_Q2_K, 16, 80, 82, 16, 64}, {FL_QUANT_Q3_K, FL_Q3_K, 16, 108, -1, 0, 0},
    {FL_QUANT_Q4_K, FL_Q4_K, 32, 0, 2, 16, 128},  {FL_QUANT_Q5_K, FL_Q5_K, 32, 0, 2, 16, 160},
    {FL_QUANT_Q6_K, FL_Q6_K, 16, 208, -1, 0, 0},
};
#define FORMATS (sizeof formats / sizeof formats[0])
_Static_assert(FORMATS == FL_QUANT_TYPES, "every format is tested");

static const fl_quant_kernels *const kernels = &fl_quant_kernels_generic;

static void *room(size_t n, size_t size)
{
    void *p = malloc(n * size + !n);
    assert_non_null(p);
    return p;
}

static fl_quant_row make_row(int64_t n)
{
    return (fl_quant_row){room((size_t)n, 1), room((size_t)n / 32, sizeof(float)),
                          room((size_t)n / 16, sizeof(int16_t))};
}

static void free_row(fl_quant_row *r)
{
    free(r->q);
    free(r->scale);
    free(r->sum);
}

/* Sums that fit the row's q. */
static void sum_up(const fl_quant_row *r, int64_t n)
{
    for (int64_t g = 0; g < n / 16; g++) {
        int sum = 0;
        for (int i = 0; i < 16; i++)
            sum += r->q[g * 16 + i];
        r->sum[g] = (int16_t)sum;
    }
}

static void put_half(unsigned char *to, float x)
{
    uint16_t h = fl_f32_to_f16(x);
    memcpy(to, &h, 2);
}

/* Random blocks, their scales around 2^-exponent; at an odd address. Free with free(p - 1). */
static unsigned char *make_blocks(fl_rng *rng, size_t f, int64_t count, int exponent)
{
    size_t size = fl_dtype_get(formats[f].dtype)->block_bytes;
    unsigned char *blocks = (unsigned char *)room((size_t)count * size + 1, 1) + 1;
    for (size_t i = 0; i < (size_t)count * size; i++)
        blocks[i] = (unsigned char)fl_rng_below(rng, 256);
    for (int64_t b = 0; b < count; b++) {
        unsigned char *block = blocks + (size_t)b * size;
        put_half(block + formats[f].half, (float)ldexp(fl_rng_normal(rng), -exponent));
        if (formats[f].second_half >= 0)
            put_half(block + formats[f].second_half, (float)ldexp(fl_rng_normal(rng), -exponent));
    }
    return blocks;
}

/* ---- activations --------------------------------------------------------------------------------------------- */

static void test_activations_are_nearest(void **state)
{
    (void)state;
    fl_rng rng;
    fl_rng_seed(&rng, 21);
    for (int round = 0; round < 300; round++) {
        int64_t n = 32 * (int64_t)fl_rng_below(&rng, 7);
        float *x = room((size_t)n, sizeof *x);
        for (int64_t i = 0; i < n; i++)
            x[i] = (float)ldexp(fl_rng_normal(&rng), (int)(i / 32 * 7 + round) % 200 - 110);
        for (int64_t i = 0; i < n && round % 2; i++) /* near the middle of two steps, where every rounding counts */
            if (i % 32) x[i] = (float)(x[i / 32 * 32] / 127.0 * ((double)fl_rng_below(&rng, 127) + 0.5));
        fl_quant_row row = make_row(n);
        kernels->quantise(x, n, &row);
        for (int64_t c = 0; c < n / 32; c++) {
            double most = 0;
            int largest = 0;
            for (int64_t i = c * 32; i < c * 32 + 32; i++)
                most = fmax(most, fabs((double)x[i]));
            assert_true(row.scale[c] == (float)most / 127.0f);
            for (int64_t i = c * 32; i < c * 32 + 32; i++) {
                /* Half a step, and three fp32 roundings of up to 127 steps: 127 * 3 * 2^-24 < 5e-5. */
                assert_true(fabs((double)row.scale[c] * row.q[i] - x[i]) <= 0.50005 * row.scale[c]);
                assert_int_equal(row.q[i], (int)rintf(x[i] * (127.0f / (float)most)));
                largest = abs(row.q[i]) > largest ? abs(row.q[i]) : largest;
            }
            assert_int_equal(largest, 127);
            for (int64_t g = 2 * c; g < 2 * c + 2; g++) {
                int sum = 0;
                for (int64_t i = g * 16; i < g * 16 + 16; i++)
                    sum += row.q[i];
                assert_int_equal(row.sum[g], sum);
            }
        }
        free_row(&row);
        free(x);
    }
}

static void test_activations_at_the_edges(void **state)
{
    (void)state;
    float x[32] = {127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -126.5f, 0.49999997f, -0.0f, 63.5f};
    static const int8_t even[32] = {127, 0, 2, 2, 0, -2, -126, 0, 0, 64};
    fl_quant_row row = make_row(32);
    kernels->quantise(x, 32, &row);
    assert_true(row.scale[0] == 1);
    assert_memory_equal(row.q, even, 32);
    assert_int_equal(row.sum[0], 127 + 2 + 2 - 2 - 126 + 64);
    assert_int_equal(row.sum[1], 0);

    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int k = 0; k < 3; k++) {
        x[11] = bad[k];
        kernels->quantise(x, 32, &row);
        assert_true(isnan(row.scale[0]) && row.sum[0] == 0 && row.q[0] == 0);
        unsigned char weights[34] = {0, 0x3c, 1}; /* it shows in every product, also with weights that are 0 */
        assert_true(isnan(kernels->dot[FL_QUANT_Q8_0](weights, &row, 32)));
    }
    const float largest[] = {0, 1e-45f, 1e-38f, 1.4e-36f, 1.5e-36f, FLT_MAX};
    for (int k = 0; k < 6; k++) {
        memset(x, 0, sizeof x);
        x[30] = -largest[k];
        kernels->quantise(x, 32, &row);
        assert_int_equal(row.q[30], k < 4 ? 0 : -127);
        assert_true(row.scale[0] == (k < 4 ? 0 : largest[k] / 127.0f));
    }
    free_row(&row);
}

/* ---- products ------------------------------------------------------------------------------------------------ */

/* The header's bound with F = n / group, or twice that in formats with minimums, and T from above: a term's magnitude
 * is at most the sum of |s q a| <= (|w| + |m|) |a|, or of |m| |a|. The dequantised weight itself is rounded once: 2^-24
 * |w a|. */
static void test_products_equal_those_in_double(void **state)
{
    (void)state;
    fl_rng rng;
    fl_rng_seed(&rng, 22);
    for (size_t f = 0; f < FORMATS; f++) {
        const fl_dtype_info *info = fl_dtype_get(formats[f].dtype);
        for (int count = 0; count <= 33; count += count < 4 ? 1 : 7) {
            int64_t n = (int64_t)count * info->block;
            size_t bytes = (size_t)count * info->block_bytes;
            unsigned char *blocks = make_blocks(&rng, f, count, 4), *minimums = room(bytes, 1);
            memcpy(minimums, blocks, bytes);
            for (int b = 0; b < count; b++)
                memset(minimums + (size_t)b * info->block_bytes + formats[f].q, 0, (size_t)formats[f].q_bytes);
            float *w = room((size_t)n, sizeof *w), *m = room((size_t)n, sizeof *m), *x = room((size_t)n, sizeof *x);
            fl_to_f32(formats[f].dtype, blocks, w, n);
            fl_to_f32(formats[f].dtype, minimums, m, n);
            for (int64_t i = 0; i < n; i++)
                x[i] = (float)(fl_rng_normal(&rng) * exp(2 * (double)(i / 32 % 5)));
            fl_quant_row row = make_row(n);
            kernels->quantise(x, n, &row);
            double exact = 0, size = 0, weights = 0;
            for (int64_t i = 0; i < n; i++) {
                double a = (double)row.scale[i / 32] * row.q[i];
                double minimum = formats[f].second_half >= 0 ? fabs((double)m[i]) : 0;
                exact += w[i] * a;
                size += (fabs((double)w[i]) + 2 * minimum) * fabs(a);
                weights += fabs(w[i] * a);
            }
            double lines = (double)(n / formats[f].group * (formats[f].second_half >= 0 ? 2 : 1));
            double bound = (lines + 1) * 0x1p-24 * size * (1 + 0x1p-10) + 0x1p-24 * weights;
            double got = kernels->dot[formats[f].type](blocks, &row, n);
            if (!(fabs(got - exact) <= bound))
                fail_msg("%s, %d blocks: %g, not %g +- %g", info->name, count, got, exact, bound);
            assert_true(bound <= 1e-3 * weights + 1e-30); /* it means something */
            free_row(&row);
            free(x);
            free(m);
            free(w);
            free(minimums);
            free(blocks - 1);
        }
    }
}

/* With scales of 1 all is integers below 2^24: no rounding anywhere, so equality. */
static void test_integer_products_are_exact(void **state)
{
    (void)state;
    fl_rng rng;
    fl_rng_seed(&rng, 23);
    for (size_t f = 0; f < FORMATS; f++) {
        const fl_dtype_info *info = fl_dtype_get(formats[f].dtype);
        for (int round = 0; round < 100; round++) {
            int64_t count = info->block == 32 ? 3 : 1, n = count * info->block;
            unsigned char *blocks = make_blocks(&rng, f, count, 0);
            for (int64_t b = 0; b < count; b++) {
                put_half(blocks + (size_t)b * info->block_bytes + formats[f].half, 1);
                if (formats[f].second_half >= 0)
                    put_half(blocks + (size_t)b * info->block_bytes + formats[f].second_half, round % 2 ? -1 : 1);
            }
            float w[256];
            fl_to_f32(formats[f].dtype, blocks, w, n);
            fl_quant_row row = make_row(n);
            for (int64_t i = 0; i < n; i++)
                row.q[i] = (int8_t)((int)fl_rng_below(&rng, 255) - 127);
            for (int64_t c = 0; c < n / 32; c++)
                row.scale[c] = 1;
            sum_up(&row, n);
            int64_t exact = 0;
            for (int64_t i = 0; i < n; i++)
                exact += (int64_t)w[i] * row.q[i];
            assert_true((int64_t)kernels->dot[formats[f].type](blocks, &row, n) == exact);
            free_row(&row);
            free(blocks - 1);
        }
    }
}

/* The largest terms: Q6_K's -128 * -32 * 127 * 16 = 8323072 of each group, exact in fp32; 16 of them are a multiple of
 * 2^10 below 2^28 and so exact too. */
static void test_largest_integers(void **state)
{
    (void)state;
    unsigned char block[210];
    memset(block, 0, sizeof block); /* q = -32 */
    memset(block + 192, 0x80, 16);
    put_half(block + 208, 1);
    fl_quant_row row = make_row(256);
    memset(row.q, 127, 256);
    for (int c = 0; c < 8; c++)
        row.scale[c] = 1;
    sum_up(&row, 256);
    assert_true(kernels->dot[FL_QUANT_Q6_K](block, &row, 256) == 16 * 8323072.0f);
    memset(row.q, -127, 256);
    sum_up(&row, 256);
    assert_true(kernels->dot[FL_QUANT_Q6_K](block, &row, 256) == -16 * 8323072.0f);

    unsigned char q8[34];
    memset(q8, 0x80, sizeof q8);
    put_half(q8, 1);
    assert_true(kernels->dot[FL_QUANT_Q8_0](q8, &row, 32) == 128.0f * 127 * 32);
    free_row(&row);
}

/* The order across chunks is the header's: large terms that cancel leave what was added after them, not before. */
static void test_chunks_are_added_in_order(void **state)
{
    (void)state;
    unsigned char blocks[3 * 34];
    memset(blocks, 0, sizeof blocks);
    const float scale[3] = {32768, 1, 32768};
    const int8_t q[3] = {1, 1, -1};
    fl_quant_row row = make_row(96);
    memset(row.q, 0, 96);
    for (int c = 0; c < 3; c++) {
        put_half(blocks + 34 * c, scale[c]);
        blocks[34 * c + 2] = (unsigned char)q[c];
        row.q[32 * c] = 1;
        row.scale[c] = c == 1 ? 1 : 4096; /* 2^27, 1, -2^27: the middle one is lost */
    }
    sum_up(&row, 96);
    assert_true(kernels->dot[FL_QUANT_Q8_0](blocks, &row, 96) == 0);
    unsigned char swapped[34];
    memcpy(swapped, blocks + 34, 34);
    memcpy(blocks + 34, blocks + 68, 34);
    memcpy(blocks + 68, swapped, 34);
    row.scale[1] = 4096;
    row.scale[2] = 1;
    assert_true(kernels->dot[FL_QUANT_Q8_0](blocks, &row, 96) == 1);
    free_row(&row);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_activations_are_nearest),
        cmocka_unit_test(test_activations_at_the_edges),
        cmocka_unit_test(test_products_equal_those_in_double),
        cmocka_unit_test(test_integer_products_are_exact),
        cmocka_unit_test(test_largest_integers),
        cmocka_unit_test(test_chunks_are_added_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
