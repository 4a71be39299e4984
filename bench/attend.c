/* Attention in GFLOP/s and as a share of what a loop of nothing but fused multiply-adds reaches, run in turn with it.
 *
 *   bench_attend [threads] [keys] [head_dim] [level]     0 or nothing: tables over lengths, head sizes, stored types
 *   bench_attend decode [threads] [keys] [head_dim] [level]     one row only
 *
 * Causal attention: a forward counts 2 products of 2*head_dim operations for each of the N*N/2 pairs of a head, forward
 * and backward together 3.5 times that (two products forward, five backward). Heads fill a width of 768, or the most of
 * it that they can. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/pool.h"
#include "base/rng.h"
#include "device/cpu/cpu.h"
#include "device/cpu/roof.h"
#include "kernel/kernel.h"
#include "memory/memory.h"

#define SECONDS 1.0 /* per measurement */
#define WIDTH 768   /* heads * head_dim */

static fl_tensor matrix(fl_rng *rng, int64_t rows, int64_t cols)
{
    fl_tensor t = {.type = FL_F32, .rows = rows, .cols = cols, .ld = cols};
    t.data = fl_alloc_aligned((size_t)(rows * cols) * sizeof(float));
    for (int64_t i = 0; t.data && i < rows * cols; i++)
        ((float *)t.data)[i] = (float)(fl_rng_uniform(rng) * 2 - 1);
    if (!t.data) exit(1);
    return t;
}

typedef struct problem {
    fl_tensor q, k, v, out, dout, dq, dk, dv;
    float *lse;
    int64_t *lo, *hi;
    fl_memory *memory;
    fl_attend_seq seq;
    fl_attend_backward_args args;
} problem;

static void problem_open(problem *p, fl_device *d, int64_t rows, int64_t keys, int head_dim, fl_dtype type)
{
    int heads = WIDTH / head_dim;
    fl_rng rng;
    fl_rng_seed(&rng, 1);
    fl_tensor *t[] = {&p->q, &p->k, &p->v, &p->out, &p->dout, &p->dq, &p->dk, &p->dv};
    for (int i = 0; i < 8; i++)
        *t[i] = matrix(&rng, i == 1 || i == 2 || i > 5 ? keys : rows, heads * head_dim);
    p->lse = calloc((size_t)(rows * heads), sizeof *p->lse);
    p->lo = calloc((size_t)rows, sizeof *p->lo);
    p->hi = calloc((size_t)rows, sizeof *p->hi);
    fl_kv_shape shape = {heads, head_dim, type, type};
    if (!p->lse || !p->lo || !p->hi || fl_memory_create(&p->memory, 1, &shape) || fl_memory_begin(p->memory, keys))
        exit(1);
    for (int64_t r = 0; r < rows; r++)
        p->hi[r] = keys - rows + r + 1;
    p->seq = (fl_attend_seq){.rows = rows, .lo = p->lo, .hi = p->hi, .kv = fl_memory_view(p->memory, 0)};
    fl_cpu_kv_write(d, &p->seq.kv, 0, &p->k, &p->v, 0, keys);
    fl_attend_args forward = {.sequences = 1,
                              .seq = &p->seq,
                              .heads = heads,
                              .scale = (float)(1 / sqrt(head_dim)),
                              .q = &p->q,
                              .out = &p->out,
                              .lse = p->lse};
    p->args = (fl_attend_backward_args){forward, &p->k, &p->v, &p->dout, &p->dq, &p->dk, &p->dv};
}

static void problem_close(problem *p)
{
    fl_tensor *t[] = {&p->q, &p->k, &p->v, &p->out, &p->dout, &p->dq, &p->dk, &p->dv};
    for (int i = 0; i < 8; i++)
        fl_free_aligned(t[i]->data);
    free(p->lse);
    free(p->lo);
    free(p->hi);
    fl_memory_destroy(p->memory);
}

/* Best and median are both shown: other programs on the machine only ever make a run slower. */
typedef struct times {
    double run[256], share[256];
    int n;
} times;

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void report(const char *name, times *t, double operations)
{
    qsort(t->run, (size_t)t->n, sizeof *t->run, ascending);
    qsort(t->share, (size_t)t->n, sizeof *t->share, ascending);
    printf("  %-8s best %7.1f median %7.1f GFLOP/s, share of peak median %.3f best %.3f", name,
           operations / t->run[0] / 1e9, operations / t->run[t->n / 2] / 1e9, t->share[t->n / 2], t->share[t->n - 1]);
}

