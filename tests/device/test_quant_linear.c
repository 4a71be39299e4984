/* linear and head of the CPU device with quantised weights: at every level to the bit the definition of kernel/quant.h
 * as its generic kernels compute it (tests/tensor/test_quant_dot.c holds those to sums in double precision), for any
 * number of rows, outputs and threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "base/rng.h"
#include "device/device.h"
#include "kernel/kernel.h"
#include "kernel/quant.h"
#include "kernel/quant_tile.h"

#define MOST_DEVICES 8
#define CANARY 12345.0f

static const struct {
    fl_quant_type type;
    fl_dtype dtype;
    int half, second_half; /* where blocks have fp16 numbers, -1 for none */
} formats[] = {
    {FL_QUANT_Q8_0, FL_Q8_0, 0, -1},  {FL_QUANT_Q4_0, FL_Q4_0, 0, -1},   {FL_QUANT_Q4_1, FL_Q4_1, 0, 2},
    {FL_QUANT_Q5_0, FL_Q5_0, 0, -1},  {FL_QUANT_Q5_1, FL_Q5_1, 0, 2},    {FL_QUANT_IQ4_NL, FL_IQ4_NL, 0, -1},
    {FL_QUANT_Q2_K, FL_Q2_K, 80, 82}, {FL_QUANT_Q3_K, FL_Q3_K, 108, -1}, {FL_QUANT_Q4_K, FL_Q4_K, 0, 2},
    {FL_QUANT_Q5_K, FL_Q5_K, 0, 2},   {FL_QUANT_Q6_K, FL_Q6_K, 208, -1},
};
#define FORMATS ((int)(sizeof formats / sizeof formats[0]))
_Static_assert(FORMATS == FL_QUANT_TYPES, "every format is tested");

static fl_pool *pool[MOST_DEVICES];
static fl_device *device[MOST_DEVICES];
static fl_kernels avx512_without_vnni;
static int devices;
static fl_rng rng;

static void *room(size_t n, size_t size)
{
    void *p = malloc(n * size + !n);
    assert_non_null(p);
    return p;
}

static float *numbers(int64_t n)
{
    float *x = room((size_t)n, sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)fl_rng_normal(&rng);
    return x;
}

/* Random blocks at an odd address, rows `gap` blocks longer than they are wide. Free with free_weight. */
static fl_stored weight(int f, int64_t rows, int64_t cols, int64_t gap)
{
    const fl_dtype_info *info = fl_dtype_get(formats[f].dtype);
    int64_t blocks = rows * (cols / info->block + gap);
    unsigned char *data = (unsigned char *)room((size_t)blocks * info->block_bytes + 1, 1) + 1;
    for (size_t i = 0; i < (size_t)blocks * info->block_bytes; i++)
        data[i] = (unsigned char)fl_rng_below(&rng, 256);
    for (int64_t b = 0; b < blocks; b++) {
        unsigned char *block = data + (size_t)b * info->block_bytes;
        uint16_t d = fl_f32_to_f16((float)fl_rng_normal(&rng) / 16), m = fl_f32_to_f16((float)fl_rng_normal(&rng) / 16);
        memcpy(block + formats[f].half, &d, 2);
        if (formats[f].second_half >= 0) memcpy(block + formats[f].second_half, &m, 2);
    }
    return (fl_stored){formats[f].dtype, rows, cols, cols + gap * info->block, 1, data};
}

static void free_weight(fl_stored *w)
{
    free((unsigned char *)(uintptr_t)w->data - 1);
}

static const char *row_of(const fl_stored *w, int64_t n)
{
    const fl_dtype_info *info = fl_dtype_get(w->type);
    return (const char *)w->data + n * (w->row_stride / info->block) * (int64_t)info->block_bytes;
}

/* y[m][n] by the definition. */
static float *definition(int f, const fl_stored *w, const float *x, int64_t ldx, int64_t m, const float *bias)
{
    int64_t k = w->cols;
    fl_quant_row row = {room((size_t)k, 1), room((size_t)k / 32, sizeof(float)), room((size_t)k / 16, sizeof(int16_t))};
    float *y = room((size_t)(m * w->rows), sizeof *y);
    for (int64_t i = 0; i < m; i++) {
        fl_quant_kernels_generic.quantise(x + i * ldx, k, &row);
        for (int64_t n = 0; n < w->rows; n++) {
            float sum = fl_quant_kernels_generic.dot[formats[f].type](row_of(w, n), &row, k);
            y[i * w->rows + n] = bias ? sum + bias[n] : sum;
        }
    }
    free(row.q), free(row.scale), free(row.sum);
    return y;
}

