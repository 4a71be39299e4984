/* An attention problem of any shape with its answer in double precision, shared by the forward and backward tests. */
#ifndef TESTS_DEVICE_ATTEND_CASE_H
#define TESTS_DEVICE_ATTEND_CASE_H

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
#include "kernel/attend.h"
#include "kernel/kernel.h"

typedef enum ranges { CAUSAL, BIDIRECTIONAL, WINDOW, DOCUMENTS, RANDOM, RANGE_KINDS } ranges;

typedef struct attend_case {
    int heads, kv_heads, head_dim;
    fl_dtype k_type, v_type; /* of the pages */
    int64_t rows, keys;      /* row r is key keys - rows + r */
    float scale;
    fl_tensor q, k, v; /* [rows, heads*dim], [keys, kv_heads*dim] */
    int64_t *lo, *hi;  /* [rows] */
    float *slope;      /* [heads] of a bias by distance, in every fourth case; else NULL */
    void **page;       /* hold k and v; NaN everywhere else */
    fl_attend_seq seq;
} attend_case;

/* A device that has nothing but attention; the table is not needed to call an entry directly. */
typedef struct attend_device {
    fl_kernels kernels;
    fl_device device;
} attend_device;

static inline void device_open(attend_device *d, const fl_attend_kernels *kernels, int threads)
{
    memset(d, 0, sizeof *d);
    d->kernels.attend = kernels;
    d->device.kernels = &d->kernels;
    assert_int_equal(fl_pool_create(&d->device.pool, threads), FL_OK);
    assert_int_equal(fl_cpu_scratch_create(&d->device), FL_OK);
}

static inline void device_close(attend_device *d)
{
    fl_cpu_scratch_destroy(&d->device);
    fl_pool_destroy(d->device.pool);
}

#define ATTEND_LEVELS 5

/* Every level this machine runs, slowest first. */
static inline int attend_levels(const fl_attend_kernels **level)
{
    int n = 0;
    level[n++] = &fl_attend_kernels_generic;
#if defined(__x86_64__)
    const fl_kernels *found;
    if (fl_kernels_select(&found, "avx2") == FL_OK) {
        level[n++] = &fl_attend_kernels_avx2;
        if (found == &fl_kernels_avx2_vnni) level[n++] = &fl_attend_kernels_avx2_vnni;
    }
    if (fl_kernels_select(&found, "avx512") == FL_OK) {
        level[n++] = &fl_attend_kernels_avx512;
        if (found == &fl_kernels_avx512_vnni) level[n++] = &fl_attend_kernels_avx512_vnni;
    }
#endif
    return n;
}

static inline fl_tensor matrix(int64_t rows, int64_t cols, int64_t pad)
{
    fl_tensor t = {.type = FL_F32, .rows = rows, .cols = cols, .ld = cols + pad};
    t.data = calloc((size_t)(rows ? rows : 1) * t.ld, sizeof(float));
    assert_non_null(t.data);
    return t;
}

static inline void fill(fl_rng *rng, fl_tensor *t)
{
    for (int64_t r = 0; r < t->rows; r++)
        for (int64_t c = 0; c < t->cols; c++)
            fl_row(t, r)[c] = (float)fl_rng_normal(rng);
}

static inline void assert_near(double got, double exact, double tolerance)
{
    if (!(fabs(got - exact) <= tolerance)) fail_msg("%.9g is not %.9g within %g", got, exact, tolerance);
}

static inline int64_t below(fl_rng *rng, int64_t bound)
{
    return (int64_t)fl_rng_below(rng, (uint64_t)bound);
}

static inline void fill_ranges(fl_rng *rng, attend_case *c, ranges kind)
{
    int64_t window = 1 + below(rng, c->keys + 1), document = 0, blind = below(rng, 2 * c->rows);
    for (int64_t r = 0; r < c->rows; r++) {
        int64_t self = c->keys - c->rows + r;
        if (below(rng, 40) == 0) document = self;
        c->lo[r] = kind == WINDOW ? self - window + 1 : kind == DOCUMENTS ? document : 0;
        c->hi[r] = kind == BIDIRECTIONAL ? c->keys : self + 1;
        if (kind == RANDOM) {
            c->lo[r] = below(rng, c->keys + 20) - 10;
            c->hi[r] = r < blind && below(rng, 4) ? c->lo[r] + below(rng, c->keys + 20) : c->lo[r] - below(rng, 3);
        }
    }
}

/* Fresh pages for so many keys, in c->seq. */
static inline void case_pages(attend_case *c, int64_t keys)
{
    fl_kv_shape shape = {c->kv_heads, c->head_dim, c->k_type, c->v_type};
    size_t bytes = fl_kv_page_bytes(&shape);
    int64_t pages = (keys + FL_PAGE_TOKENS - 1) / FL_PAGE_TOKENS;
    c->page = calloc((size_t)pages, sizeof *c->page);
    assert_non_null(c->page);
    for (int64_t p = 0; p < pages; p++) {
        c->page[p] = aligned_alloc(64, (bytes + 63) / 64 * 64);
        assert_non_null(c->page[p]);
        memset(c->page[p], 0xff, bytes);
    }
    c->seq = (fl_attend_seq){
        .rows = c->rows, .lo = c->lo, .hi = c->hi, .kv = {shape, c->page, keys}, .first_key = c->keys - c->rows};
}

