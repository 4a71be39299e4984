/* Activations of the feed-forward layers, elementwise. */
#include "device/cpu/cpu.h"
#include "device/cpu/range.h"
#include "kernel/kernel.h"
#include "kernel/row.h"

typedef struct activation_job {
    const fl_row_kernels *kernels;
    const fl_tensor *x, *up, *dy; /* x: the gate of SwiGLU */
    fl_tensor *y, *dx, *dup;
    bool tanh_form;
} activation_job;

static void swiglu_rows(void *context, int64_t first, int64_t end)
{
    const activation_job *j = context;
    for (int64_t r = first; r < end; r++)
        j->kernels->swiglu(fl_row(j->x, r), fl_row(j->up, r), fl_row(j->y, r), j->x->cols);
}

void fl_cpu_swiglu(fl_device *d, const fl_tensor *gate, const fl_tensor *up, fl_tensor *y)
{
    activation_job job = {.kernels = d->kernels->row, .x = gate, .up = up, .y = y};
    fl_cpu_ranges(d, gate->rows, gate->cols, swiglu_rows, &job);
}

static void swiglu_backward_rows(void *context, int64_t first, int64_t end)
{
    const activation_job *j = context;
    for (int64_t r = first; r < end; r++)
        j->kernels->swiglu_backward(fl_row(j->x, r), fl_row(j->up, r), fl_row(j->dy, r), fl_row(j->dx, r),
                                    fl_row(j->dup, r), j->x->cols);
}

void fl_cpu_swiglu_backward(fl_device *d, const fl_tensor *gate, const fl_tensor *up, const fl_tensor *dy,
                            fl_tensor *dgate, fl_tensor *dup)
{
    activation_job job = {.kernels = d->kernels->row, .x = gate, .up = up, .dy = dy, .dx = dgate, .dup = dup};
    fl_cpu_ranges(d, gate->rows, gate->cols, swiglu_backward_rows, &job);
}

static void gelu_rows(void *context, int64_t first, int64_t end)
{
    const activation_job *j = context;
    for (int64_t r = first; r < end; r++)
        j->kernels->gelu(fl_row(j->x, r), j->tanh_form, fl_row(j->y, r), j->x->cols);
}

void fl_cpu_gelu(fl_device *d, const fl_tensor *x, bool tanh_form, fl_tensor *y)
{
    activation_job job = {.kernels = d->kernels->row, .x = x, .y = y, .tanh_form = tanh_form};
    fl_cpu_ranges(d, x->rows, x->cols, gelu_rows, &job);
}

static void gelu_backward_rows(void *context, int64_t first, int64_t end)
{
    const activation_job *j = context;
    for (int64_t r = first; r < end; r++)
        j->kernels->gelu_backward(fl_row(j->x, r), j->tanh_form, fl_row(j->dy, r), fl_row(j->dx, r), j->x->cols);
}

void fl_cpu_gelu_backward(fl_device *d, const fl_tensor *x, bool tanh_form, const fl_tensor *dy, fl_tensor *dx)
{
    activation_job job = {.kernels = d->kernels->row, .x = x, .dy = dy, .dx = dx, .tanh_form = tanh_form};
    fl_cpu_ranges(d, x->rows, x->cols, gelu_backward_rows, &job);
}