static void linear(fl_device *d, const fl_stored *w, const float *bias, const float *x, int64_t ldx, int64_t m,
                   float *y, int64_t ldy, bool accumulate)
{
    fl_packed *packed;
    assert_int_equal(d->table->pack(d, w, &packed), FL_OK);
    fl_operand operand = {packed, *w};
    fl_tensor from = {.type = FL_F32, .rows = m, .cols = w->cols, .ld = ldx, .data = (void *)(uintptr_t)x};
    fl_tensor to = {.type = FL_F32, .rows = m, .cols = w->rows, .ld = ldy, .data = y};
    d->table->linear(d, &operand, bias, &from, &to, accumulate);
    d->table->packed_free(d, packed);
}

/* Rows, outputs, blocks per row. */
static const int64_t shapes[][3] = {{1, 1, 1},   {1, 33, 3}, {2, 64, 2}, {3, 31, 1},  {4, 70, 2},  {5, 8, 5},
                                    {6, 100, 1}, {7, 16, 2}, {8, 40, 0}, {13, 24, 3}, {37, 65, 2}, {1, 300, 9}};
#define SHAPES ((int)(sizeof shapes / sizeof shapes[0]))

static void test_every_level_is_the_definition(void **state)
{
    (void)state;
    for (int f = 0; f < FORMATS; f++) {
        int64_t block = fl_dtype_get(formats[f].dtype)->block;
        for (int s = 0; s < SHAPES; s++) {
            int64_t m = shapes[s][0], n = shapes[s][1], k = shapes[s][2] * block, ldx = k + 3, ldy = n + s % 3;
            fl_stored w = weight(f, n, k, s % 2);
            float *x = numbers(m * ldx), *bias = s % 3 == 1 ? numbers(n) : NULL;
            float *want = definition(f, &w, x, ldx, m, bias);
            for (int v = 0; v < devices; v++) {
                float *got = numbers(m * ldy);
                for (int64_t i = 0; i < m * ldy; i++)
                    got[i] = CANARY;
                linear(device[v], &w, bias, x, ldx, m, got, ldy, false);
                for (int64_t i = 0; i < m; i++) {
                    if (memcmp(got + i * ldy, want + i * n, (size_t)n * sizeof *got) != 0)
                        fail_msg("%s, device %d, %d x %d x %d: row %d differs", fl_dtype_get(w.type)->name, v, (int)m,
                                 (int)n, (int)k, (int)i);
                    for (int64_t j = n; j < ldy; j++)
                        assert_true(got[i * ldy + j] == CANARY);
                }
                free(got);
            }
            free(want), free(bias), free(x);
            free_weight(&w);
        }
    }
}

/* With the old values at the start of the chain: equal at all levels, and the values themselves plus the product up to
 * the rounding of k / 16 + 1 sums (the definition's bound with twice the chain's own sizes, taken generously). */
static void test_accumulated_sums(void **state)
{
    (void)state;
    enum { ROWS = 9, OUT = 50 };
    for (int f = 0; f < FORMATS; f++) {
        int64_t k = 512;
        fl_stored w = weight(f, OUT, k, 0);
        float *x = numbers(ROWS * k), *start = numbers(ROWS * OUT), *product = definition(f, &w, x, k, ROWS, NULL);
        float first[ROWS * OUT], got[ROWS * OUT];
        double size = 0;
        for (int i = 0; i < ROWS * OUT; i++)
            size = fmax(size, fabs((double)product[i]));
        for (int v = 0; v < devices; v++) {
            memcpy(got, start, sizeof got);
            linear(device[v], &w, NULL, x, k, ROWS, got, OUT, true);
            if (v == 0) memcpy(first, got, sizeof first);
            assert_memory_equal(first, got, sizeof first);
            for (int i = 0; i < ROWS * OUT; i++)
                assert_true(fabs((double)got[i] - (double)start[i] - (double)product[i]) <= 1e-4 * (size + 1));
        }
        free(x), free(start), free(product);
        free_weight(&w);
    }
}

/* Decoding one row gives the bits of a prefill of many, also where the work is cut for several threads. */
static void test_bits_do_not_depend_on_the_rows(void **state)
{
    (void)state;
    enum { ROWS = 37, OUT = 333 };
    for (int f = 0; f < FORMATS; f++) {
        int64_t k = 768;
        fl_stored w = weight(f, OUT, k, 0);
        float *x = numbers(ROWS * k), *all = numbers(ROWS * OUT), *some = numbers(ROWS * OUT);
        linear(device[devices - 1], &w, NULL, x, k, ROWS, all, OUT, false);
        for (int v = 1; v < devices; v++) {
            for (int rows = 1; rows <= 8; rows += rows < 4 ? 1 : 2) {
                int64_t first = (int64_t)fl_rng_below(&rng, (uint64_t)(ROWS - rows + 1));
                linear(device[v], &w, NULL, x + first * k, k, rows, some, OUT, false);
                assert_memory_equal(some, all + first * OUT, (size_t)(rows * OUT) * sizeof *some);
            }
        }
        free(x), free(all), free(some);
        free_weight(&w);
    }
}