static inline void case_free_pages(attend_case *c)
{
    for (int64_t p = 0; p * FL_PAGE_TOKENS < c->keys; p++)
        free(c->page[p]);
    free(c->page);
}

static inline void case_open(attend_case *c, fl_rng *rng, int heads, int kv_heads, int head_dim, int64_t rows,
                             int64_t keys, ranges kind)
{
    *c = (attend_case){.heads = heads, .kv_heads = kv_heads, .head_dim = head_dim, .rows = rows, .keys = keys};
    c->scale = (float)(1 / sqrt(head_dim));
    c->q = matrix(rows, heads * head_dim, below(rng, 3));
    c->k = matrix(keys, kv_heads * head_dim, below(rng, 3));
    c->v = matrix(keys, kv_heads * head_dim, below(rng, 3));
    fill(rng, &c->q);
    fill(rng, &c->k);
    fill(rng, &c->v);
    c->lo = calloc((size_t)rows + 1, sizeof *c->lo);
    c->hi = calloc((size_t)rows + 1, sizeof *c->hi);
    fill_ranges(rng, c, kind);
    if (below(rng, 4) == 0) c->slope = malloc((size_t)heads * sizeof *c->slope);
    for (int h = 0; c->slope && h < heads; h++)
        c->slope[h] = (float)(0.05 * fl_rng_uniform(rng));
    case_pages(c, keys);
}

/* Keys and values to the pages, in pieces of random size. */
static inline void case_write(attend_case *c, fl_rng *rng, fl_device *d)
{
    for (int64_t token = 0; token < c->keys;) {
        int64_t n = 1 + below(rng, below(rng, 3) ? 600 : 5);
        n = n < c->keys - token ? n : c->keys - token;
        fl_cpu_kv_write(d, &c->seq.kv, token, &c->k, &c->v, token, n);
        token += n;
    }
}

static inline void case_close(attend_case *c)
{
    free(c->q.data);
    free(c->k.data);
    free(c->v.data);
    free(c->slope);
    free(c->lo);
    free(c->hi);
    case_free_pages(c);
}

/* For tests of something else. */
static inline void case_drop_slope(attend_case *c)
{
    free(c->slope);
    c->slope = NULL;
}

static inline fl_attend_args case_args(const attend_case *c, fl_tensor *out, float *lse)
{
    return (fl_attend_args){.sequences = 1,
                            .seq = &c->seq,
                            .heads = c->heads,
                            .scale = c->scale,
                            .q = &c->q,
                            .out = out,
                            .lse = lse,
                            .slope = c->slope};
}

static inline bool sees(const attend_case *c, int64_t row, int64_t key)
{
    return key >= 0 && key < c->keys && key >= c->lo[row] && key < c->hi[row];
}

static inline double exact_logit(const attend_case *c, int64_t row, int head, int64_t key)
{
    const float *q = fl_row(&c->q, row) + head * c->head_dim;
    const float *k = fl_row(&c->k, key) + head / (c->heads / c->kv_heads) * c->head_dim;
    double sum = 0;
    for (int i = 0; i < c->head_dim; i++)
        sum += (double)q[i] * k[i];
    double bias = c->slope ? (double)c->slope[head] * (double)(key - (c->keys - c->rows + row)) : 0;
    return sum * c->scale + bias;
}

/* weight[keys] = softmax over what the row sees; returns the log of the sum of exp(logit), -infinity for an empty
 * range. */
static inline double exact_weights(const attend_case *c, int64_t row, int head, double *weight)
{
    double max = -INFINITY, sum = 0;
    for (int64_t j = 0; j < c->keys; j++) {
        weight[j] = sees(c, row, j) ? exact_logit(c, row, head, j) : -INFINITY;
        max = fmax(max, weight[j]);
    }
    for (int64_t j = 0; j < c->keys; j++) {
        weight[j] = weight[j] == -INFINITY ? 0 : exp(weight[j] - max);
        sum += weight[j];
    }
    for (int64_t j = 0; j < c->keys && sum > 0; j++)
        weight[j] /= sum;
    return sum > 0 ? max + log(sum) : -INFINITY;
}

static inline void exact_row(const attend_case *c, int head, const double *weight, double *out)
{
    memset(out, 0, (size_t)c->head_dim * sizeof *out);
    for (int64_t j = 0; j < c->keys; j++) {
        const float *v = fl_row(&c->v, j) + head / (c->heads / c->kv_heads) * c->head_dim;
        for (int i = 0; i < c->head_dim; i++)
            out[i] += weight[j] * v[i];
    }
}

#endif
