/* linear and matmul of the CPU device at every level: against sums in double precision, and to the bit against each
 * other, for any number of rows and threads, packed or stored. */
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

#define DEVICES 5
#define CANARY 12345.0f

static fl_pool *pool[DEVICES];
static fl_device *device[DEVICES];
static int devices;
static fl_rng rng;

static float *numbers(int64_t n)
{
    float *x = malloc((size_t)(n > 0 ? n : 1) * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)fl_rng_normal(&rng);
    return x;
}

static int64_t between(int64_t low, int64_t high)
{
    return low + (int64_t)fl_rng_below(&rng, (uint64_t)(high - low + 1));
}

static fl_tensor tensor(float *data, int64_t rows, int64_t cols, int64_t ld)
{
    return (fl_tensor){.type = FL_F32, .rows = rows, .cols = cols, .ld = ld, .data = data};
}

static double element(const fl_stored *s, int64_t n, int64_t k)
{
    const char *data = s->data;
    int64_t index = n * s->row_stride + k * s->col_stride;
    float x;
    fl_to_f32(s->type, data + index * (int64_t)fl_dtype_get(s->type)->block_bytes, &x, 1);
    return (double)x;
}

/* Each c[i][j] within the rounding of a chain of k steps of the sum in double precision; the gaps of ldc untouched. */
static void check_product(const fl_stored *a, const fl_stored *b, const float *bias, const float *start, const float *c,
                          int64_t ldc)
{
    for (int64_t i = 0; i < a->rows; i++) {
        for (int64_t j = 0; j < ldc; j++) {
            float got = c[i * ldc + j];
            if (j >= b->rows) {
                assert_true(got == CANARY);
                continue;
            }
            double want = start ? (double)start[i * ldc + j] : 0.0, size = fabs(want);
            for (int64_t k = 0; k < a->cols; k++) {
                double product = element(a, i, k) * element(b, j, k);
                want += product;
                size += fabs(product);
            }
            if (bias) want += (double)bias[j], size += fabs((double)bias[j]);
            double bound = (double)(a->cols + 2) * 0x1p-24 * size;
            if (!(fabs((double)got - want) <= bound))
                fail_msg("%d x %d x %d: c[%d][%d] = %g, not %g", (int)a->rows, (int)b->rows, (int)a->cols, (int)i,
                         (int)j, (double)got, want);
        }
    }
}

static float *canaries(int64_t rows, int64_t cols, int64_t ld, bool filled)
{
    float *c = numbers(rows * ld);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = filled ? cols : 0; j < ld; j++)
            c[i * ld + j] = CANARY;
    return c;
}

/* A weight of any plain type, with rows or columns along memory, or neither. */
static fl_stored weight(fl_dtype type, int64_t rows, int64_t cols, int form)
{
    int64_t gap = form == 2 ? 2 : 1, row_stride = form == 1 ? gap : cols * gap + 3;
    int64_t col_stride = form == 1 ? rows * gap + 1 : gap;
    int64_t n = rows * row_stride + cols * col_stride;
    float *values = numbers(n);
    void *data = malloc((size_t)n * fl_dtype_get(type)->block_bytes);
    fl_from_f32(type, values, data, n);
    free(values);
    return (fl_stored){type, rows, cols, row_stride, col_stride, data};
}

static const int64_t shapes[][3] = {
    /* rows, outputs, inputs */
    {1, 1, 1},     {1, 288, 288},  {1, 1000, 33}, {2, 100, 64},  {3, 33, 500}, {4, 64, 17},    {5, 31, 300},
    {7, 129, 100}, {8, 320, 257},  {9, 40, 40},   {13, 97, 101}, {29, 1, 600}, {37, 288, 288}, {64, 64, 64},
    {100, 3, 7},   {131, 67, 521}, {400, 70, 65}, {700, 33, 31}, {2, 5, 5000}, {30, 40, 2000}, {1, 4096, 2},
};
#define SHAPES ((int)(sizeof shapes / sizeof shapes[0]))

