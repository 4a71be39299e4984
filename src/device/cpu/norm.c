/* RMS norm and layer norm. Forward, rows are independent. Backward, the rows of a block are taken in order: each gives
 * its input gradient and adds to the block's part of the weight and bias gradients while it is in the cache. */
#include "base/size.h"
#include "device/cpu/columns.h"
#include "device/cpu/cpu.h"
#include "device/cpu/range.h"
#include "kernel/kernel.h"
#include "kernel/row.h"

typedef struct norm_job {
    const fl_row_kernels *kernels;
    const fl_tensor *x;
    fl_tensor *y;
    const float *w, *b;
    float eps;
    float *stats;
} norm_job;

static void rms_rows(void *context, int64_t first, int64_t end)
{
    const norm_job *j = context;
    for (int64_t r = first; r < end; r++) {
        float inverse = j->kernels->rms_norm(fl_row(j->x, r), j->w, j->eps, fl_row(j->y, r), j->x->cols);
        if (j->stats) j->stats[r] = inverse;
    }
}

void fl_cpu_rms_norm(fl_device *d, const fl_tensor *x, const float *w, float eps, fl_tensor *y, float *inverse)
{
    norm_job job = {d->kernels->row, x, y, w, NULL, eps, inverse};
    fl_cpu_ranges(d, x->rows, x->cols, rms_rows, &job);
}

static void layer_rows(void *context, int64_t first, int64_t end)
{
    const norm_job *j = context;
    for (int64_t r = first; r < end; r++) {
        float unused[2], *stats = j->stats ? j->stats + 2 * r : unused;
        j->kernels->layer_norm(fl_row(j->x, r), j->w, j->b, j->eps, fl_row(j->y, r), stats, j->x->cols);
    }
}

void fl_cpu_layer_norm(fl_device *d, const fl_tensor *x, const float *w, const float *b, float eps, fl_tensor *y,
                       float *stats)
{
    norm_job job = {d->kernels->row, x, y, w, b, eps, stats};
    fl_cpu_ranges(d, x->rows, x->cols, layer_rows, &job);
}

/* Sum 0 of a block is the weight's gradient, sum 1 the bias's. */
typedef struct backward_job {
    const fl_row_kernels *kernels;
    fl_columns columns;
    const fl_tensor *x, *dy;
    fl_tensor *dx; /* NULL: not wanted */
    const float *w;
    const float *stats; /* inverse, or pairs of mean and inverse */
    bool layer, accumulate;
} backward_job;

static void backward_blocks(void *context, int64_t first, int64_t end)
{
    const backward_job *j = context;
    const fl_columns *c = &j->columns;
    for (int64_t block = first; block < end; block++) {
        float *part[FL_COLUMN_SUMS];
        fl_cpu_columns_start(c, block, part);
        for (int64_t r = block * c->block_rows; r < fl_min64((block + 1) * c->block_rows, c->rows); r++) {
            const float *x = fl_row(j->x, r), *dy = fl_row(j->dy, r);
            const float *stats = j->stats + (j->layer ? 2 * r : r);
            if (j->dx && j->layer)
                j->kernels->layer_norm_backward(x, j->w, stats, dy, fl_row(j->dx, r), j->accumulate, c->cols);
            else if (j->dx)
                j->kernels->rms_norm_backward(x, j->w, stats[0], dy, fl_row(j->dx, r), j->accumulate, c->cols);
            float mean = j->layer ? stats[0] : 0.0f, inverse = stats[j->layer ? 1 : 0];
            if (part[0]) j->kernels->add_normed(x, dy, mean, inverse, part[0], c->cols);
            if (part[1]) j->kernels->add(part[1], dy, part[1], c->cols);
        }
    }
}

static void norm_backward(fl_device *d, backward_job *job, float *dw, float *db)
{
    job->kernels = d->kernels->row;
    job->columns = fl_cpu_columns(d, job->x->rows, job->x->cols, dw, db);
    fl_cpu_ranges(d, job->columns.blocks, job->columns.block_rows * job->x->cols, backward_blocks, job);
    fl_cpu_columns_finish(d, &job->columns);
}

void fl_cpu_rms_norm_backward(fl_device *d, const fl_tensor *x, const float *w, const float *inverse,
                              const fl_tensor *dy, fl_tensor *dx, bool accumulate, float *dw)
{
    backward_job job = {.x = x, .dy = dy, .dx = dx, .w = w, .stats = inverse, .accumulate = accumulate};
    norm_backward(d, &job, dw, NULL);
}

void fl_cpu_layer_norm_backward(fl_device *d, const fl_tensor *x, const float *w, const float *stats,
                                const fl_tensor *dy, fl_tensor *dx, bool accumulate, float *dw, float *db)
{
    backward_job job = {.x = x, .dy = dy, .dx = dx, .w = w, .stats = stats, .layer = true, .accumulate = accumulate};
    norm_backward(d, &job, dw, db);
}
