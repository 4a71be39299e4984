/* The row entries of the CPU device: right values through strides and storage types, and the same bits for any number
 * of threads and for any number of rows at a time. */
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
#include "device/cpu/cpu.h"
#include "device/cpu/range.h"
#include "kernel/kernel.h"
#include "kernel/row.h"

/* Enough for a dispatch, no multiple of a vector, of a block of columns or of the number of threads. */
#define ROWS 301
#define COLS 327
#define LD 340
#define TOKENS 50

static fl_rng rng;
static fl_kernels kernels; /* only .row is used here */
static int thread_counts[] = {1, 2, 3, 8};

typedef struct fixture {
    float *a, *b, *c; /* inputs [ROWS, LD] */
    float *y, *z;     /* outputs [ROWS, LD] */
    float w[COLS], bias[COLS], stats[2 * ROWS];
    float sum1[COLS], sum2[COLS];
    float *table; /* [TOKENS, COLS] */
    float cos[ROWS * 16], sin[ROWS * 16];
    int32_t tokens[ROWS];
} fixture;

static fixture *f;

static void fill(float *x, int64_t n, double spread)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(spread * fl_rng_normal(&rng));
}

static void open_device(fl_device *d, int threads)
{
    *d = (fl_device){.kernels = &kernels};
    assert_int_equal(fl_pool_create(&d->pool, threads), FL_OK);
    assert_int_equal(fl_cpu_scratch_create(d), FL_OK);
}

static void close_device(fl_device *d)
{
    fl_cpu_scratch_destroy(d);
    fl_pool_destroy(d->pool);
}

static float *values(int64_t n)
{
    float *x = malloc((size_t)n * sizeof *x);
    assert_non_null(x);
    fill(x, n, 1);
    return x;
}

static int setup(void **state)
{
    (void)state;
    kernels.row = &fl_row_kernels_generic;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) kernels.row = &fl_row_kernels_avx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq"))
        kernels.row = &fl_row_kernels_avx512;
#endif
    fl_rng_seed(&rng, 7);
    f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->a = values(ROWS * LD);
    f->b = values(ROWS * LD);
    f->c = values(ROWS * LD);
    f->y = values(ROWS * LD);
    f->z = values(ROWS * LD);
    f->table = values(TOKENS * COLS);
    fill(f->w, COLS, 1);
    fill(f->bias, COLS, 1);
    fill(f->cos, ROWS * 16, 1);
    fill(f->sin, ROWS * 16, 1);
    for (int i = 0; i < ROWS; i++) {
        f->stats[2 * i] = 0.1f * (float)fl_rng_normal(&rng);
        f->stats[2 * i + 1] = (float)(0.5 + fl_rng_uniform(&rng));
        f->tokens[i] = (int32_t)fl_rng_below(&rng, i % 3 ? TOKENS : 2); /* many repeats */
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(f->a), free(f->b), free(f->c), free(f->y), free(f->z), free(f->table), free(f);
    return 0;
}

static fl_tensor rows_of(float *data, int64_t first, int64_t rows)
{
    return (fl_tensor){.type = FL_F32, .rows = rows, .cols = COLS, .ld = LD, .data = data + first * LD};
}

/* Run the named entry on `rows` rows from `first` on. Outputs go to y, z, stats and the two sums. */
enum entry {
    EMBED,
    EMBED_ADD,
    EMBED_BACKWARD,
    RMS,
    RMS_BACKWARD,
    RMS_BACKWARD_ADD,
    LAYER,
    LAYER_BACKWARD,
    ROTATE,
    ROTATE_BACK,
    SWIGLU,
    SWIGLU_BACKWARD,
    GELU,
    GELU_BACKWARD,
    ADD,
    COPY,
    ZERO,
    COLUMN_SUM,
    ENTRIES
};

static bool sums_over_rows(enum entry e)
{
    return e == EMBED_BACKWARD || e == RMS_BACKWARD || e == RMS_BACKWARD_ADD || e == LAYER_BACKWARD || e == COLUMN_SUM;
}