/* Every shape, type and stride; the packed product equals the stored one to the bit, and every device the first. */
static void test_linear_against_double(void **state)
{
    (void)state;
    static const fl_dtype types[] = {FL_F32, FL_F16, FL_BF16};
    for (int s = 0; s < SHAPES; s++) {
        int64_t m = shapes[s][0], n = shapes[s][1], k = shapes[s][2], ldx = k + between(0, 3), ldy = n + between(0, 3);
        int form = s % 3;
        fl_stored w = weight(types[s % 3], n, k, (s / 3) % 3);
        float *x_data = numbers(m * ldx), *bias = form == 1 ? numbers(n) : NULL;
        float *start = canaries(m, n, ldy, true), *first = NULL;
        fl_tensor x = tensor(x_data, m, k, ldx);
        fl_stored a = {FL_F32, m, k, ldx, 1, x_data};
        for (int v = 0; v < devices; v++) {
            fl_device *d = device[v];
            fl_operand operand = {.stored = w};
            fl_packed *packed;
            assert_int_equal(d->table->pack(d, &w, &packed), FL_OK);
            for (int with_pack = 0; with_pack < 2; with_pack++) {
                operand.packed = with_pack ? packed : NULL;
                float *y_data = malloc((size_t)(m * ldy) * sizeof *y_data);
                memcpy(y_data, start, (size_t)(m * ldy) * sizeof *y_data);
                fl_tensor y = tensor(y_data, m, n, ldy);
                d->table->linear(d, &operand, bias, &x, &y, form == 2);
                if (!first) {
                    check_product(&a, &w, bias, form == 2 ? start : NULL, y_data, ldy);
                    first = y_data;
                } else {
                    assert_memory_equal(first, y_data, (size_t)(m * ldy) * sizeof *y_data);
                    free(y_data);
                }
            }
            d->table->packed_free(d, packed);
        }
        free(first), free(start), free(bias), free(x_data), free((void *)(uintptr_t)w.data);
    }
}

/* Decoding one row gives the bits of a prefill of many. */
static void test_bits_do_not_depend_on_the_rows(void **state)
{
    (void)state;
    enum { ROWS = 37, OUT = 333, IN = 700 };
    float *x_data = numbers(ROWS * IN), *y_data = numbers(ROWS * OUT), *bias = numbers(OUT), one[OUT * 12];
    for (int t = 0; t < 3; t++) {
        fl_stored w = weight(t == 0 ? FL_F32 : t == 1 ? FL_F16 : FL_BF16, OUT, IN, 0);
        for (int v = 0; v < devices; v++) {
            fl_device *d = device[v];
            fl_operand operand = {.stored = w};
            fl_packed *packed;
            assert_int_equal(d->table->pack(d, &w, &packed), FL_OK);
            operand.packed = packed;
            fl_tensor x = tensor(x_data, ROWS, IN, IN), y = tensor(y_data, ROWS, OUT, OUT);
            d->table->linear(d, &operand, bias, &x, &y, false);
            for (int rows = 1; rows <= 12; rows++) {
                int64_t first = between(0, ROWS - rows);
                fl_tensor some_x = tensor(x_data + first * IN, rows, IN, IN), some_y = tensor(one, rows, OUT, OUT);
                d->table->linear(d, &operand, bias, &some_x, &some_y, false);
                assert_memory_equal(one, y_data + first * OUT, (size_t)(rows * OUT) * sizeof *one);
            }
            d->table->packed_free(d, packed);
        }
        free((void *)(uintptr_t)w.data);
    }
    free(x_data), free(y_data), free(bias);
}

/* The bytes of panels are the same at every level, whatever the strides, so that a file of them serves all; used where
 * they lie they give the bits of the product that was packed here. */
