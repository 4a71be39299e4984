#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/rng.h"
#include "tensor/tensor.h"

/* What an f16 or bf16 pattern means, by IEEE 754's formula: (-1)^s 2^(e - bias) (1 + f), subnormal 2^(1 - bias) f. */
static double value_of(uint16_t h, int fraction_bits)
{
    int exponent_bits = 15 - fraction_bits, bias = (1 << (exponent_bits - 1)) - 1;
    int exponent = (h & 0x7fff) >> fraction_bits;
    double fraction = ldexp(h & ((1 << fraction_bits) - 1), -fraction_bits), sign = h & 0x8000 ? -1 : 1;
    if (exponent == (1 << exponent_bits) - 1) return fraction > 0 ? NAN : sign * INFINITY;
    if (exponent == 0) return sign * ldexp(fraction, 1 - bias);
    return sign * ldexp(1 + fraction, exponent - bias);
}

static uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

/* Every pattern widens to its value, sign of zero and NaN included, and narrows back to itself. */
static void check_all_patterns(float (*widen)(uint16_t), uint16_t (*narrow)(float), int fraction_bits)
{
    for (uint32_t h = 0; h <= 0xffff; h++) {
        double expected = value_of((uint16_t)h, fraction_bits);
        float got = widen((uint16_t)h);
        assert_int_equal(bits_of(got) >> 31, h >> 15);
        if (isnan(expected)) {
            assert_true(isnan(got));
            uint16_t back = narrow(got);
            assert_true(isnan(value_of(back, fraction_bits)));
            assert_int_equal(back >> 15, h >> 15);
            continue;
        }
        assert_true((double)got == expected);
        assert_int_equal(narrow(got), h);
    }
}

/* The rounding of all fp32 numbers follows from the middle between each two neighbours and what lies just beside it.
 * Infinity takes the place of the next power of two. */
static void check_rounding(uint16_t (*narrow)(float), int fraction_bits)
{
    uint16_t infinity = (uint16_t)(((1 << (15 - fraction_bits)) - 1) << fraction_bits);
    for (uint16_t h = 0; h < infinity; h++) {
        uint16_t next = (uint16_t)(h + 1), even = h % 2 ? next : h;
        double low = value_of(h, fraction_bits);
        double high = next == infinity ? 2 * value_of((uint16_t)(next - (1 << fraction_bits)), fraction_bits)
                                       : value_of(next, fraction_bits);
        float middle = (float)((low + high) / 2);
        assert_true((double)middle == (low + high) / 2);
        assert_int_equal(narrow(middle), even);
        assert_int_equal(narrow(-middle), even | 0x8000);
        assert_int_equal(narrow(nextafterf(middle, 0)), h);
        assert_int_equal(narrow(nextafterf(middle, INFINITY)), next);
    }
    assert_int_equal(narrow(INFINITY), infinity);
    assert_int_equal(narrow(-INFINITY), infinity | 0x8000);
}

static void test_f16_patterns(void **state)
{
    (void)state;
    check_all_patterns(fl_f16_to_f32, fl_f32_to_f16, 10);
    /* As the F16C instructions: a NaN keeps its payload and becomes quiet. */
    assert_int_equal(bits_of(fl_f16_to_f32(0x7c01)), 0x7fc02000);
    assert_int_equal(bits_of(fl_f16_to_f32(0xfeff)), 0xffdfe000);
}

static void test_f16_rounding(void **state)
{
    (void)state;
    check_rounding(fl_f32_to_f16, 10);
    assert_int_equal(fl_f32_to_f16(65504), 0x7bff); /* the largest, and the first that is infinite */
    assert_int_equal(fl_f32_to_f16(65519.996f), 0x7bff);
    assert_int_equal(fl_f32_to_f16(65520), 0x7c00);
    assert_int_equal(fl_f32_to_f16(3.4e38f), 0x7c00);
    assert_int_equal(fl_f32_to_f16(0x1p-25f), 0);
    assert_int_equal(fl_f32_to_f16(0x1p-149f), 0);
}

static void test_bf16_patterns(void **state)
{
    (void)state;
    check_all_patterns(fl_bf16_to_f32, fl_f32_to_bf16, 7);
}

