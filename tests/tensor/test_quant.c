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
#include "tensor/ggml_type.h"
#include "tensor/tensor.h"

/* From GGML_QUANT_SIZES of the gguf package, and where a block has fp16 numbers (-1: no second one). */
static const struct {
    fl_dtype type;
    const char *name;
    int block, bytes, half, second_half;
    bool written;
} formats[] = {
    {FL_Q8_0, "Q8_0", 32, 34, 0, -1, true},      {FL_Q4_0, "Q4_0", 32, 18, 0, -1, true},
    {FL_Q4_1, "Q4_1", 32, 20, 0, 2, true},       {FL_Q5_0, "Q5_0", 32, 22, 0, -1, true},
    {FL_Q5_1, "Q5_1", 32, 24, 0, 2, true},       {FL_IQ4_NL, "IQ4_NL", 32, 18, 0, -1, false},
    {FL_Q2_K, "Q2_K", 256, 84, 80, 82, false},   {FL_Q3_K, "Q3_K", 256, 110, 108, -1, false},
    {FL_Q4_K, "Q4_K", 256, 144, 0, 2, false},    {FL_Q5_K, "Q5_K", 256, 176, 0, 2, false},
    {FL_Q6_K, "Q6_K", 256, 210, 208, -1, false},
};
#define FORMATS (sizeof formats / sizeof formats[0])

static fl_buffer golden(const char *type, const char *kind)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/quant/%s.%s", FL_TEST_DATA, type, kind);
    fl_buffer b;
    if (fl_file_read(&b, path, 1 << 20) != FL_OK) fail_msg("%s", fl_error_message());
    return b;
}

/* n bytes at an odd address, with nothing behind them. Free with free(p - 1). */
static unsigned char *odd(size_t n)
{
    unsigned char *p = malloc(n + 1);
    assert_non_null(p);
    return p + 1;
}

static float *floats(size_t n)
{
    float *p = malloc(n * sizeof *p);
    assert_non_null(p);
    return p;
}

static void test_sizes(void **state)
{
    (void)state;
    for (size_t f = 0; f < FORMATS; f++) {
        const fl_dtype_info *info = fl_dtype_get(formats[f].type);
        assert_string_equal(info->name, formats[f].name);
        assert_int_equal(info->block, formats[f].block);
        assert_int_equal(info->block_bytes, formats[f].bytes);
        assert_true(info->real);
        assert_int_equal(info->written, formats[f].written);
        size_t block = (size_t)formats[f].block, bytes = 7;
        assert_true(fl_dtype_bytes(formats[f].type, 0, &bytes) && bytes == 0);
        assert_true(fl_dtype_bytes(formats[f].type, 5 * block, &bytes));
        assert_int_equal(bytes, 5 * formats[f].bytes);
        assert_false(fl_dtype_bytes(formats[f].type, block - 1, &bytes));
        assert_false(fl_dtype_bytes(formats[f].type, block + block / 2, &bytes));
        size_t most = SIZE_MAX / (size_t)formats[f].bytes; /* blocks whose bytes can be counted: fewer than values */
        if (most < SIZE_MAX / block) assert_false(fl_dtype_bytes(formats[f].type, (most + 1) * block, &bytes));
    }
}

/* Scales that are denormal, zero of both signs and the largest, beside minimums of the same kinds. */
static void test_chosen_blocks_give_the_bits_of_ggml(void **state)
{
    (void)state;
    for (size_t f = 0; f < FORMATS; f++) {
        fl_buffer blocks = golden(formats[f].name, "blocks"), values = golden(formats[f].name, "values");
        int64_t n = (int64_t)(blocks.size / (size_t)formats[f].bytes * (size_t)formats[f].block);
        assert_true(n >= 15 * formats[f].block && values.size == (size_t)n * sizeof(float));
        unsigned char *from = odd(blocks.size);
        memcpy(from, blocks.data, blocks.size);
        float *to = floats((size_t)n);
        fl_to_f32(formats[f].type, from, to, n);
        assert_memory_equal(to, values.data, values.size);
        free(to);
        free(from - 1);
        fl_buffer_free(&values);
        fl_buffer_free(&blocks);
    }
}

