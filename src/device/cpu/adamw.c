/* The optimiser's step and the norm of the gradient, on contiguous arrays. */
#include "base/size.h"
#include "device/cpu/cpu.h"
#include "device/cpu/range.h"
#include "kernel/kernel.h"
#include "kernel/row.h"

#include <math.h>

/* The sum is cut into at most this many blocks of one size that depends on n alone; their sums are added in order. */
#define SUM_BLOCKS 256
#define SUM_BLOCK_MINIMUM 4096
#define STEP_BLOCK 4096

typedef struct sum_job {
    const fl_row_kernels *kernels;
    const float *x;
    int64_t n, block;
    double part[SUM_BLOCKS];
} sum_job;

static void sum_blocks(void *context, int64_t first, int64_t end)
{
    sum_job *j = context;
    for (int64_t b = first; b < end; b++)
        j->part[b] = j->kernels->sum_squares(j->x + b * j->block, fl_min64(j->block, j->n - b * j->block));
}

double fl_cpu_sum_squares(fl_device *d, const float *x, int64_t n)
{
    sum_job job = {.kernels = d->kernels->row, .x = x, .n = n};
    job.block = fl_max64((n + SUM_BLOCKS - 1) / SUM_BLOCKS, SUM_BLOCK_MINIMUM);
    int64_t blocks = (n + job.block - 1) / job.block;
    fl_cpu_ranges(d, blocks, job.block, sum_blocks, &job);
    double sum = 0;
    for (int64_t b = 0; b < blocks; b++)
        sum += job.part[b];
    return sum;
}

typedef struct adamw_job {
    const fl_row_kernels *kernels;
    const fl_adamw_args *args;
    fl_row_adamw constants;
} adamw_job;

static void adamw_blocks(void *context, int64_t first, int64_t end)
{
    const adamw_job *j = context;
    const fl_adamw_args *a = j->args;
    int64_t i = first * STEP_BLOCK, n = fl_min64(end * STEP_BLOCK, a->n) - i;
    j->kernels->adamw(&j->constants, a->weight + i, a->moment1 + i, a->moment2 + i, a->grad + i, n);
}

void fl_cpu_adamw(fl_device *d, const fl_adamw_args *args)
{
    adamw_job job = {.kernels = d->kernels->row,
                     .args = args,
                     .constants = {.keep = (float)(1.0 - (double)args->lr * args->weight_decay),
                                   .beta1 = args->beta1,
                                   .beta2 = args->beta2,
                                   .step = (float)(args->lr / args->bias1),
                                   .inverse_bias = (float)(1.0 / sqrt(args->bias2)),
                                   .eps = args->eps,
                                   .grad_scale = args->grad_scale}};
    fl_cpu_ranges(d, (args->n + STEP_BLOCK - 1) / STEP_BLOCK, STEP_BLOCK, adamw_blocks, &job);
}
