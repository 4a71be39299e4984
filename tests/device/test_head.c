/* The head against logits, softmax and finite differences in double precision; the same bits for every level, number of
 * threads, tile and set of rows. */
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
#define ROWS 9
#define WIDTH 13
#define WORDS 101
#define ENTRIES 7

static fl_pool *pool[DEVICES];
static fl_device *device[DEVICES];
static int devices;
static fl_rng rng;

static float x_data[ROWS * WIDTH], w_data[WORDS * WIDTH], bias[WORDS];
static const int64_t rows_of[ENTRIES] = {4, 0, 8, 4, 3, 1, 7}; /* row 4 twice */
static const int32_t target[ENTRIES] = {5, 100, -1, 0, 17, 63, 64};
static const float loss_weight[ENTRIES] = {0.5f, 1.0f, 1.0f, 0.25f, 0.0f, 2.0f, 0.125f};

static void fill(float *x, int64_t n, double spread)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(spread * fl_rng_normal(&rng));
}

static fl_head_args arguments(fl_tensor *x)
{
    *x = (fl_tensor){.type = FL_F32, .rows = ROWS, .cols = WIDTH, .ld = WIDTH, .data = x_data};
    return (fl_head_args){.x = x,
                          .w = {.stored = {FL_F32, WORDS, WIDTH, WIDTH, 1, w_data}},
                          .bias = bias,
                          .n = ENTRIES,
                          .row = rows_of,
                          .target = target};
}

/* ---- in double precision -------------------------------------------------------------------------------------- */

static double logit(const double *x, const double *w, int j)
{
    double sum = (double)bias[j];
    for (int k = 0; k < WIDTH; k++)
        sum += x[k] * w[j * WIDTH + k];
    return sum;
}

static double exact_nll(const double *x, const double *w, int32_t id)
{
    double max = -INFINITY, sum = 0;
    for (int j = 0; j < WORDS; j++)
        max = fmax(max, logit(x, w, j));
    for (int j = 0; j < WORDS; j++)
        sum += exp(logit(x, w, j) - max);
    return log(sum) + max - logit(x, w, id);
}

/* The training loss: sum over entries of loss_weight * nll. */
static double exact_loss(const double *x, const double *w)
{
    double loss = 0;
    for (int i = 0; i < ENTRIES; i++)
        if (target[i] >= 0) loss += (double)loss_weight[i] * exact_nll(x + rows_of[i] * WIDTH, w, target[i]);
    return loss;
}

static void widen(const float *from, double *to, int n)
{
    for (int i = 0; i < n; i++)
        to[i] = (double)from[i];
}

static void test_forward_against_double(void **state)
{
    (void)state;
    double x[ROWS * WIDTH], w[WORDS * WIDTH];
    widen(x_data, x, ROWS * WIDTH);
    widen(w_data, w, WORDS * WIDTH);
    for (int v = 0; v < devices; v++) {
        fl_tensor t;
        fl_head_args args = arguments(&t);
        float nll[ENTRIES], logits[ENTRIES * WORDS];
        int32_t argmax[ENTRIES], rank[ENTRIES];
        args.nll = nll, args.argmax = argmax, args.rank = rank, args.logits = logits;
        device[v]->table->head(device[v], &args);
        for (int i = 0; i < ENTRIES; i++) {
            const double *row = x + rows_of[i] * WIDTH;
            int best = 0, above = 0;
            for (int j = 0; j < WORDS; j++) {
                /* 14 roundings of a sum whose terms add up to less than 64. */
                assert_true(fabs((double)logits[i * WORDS + j] - logit(row, w, j)) < 14 * 64 * 0x1p-24);
                if (logits[i * WORDS + j] > logits[i * WORDS + best]) best = j;
                if (target[i] >= 0) above += logits[i * WORDS + j] > logits[i * WORDS + target[i]];
            }
            assert_int_equal(argmax[i], best);
            assert_int_equal(rank[i], target[i] < 0 ? -1 : above);
            if (target[i] < 0)
                assert_true(nll[i] == 0.0f);
            else
                assert_true(fabs((double)nll[i] - exact_nll(row, w, target[i])) < 3 * 14 * 64 * 0x1p-24);
        }
    }
}