#define SWEEP 512

/* As `sweep` of tools/oracle/quant.py: each byte takes all 256 values, then a linear congruential sequence. */
static unsigned char *sweep_blocks(size_t f)
{
    int size = formats[f].bytes;
    unsigned char *blocks = odd((size_t)size * SWEEP);
    uint32_t sequence = 12345;
    for (int b = 0; b < SWEEP; b++) {
        unsigned char *block = blocks + b * size;
        for (int k = 0; k < size; k++) {
            if (b >= 256) sequence = sequence * 1664525 + 1013904223;
            block[k] = b < 256 ? (unsigned char)(b + 37 * k) : (unsigned char)(sequence >> 24);
        }
        block[formats[f].half + 1] &= 0xbf;
        if (formats[f].second_half >= 0) block[formats[f].second_half + 1] &= 0xbf;
    }
    return blocks;
}

static uint32_t fnv(const void *data, size_t n)
{
    uint32_t h = 0x811c9dc5;
    for (size_t i = 0; i < n; i++)
        h = (h ^ ((const unsigned char *)data)[i]) * 0x01000193;
    return h;
}

static void test_all_bytes_give_the_bits_of_ggml(void **state)
{
    (void)state;
    for (size_t f = 0; f < FORMATS; f++) {
        fl_buffer sums = golden(formats[f].name, "sums");
        assert_int_equal(sums.size, SWEEP * 4);
        size_t values = (size_t)formats[f].block;
        unsigned char *blocks = sweep_blocks(f);
        float *to = floats(values * SWEEP);
        fl_to_f32(formats[f].type, blocks, to, (int64_t)values * SWEEP);
        for (size_t b = 0; b < SWEEP; b++) {
            uint32_t expected;
            memcpy(&expected, sums.data + 4 * b, 4);
            if (fnv(to + b * values, values * sizeof *to) != expected)
                fail_msg("%s: block %zu of the sweep differs", formats[f].name, b);
        }
        free(to);
        free(blocks - 1);
        fl_buffer_free(&sums);
    }
}

/* Buffers of exactly the right size, for the address sanitizer; a block's values do not depend on its neighbours. */
static void test_any_number_of_blocks(void **state)
{
    (void)state;
    for (size_t f = 0; f < FORMATS; f++) {
        size_t values = (size_t)formats[f].block, bytes = (size_t)formats[f].bytes;
        unsigned char *all = sweep_blocks(f);
        for (size_t count = 0; count <= 13; count += count < 3 ? 1 : 2) {
            unsigned char *from = odd(count * bytes);
            memcpy(from, all + 300 * bytes, count * bytes);
            float *to = floats(count * values + !count), one[256];
            fl_to_f32(formats[f].type, from, to, (int64_t)(count * values));
            for (size_t b = 0; b < count; b++) {
                fl_to_f32(formats[f].type, all + (300 + b) * bytes, one, (int64_t)values);
                assert_memory_equal(to + b * values, one, values * sizeof *one);
            }
            unsigned char *back = odd(count * bytes), block[256];
            memset(back, 0xa5, count * bytes);
            fl_from_f32(formats[f].type, to, back, (int64_t)(count * values));
            for (size_t b = 0; b < count; b++) {
                memset(block, 0, sizeof block); /* what a type that is only read gives */
                if (formats[f].written) fl_from_f32(formats[f].type, to + b * values, block, (int64_t)values);
                assert_memory_equal(back + b * bytes, block, bytes);
            }
            free(back - 1);
            free(to);
            free(from - 1);
        }
        free(all - 1);
    }
}