static void test_bf16_rounding(void **state)
{
    (void)state;
    check_rounding(fl_f32_to_bf16, 7);
    assert_int_equal(fl_f32_to_bf16(3.4028235e38f), 0x7f80);
    /* A NaN whose upper half alone would read as infinity. */
    uint32_t thin = 0x7f800001;
    float nan;
    memcpy(&nan, &thin, sizeof nan);
    assert_int_equal(fl_f32_to_bf16(nan), 0x7fc0);
    assert_true((fl_f32_to_f16(nan) & 0x7fff) > 0x7c00);
}

static void test_rows_agree_with_single_values_at_any_address(void **state)
{
    (void)state;
    fl_rng rng;
    fl_rng_seed(&rng, 5);
    static const fl_dtype types[] = {FL_F32, FL_F16, FL_BF16, FL_F64};
    enum { N = 133 };
    float values[N], back[N];
    unsigned char bytes[N * 8 + 1];
    for (size_t t = 0; t < 4; t++) {
        for (int i = 0; i < N; i++)
            values[i] = (float)ldexp(fl_rng_normal(&rng), (int)fl_rng_below(&rng, 40) - 30);
        fl_from_f32(types[t], values, bytes + 1, N); /* files do not align tensors */
        fl_to_f32(types[t], bytes + 1, back, N);
        for (int i = 0; i < N; i++) {
            float expected = types[t] == FL_F16    ? fl_f16_to_f32(fl_f32_to_f16(values[i]))
                             : types[t] == FL_BF16 ? fl_bf16_to_f32(fl_f32_to_bf16(values[i]))
                                                   : values[i];
            assert_int_equal(bits_of(back[i]), bits_of(expected));
        }
    }
    double wide[3] = {1.0 + 0x1p-24, 1.0 + 0x1.8p-23, 1e300}; /* two ties, and beyond fp32 */
    fl_to_f32(FL_F64, wide, back, 3);
    assert_true(back[0] == 1 && back[1] == 1 + 0x1p-22f && isinf(back[2]));
}

static void test_sizes(void **state)
{
    (void)state;
    size_t bytes = 7;
    assert_true(fl_dtype_bytes(FL_F16, 10, &bytes) && bytes == 20);
    assert_true(fl_dtype_bytes(FL_Q8_0, 64, &bytes) && bytes == 68);
    assert_true(fl_dtype_bytes(FL_BOOL, 3, &bytes) && bytes == 3);
    bytes = 7;
    assert_false(fl_dtype_bytes(FL_Q8_0, 33, &bytes));
    assert_false(fl_dtype_bytes(FL_F32, SIZE_MAX / 2, &bytes));
    assert_false(fl_dtype_bytes(FL_Q8_0, SIZE_MAX / 32 * 32, &bytes));
    assert_false(fl_dtype_bytes(FL_DTYPE_COUNT, 1, &bytes));
    assert_true(bytes == 7);
    assert_null(fl_dtype_get(FL_DTYPE_COUNT));
    assert_null(fl_dtype_get((fl_dtype)-1));
    assert_string_equal(fl_dtype_get(FL_BF16)->name, "BF16");
    for (int t = 0; t < FL_DTYPE_COUNT; t++) {
        assert_non_null(fl_dtype_get((fl_dtype)t)->name);
        assert_true(fl_dtype_get((fl_dtype)t)->block >= 1);
    }
}

static fl_buffer golden(const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/dtype/%s", FL_TEST_DATA, name);
    fl_buffer b;
    if (fl_file_read(&b, path, 1 << 20) != FL_OK) fail_msg("%s", fl_error_message());
    return b;
}

static void test_q8_0_gives_the_bits_of_ggml(void **state)
{
    (void)state;
    fl_buffer input = golden("input.f32.bin"), blocks = golden("blocks.u8.bin"), back = golden("back.f32.bin");
    int64_t n = (int64_t)(input.size / sizeof(float));
    size_t bytes = 0;
    assert_true(n > 1000 && fl_dtype_bytes(FL_Q8_0, (size_t)n, &bytes));
    assert_int_equal(bytes, blocks.size);
    unsigned char *got = malloc(bytes);
    float *values = malloc(input.size);
    memcpy(values, input.data, input.size);
    fl_from_f32(FL_Q8_0, values, got, n);
    assert_memory_equal(got, blocks.data, bytes);
    fl_to_f32(FL_Q8_0, blocks.data, values, n);
    for (int64_t i = 0; i < n; i++) {
        float expected;
        memcpy(&expected, back.data + i * 4, 4);
        assert_true(values[i] == expected || (isnan(values[i]) && isnan(expected)));
    }
    free(values);
    free(got);
    fl_buffer_free(&input);
    fl_buffer_free(&blocks);
    fl_buffer_free(&back);
}