static void test_gradients_against_finite_differences(void **state)
{
    (void)state;
    static double x[ROWS * WIDTH], w[WORDS * WIDTH];
    static float dx_data[ROWS * (WIDTH + 2)], dw[WORDS * WIDTH];
    const double step = 1e-5;
    for (int v = 0; v < devices; v++) {
        widen(x_data, x, ROWS * WIDTH);
        widen(w_data, w, WORDS * WIDTH);
        fl_tensor t, dx = {.type = FL_F32, .rows = ROWS, .cols = WIDTH, .ld = WIDTH + 2, .data = dx_data};
        fl_head_args args = arguments(&t);
        float nll[ENTRIES];
        args.nll = nll, args.loss_weight = loss_weight, args.dx = &dx, args.dw = dw;
        fill(dx_data, ROWS * (WIDTH + 2), 1); /* the device clears it */
        for (int i = 0; i < WORDS * WIDTH; i++)
            dw[i] = 1.0f; /* and adds here */
        device[v]->table->head(device[v], &args);
        /* Central differences in double: error of order step^2 and 1e-16 / step; the gradient's own is fp32's. */
        for (int i = 0; i < ROWS * WIDTH; i++) {
            double old = x[i];
            x[i] = old + step;
            double up = exact_loss(x, w);
            x[i] = old - step;
            double slope = (up - exact_loss(x, w)) / (2 * step);
            x[i] = old;
            assert_true(fabs(slope - (double)dx_data[i / WIDTH * (WIDTH + 2) + i % WIDTH]) < 1e-5);
        }
        for (int i = 0; i < WORDS * WIDTH; i += v == 0 ? 1 : 7) {
            double old = w[i];
            w[i] = old + step;
            double up = exact_loss(x, w);
            w[i] = old - step;
            double slope = (up - exact_loss(x, w)) / (2 * step);
            w[i] = old;
            assert_true(fabs(slope - ((double)dw[i] - 1.0)) < 1e-5);
        }
        for (int i = 0; i < ENTRIES; i++)
            if (target[i] >= 0)
                assert_true(fabs((double)nll[i] - exact_nll(x + rows_of[i] * WIDTH, w, target[i])) < 1e-4);
    }
}

/* Rows without a target or with weight 0 may hold anything. */
static void test_unused_rows_contribute_nothing(void **state)
{
    (void)state;
    static float dx_data[ROWS * WIDTH], dw[WORDS * WIDTH], bad[ROWS * WIDTH], want_dx[ROWS * WIDTH];
    static float want_dw[WORDS * WIDTH], logits[ENTRIES * WORDS];
    memcpy(bad, x_data, sizeof bad);
    for (int k = 0; k < WIDTH; k++)
        bad[8 * WIDTH + k] = bad[3 * WIDTH + k] = k % 2 ? INFINITY : NAN;
    for (int v = 0; v < devices; v++) {
        fl_tensor t, dx = {.type = FL_F32, .rows = ROWS, .cols = WIDTH, .ld = WIDTH, .data = want_dx};
        fl_head_args args = arguments(&t);
        args.loss_weight = loss_weight, args.dx = &dx, args.dw = want_dw;
        memset(want_dw, 0, sizeof want_dw);
        device[v]->table->head(device[v], &args);
        for (int with_logits = 0; with_logits < 2; with_logits++) {
            t.data = bad, dx.data = dx_data, args.dw = dw;
            args.logits = with_logits ? logits : NULL;
            memset(dw, 0, sizeof dw);
            device[v]->table->head(device[v], &args);
            assert_memory_equal(dx_data, want_dx, sizeof dx_data);
            assert_memory_equal(dw, want_dw, sizeof dw);
        }
        for (int k = 0; k < WIDTH; k++)
            assert_true(dx_data[8 * WIDTH + k] == 0.0f && dx_data[3 * WIDTH + k] == 0.0f);
        args.dw = NULL, t.data = x_data; /* W frozen */
        device[v]->table->head(device[v], &args);
        assert_memory_equal(dx_data, want_dx, sizeof dx_data);
    }
}

typedef struct outputs {
    float nll[ENTRIES], dx[ROWS * WIDTH], dw[WORDS * WIDTH], logits[ENTRIES * WORDS];
    int32_t argmax[ENTRIES], rank[ENTRIES];
} outputs;

static void test_every_device_gives_the_same_bits(void **state)
{
    (void)state;
    static outputs first, other;
    for (int v = 0; v < devices; v++) {
        for (int packed = 0; packed < 2; packed++) {
            outputs *out = v || packed ? &other : &first;
            memset(out, 0, sizeof *out);
            fl_tensor t, dx = {.type = FL_F32, .rows = ROWS, .cols = WIDTH, .ld = WIDTH, .data = out->dx};
            fl_head_args args = arguments(&t);
            fl_packed *p = NULL;
            if (packed) assert_int_equal(device[v]->table->pack(device[v], &args.w.stored, &p), FL_OK);
            args.w.packed = p;
            args.nll = out->nll, args.argmax = out->argmax, args.rank = out->rank, args.logits = out->logits;
            args.loss_weight = loss_weight, args.dx = &dx, args.dw = out->dw;
            device[v]->table->head(device[v], &args);
            device[v]->table->packed_free(device[v], p);
            assert_memory_equal(&first, out, sizeof first);
        }
    }
}