/* Stored keys and values are read forward only: training has them as rows of fp32. */
static void measure(fl_device *d, int64_t keys, int head_dim, fl_dtype type)
{
    problem p;
    problem_open(&p, d, keys, keys, head_dim, type);
    double forward = 2.0 * (double)keys * (double)(keys + 1) * (WIDTH / head_dim * head_dim);
    times times_forward = {.n = 0}, both = {.n = 0};
    double end = fl_clock_seconds() + SECONDS;
    while ((fl_clock_seconds() < end || both.n < 4) && both.n < 256) {
        double before = fl_roof_multiply_adds(d), t0 = fl_roof_seconds(d);
        fl_cpu_attend(d, &p.args.forward);
        double t1 = fl_roof_seconds(d);
        if (type == FL_F32) fl_cpu_attend_backward(d, &p.args);
        double t2 = fl_roof_seconds(d), top = (before + fl_roof_multiply_adds(d)) / 2;
        int n = both.n++;
        times_forward.n = both.n;
        times_forward.run[n] = t1 - t0;
        both.run[n] = t2 - t0;
        times_forward.share[n] = top > 0 ? forward / (t1 - t0) / top : 0;
        both.share[n] = top > 0 ? 3.5 * forward / (t2 - t0) / top : 0;
    }
    printf("N %6lld  head size %3d  %-4s", (long long)keys, head_dim, fl_dtype_get(type)->name);
    report("forward", &times_forward, forward);
    if (type == FL_F32) report("both", &both, 3.5 * forward);
    printf("\n");
    fflush(stdout);
    problem_close(&p);
}

typedef struct read_job {
    const fl_kv_view *kv;
    int64_t page_bytes, pages;
} read_job;

static volatile int64_t sink;

static void read_page(void *context, int64_t page, int thread)
{
    (void)thread;
    const read_job *j = context;
    const int64_t *from = j->kv->page[page];
    int64_t sum[8] = {0};
    for (int64_t i = 0; i < j->page_bytes / 8; i += 8)
        for (int k = 0; k < 8; k++)
            sum[k] += from[i + k];
    sink = sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
}

/* One row against all keys, bound by the memory that keys and values come from: beside a loop that does nothing but
 * read the same pages. The best of each: what else runs on the machine only ever makes a run slower. */
static void measure_decode(fl_device *d, int64_t keys, int head_dim)
{
    static const fl_dtype types[] = {FL_F32, FL_F16, FL_BF16, FL_Q8_0, FL_Q4_0};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        problem p;
        problem_open(&p, d, 1, keys, head_dim, types[i]);
        int64_t bytes = (int64_t)fl_kv_page_bytes(&p.seq.kv.shape), pages = keys / FL_PAGE_TOKENS;
        read_job reading = {&p.seq.kv, bytes, pages};
        double best = INFINITY, stream = INFINITY, end = fl_clock_seconds() + SECONDS / 2;
        while (fl_clock_seconds() < end) {
            double begin = fl_roof_seconds(d);
            fl_cpu_attend(d, &p.args.forward);
            double middle = fl_roof_seconds(d);
            fl_pool_run(d->pool, pages, read_page, &reading);
            best = fmin(best, middle - begin);
            stream = fmin(stream, fl_roof_seconds(d) - middle);
        }
        double gigabytes = (double)bytes * (double)pages / 1e9;
        printf(
            "N %6lld  head size %3d  one row, keys and values %-4s %8.1f us, %5.1f GB/s, share of a read loop %.2f\n",
            (long long)keys, head_dim, fl_dtype_get(types[i])->name, best * 1e6, gigabytes / best, stream / best);
        fflush(stdout);
        problem_close(&p);
    }
}

int main(int argc, char **argv)
{
    bool decode = argc > 1 && strcmp(argv[1], "decode") == 0;
    argc -= decode;
    argv += decode;
    int threads = argc > 1 ? atoi(argv[1]) : 0, keys = argc > 2 ? atoi(argv[2]) : 0;
    int head_dim = argc > 3 ? atoi(argv[3]) : 0;
    fl_pool *pool;
    const fl_kernels *kernels;
    fl_device *d;
    if (fl_pool_create(&pool, threads) || fl_kernels_select(&kernels, argc > 4 ? argv[4] : NULL) ||
        fl_cpu_device_create(&d, pool, kernels)) {
        fprintf(stderr, "%s\n", fl_error_message());
        return 1;
    }
    printf("%s, %d threads, peak %.1f GFLOP/s\n", kernels->name, fl_pool_threads(pool),
           fl_roof_multiply_adds(d) * 1e-9);
    static const int lengths[] = {1024, 2048, 4096, 8192}, sizes[] = {8, 16, 32, 48, 64, 80, 96, 128, 256};
    static const int stored_sizes[] = {48, 64, 128};
    static const fl_dtype types[] = {FL_F16, FL_BF16, FL_Q8_0, FL_Q4_0};
    if (decode) {
        measure_decode(d, keys ? keys : 8192, head_dim ? head_dim : 64);
    } else if (keys || head_dim) {
        measure(d, keys ? keys : 4096, head_dim ? head_dim : 64, FL_F32);
        for (size_t i = 0; i < sizeof types / sizeof *types; i++)
            measure(d, keys ? keys : 4096, head_dim ? head_dim : 64, types[i]);
    } else {
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
            measure(d, lengths[i], 64, FL_F32);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            measure(d, 2048, sizes[i], FL_F32);
        for (size_t i = 0; i < sizeof stored_sizes / sizeof *stored_sizes; i++)
            for (size_t t = 0; t < sizeof types / sizeof *types; t++)
                measure(d, 2048, stored_sizes[i], types[t]);
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
            measure_decode(d, lengths[i], 64);
    }
    fl_cpu_device_destroy(d);
    fl_pool_destroy(pool);
    return 0;
}