static void test_quantisation_gives_the_bits_of_ggml(void **state)
{
    (void)state;
    fl_buffer input = golden("input", "f32");
    int64_t n = (int64_t)(input.size / sizeof(float));
    float *values = floats((size_t)n);
    memcpy(values, input.data, input.size);
    for (size_t f = 0; f < FORMATS; f++) {
        if (!formats[f].written) continue;
        fl_buffer written = golden(formats[f].name, "written");
        size_t bytes = 0;
        assert_true(n > 1000 && fl_dtype_bytes(formats[f].type, (size_t)n, &bytes) && bytes == written.size);
        unsigned char *got = odd(bytes);
        fl_from_f32(formats[f].type, values, got, n);
        assert_memory_equal(got, written.data, bytes);
        free(got - 1);
        fl_buffer_free(&written);
    }
    free(values);
    fl_buffer_free(&input);
}

/* A block that uses its format's whole range comes back to the bit: d is then a fixed share of the range, and fp16
 * absorbs the fp32 rounding errors in between. */
static void test_round_trips(void **state)
{
    (void)state;
    fl_rng rng;
    fl_rng_seed(&rng, 11);
    for (size_t f = 0; f < FORMATS; f++) {
        if (!formats[f].written) continue;
        for (int round = 0; round < 2000; round++) {
            unsigned char block[34], again[34];
            float values[32];
            int bytes = formats[f].bytes, first = bytes - (formats[f].type == FL_Q8_0 ? 32 : 16);
            for (int k = 0; k < bytes; k++)
                block[k] = (unsigned char)fl_rng_below(&rng, 256);
            bool offset = formats[f].second_half >= 0;
            float scale = (float)ldexp(0.5 + fl_rng_uniform(&rng), (int)fl_rng_below(&rng, 16) - 10);
            bool negative = (formats[f].type == FL_Q4_0 || formats[f].type == FL_Q5_0) && round % 2;
            uint16_t d = fl_f32_to_f16(negative ? -scale : scale);
            uint16_t m = fl_f32_to_f16(scale * (float)(100 * fl_rng_uniform(&rng) - 50));
            memcpy(block, &d, 2);
            if (offset) memcpy(block + 2, &m, 2);
            if (formats[f].type == FL_Q8_0) {
                for (int k = first; k < bytes; k++)
                    if (block[k] == 0x80) block[k] = 0;
                block[first + 5] = round % 3 ? 127 : 0x81;
            } else {
                block[first + 3] = 0xf0; /* values 3 and 19: the least and the largest */
                if (first >= 6) block[first - 4] &= 0xf7, block[first - 2] |= 8; /* their fifth bits */
            }
            fl_to_f32(formats[f].type, block, values, 32);
            fl_from_f32(formats[f].type, values, again, 32);
            assert_memory_equal(again, block, (size_t)bytes);
        }
    }
}

/* Half a step, more where the last step above zero is missing, and what fp16 does to scale (times at most `steps`) and
 * offset: 2^-11 of it or 2^-25. fp32 adds some 2^-22 of the largest value, covered by doubling the 2^-11. */
static void test_quantisation_error(void **state)
{
    (void)state;
    fl_rng rng;
    fl_rng_seed(&rng, 12);
    for (size_t f = 0; f < FORMATS; f++) {
        if (!formats[f].written) continue;
        bool offset = formats[f].second_half >= 0;
        int steps = formats[f].type == FL_Q8_0   ? 127
                    : formats[f].type == FL_Q4_0 ? 8
                    : formats[f].type == FL_Q5_0 ? 16
                    : formats[f].type == FL_Q4_1 ? 15
                                                 : 31;
        double squares = 0, step_squares = 0;
        for (int round = 0; round < 3000; round++) {
            float x[32], back[32];
            unsigned char block[34];
            double size = ldexp(1, (int)fl_rng_below(&rng, 26) - 16), shift = offset ? fl_rng_normal(&rng) : 0;
            double most = 0, least = INFINITY, largest = -INFINITY;
            for (int i = 0; i < 32; i++) {
                x[i] = (float)(size * (fl_rng_normal(&rng) + shift));
                most = fmax(most, fabs((double)x[i]));
                least = fmin(least, x[i]);
                largest = fmax(largest, x[i]);
            }
            double step = offset ? (largest - least) / steps : most / steps;
            fl_from_f32(formats[f].type, x, block, 32);
            fl_to_f32(formats[f].type, block, back, 32);
            for (int i = 0; i < 32; i++) {
                double error = fabs((double)back[i] - x[i]), bound = step / 2;
                if (steps == 8 || steps == 16) bound = fmax(bound, fabs((double)x[i]) - (steps - 1) * step);
                bound += steps * (step * 0x1p-10 + 0x1p-25);
                if (offset) bound += fabs(least) * 0x1p-10 + 0x1p-25;
                assert_true(error <= bound);
                if (size >= 0x1p-6) squares += error * error / (step * step), step_squares += 1;
            }
        }
        /* Errors spread evenly over a step have a mean square of 1/12; fp16 scales and the missing step add to it. */
        double mean = squares / step_squares;
        assert_true(mean > 0.07 && mean < 0.13);
    }
}

