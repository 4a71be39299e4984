/* Attention backward against the gradient in double precision, that one against finite differences, and the promise of
 * equal bits for any number of threads. */
#include "device/attend_case.h"

static fl_rng rng;

typedef struct gradients {
    fl_tensor dq, dk, dv;
} gradients;

static void gradients_open(gradients *g, const attend_case *c, int64_t pad)
{
    g->dq = matrix(c->rows, c->q.cols, pad);
    g->dk = matrix(c->keys, c->k.cols, pad);
    g->dv = matrix(c->keys, c->v.cols, pad);
    /* Everything is written, nothing added to. */
    memset(g->dq.data, 0xff, (size_t)(g->dq.rows * g->dq.ld) * sizeof(float));
    memset(g->dk.data, 0xff, (size_t)(g->dk.rows * g->dk.ld) * sizeof(float));
    memset(g->dv.data, 0xff, (size_t)(g->dv.rows * g->dv.ld) * sizeof(float));
}

static void gradients_close(gradients *g)
{
    free(g->dq.data);
    free(g->dk.data);
    free(g->dv.data);
}

/* The sum over all outputs of out * dout, in double: the loss whose gradient is taken. */
static double loss(const attend_case *c, const fl_tensor *dout)
{
    double *weight = calloc((size_t)c->keys, sizeof *weight), out[FL_HEAD_DIM_MAX], sum = 0;
    for (int64_t r = 0; r < c->rows; r++)
        for (int h = 0; h < c->heads; h++) {
            exact_weights(c, r, h, weight);
            exact_row(c, h, weight, out);
            for (int i = 0; i < c->head_dim; i++)
                sum += out[i] * fl_row(dout, r)[h * c->head_dim + i];
        }
    free(weight);
    return sum;
}

typedef struct exact_gradients {
    double *dq, *dk, *dv; /* [rows][heads*dim], [keys][kv_heads*dim] twice */
} exact_gradients;

static exact_gradients exact_backward(const attend_case *c, const fl_tensor *dout)
{
    exact_gradients g = {calloc((size_t)c->rows * c->q.cols, sizeof(double)),
                         calloc((size_t)c->keys * c->k.cols, sizeof(double)),
                         calloc((size_t)c->keys * c->k.cols, sizeof(double))};
    double *weight = calloc((size_t)c->keys, sizeof *weight), *dweight = calloc((size_t)c->keys, sizeof *dweight);
    int d = c->head_dim;
    for (int64_t r = 0; r < c->rows; r++)
        for (int h = 0; h < c->heads; h++) {
            int column = h * d, kv_column = h / (c->heads / c->kv_heads) * d;
            const float *gradient = fl_row(dout, r) + column, *q = fl_row(&c->q, r) + column;
            exact_weights(c, r, h, weight);
            double mean = 0;
            for (int64_t j = 0; j < c->keys; j++) {
                dweight[j] = 0;
                for (int i = 0; i < d; i++)
                    dweight[j] += (double)gradient[i] * fl_row(&c->v, j)[kv_column + i];
                mean += weight[j] * dweight[j];
            }
            for (int64_t j = 0; j < c->keys; j++) {
                double dlogit = weight[j] * (dweight[j] - mean) * c->scale;
                for (int i = 0; i < d; i++) {
                    g.dq[r * c->q.cols + column + i] += dlogit * fl_row(&c->k, j)[kv_column + i];
                    g.dk[j * c->k.cols + kv_column + i] += dlogit * q[i];
                    g.dv[j * c->k.cols + kv_column + i] += weight[j] * gradient[i];
                }
            }
        }
    free(weight);
    free(dweight);
    return g;
}

static void exact_free(exact_gradients *g)
{
    free(g->dq);
    free(g->dk);
    free(g->dv);
}

/* Central differences of a smooth function in double; float inputs move by a step that float holds exactly, so the
 * error is the third derivative times step^2 / 6, some 1e-5. */
static void check_difference(const attend_case *c, const fl_tensor *dout, float *x, double gradient)
{
    float before = *x, step = 0x1p-8f;
    *x = before + step;
    double up = *x, loss_up = loss(c, dout);
    *x = before - step;
    double down = *x, loss_down = loss(c, dout);
    *x = before;
    assert_near((loss_up - loss_down) / (up - down), gradient, 1e-4 * (1 + fabs(gradient)));
}