static void test_panels_are_one_for_every_level(void **state)
{
    (void)state;
    enum { ROWS = 5 };
    static const fl_dtype types[] = {FL_F32, FL_F16, FL_BF16, FL_F64};
    for (int s = 0; s < SHAPES; s++) {
        int64_t n = shapes[s][1], k = shapes[s][2];
        fl_stored w = weight(types[s % 4], n, k, (s / 4) % 3);
        float *x_data = numbers(ROWS * k), *want = numbers(ROWS * n), *got = numbers(ROWS * n);
        fl_tensor x = tensor(x_data, ROWS, k, k), y = tensor(want, ROWS, n, n);
        fl_packed *first;
        assert_int_equal(device[0]->table->pack(device[0], &w, &first), FL_OK);
        fl_panels panels = device[0]->table->panels(device[0], first);
        assert_int_equal(panels.bytes, device[0]->table->packed_bytes(device[0], &w));
        assert_int_equal(panels.type, types[s % 4] == FL_F64 ? FL_F32 : types[s % 4]);
        for (int v = 0; v < devices; v++) {
            fl_device *d = device[v];
            fl_packed *packed, *mapped;
            assert_int_equal(d->table->pack(d, &w, &packed), FL_OK);
            fl_panels own = d->table->panels(d, packed);
            assert_string_equal(own.layout, panels.layout);
            assert_int_equal(own.bytes, panels.bytes);
            assert_memory_equal(own.data, panels.data, panels.bytes);
            fl_operand operand = {packed, w};
            y.data = want;
            d->table->linear(d, &operand, NULL, &x, &y, false);
            assert_int_equal(d->table->packed_from(d, &panels, &mapped), FL_OK);
            assert_ptr_equal(d->table->panels(d, mapped).data, panels.data);
            operand = (fl_operand){mapped, {panels.type, n, k, k, 1, NULL}};
            y.data = got;
            d->table->linear(d, &operand, NULL, &x, &y, false);
            assert_memory_equal(want, got, (size_t)(ROWS * n) * sizeof *got);
            d->table->packed_free(d, mapped);
            d->table->packed_free(d, packed);
        }
        device[0]->table->packed_free(device[0], first);
        free((void *)(uintptr_t)w.data), free(x_data), free(want), free(got);
    }
}

static void test_panels_refused(void **state)
{
    (void)state;
    static _Alignas(64) char data[32 * 64 * 4 + 64];
    const fl_panels right = {"dense32/1", FL_F32, 30, 64, data, 32 * 64 * 4};
    struct {
        fl_panels panels;
        fl_status status;
        const char *says;
    } bad[] = {{right, FL_ERR_UNSUPPORTED, "layout = dense32/2"},
               {right, FL_ERR_UNSUPPORTED, "layout = quant32/1"},
               {right, FL_ERR_FORMAT, "8191 bytes"},
               {right, FL_ERR_FORMAT, "12288"},
               {right, FL_ERR_FORMAT, "4 bytes after"},
               {right, FL_ERR_UNSUPPORTED, "type = F64"},
               {right, FL_ERR_UNSUPPORTED, "type = Q8_0"}};
    bad[0].panels.layout = "dense32/2";
    bad[1].panels.layout = "quant32/1";
    bad[2].panels.bytes--;
    bad[3].panels.cols += 32;
    bad[4].panels.data = data + 4;
    bad[5].panels.type = FL_F64;
    bad[6].panels.type = FL_Q8_0;
    bad[6].panels.cols = 63;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fl_packed *p = NULL;
        assert_int_equal(device[0]->table->packed_from(device[0], &bad[i].panels, &p), bad[i].status);
        if (!strstr(fl_error_message(), bad[i].says)) fail_msg("%s: %s", bad[i].says, fl_error_message());
        assert_null(p);
    }
}

/* 16-bit weights give the bits of the F32 weights that they convert to; those of Q8_0 too where they are not packed. */
static void test_types_equal_their_converted_values(void **state)
{
    (void)state;
    enum { ROWS = 11, OUT = 70, IN = 320 };
    static const fl_dtype types[] = {FL_F16, FL_BF16, FL_Q8_0};
    float *x_data = numbers(ROWS * IN), *values = numbers(OUT * IN), want[ROWS * OUT], got[ROWS * OUT];
    for (int t = 0; t < 3; t++) {
        char *data = malloc(OUT * IN * sizeof(float));
        fl_from_f32(types[t], values, data, OUT * IN);
        float *converted = numbers(OUT * IN);
        fl_to_f32(types[t], data, converted, OUT * IN);
        fl_stored w = {types[t], OUT, IN, IN, 1, data}, w32 = {FL_F32, OUT, IN, IN, 1, converted};
        for (int v = 0; v < devices; v++) {
            fl_device *d = device[v];
            fl_operand operand = {.stored = w}, operand32 = {.stored = w32};
            fl_packed *packed;
            assert_int_equal(d->table->pack(d, &w, &packed), FL_OK);
            for (int rows = 1; rows <= ROWS; rows += 5) {
                fl_tensor x = tensor(x_data, rows, IN, IN), y = tensor(want, rows, OUT, OUT);
                d->table->linear(d, &operand32, NULL, &x, &y, false);
                y.data = got;
                operand.packed = NULL;
                d->table->linear(d, &operand, NULL, &x, &y, false);
                assert_memory_equal(want, got, (size_t)(rows * OUT) * sizeof *got);
                if (types[t] == FL_Q8_0) continue;
                operand.packed = packed;
                d->table->linear(d, &operand, NULL, &x, &y, false);
                assert_memory_equal(want, got, (size_t)(rows * OUT) * sizeof *got);
            }
            d->table->packed_free(d, packed);

            /* And the product with the transposed weight, as a backward pass forms it. */
            fl_stored a = {FL_F32, ROWS, OUT, OUT, 1, values};
            fl_stored back = {types[t], IN, OUT, 1, IN, data}, back32 = {FL_F32, IN, OUT, 1, IN, converted};
            float dx[ROWS * IN], dx32[ROWS * IN];
            d->table->matmul(d, &a, &back, dx, IN, false);
            d->table->matmul(d, &a, &back32, dx32, IN, false);
            assert_memory_equal(dx, dx32, sizeof dx);
        }
        free(converted), free(data);
    }
    free(x_data), free(values);
}

