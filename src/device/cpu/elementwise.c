/* Sums, copies, multiples and zeros of whole tensors. */
#include "base/size.h"
#include "device/cpu/columns.h"
#include "device/cpu/cpu.h"
#include "device/cpu/range.h"
#include "kernel/kernel.h"
#include "kernel/row.h"

#include <string.h>

typedef struct elementwise_job {
    const fl_row_kernels *kernels;
    const fl_tensor *a, *b;
    fl_tensor *y;
    float factor;
} elementwise_job;

static void add_rows(void *context, int64_t first, int64_t end)
{
    const elementwise_job *j = context;
    for (int64_t r = first; r < end; r++)
        j->kernels->add(fl_row(j->a, r), fl_row(j->b, r), fl_row(j->y, r), j->a->cols);
}

void fl_cpu_add(fl_device *d, const fl_tensor *a, const fl_tensor *b, fl_tensor *y)
{
    elementwise_job job = {.kernels = d->kernels->row, .a = a, .b = b, .y = y};
    fl_cpu_ranges(d, a->rows, a->cols, add_rows, &job);
}

static void copy_rows(void *context, int64_t first, int64_t end)
{
    const elementwise_job *j = context;
    for (int64_t r = first; r < end; r++)
        memcpy(fl_row(j->y, r), fl_row(j->a, r), (size_t)j->a->cols * sizeof(float));
}

void fl_cpu_copy(fl_device *d, const fl_tensor *from, fl_tensor *to)
{
    elementwise_job job = {.a = from, .y = to};
    fl_cpu_ranges(d, from->rows, from->cols, copy_rows, &job);
}

static void zero_rows(void *context, int64_t first, int64_t end)
{
    const elementwise_job *j = context;
    for (int64_t r = first; r < end; r++)
        memset(fl_row(j->y, r), 0, (size_t)j->y->cols * sizeof(float));
}

void fl_cpu_zero(fl_device *d, fl_tensor *t)
{
    elementwise_job job = {.y = t};
    fl_cpu_ranges(d, t->rows, t->cols, zero_rows, &job);
}

static void scale_rows(void *context, int64_t first, int64_t end)
{
    const elementwise_job *j = context;
    for (int64_t r = first; r < end; r++) {
        float *row = fl_row(j->y, r);
        for (int64_t i = 0; i < j->y->cols; i++)
            row[i] *= j->factor;
    }
}

void fl_cpu_scale(fl_device *d, float factor, fl_tensor *t)
{
    elementwise_job job = {.y = t, .factor = factor};
    fl_cpu_ranges(d, t->rows, t->cols, scale_rows, &job);
}

typedef struct sum_job {
    const fl_row_kernels *kernels;
    fl_columns columns;
    const fl_tensor *x;
} sum_job;

static void sum_blocks(void *context, int64_t first, int64_t end)
{
    const sum_job *j = context;
    const fl_columns *c = &j->columns;
    for (int64_t block = first; block < end; block++) {
        float *part[FL_COLUMN_SUMS];
        fl_cpu_columns_start(c, block, part);
        for (int64_t r = block * c->block_rows; r < fl_min64((block + 1) * c->block_rows, c->rows); r++)
            j->kernels->add(part[0], fl_row(j->x, r), part[0], c->cols);
    }
}

void fl_cpu_column_sum(fl_device *d, const fl_tensor *x, float *sum)
{
    sum_job job = {d->kernels->row, fl_cpu_columns(d, x->rows, x->cols, sum, NULL), x};
    fl_cpu_ranges(d, job.columns.blocks, job.columns.block_rows * x->cols, sum_blocks, &job);
    fl_cpu_columns_finish(d, &job.columns);
}