/* Activations at the edges: zeros, infinities and NaN, denormals, halves between two steps. */
static void test_special_activations(void **state)
{
    (void)state;
    enum { ROWS = 6, OUT = 40 };
    static const float special[] = {0, -0.0f, 1e-40f, 1e-38f, 3e38f, 0.5f, INFINITY, -INFINITY, NAN};
    for (int f = 0; f < FORMATS; f++) {
        int64_t k = 256;
        fl_stored w = weight(f, OUT, k, 0);
        for (int round = 0; round < 9; round++) {
            float *x = numbers(ROWS * k), got[ROWS * OUT];
            for (int64_t i = 0; i < ROWS * k; i++)
                if (i / 32 % 3 != 1) x[i] = i / 32 % 3 ? (float)((int)fl_rng_below(&rng, 255) - 127) / 2 : 0;
            for (int i = 0; i < 3; i++)
                x[fl_rng_below(&rng, (uint64_t)k)] = special[round];
            float *want = definition(f, &w, x, k, ROWS, NULL);
            for (int v = 0; v < devices; v++) {
                linear(device[v], &w, NULL, x, k, ROWS, got, OUT, false);
                for (int i = 0; i < ROWS * OUT; i++)
                    assert_true(isnan(want[i]) ? isnan(got[i]) : memcmp(&want[i], &got[i], sizeof got[i]) == 0);
            }
            free(want), free(x);
        }
        free_weight(&w);
    }
}

/* The largest integers: weights of -128 and 127 with activations of +-127 in every place. */
static void test_largest_integers(void **state)
{
    (void)state;
    enum { OUT = 33, K = 256 };
    for (int f = 0; f < FORMATS; f++) {
        fl_stored w = weight(f, OUT, K, 0);
        const fl_dtype_info *info = fl_dtype_get(w.type);
        for (int fill = 0; fill < 4; fill++) {
            static const unsigned char bytes[] = {0x80, 0x7f, 0xff, 0x00};
            unsigned char *data = (unsigned char *)(uintptr_t)w.data;
            memset(data, bytes[fill], (size_t)(OUT * K / info->block) * info->block_bytes);
            for (int64_t b = 0; b < OUT * K / info->block; b++) {
                unsigned char one[2] = {0, 0x3c};
                memcpy(data + (size_t)b * info->block_bytes + formats[f].half, one, 2);
                if (formats[f].second_half >= 0)
                    memcpy(data + (size_t)b * info->block_bytes + formats[f].second_half, one, 2);
            }
            float x[3 * K], got[3 * OUT];
            for (int i = 0; i < 3 * K; i++)
                x[i] = i < K ? 127.0f : i < 2 * K ? -127.0f : i % 2 ? 127.0f : -127.0f;
            float *want = definition(f, &w, x, K, 3, NULL);
            for (int v = 0; v < devices; v++) {
                linear(device[v], &w, NULL, x, K, 3, got, OUT, false);
                assert_memory_equal(got, want, sizeof got);
            }
            free(want);
        }
        free_weight(&w);
    }
}

static void test_head_reads_the_same_logits(void **state)
{
    (void)state;
    enum { ROWS = 11, VOCABULARY = 1000, WIDTH = 256 };
    static const int f[] = {0, 1, 8, 10};
    for (int t = 0; t < 4; t++) {
        fl_stored w = weight(f[t], VOCABULARY, WIDTH, 0);
        float *x = numbers(ROWS * WIDTH), *want = definition(f[t], &w, x, WIDTH, ROWS, NULL);
        float *logits = numbers(ROWS * VOCABULARY);
        int32_t argmax[ROWS];
        for (int v = 0; v < devices; v++) {
            fl_device *d = device[v];
            fl_packed *packed;
            assert_int_equal(d->table->pack(d, &w, &packed), FL_OK);
            fl_tensor from = {.type = FL_F32, .rows = ROWS, .cols = WIDTH, .ld = WIDTH, .data = x};
            fl_head_args args = {.x = &from, .w = {packed, w}, .n = ROWS, .argmax = argmax, .logits = logits};
            d->table->head(d, &args);
            assert_memory_equal(logits, want, ROWS * VOCABULARY * sizeof *want);
            for (int i = 0; i < ROWS; i++)
                for (int j = 0; j < VOCABULARY; j++)
                    assert_true(want[i * VOCABULARY + j] <= want[i * VOCABULARY + argmax[i]]);
            d->table->packed_free(d, packed);
        }
        free(x), free(want), free(logits);
        free_weight(&w);
    }
}