/* Tensors in a file may start at any byte. */
/* Weights in blocks, used as stored: blocks of k must begin where the type's blocks do. */
static void test_stored_blocks(void **state)
{
    (void)state;
    enum { ROWS = 40, OUT = 70, IN = 2816 };
    float *x_data = numbers(ROWS * IN), *w_data = malloc(sizeof(float) * OUT * IN);
    float *found = malloc(sizeof(float) * ROWS * OUT), *expected = malloc(sizeof(float) * ROWS * OUT);
    for (int type = 0; type < FL_DTYPE_COUNT; type++) {
        const fl_dtype_info *info = fl_dtype_get((fl_dtype)type);
        size_t bytes;
        if (info->block == 1) continue;
        assert_true(fl_dtype_bytes((fl_dtype)type, (size_t)OUT * IN, &bytes));
        unsigned char *blocks = malloc(bytes);
        for (size_t i = 0; i < bytes; i++)
            blocks[i] = (unsigned char)(fl_rng_next(&rng) & 0x3f); /* finite scales */
        fl_to_f32((fl_dtype)type, blocks, w_data, (int64_t)OUT * IN);
        fl_operand stored = {.stored = {(fl_dtype)type, OUT, IN, IN, 1, blocks}};
        fl_operand plain = {.stored = {FL_F32, OUT, IN, IN, 1, w_data}};
        for (int v = 0; v < devices; v++)
            for (int rows = 1; rows <= ROWS; rows += 13) {
                fl_tensor x = tensor(x_data, rows, IN, IN), y = tensor(found, rows, OUT, OUT);
                device[v]->table->linear(device[v], &stored, NULL, &x, &y, false);
                y.data = expected;
                device[v]->table->linear(device[v], &plain, NULL, &x, &y, false);
                assert_memory_equal(found, expected, (size_t)(rows * OUT) * sizeof *found);
            }
        free(blocks);
    }
    free(x_data), free(w_data), free(found), free(expected);
}

static void test_unaligned_weights(void **state)
{
    (void)state;
    enum { OUT = 40, IN = 50 };
    static const fl_dtype types[] = {FL_F32, FL_F16, FL_BF16};
    float *x_data = numbers(2 * IN), *values = numbers(OUT * IN), want[2 * OUT], got[2 * OUT];
    for (int t = 0; t < 3; t++) {
        char *data = malloc(OUT * IN * 4 + 1);
        fl_from_f32(types[t], values, data, OUT * IN);
        fl_stored w = {types[t], OUT, IN, IN, 1, data};
        for (int v = 0; v < devices; v++) {
            fl_device *d = device[v];
            fl_operand operand = {.stored = w};
            fl_tensor x = tensor(x_data, 2, IN, IN), y = tensor(want, 2, OUT, OUT);
            d->table->linear(d, &operand, NULL, &x, &y, false);
            size_t bytes = OUT * IN * fl_dtype_get(types[t])->block_bytes;
            memmove(data + 1, data, bytes);
            operand.stored.data = data + 1;
            y.data = got;
            d->table->linear(d, &operand, NULL, &x, &y, false);
            assert_memory_equal(want, got, sizeof got);
            fl_packed *packed;
            assert_int_equal(d->table->pack(d, &operand.stored, &packed), FL_OK);
            operand.packed = packed;
            memset(got, 0, sizeof got);
            d->table->linear(d, &operand, NULL, &x, &y, false);
            assert_memory_equal(want, got, sizeof got);
            d->table->packed_free(d, packed);
            memmove(data, data + 1, bytes);
        }
        free(data);
    }
    free(x_data), free(values);
}

