/* Sums, copies and zeros of whole tensors. */
#include "base/size.h"
#include "device/cpu/cpu.h"
#include "device/cpu/range.h"
#include "kernel/kernel.h"
#include "kernel/row.h"

#include <string.h>

#define COLUMN_BLOCK 64

typedef struct elementwise_job {
    const fl_row_kernels *kernels;
    const fl_tensor *a, *b;
    fl_tensor *y;
    float *sum;
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

/* Cut by columns: each column adds its rows in order, whatever the number of threads. */
static void sum_columns(void *context, int64_t first, int64_t end)
{
    const elementwise_job *j = context;
    int64_t c = first * COLUMN_BLOCK, cols = fl_min64(end * COLUMN_BLOCK, j->a->cols) - c;
    j->kernels->column_sum(fl_row(j->a, 0) + c, j->a->ld, j->a->rows, cols, j->sum + c);
}

void fl_cpu_column_sum(fl_device *d, const fl_tensor *x, float *sum)
{
    elementwise_job job = {.kernels = d->kernels->row, .a = x, .sum = sum};
    fl_cpu_ranges(d, (x->cols + COLUMN_BLOCK - 1) / COLUMN_BLOCK, x->rows * COLUMN_BLOCK, sum_columns, &job);
}