static void run_entry(fl_device *d, enum entry e, int64_t first, int64_t rows)
{
    fl_tensor a = rows_of(f->a, first, rows), b = rows_of(f->b, first, rows), c = rows_of(f->c, first, rows);
    fl_tensor y = rows_of(f->y, first, rows), z = rows_of(f->z, first, rows);
    fl_stored table = {FL_F32, TOKENS, COLS, COLS, 1, f->table};
    const int32_t *tokens = f->tokens + first;
    float *stats = f->stats + 2 * first;
    switch (e) {
    case EMBED:
        fl_cpu_embed(d, &table, tokens, &y, false);
        break;
    case EMBED_ADD:
        fl_cpu_embed(d, &table, tokens, &y, true);
        break;
    case EMBED_BACKWARD:
        fl_cpu_embed_backward(d, tokens, &a, f->table, COLS);
        break;
    case RMS:
        fl_cpu_rms_norm(d, &a, f->w, 1e-5f, &y, f->stats + first);
        break;
    case RMS_BACKWARD:
        fl_cpu_rms_norm_backward(d, &a, f->w, f->stats + first, &b, &y, false, f->sum1);
        break;
    case RMS_BACKWARD_ADD:
        fl_cpu_rms_norm_backward(d, &a, f->w, f->stats + first, &b, &y, true, f->sum1);
        break;
    case LAYER:
        fl_cpu_layer_norm(d, &a, f->w, f->bias, 1e-5f, &y, stats);
        break;
    case LAYER_BACKWARD:
        fl_cpu_layer_norm_backward(d, &a, f->w, stats, &b, &y, false, f->sum1, f->sum2);
        break;
    case ROTATE:
    case ROTATE_BACK:
        fl_cpu_rotate(d, &a, 3, 109, f->cos + first * 16, f->sin + first * 16, 16, e == ROTATE, e == ROTATE_BACK, &y);
        break;
    case SWIGLU:
        fl_cpu_swiglu(d, &a, &b, &y);
        break;
    case SWIGLU_BACKWARD:
        fl_cpu_swiglu_backward(d, &a, &b, &c, &y, &z);
        break;
    case GELU:
        fl_cpu_gelu(d, &a, true, &y);
        break;
    case GELU_BACKWARD:
        fl_cpu_gelu_backward(d, &a, false, &b, &y);
        break;
    case ADD:
        fl_cpu_add(d, &a, &b, &y);
        break;
    case COPY:
        fl_cpu_copy(d, &a, &y);
        break;
    case ZERO:
        fl_cpu_zero(d, &y);
        break;
    case COLUMN_SUM:
        fl_cpu_column_sum(d, &a, f->sum1);
        break;
    default:
        fail();
    }
}

/* Everything an entry may write, in one block; restored before each run so that padding counts too. */
typedef struct outputs {
    float y[ROWS * LD], z[ROWS * LD], stats[2 * ROWS], sum1[COLS], sum2[COLS], table[TOKENS * COLS];
} outputs;

static void save(outputs *o)
{
    memcpy(o->y, f->y, sizeof o->y);
    memcpy(o->z, f->z, sizeof o->z);
    memcpy(o->stats, f->stats, sizeof o->stats);
    memcpy(o->sum1, f->sum1, sizeof o->sum1);
    memcpy(o->sum2, f->sum2, sizeof o->sum2);
    memcpy(o->table, f->table, sizeof o->table);
}

static void restore(const outputs *o)
{
    memcpy(f->y, o->y, sizeof o->y);
    memcpy(f->z, o->z, sizeof o->z);
    memcpy(f->stats, o->stats, sizeof o->stats);
    memcpy(f->sum1, o->sum1, sizeof o->sum1);
    memcpy(f->sum2, o->sum2, sizeof o->sum2);
    memcpy(f->table, o->table, sizeof o->table);
}

static void test_same_bits(void **state)
{
    (void)state;
    assert_true((int64_t)ROWS * COLS > FL_CPU_DISPATCH_ELEMENTS);
    static outputs before, alone, other;
    save(&before);
    for (enum entry e = 0; e < ENTRIES; e++) {
        for (size_t t = 0; t < sizeof thread_counts / sizeof thread_counts[0]; t++) {
            fl_device d;
            open_device(&d, thread_counts[t]);
            restore(&before);
            run_entry(&d, e, 0, ROWS);
            save(t == 0 ? &alone : &other);
            if (t) assert_memory_equal(&alone, &other, sizeof alone);
            if (t == 0) assert_memory_not_equal(&alone, &before, sizeof alone);
            /* One row at a time, and 7: only what is a sum over rows may differ (its rows come in other runs). */
            for (int64_t step = 1; t == 0 && step <= 7; step += 6) {
                restore(&before);
                for (int64_t r = 0; r < ROWS; r += step)
                    run_entry(&d, e, r, r + step < ROWS ? step : ROWS - r);
                save(&other);
                if (sums_over_rows(e)) {
                    assert_memory_equal(alone.y, other.y, sizeof alone.y);
                    if (e == EMBED_BACKWARD) assert_memory_equal(alone.table, other.table, sizeof alone.table);
                } else {
                    assert_memory_equal(&alone, &other, sizeof alone);
                }
            }
            close_device(&d);
        }
    }
    restore(&before);
}