static void test_q8_0_shows_damage(void **state)
{
    (void)state;
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int k = 0; k < 3; k++) {
        float values[64] = {1, 2, 3};
        values[7] = bad[k];
        values[40] = 5;
        unsigned char blocks[68];
        fl_from_f32(FL_Q8_0, values, blocks, 64);
        fl_to_f32(FL_Q8_0, blocks, values, 64);
        for (int i = 0; i < 32; i++)
            assert_true(isnan(values[i]));
        /* The next block is its own: fp16 keeps 5/127 to 2^-11. */
        assert_true(fabsf(values[40] - 5) <= 5 * 0x1p-11f);
    }
    float tiny[32] = {1e-45f, -1e-40f}; /* the inverse scale is beyond fp32 */
    unsigned char block[34];
    fl_from_f32(FL_Q8_0, tiny, block, 32);
    fl_to_f32(FL_Q8_0, block, tiny, 32);
    assert_true(tiny[0] == 0 && tiny[1] == 0);
}

static void test_stored_rows(void **state)
{
    (void)state;
    enum { ROWS = 5, COLS = 600 }; /* more columns than are gathered at once */
    static const fl_dtype types[] = {FL_F32, FL_F16, FL_BF16, FL_F64};
    float *matrix = malloc(sizeof(float) * ROWS * COLS), *row = malloc(sizeof(float) * COLS);
    unsigned char *stored = malloc(8 * ROWS * COLS);
    for (size_t t = 0; t < 4; t++) {
        for (int i = 0; i < ROWS * COLS; i++)
            matrix[i] = (float)(i % 251 - 125); /* exact in every type */
        fl_from_f32(types[t], matrix, stored, ROWS * COLS);
        fl_stored plain = {types[t], ROWS, COLS, COLS, 1, stored};
        fl_stored transposed = {types[t], COLS, ROWS, 1, COLS, stored};
        fl_stored every_other = {types[t], ROWS, COLS / 2, COLS, 2, stored};
        for (int n = 0; n < ROWS; n++) {
            fl_stored_row(&plain, n, row);
            assert_memory_equal(row, matrix + n * COLS, COLS * sizeof(float));
            fl_stored_row(&every_other, n, row);
            for (int k = 0; k < COLS / 2; k++)
                assert_true(row[k] == matrix[n * COLS + 2 * k]);
        }
        for (int n = 0; n < COLS; n++) {
            fl_stored_row(&transposed, n, row);
            for (int k = 0; k < ROWS; k++)
                assert_true(row[k] == matrix[k * COLS + n]);
        }
    }
    fl_stored wide = {FL_F32, 1, COLS, 0, 3, stored}; /* stride 3 over one long row, in several stretches */
    for (int i = 0; i < ROWS * COLS; i++)
        matrix[i] = (float)i;
    fl_from_f32(FL_F32, matrix, stored, ROWS * COLS);
    fl_stored_row(&wide, 0, row);
    for (int k = 0; k < COLS; k++)
        assert_true(row[k] == (float)(3 * k));

    fl_from_f32(FL_Q8_0, matrix, stored, 4 * 64);
    fl_stored blocks = {FL_Q8_0, 4, 64, 64, 1, stored};
    float expected[4 * 64];
    fl_to_f32(FL_Q8_0, stored, expected, 4 * 64);
    for (int n = 0; n < 4; n++) {
        fl_stored_row(&blocks, n, row);
        assert_memory_equal(row, expected + n * 64, 64 * sizeof(float));
    }
    free(stored);
    free(row);
    free(matrix);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f16_patterns),
        cmocka_unit_test(test_f16_rounding),
        cmocka_unit_test(test_bf16_patterns),
        cmocka_unit_test(test_bf16_rounding),
        cmocka_unit_test(test_rows_agree_with_single_values_at_any_address),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_q8_0_gives_the_bits_of_ggml),
        cmocka_unit_test(test_q8_0_shows_damage),
        cmocka_unit_test(test_stored_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