/* More rows than one tile holds: the same as a call per row, and gradients as from two calls. */
static void test_tiles_change_no_bit(void **state)
{
    (void)state;
    enum { MANY = 1300, WIDE = 8, VOCABULARY = 9001 };
    float *x = malloc(MANY * WIDE * sizeof *x), *w = malloc(VOCABULARY * WIDE * sizeof *w);
    float *nll = malloc(MANY * sizeof *nll), *weight = malloc(MANY * sizeof *weight);
    float *dx_data = malloc(2 * MANY * WIDE * sizeof *dx_data), *dw = calloc(2 * VOCABULARY * WIDE, sizeof *dw);
    int32_t *ids = malloc(MANY * sizeof *ids), *argmax = malloc(MANY * sizeof *argmax);
    fill(x, MANY * WIDE, 1);
    fill(w, VOCABULARY * WIDE, 1);
    fill(weight, MANY, 1);
    for (int i = 0; i < MANY; i++)
        ids[i] = (int32_t)fl_rng_below(&rng, VOCABULARY);
    fl_device *d = device[devices - 1];
    fl_tensor t = {.type = FL_F32, .rows = MANY, .cols = WIDE, .ld = WIDE, .data = x}, dx = t;
    fl_head_args args = {.x = &t, .w = {.stored = {FL_F32, VOCABULARY, WIDE, WIDE, 1, w}}, .n = MANY};
    args.target = ids, args.nll = nll, args.argmax = argmax;
    d->table->head(d, &args);
    for (int64_t i = 0; i < MANY; i += 61) {
        fl_head_args one = args;
        float one_nll;
        int32_t one_argmax;
        one.n = 1, one.row = &i, one.target = ids + i, one.nll = &one_nll, one.argmax = &one_argmax;
        d->table->head(d, &one);
        assert_true(one_nll == nll[i]);
        assert_int_equal(one_argmax, argmax[i]);
    }

    dx.data = dx_data;
    args.argmax = NULL, args.loss_weight = weight, args.dx = &dx, args.dw = dw;
    d->table->head(d, &args);
    fl_head_args part = args;
    fl_tensor part_x = t, part_dx = dx;
    part.x = &part_x, part.dx = &part_dx, part.dw = dw + VOCABULARY * WIDE;
    for (int64_t begin = 0; begin < MANY; begin += 400) {
        int64_t n = MANY - begin < 400 ? MANY - begin : 400;
        part.n = part_x.rows = part_dx.rows = n;
        part_x.data = x + begin * WIDE;
        part_dx.data = dx_data + (MANY + begin) * WIDE;
        part.target = ids + begin, part.nll = nll + begin, part.loss_weight = weight + begin;
        d->table->head(d, &part);
    }
    assert_memory_equal(dx_data, dx_data + MANY * WIDE, MANY * WIDE * sizeof *dx_data);
    assert_memory_equal(dw, dw + VOCABULARY * WIDE, VOCABULARY * WIDE * sizeof *dw);
    free(x), free(w), free(nll), free(weight), free(dx_data), free(dw), free(ids), free(argmax);
}

/* exp(1000) is far over the largest float. */
static void test_large_logits_stay_finite(void **state)
{
    (void)state;
    float x[1] = {1000.0f}, w[3] = {1.0f, 1.0f, -1.0f}, nll[1];
    int32_t id = 0, argmax;
    fl_tensor t = {.type = FL_F32, .rows = 1, .cols = 1, .ld = 1, .data = x};
    fl_head_args args = {.x = &t, .w = {.stored = {FL_F32, 3, 1, 1, 1, w}}, .n = 1, .target = &id, .nll = nll};
    args.argmax = &argmax;
    for (int v = 0; v < devices; v++) {
        device[v]->table->head(device[v], &args);
        assert_true(fabs((double)nll[0] - log(2.0)) < 1e-7);
        assert_int_equal(argmax, 0); /* the lower of two equal ids */
    }
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
    fl_rng_seed(&rng, 11);
    fill(x_data, ROWS * WIDTH, 1);
    fill(w_data, WORDS * WIDTH, 1);
    fill(bias, WORDS, 1);
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
        cmocka_unit_test(test_forward_against_double),
        cmocka_unit_test(test_gradients_against_finite_differences),
        cmocka_unit_test(test_unused_rows_contribute_nothing),
        cmocka_unit_test(test_every_device_gives_the_same_bits),
        cmocka_unit_test(test_tiles_change_no_bit),
        cmocka_unit_test(test_large_logits_stay_finite),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