/* Values through the row stride, against the definition in double. The kernels' own precision is tested elsewhere. */
static void test_values(void **state)
{
    (void)state;
    fl_device d;
    open_device(&d, 2);
    static outputs before;
    save(&before);

    run_entry(&d, LAYER, 0, ROWS);
    for (int64_t r = 0; r < ROWS; r += 20) {
        double mean = 0, squares = 0;
        const float *x = f->a + r * LD;
        for (int i = 0; i < COLS; i++)
            mean += x[i] / (double)COLS;
        for (int i = 0; i < COLS; i++)
            squares += (x[i] - mean) * (x[i] - mean) / COLS;
        double inverse = 1 / sqrt(squares + 1e-5);
        assert_true(fabs(f->stats[2 * r] - mean) < 1e-6 && fabs(f->stats[2 * r + 1] - inverse) < 1e-6);
        for (int i = 0; i < COLS; i++)
            assert_true(fabs(f->y[r * LD + i] - ((x[i] - mean) * inverse * f->w[i] + f->bias[i])) < 1e-5);
        for (int i = COLS; i < LD; i++)
            assert_true(f->y[r * LD + i] == before.y[r * LD + i]);
    }

    /* Weight gradients: sums over 301 rows of products of size 1. */
    restore(&before);
    run_entry(&d, LAYER_BACKWARD, 0, ROWS);
    for (int i = 0; i < COLS; i += 11) {
        double dw = 0, db = 0;
        for (int64_t r = 0; r < ROWS; r++) {
            double g = f->b[r * LD + i];
            dw += g * (f->a[r * LD + i] - f->stats[2 * r]) * f->stats[2 * r + 1];
            db += g;
        }
        assert_true(fabs(f->sum1[i] - dw) < 1e-4 && fabs(f->sum2[i] - db) < 1e-4);
    }

    /* Frozen weights and inputs without gradient: nothing else is written. */
    restore(&before);
    fl_tensor a = rows_of(f->a, 0, ROWS), b = rows_of(f->b, 0, ROWS), y = rows_of(f->y, 0, ROWS);
    fl_cpu_layer_norm_backward(&d, &a, f->w, f->stats, &b, NULL, false, NULL, f->sum2);
    fl_cpu_rms_norm_backward(&d, &a, f->w, f->stats, &b, NULL, false, NULL);
    assert_memory_equal(f->sum1, before.sum1, sizeof before.sum1);
    assert_memory_equal(f->y, before.y, sizeof before.y);
    fl_cpu_rms_norm(&d, &a, f->w, 1e-5f, &y, NULL);
    assert_memory_equal(f->stats, before.stats, sizeof before.stats);

    restore(&before);
    run_entry(&d, ZERO, 0, ROWS);
    for (int64_t i = 0; i < ROWS * LD; i++)
        assert_true(f->y[i] == (i % LD < COLS ? 0.0f : before.y[i]));
    run_entry(&d, COPY, 0, ROWS);
    run_entry(&d, EMBED_ADD, 0, ROWS);
    for (int64_t i = 0; i < ROWS * LD; i++)
        if (i % LD < COLS) assert_true(f->y[i] == f->a[i] + f->table[f->tokens[i / LD] * COLS + i % LD]);

    restore(&before);
    run_entry(&d, EMBED_BACKWARD, 0, ROWS);
    for (int t = 0; t < TOKENS; t++)
        for (int i = 0; i < COLS; i++) {
            float want = before.table[t * COLS + i];
            for (int r = 0; r < ROWS; r++)
                if (f->tokens[r] == t) want += f->a[r * LD + i];
            assert_true(f->table[t * COLS + i] == want);
        }
    restore(&before);
    close_device(&d);
}

/* More rows than blocks of 32 fit into scratch: the same row again and again (row stride 0), whole numbers, so that the
 * sums are exact. */
static void test_tall_sum(void **state)
{
    (void)state;
    enum { TALL = 6000, WIDE = 100000 };
    assert_true((int64_t)TALL / 32 * WIDE * 4 > (int64_t)FL_CPU_SHARED_SCRATCH_BYTES);
    fl_device d;
    open_device(&d, 2);
    float *x = values(WIDE), *sum = values(WIDE);
    for (int i = 0; i < WIDE; i++) {
        x[i] = (float)(i % 7);
        sum[i] = 1;
    }
    fl_tensor t = {.type = FL_F32, .rows = TALL, .cols = WIDE, .ld = 0, .data = x};
    fl_cpu_column_sum(&d, &t, sum);
    for (int i = 0; i < WIDE; i++)
        assert_true(sum[i] == (float)(1 + TALL * (i % 7)));
    free(x), free(sum);
    close_device(&d);
}