static void test_quantisation_shows_damage(void **state)
{
    (void)state;
    const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    for (size_t f = 0; f < FORMATS; f++) {
        if (!formats[f].written) continue;
        unsigned char blocks[68];
        for (int k = 0; k < 4; k++) {
            float values[64] = {1, 2, 3};
            values[7 + 8 * (k % 3)] = bad[k];
            values[40] = 4;
            fl_from_f32(formats[f].type, values, blocks, 64);
            fl_to_f32(formats[f].type, blocks, values, 64);
            for (int i = 0; i < 32; i++)
                assert_true(isnan(values[i]));
            for (int i = 32; i < 64; i++)
                assert_true(fabsf(values[i] - (i == 40 ? 4.0f : 0.0f)) <= 4 * 0x1p-10f);
        }
        /* Beyond fp16, and a range beyond fp32: nothing finite may come back for the large values. */
        float wide[32] = {3e38f, -3e38f, 1};
        fl_from_f32(formats[f].type, wide, blocks, 32);
        fl_to_f32(formats[f].type, blocks, wide, 32);
        assert_false(isfinite(wide[0]) || isfinite(wide[1]));
        /* The inverse scale is beyond fp32, the scale below fp16. */
        float tiny[32] = {1e-45f, -1e-40f, 1e-38f};
        fl_from_f32(formats[f].type, tiny, blocks, 32);
        fl_to_f32(formats[f].type, blocks, tiny, 32);
        for (int i = 0; i < 32; i++)
            assert_true(tiny[i] == 0);
    }
}

/* Damaged scales in a file come out as they are and do no harm. */
static void test_scales_that_are_not_finite(void **state)
{
    (void)state;
    static const uint16_t halves[] = {0x7c00, 0xfc00, 0x7e00, 0xffff, 0x7c01};
    for (size_t f = 0; f < FORMATS; f++)
        for (size_t h = 0; h < sizeof halves / sizeof halves[0]; h++) {
            unsigned char block[210];
            memset(block, 0x5a, sizeof block);
            memcpy(block + formats[f].half, &halves[h], 2);
            float values[256];
            fl_to_f32(formats[f].type, block, values, formats[f].block);
            for (int i = 0; i < formats[f].block; i++)
                assert_false(isfinite(values[i]));
        }
}

static void test_stored_rows(void **state)
{
    (void)state;
    enum { ROWS = 5, BLOCKS = 3, STRIDE = 4 }; /* rows of a wider matrix */
    for (size_t f = 0; f < FORMATS; f++) {
        size_t values = (size_t)formats[f].block, bytes = (size_t)formats[f].bytes;
        unsigned char *all = sweep_blocks(f), *data = odd(((ROWS - 1) * STRIDE + BLOCKS) * bytes);
        memcpy(data, all + 400 * bytes, ((ROWS - 1) * STRIDE + BLOCKS) * bytes);
        fl_stored s = {formats[f].type, ROWS, BLOCKS * formats[f].block, STRIDE * formats[f].block, 1, data};
        float *row = floats(BLOCKS * values), *expected = floats(BLOCKS * values);
        for (int n = 0; n < ROWS; n++) {
            fl_stored_row(&s, n, row);
            fl_to_f32(formats[f].type, data + (size_t)n * STRIDE * bytes, expected, s.cols);
            assert_memory_equal(row, expected, BLOCKS * values * sizeof *row);
        }
        free(expected);
        free(row);
        free(data - 1);
        free(all - 1);
    }
}

