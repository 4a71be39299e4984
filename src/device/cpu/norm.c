/* RMS norm and layer norm. Rows are independent; the gradients of weight and bias are sums over rows, so their work is
 * cut by columns and every column adds its rows in order, whatever the number of threads. */
#include "base/size.h"
#include "device/cpu/cpu.h"
#include "device/cpu/range.h"
#include "kernel/kernel.h"
#include "kernel/row.h"

#define COLUMN_BLOCK 64

typedef struct norm_job {
    const fl_row_kernels *kernels;
    const fl_tensor *x, *dy;
    fl_tensor *y, *dx;
    const float *w, *b, *stats; /* stats: inverse (RMS) or mean and inverse pairs */
    float *stats_out, *dw, *db;
    float eps;
    bool accumulate;
} norm_job;

static void rms_rows(void *context, int64_t first, int64_t end)
{
    const norm_job *j = context;
    for (int64_t r = first; r < end; r++) {
        float inverse = j->kernels->rms_norm(fl_row(j->x, r), j->w, j->eps, fl_row(j->y, r), j->x->cols);
        if (j->stats_out) j->stats_out[r] = inverse;
    }
}

void fl_cpu_rms_norm(fl_device *d, const fl_tensor *x, const float *w, float eps, fl_tensor *y, float *inverse)
{
    norm_job job = {.kernels = d->kernels->row, .x = x, .y = y, .w = w, .eps = eps, .stats_out = inverse};
    fl_cpu_ranges(d, x->rows, x->cols, rms_rows, &job);
}

static void rms_backward_rows(void *context, int64_t first, int64_t end)
{
    const norm_job *j = context;
    for (int64_t r = first; r < end; r++)
        j->kernels->rms_norm_backward(fl_row(j->x, r), j->w, j->stats[r], fl_row(j->dy, r), fl_row(j->dx, r),
                                      j->accumulate, j->x->cols);
}

static void rms_backward_columns(void *context, int64_t first, int64_t end)
{
    const norm_job *j = context;
    int64_t c = first * COLUMN_BLOCK, cols = fl_min64(end * COLUMN_BLOCK, j->x->cols) - c;
    j->kernels->column_normed(fl_row(j->x, 0) + c, j->x->ld, fl_row(j->dy, 0) + c, j->dy->ld, NULL, j->stats, 1,
                              j->x->rows, cols, j->dw + c);
}

static int64_t column_blocks(const fl_tensor *t)
{
    return (t->cols + COLUMN_BLOCK - 1) / COLUMN_BLOCK;
}

void fl_cpu_rms_norm_backward(fl_device *d, const fl_tensor *x, const float *w, const float *inverse,
                              const fl_tensor *dy, fl_tensor *dx, bool accumulate, float *dw)
{
    norm_job job = {.kernels = d->kernels->row,
                    .x = x,
                    .w = w,
                    .stats = inverse,
                    .dy = dy,
                    .dx = dx,
                    .accumulate = accumulate,
                    .dw = dw};
    if (dx) fl_cpu_ranges(d, x->rows, x->cols, rms_backward_rows, &job);
    if (dw) fl_cpu_ranges(d, column_blocks(x), x->rows * COLUMN_BLOCK, rms_backward_columns, &job);
}

static void layer_rows(void *context, int64_t first, int64_t end)
{
    const norm_job *j = context;
    for (int64_t r = first; r < end; r++) {
        float unused[2];
        j->kernels->layer_norm(fl_row(j->x, r), j->w, j->b, j->eps, fl_row(j->y, r),
                               j->stats_out ? j->stats_out + 2 * r : unused, j->x->cols);
    }
}

void fl_cpu_layer_norm(fl_device *d, const fl_tensor *x, const float *w, const float *b, float eps, fl_tensor *y,
                       float *stats)
{
    norm_job job = {.kernels = d->kernels->row, .x = x, .y = y, .w = w, .b = b, .eps = eps, .stats_out = stats};
    fl_cpu_ranges(d, x->rows, x->cols, layer_rows, &job);
}

static void layer_backward_rows(void *context, int64_t first, int64_t end)
{
    const norm_job *j = context;
    for (int64_t r = first; r < end; r++)
        j->kernels->layer_norm_backward(fl_row(j->x, r), j->w, j->stats + 2 * r, fl_row(j->dy, r), fl_row(j->dx, r),
                                        j->accumulate, j->x->cols);
}

static void layer_backward_columns(void *context, int64_t first, int64_t end)
{
    const norm_job *j = context;
    int64_t c = first * COLUMN_BLOCK, cols = fl_min64(end * COLUMN_BLOCK, j->x->cols) - c, rows = j->x->rows;
    const float *dy = fl_row(j->dy, 0) + c;
    if (j->dw)
        j->kernels->column_normed(fl_row(j->x, 0) + c, j->x->ld, dy, j->dy->ld, j->stats, j->stats + 1, 2, rows, cols,
                                  j->dw + c);
    if (j->db) j->kernels->column_sum(dy, j->dy->ld, rows, cols, j->db + c);
}

void fl_cpu_layer_norm_backward(fl_device *d, const fl_tensor *x, const float *w, const float *stats,
                                const fl_tensor *dy, fl_tensor *dx, bool accumulate, float *dw, float *db)
{
    norm_job job = {.kernels = d->kernels->row,
                    .x = x,
                    .w = w,
                    .stats = stats,
                    .dy = dy,
                    .dx = dx,
                    .accumulate = accumulate,
                    .dw = dw,
                    .db = db};
    if (dx) fl_cpu_ranges(d, x->rows, x->cols, layer_backward_rows, &job);
    if (dw || db) fl_cpu_ranges(d, column_blocks(x), x->rows * COLUMN_BLOCK, layer_backward_columns, &job);
}