/* The three forms of a backward pass, with their own strides, sums over many tokens and odd sizes. */
static void test_matmul_against_double(void **state)
{
    (void)state;
    static const fl_dtype types[] = {FL_F32, FL_F32, FL_F32, FL_F16, FL_BF16};
    for (int s = 0; s < SHAPES * 2; s++) {
        int64_t m = shapes[s % SHAPES][0], n = shapes[s % SHAPES][1], k = shapes[s % SHAPES][2],
                ldc = n + between(0, 3);
        fl_stored a = weight(FL_F32, m, k, s % 3), b = weight(types[s % 5], n, k, (s / 3) % 3);
        bool accumulate = s % 2;
        float *start = canaries(m, n, ldc, accumulate), *first = NULL;
        for (int v = 0; v < devices; v++) {
            float *c = malloc((size_t)(m * ldc) * sizeof *c);
            memcpy(c, start, (size_t)(m * ldc) * sizeof *c);
            device[v]->table->matmul(device[v], &a, &b, c, ldc, accumulate);
            if (!first) {
                check_product(&a, &b, NULL, accumulate ? start : NULL, c, ldc);
                first = c;
            } else {
                assert_memory_equal(first, c, (size_t)(m * ldc) * sizeof *c);
                free(c);
            }
        }
        free(first), free(start), free((void *)(uintptr_t)a.data), free((void *)(uintptr_t)b.data);
    }
}

/* b larger than what is packed at once, along k and along n, from several blocks of rows. */
static void test_matmul_in_chunks(void **state)
{
    (void)state;
    static const int64_t large[][3] = {{101, 40, 140000}, {101, 140000, 40}};
    for (int s = 0; s < 2; s++) {
        int64_t m = large[s][0], n = large[s][1], k = large[s][2];
        float *a_data = numbers(m * k), *b_data = numbers(n * k), *bias = numbers(n);
        float *c = malloc((size_t)(m * n) * sizeof *c);
        fl_stored b = {FL_F32, n, k, 1, n, b_data};
        fl_operand operand = {.stored = b};
        fl_tensor x = tensor(a_data, m, k, k), y = tensor(c, m, n, n);
        for (int v = 1; v < devices; v++) { /* generic takes too long here */
            device[v]->table->linear(device[v], &operand, bias, &x, &y, false);
            for (int trial = 0; trial < 200; trial++) {
                int64_t i = between(0, m - 1), j = trial % 2 ? between(0, n - 1) : between(n - 32, n - 1);
                float sum = 0;
                for (int64_t l = 0; l < k; l++)
                    sum = fmaf(a_data[i * k + l], b_data[l * n + j], sum);
                assert_true(c[i * n + j] == sum + bias[j]);
            }
        }
        free(a_data), free(b_data), free(bias), free(c);
    }
}

/* GPT-2 stores [inputs, outputs]; a view with exchanged strides is the same weight. */
static void test_transposed_view(void **state)
{
    (void)state;
    enum { OUT = 77, IN = 45, ROWS = 5 };
    float *w_data = numbers(OUT * IN), *conv = numbers(OUT * IN), *x_data = numbers(ROWS * IN);
    float want[ROWS * OUT], got[ROWS * OUT];
    for (int i = 0; i < OUT; i++)
        for (int j = 0; j < IN; j++)
            conv[j * OUT + i] = w_data[i * IN + j];
    fl_stored w = {FL_F32, OUT, IN, IN, 1, w_data}, view = {FL_F32, OUT, IN, 1, OUT, conv};
    for (int v = 0; v < devices; v++) {
        fl_device *d = device[v];
        fl_operand operand = {.stored = w};
        fl_tensor x = tensor(x_data, ROWS, IN, IN), y = tensor(want, ROWS, OUT, OUT);
        d->table->linear(d, &operand, NULL, &x, &y, false);
        fl_packed *packed;
        assert_int_equal(d->table->pack(d, &view, &packed), FL_OK);
        operand = (fl_operand){packed, view};
        y.data = got;
        d->table->linear(d, &operand, NULL, &x, &y, false);
        assert_memory_equal(want, got, sizeof got);
        d->table->packed_free(d, packed);
    }
    free(w_data), free(conv), free(x_data);
}