/* Panels are the same bytes at every level, and give the definition's bits where another device packed them. */
static void test_panels_are_one_for_every_level(void **state)
{
    (void)state;
    enum { ROWS = 3, OUT = 70 };
    for (int f = 0; f < FORMATS; f++) {
        int64_t k = 2 * fl_dtype_get(formats[f].dtype)->block;
        fl_stored w = weight(f, OUT, k, 1);
        float *x = numbers(ROWS * k), *want = definition(f, &w, x, k, ROWS, NULL), got[ROWS * OUT];
        fl_packed *first, *own, *mapped;
        assert_int_equal(device[0]->table->pack(device[0], &w, &first), FL_OK);
        fl_panels panels = device[0]->table->panels(device[0], first);
        assert_string_equal(panels.layout, "quant32/1");
        assert_int_equal(panels.type, w.type);
        for (int v = 0; v < devices; v++) {
            fl_device *d = device[v];
            assert_int_equal(d->table->pack(d, &w, &own), FL_OK);
            assert_int_equal(d->table->panels(d, own).bytes, panels.bytes);
            assert_memory_equal(d->table->panels(d, own).data, panels.data, panels.bytes);
            assert_int_equal(d->table->packed_from(d, &panels, &mapped), FL_OK);
            fl_operand operand = {mapped, {w.type, OUT, k, k, 1, NULL}};
            fl_tensor from = {.type = FL_F32, .rows = ROWS, .cols = k, .ld = k, .data = x};
            fl_tensor to = {.type = FL_F32, .rows = ROWS, .cols = OUT, .ld = OUT, .data = got};
            d->table->linear(d, &operand, NULL, &from, &to, false);
            assert_memory_equal(got, want, sizeof got);
            d->table->packed_free(d, mapped);
            d->table->packed_free(d, own);
        }
        device[0]->table->packed_free(device[0], first);
        free_weight(&w);
        free(x), free(want);
    }
}

/* Panels take the file's bytes, but for rows that fill up the last panel and the K formats' integer scales, which are
 * whole bytes there: 2 to 4 bits less per value in files. */
static void test_packed_bytes(void **state)
{
    (void)state;
    for (int f = 0; f < FORMATS; f++) {
        const fl_dtype_info *info = fl_dtype_get(formats[f].dtype);
        fl_stored w = {formats[f].dtype, 65, 512, 512, 1, NULL};
        size_t file = 96 * 512 / (size_t)info->block * info->block_bytes;
        size_t got = device[0]->table->packed_bytes(device[0], &w), null_bytes;
        fl_device *null = fl_null_device();
        null_bytes = null->table->packed_bytes(null, &w);
        assert_int_equal(got, null_bytes);
        assert_true(got >= file && got * 100 <= file * (w.type == FL_Q2_K ? 120 : 104));
        if (info->block == 32 || w.type == FL_Q6_K) assert_int_equal(got, file);
        w.rows = INT64_MAX / 2;
        assert_true(device[0]->table->packed_bytes(device[0], &w) == SIZE_MAX);
        /* Too long to be worked on as integers: fp32 panels. */
        w.rows = 1, w.cols = w.row_stride = ((int64_t)1 << 24) + 256;
        assert_int_equal(device[0]->table->packed_bytes(device[0], &w), (size_t)w.cols * 32 * 4);
    }
}

static void add_device(const fl_kernels *k, int threads)
{
    assert_int_equal(fl_pool_create(&pool[devices], threads), FL_OK);
    assert_int_equal(fl_cpu_device_create(&device[devices], pool[devices], k), FL_OK);
    devices++;
}

static int set_up(void **state)
{
    (void)state;
    fl_rng_seed(&rng, 31);
    const fl_kernels *k;
    static const char *const names[] = {"generic", "avx2", "avx512"};
    for (int i = 0; i < 3; i++) {
        if (fl_kernels_select(&k, names[i]) != FL_OK) continue;
        add_device(k, 1 + i % 2);
#if defined(__x86_64__)
        if (i == 2) {
            avx512_without_vnni = fl_kernels_avx512;
            add_device(&avx512_without_vnni, 1);
            add_device(k, 3);
        }
#endif
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < devices; i++) {
        fl_cpu_device_destroy(device[i]);
        fl_pool_destroy(pool[i]);
    }
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_level_is_the_definition),
        cmocka_unit_test(test_accumulated_sums),
        cmocka_unit_test(test_bits_do_not_depend_on_the_rows),
        cmocka_unit_test(test_special_activations),
        cmocka_unit_test(test_largest_integers),
        cmocka_unit_test(test_head_reads_the_same_logits),
        cmocka_unit_test(test_panels_are_one_for_every_level),
        cmocka_unit_test(test_packed_bytes),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