static void test_reference_against_differences(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++) {
        attend_case c;
        int64_t keys = 1 + below(&rng, 12), rows = 1 + below(&rng, keys);
        case_open(&c, &rng, 2 * (1 + i % 2), 2, 6, rows, keys, (ranges)(i % RANGE_KINDS));
        fl_tensor dout = matrix(rows, c.q.cols, 0);
        fill(&rng, &dout);
        exact_gradients g = exact_backward(&c, &dout);
        for (int n = 0; n < 12; n++) {
            int64_t r = below(&rng, rows), j = below(&rng, keys), a = below(&rng, c.q.cols), b = below(&rng, c.k.cols);
            check_difference(&c, &dout, fl_row(&c.q, r) + a, g.dq[r * c.q.cols + a]);
            check_difference(&c, &dout, fl_row(&c.k, j) + b, g.dk[j * c.k.cols + b]);
            check_difference(&c, &dout, fl_row(&c.v, j) + b, g.dv[j * c.k.cols + b]);
        }
        exact_free(&g);
        free(dout.data);
        case_close(&c);
    }
}

/* Forward and backward at one level. */
static void backward(attend_case *c, const fl_tensor *dout, const fl_attend_kernels *kernels, int threads, gradients *g)
{
    attend_device d;
    device_open(&d, kernels, threads);
    fl_tensor out = matrix(c->rows, c->q.cols, 0);
    float *lse = calloc((size_t)c->rows * c->heads, sizeof *lse);
    fl_attend_args args = case_args(c, &out, lse);
    fl_cpu_attend(&d.device, &args);
    fl_attend_backward_args back = {
        .forward = args, .k = &c->k, .v = &c->v, .dout = dout, .dq = &g->dq, .dk = &g->dk, .dv = &g->dv};
    fl_cpu_attend_backward(&d.device, &back);
    free(out.data);
    free(lse);
    device_close(&d);
}

/* Weights have a relative error of about 1e-6 (see the forward test), dlogit also that of the difference of two numbers
 * below sqrt(head_dim) * 10; sums of up to 1000 such terms, weighted by weights that sum to 1 in dq, and to a few ones
 * in dk and dv. */
static void check(const fl_tensor *got, const double *exact)
{
    for (int64_t r = 0; r < got->rows; r++)
        for (int64_t i = 0; i < got->cols; i++)
            assert_near(fl_row(got, r)[i], exact[r * got->cols + i], 4e-5 * (1 + fabs(exact[r * got->cols + i])));
}

static void test_shapes(void **state)
{
    (void)state;
    static const int dims[] = {64, 6, 8, 16, 32, 48, 80, 96, 128, 256, 7, 1, 66};
    const fl_attend_kernels *level[ATTEND_LEVELS];
    int levels = attend_levels(level);
    for (int i = 0; i < 52; i++) {
        int group = 1 + (int)below(&rng, 3), kv_heads = 1 + (int)below(&rng, 2);
        int64_t keys = 1 + below(&rng, i % 9 == 0 ? 900 : 250), rows = 1 + below(&rng, keys < 200 ? keys : 200);
        attend_case c;
        case_open(&c, &rng, group * kv_heads, kv_heads, dims[i % 13], rows, keys, (ranges)(i % RANGE_KINDS));
        attend_device d;
        device_open(&d, level[0], 1);
        case_write(&c, &rng, &d.device);
        device_close(&d);
        fl_tensor dout = matrix(rows, c.q.cols, below(&rng, 3));
        fill(&rng, &dout);
        exact_gradients exact = exact_backward(&c, &dout);
        for (int l = i % 3 ? levels - 1 : 0; l < levels; l++) {
            gradients g;
            gradients_open(&g, &c, below(&rng, 2));
            backward(&c, &dout, level[l], 2, &g);
            check(&g.dq, exact.dq);
            check(&g.dk, exact.dk);
            check(&g.dv, exact.dv);
            gradients_close(&g);
        }
        exact_free(&exact);
        free(dout.data);
        case_close(&c);
    }
}

/* The longest head fills the scratch memory it gets. */
static void test_longest_head(void **state)
{
    (void)state;
    const fl_attend_kernels *level[ATTEND_LEVELS];
    int levels = attend_levels(level);
    attend_case c;
    case_open(&c, &rng, 2, 1, FL_HEAD_DIM_MAX, FL_ATTEND_ROWS + 1, 150, CAUSAL);
    attend_device d;
    device_open(&d, level[levels - 1], 1);
    case_write(&c, &rng, &d.device);
    device_close(&d);
    fl_tensor dout = matrix(c.rows, c.q.cols, 0);
    fill(&rng, &dout);
    exact_gradients exact = exact_backward(&c, &dout);
    gradients g;
    gradients_open(&g, &c, 0);
    backward(&c, &dout, level[levels - 1], 2, &g);
    check(&g.dq, exact.dq);
    check(&g.dk, exact.dk);
    check(&g.dv, exact.dv);
    gradients_close(&g);
    exact_free(&exact);
    free(dout.data);
    case_close(&c);
}

static void assert_same(const fl_tensor *a, const fl_tensor *b)
{
    assert_memory_equal(a->data, b->data, (size_t)(a->rows * a->ld) * sizeof(float));
}

