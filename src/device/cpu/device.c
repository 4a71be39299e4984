/* The CPU device: its table, and the one object that carries pool, kernels and scratch to the entries. */
#include "base/alloc.h"
#include "device/cpu/cpu.h"
#include "kernel/kernel.h"

static const fl_device_table cpu_table = {
    .name = "cpu",
    .pack = fl_cpu_pack,
    .packed_from = fl_cpu_packed_from,
    .panels = fl_cpu_panels,
    .packed_free = fl_cpu_packed_free,
    .packed_bytes = fl_cpu_packed_bytes,
    .linear = fl_cpu_linear,
    .matmul = fl_cpu_matmul,
    .embed = fl_cpu_embed,
    .embed_backward = fl_cpu_embed_backward,
    .rms_norm = fl_cpu_rms_norm,
    .rms_norm_backward = fl_cpu_rms_norm_backward,
    .layer_norm = fl_cpu_layer_norm,
    .layer_norm_backward = fl_cpu_layer_norm_backward,
    .rotate = fl_cpu_rotate,
    .kv_write = fl_cpu_kv_write,
    .kv_rotate = fl_cpu_kv_rotate,
    .scale_rows = fl_cpu_scale_rows,
    .attend = fl_cpu_attend,
    .attend_backward = fl_cpu_attend_backward,
    .swiglu = fl_cpu_swiglu,
    .swiglu_backward = fl_cpu_swiglu_backward,
    .gelu = fl_cpu_gelu,
    .gelu_backward = fl_cpu_gelu_backward,
    .add = fl_cpu_add,
    .copy = fl_cpu_copy,
    .zero = fl_cpu_zero,
    .scale = fl_cpu_scale,
    .narrow = fl_cpu_narrow,
    .widen = fl_cpu_widen,
    .column_sum = fl_cpu_column_sum,
    .head = fl_cpu_head,
    .sum_squares = fl_cpu_sum_squares,
    .adamw = fl_cpu_adamw,
};

fl_status fl_cpu_device_create(fl_device **out, fl_pool *pool, const struct fl_kernels *kernels)
{
    fl_device *d = fl_calloc(1, sizeof *d);
    if (!d) return FL_ERR_MEMORY;
    *d = (fl_device){.table = &cpu_table, .pool = pool, .kernels = kernels};
    fl_status status = fl_cpu_scratch_create(d);
    if (status != FL_OK) {
        fl_free(d);
        return status;
    }
    fl_slabs_init(&d->weights);
    *out = d;
    return FL_OK;
}

void fl_cpu_device_destroy(fl_device *d)
{
    if (!d) return;
    fl_slabs_destroy(&d->weights);
    fl_cpu_scratch_destroy(d);
    fl_free(d);
}