static void test_empty_products(void **state)
{
    (void)state;
    float c[4] = {1, 2, 3, 4}, bias[2] = {5, 6};
    fl_device *d = device[devices - 1];
    fl_stored a = {FL_F32, 2, 0, 1, 1, c}, b = {FL_F32, 2, 0, 1, 1, c};
    d->table->matmul(d, &a, &b, c, 2, true);
    assert_true(c[0] == 1 && c[3] == 4);
    fl_tensor x = tensor(c, 2, 0, 0), y = tensor(c, 2, 2, 2);
    fl_operand operand = {.stored = b};
    d->table->linear(d, &operand, bias, &x, &y, false);
    assert_true(c[0] == 5 && c[1] == 6 && c[2] == 5 && c[3] == 6);
    a.rows = 0;
    d->table->matmul(d, &a, &b, c, 2, false);
    assert_true(c[0] == 5);
}

static void test_packed_bytes(void **state)
{
    (void)state;
    fl_device *d = device[0], *null = fl_null_device();
    fl_stored w = {FL_F32, 33, 10, 10, 1, NULL};
    assert_int_equal(d->table->packed_bytes(d, &w), 64 * 10 * 4);
    assert_int_equal(null->table->packed_bytes(null, &w), 64 * 10 * 4);
    w.type = FL_BF16;
    assert_int_equal(d->table->packed_bytes(d, &w), 64 * 10 * 2);
    w.rows = w.cols = INT64_MAX / 2;
    assert_true(d->table->packed_bytes(d, &w) == SIZE_MAX);
    fl_packed *packed;
    assert_int_equal(d->table->pack(d, &w, &packed), FL_ERR_MEMORY);
    assert_int_equal(null->table->pack(null, &w, &packed), FL_OK);
    assert_non_null(packed);
    null->table->packed_free(null, packed);
}

static void test_null_device_writes_nothing(void **state)
{
    (void)state;
    float data[4] = {1, 2, 3, 4};
    fl_device *d = fl_null_device();
    fl_tensor x = tensor(data, 2, 2, 2);
    fl_operand operand = {.stored = {FL_F32, 2, 2, 2, 1, data}};
    d->table->linear(d, &operand, NULL, &x, &x, false);
    d->table->zero(d, &x);
    assert_true(data[0] == 1 && data[3] == 4);
    const void *const *entry = (const void *const *)(const void *)d->table;
    for (size_t i = 0; i < sizeof *d->table / sizeof *entry; i++)
        assert_non_null(entry[i]);
}

static void add_device(const char *name, int threads)
{
    const fl_kernels *k;
    if (fl_kernels_select(&k, name) != FL_OK) return;
    assert_int_equal(fl_pool_create(&pool[devices], threads), FL_OK);
    assert_int_equal(fl_cpu_device_create(&device[devices], pool[devices], k), FL_OK);
    devices++;
}

static int set_up(void **state)
{
    (void)state;
    fl_rng_seed(&rng, 7);
    add_device("generic", 1);
    add_device("avx2", 1);
    add_device("avx2", 3);
    add_device("avx512", 1);
    add_device("avx512", 2);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int v = 0; v < devices; v++) {
        fl_cpu_device_destroy(device[v]);
        fl_pool_destroy(pool[v]);
    }
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear_against_double),
        cmocka_unit_test(test_bits_do_not_depend_on_the_rows),
        cmocka_unit_test(test_panels_are_one_for_every_level),
        cmocka_unit_test(test_panels_refused),
        cmocka_unit_test(test_types_equal_their_converted_values),
        cmocka_unit_test(test_stored_blocks),
        cmocka_unit_test(test_unaligned_weights),
        cmocka_unit_test(test_matmul_against_double),
        cmocka_unit_test(test_matmul_in_chunks),
        cmocka_unit_test(test_transposed_view),
        cmocka_unit_test(test_empty_products),
        cmocka_unit_test(test_packed_bytes),
        cmocka_unit_test(test_null_device_writes_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
