/* Rotary positions applied to rows of queries or keys, and factors of their logits. */
#include "device/cpu/cpu.h"
#include "device/cpu/range.h"
#include "kernel/kernel.h"
#include "kernel/row.h"

typedef struct rotate_job {
    const fl_row_kernels *kernels;
    const fl_tensor *x;
    fl_tensor *y;
    const float *cos, *sin;
    int heads, head_dim, pairs;
    bool interleaved;
    float direction;
} rotate_job;

static void rotate_rows(void *context, int64_t first, int64_t end)
{
    const rotate_job *j = context;
    for (int64_t r = first; r < end; r++)
        j->kernels->rotate(fl_row(j->x, r), j->heads, j->head_dim, j->cos + r * j->pairs, j->sin + r * j->pairs,
                           j->pairs, j->interleaved, j->direction, fl_row(j->y, r));
}

void fl_cpu_rotate(fl_device *d, const fl_tensor *x, int heads, int head_dim, const float *cos, const float *sin,
                   int pairs, bool interleaved, bool inverse, fl_tensor *y)
{
    rotate_job job = {d->kernels->row, x, y, cos, sin, heads, head_dim, pairs, interleaved, inverse ? -1.0f : 1.0f};
    fl_cpu_ranges(d, x->rows, x->cols, rotate_rows, &job);
}

typedef struct scale_job {
    const fl_tensor *x;
    const float *factor;
    fl_tensor *y;
} scale_job;

static void scale_range(void *context, int64_t first, int64_t end)
{
    const scale_job *j = context;
    for (int64_t r = first; r < end; r++) {
        const float *from = fl_row(j->x, r);
        float *to = fl_row(j->y, r);
        for (int64_t i = 0; i < j->x->cols; i++)
            to[i] = from[i] * j->factor[r];
    }
}

void fl_cpu_scale_rows(fl_device *d, const fl_tensor *x, const float *factor, fl_tensor *y)
{
    scale_job job = {x, factor, y};
    fl_cpu_ranges(d, x->rows, x->cols, scale_range, &job);
}