/* Every storage type gives what its own conversion gives, also transposed and as a slice of a wider matrix. */
static void test_embed_storage(void **state)
{
    (void)state;
    enum { WIDTH = 320, USED = 288, FIRST = 32 };
    static char stored[TOKENS * WIDTH * 4];
    static float plain[TOKENS * WIDTH], out[ROWS * WIDTH];
    const fl_dtype types[] = {FL_F32, FL_F16, FL_BF16, FL_Q8_0};
    fl_device d;
    open_device(&d, 2);
    for (size_t k = 0; k < sizeof types / sizeof types[0]; k++)
        for (int transposed = 0; transposed < (types[k] == FL_Q8_0 ? 1 : 2); transposed++)
            for (int add = 0; add < 2; add++) {
                const fl_dtype_info *type = fl_dtype_get(types[k]);
                fill(plain, TOKENS * WIDTH, 1);
                fl_from_f32(types[k], plain, stored, TOKENS * WIDTH);
                fl_to_f32(types[k], stored, plain, TOKENS * WIDTH);
                int64_t row_stride = transposed ? 1 : WIDTH, col_stride = transposed ? TOKENS : 1;
                fl_stored table = {types[k],   TOKENS,
                                   USED,       row_stride,
                                   col_stride, stored + FIRST * col_stride / type->block * (int64_t)type->block_bytes};
                fl_tensor y = {.type = FL_F32, .rows = ROWS, .cols = USED, .ld = WIDTH, .data = out};
                for (int64_t i = 0; i < ROWS * WIDTH; i++)
                    out[i] = 0.25f;
                fl_cpu_embed(&d, &table, f->tokens, &y, add);
                for (int64_t r = 0; r < ROWS; r++)
                    for (int64_t i = 0; i < WIDTH; i++) {
                        float value = i < USED ? plain[f->tokens[r] * row_stride + (FIRST + i) * col_stride] : 0;
                        assert_true(out[r * WIDTH + i] == (i >= USED ? 0.25f : add ? 0.25f + value : value));
                    }
            }
    close_device(&d);
}

static void test_optimiser(void **state)
{
    (void)state;
    enum { N = 300001 };
    float *weight = values(N), *grad = values(N), *start = values(N), *reference = values(N);
    float *m = calloc(N, sizeof *m), *v = calloc(N, sizeof *v);
    assert_non_null(m);
    assert_non_null(v);
    memcpy(start, weight, N * sizeof *start);
    long double squares = 0;
    for (int i = 0; i < N; i++)
        squares += (long double)grad[i] * grad[i];
    double first = 0;
    for (size_t t = 0; t < sizeof thread_counts / sizeof thread_counts[0]; t++) {
        fl_device d;
        open_device(&d, thread_counts[t]);
        double sum = fl_cpu_sum_squares(&d, grad, N);
        if (t == 0) first = sum;
        assert_true(sum == first);
        assert_true(fabs(sum - (double)squares) < 1e-12 * (double)squares);
        assert_true(fl_cpu_sum_squares(&d, grad, 0) == 0 &&
                    fl_cpu_sum_squares(&d, grad, 1) == (double)grad[0] * grad[0]);

        memcpy(weight, start, N * sizeof *start);
        memset(m, 0, N * sizeof *m);
        memset(v, 0, N * sizeof *v);
        fl_adamw_args a = {.n = N,
                           .weight = weight,
                           .moment1 = m,
                           .moment2 = v,
                           .grad = grad,
                           .lr = 0.01f,
                           .beta1 = 0.9f,
                           .beta2 = 0.99f,
                           .eps = 1e-8f,
                           .weight_decay = 0.1f,
                           .grad_scale = 2,
                           .bias1 = 1 - (double)0.9f,
                           .bias2 = 1 - (double)0.99f};
        fl_cpu_adamw(&d, &a);
        /* The first step is lr times the gradient's sign, whatever its size: m/bias1 = g, v/bias2 = g^2. */
        for (int i = 0; i < N; i++) {
            double want = start[i] * (1 - 0.01 * 0.1) - 0.01 * (2.0 * grad[i] / (fabs(2.0 * grad[i]) + 1e-8));
            assert_true(fabs(weight[i] - want) < 5e-7 * (1 + fabs(want)));
        }
        if (t == 0) memcpy(reference, weight, N * sizeof *weight);
        assert_memory_equal(reference, weight, N * sizeof *weight);
        close_device(&d);
    }
    free(weight), free(grad), free(start), free(reference), free(m), free(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bits),     cmocka_unit_test(test_values),    cmocka_unit_test(test_tall_sum),
        cmocka_unit_test(test_embed_storage), cmocka_unit_test(test_optimiser),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