static void test_ggml_numbers(void **state)
{
    (void)state;
    /* GGMLQuantizationType of the gguf package 0.19.0; 42 from ggml.h. */
    static const char *const names[] = {
        [0] = "F32",     [1] = "F16",    [2] = "Q4_0",     [3] = "Q4_1",    [6] = "Q5_0",     [7] = "Q5_1",
        [8] = "Q8_0",    [9] = "Q8_1",   [10] = "Q2_K",    [11] = "Q3_K",   [12] = "Q4_K",    [13] = "Q5_K",
        [14] = "Q6_K",   [15] = "Q8_K",  [16] = "IQ2_XXS", [17] = "IQ2_XS", [18] = "IQ3_XXS", [19] = "IQ1_S",
        [20] = "IQ4_NL", [21] = "IQ3_S", [22] = "IQ2_S",   [23] = "IQ4_XS", [24] = "I8",      [25] = "I16",
        [26] = "I32",    [27] = "I64",   [28] = "F64",     [29] = "IQ1_M",  [30] = "BF16",    [34] = "TQ1_0",
        [35] = "TQ2_0",  [39] = "MXFP4", [40] = "NVFP4",   [41] = "Q1_0",   [42] = "Q2_0",
    };
    int read = 0;
    for (uint32_t id = 0; id < 43; id++) {
        fl_dtype type = FL_DTYPE_COUNT;
        fl_status status = fl_dtype_from_ggml(&type, id);
        if (status != FL_OK) {
            assert_int_equal(status, FL_ERR_UNSUPPORTED);
            assert_int_equal(type, FL_DTYPE_COUNT);
            char start[64];
            snprintf(start, sizeof start, "type %s (%u) is not supported: ", names[id] ? names[id] : "", id);
            if (names[id]) assert_true(strncmp(fl_error_message(), start, strlen(start)) == 0);
            assert_non_null(strstr(fl_error_message(), "convert"));
            continue;
        }
        read++;
        assert_string_equal(fl_dtype_get(type)->name, names[id]);
        uint32_t back = 99;
        assert_int_equal(fl_dtype_to_ggml(&back, type), FL_OK);
        assert_int_equal(back, id);
    }
    assert_int_equal(read, 17); /* every type but U8 and BOOL */
    static const uint32_t unknown[] = {43, 77, 0x7fffffff, 0xffffffff};
    for (int i = 0; i < 4; i++) {
        fl_dtype type = FL_F64;
        assert_int_equal(fl_dtype_from_ggml(&type, unknown[i]), FL_ERR_FORMAT);
        assert_int_equal(type, FL_F64);
    }
    fl_dtype ignored;
    fl_dtype_from_ggml(&ignored, 77);
    assert_non_null(strstr(fl_error_message(), "unknown type 77"));
    static const fl_dtype none[] = {FL_U8, FL_BOOL, FL_DTYPE_COUNT, (fl_dtype)-1};
    for (int i = 0; i < 4; i++) {
        uint32_t id = 5;
        assert_int_equal(fl_dtype_to_ggml(&id, none[i]), FL_ERR_UNSUPPORTED);
        assert_int_equal(id, 5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_chosen_blocks_give_the_bits_of_ggml),
        cmocka_unit_test(test_all_bytes_give_the_bits_of_ggml),
        cmocka_unit_test(test_any_number_of_blocks),
        cmocka_unit_test(test_quantisation_gives_the_bits_of_ggml),
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_quantisation_error),
        cmocka_unit_test(test_quantisation_shows_damage),
        cmocka_unit_test(test_scales_that_are_not_finite),
        cmocka_unit_test(test_stored_rows),
        cmocka_unit_test(test_ggml_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