/* Any number of threads, which also changes the size of the chunks, and any level: the order of all sums is fixed. */
static void test_bits_do_not_depend_on_threads(void **state)
{
    (void)state;
    const fl_attend_kernels *level[ATTEND_LEVELS];
    int levels = attend_levels(level);
    for (int i = 0; i < 10; i++) {
        static const int dims[] = {64, 48, 128, 10};
        attend_case c;
        int64_t keys = 1 + below(&rng, i ? 800 : 2000), rows = 1 + below(&rng, keys);
        case_open(&c, &rng, 2, 1 + i % 2, dims[i % 4], rows, keys, (ranges)(i % RANGE_KINDS));
        attend_device d;
        device_open(&d, level[levels - 1], 1);
        case_write(&c, &rng, &d.device);
        device_close(&d);
        fl_tensor dout = matrix(rows, c.q.cols, 0);
        fill(&rng, &dout);
        gradients first, other;
        gradients_open(&first, &c, 0);
        backward(&c, &dout, level[levels - 1], 1, &first);
        for (int n = 2; n < 10; n++) {
            gradients_open(&other, &c, 0);
            backward(&c, &dout, level[n == 9 && i ? 0 : n % 2 ? levels - 1 : levels / 2], n, &other);
            assert_same(&first.dq, &other.dq);
            assert_same(&first.dk, &other.dk);
            assert_same(&first.dv, &other.dv);
            gradients_close(&other);
        }
        gradients_close(&first);
        free(dout.data);
        case_close(&c);
    }
}

/* A batch of sequences: each as if it were alone. */
static void test_sequences(void **state)
{
    (void)state;
    enum { SEQUENCES = 270, COLS = 2 * 16 };
    const fl_attend_kernels *level[ATTEND_LEVELS];
    const fl_attend_kernels *best = level[attend_levels(level) - 1];
    static attend_case c[SEQUENCES];
    static fl_attend_seq seq[SEQUENCES];
    attend_device d;
    device_open(&d, best, 3);
    int64_t rows = 0;
    for (int i = 0; i < SEQUENCES; i++) {
        int64_t n = 1 + below(&rng, i % 40 ? 40 : 500);
        case_open(&c[i], &rng, 2, 1, 16, n, n, CAUSAL);
        case_write(&c[i], &rng, &d.device);
        case_drop_slope(&c[i]); /* one set of slopes serves all sequences */
        seq[i] = c[i].seq;
        seq[i].first_row = rows;
        rows += n;
    }
    fl_tensor q = matrix(rows, COLS, 0), k = matrix(rows, 16, 0), v = matrix(rows, 16, 0);
    fl_tensor out = matrix(rows, COLS, 0), dout = matrix(rows, COLS, 0);
    fl_tensor dq = matrix(rows, COLS, 0), dk = matrix(rows, 16, 0), dv = matrix(rows, 16, 0);
    float *lse = calloc((size_t)rows * 2, sizeof *lse);
    fill(&rng, &dout);
    for (int i = 0; i < SEQUENCES; i++)
        for (int64_t r = 0; r < c[i].rows; r++) {
            memcpy(fl_row(&q, seq[i].first_row + r), fl_row(&c[i].q, r), COLS * sizeof(float));
            memcpy(fl_row(&k, seq[i].first_row + r), fl_row(&c[i].k, r), 16 * sizeof(float));
            memcpy(fl_row(&v, seq[i].first_row + r), fl_row(&c[i].v, r), 16 * sizeof(float));
        }
    fl_attend_args args = {SEQUENCES, seq, 2, c[0].scale, &q, &out, lse, false, NULL};
    fl_attend_backward_args back = {args, &k, &v, &dout, &dq, &dk, &dv};
    fl_cpu_attend(&d.device, &args);
    fl_cpu_attend_backward(&d.device, &back);
    for (int i = 0; i < SEQUENCES; i++) {
        gradients g;
        gradients_open(&g, &c[i], 0);
        fl_tensor part = {.type = FL_F32, .rows = c[i].rows, .cols = COLS, .ld = COLS};
        part.data = fl_row(&dout, seq[i].first_row);
        backward(&c[i], &part, best, 1, &g);
        assert_memory_equal(fl_row(&dq, seq[i].first_row), g.dq.data, (size_t)c[i].rows * COLS * sizeof(float));
        assert_memory_equal(fl_row(&dk, seq[i].first_row), g.dk.data, (size_t)c[i].rows * 16 * sizeof(float));
        assert_memory_equal(fl_row(&dv, seq[i].first_row), g.dv.data, (size_t)c[i].rows * 16 * sizeof(float));
        gradients_close(&g);
        case_close(&c[i]);
    }
    fl_tensor *all[] = {&q, &k, &v, &out, &dout, &dq, &dk, &dv};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]->data);
    free(lse);
    device_close(&d);
}

int main(void)
{
    fl_rng_seed(&rng, 20240502);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference_against_differences),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_longest_head),
        cmocka_unit_test(test_bits_do_not_depend_on_threads),
        cmocka_unit_test(test_sequences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
