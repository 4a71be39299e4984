/* The device that computes nothing. Sizes come from the same code as the CPU's, so that a run measured on it counts the
 * bytes that the real one will take. */
#include "device/cpu/cpu.h"
#include "device/device.h"

/* Never read: it only has to differ from NULL. */
static char nothing;

static fl_status null_pack(fl_device *d, const fl_stored *w, fl_packed **out)
{
    (void)d, (void)w;
    *out = (fl_packed *)(void *)&nothing;
    return FL_OK;
}

static void null_packed_free(fl_device *d, fl_packed *p)
{
    (void)d, (void)p;
}

static void null_linear(fl_device *d, const fl_operand *w, const float *bias, const fl_tensor *x, fl_tensor *y,
                        bool accumulate)
{
    (void)d, (void)w, (void)bias, (void)x, (void)y, (void)accumulate;
}

static void null_matmul(fl_device *d, const fl_stored *a, const fl_stored *b, float *c, int64_t ldc, bool accumulate)
{
    (void)d, (void)a, (void)b, (void)c, (void)ldc, (void)accumulate;
}

static void null_embed(fl_device *d, const fl_stored *table, const int32_t *tokens, fl_tensor *out, bool accumulate)
{
    (void)d, (void)table, (void)tokens, (void)out, (void)accumulate;
}

static void null_embed_backward(fl_device *d, const int32_t *tokens, const fl_tensor *dout, float *dtable, int64_t cols)
{
    (void)d, (void)tokens, (void)dout, (void)dtable, (void)cols;
}

static void null_rms_norm(fl_device *d, const fl_tensor *x, const float *w, float eps, fl_tensor *y, float *inverse)
{
    (void)d, (void)x, (void)w, (void)eps, (void)y, (void)inverse;
}

static void null_rms_norm_backward(fl_device *d, const fl_tensor *x, const float *w, const float *inverse,
                                   const fl_tensor *dy, fl_tensor *dx, bool accumulate, float *dw)
{
    (void)d, (void)x, (void)w, (void)inverse, (void)dy, (void)dx, (void)accumulate, (void)dw;
}

static void null_layer_norm(fl_device *d, const fl_tensor *x, const float *w, const float *b, float eps, fl_tensor *y,
                            float *stats)
{
    (void)d, (void)x, (void)w, (void)b, (void)eps, (void)y, (void)stats;
}

static void null_layer_norm_backward(fl_device *d, const fl_tensor *x, const float *w, const float *stats,
                                     const fl_tensor *dy, fl_tensor *dx, bool accumulate, float *dw, float *db)
{
    (void)d, (void)x, (void)w, (void)stats, (void)dy, (void)dx, (void)accumulate, (void)dw, (void)db;
}

static void null_rotate(fl_device *d, const fl_tensor *x, int heads, int head_dim, const float *cos, const float *sin,
                        int pairs, bool interleaved, bool inverse, fl_tensor *y)
{
    (void)d, (void)x, (void)heads, (void)head_dim, (void)cos, (void)sin, (void)pairs, (void)interleaved;
    (void)inverse, (void)y;
}

static void null_kv_write(fl_device *d, const fl_kv_view *kv, int64_t first_token, const fl_tensor *k,
                          const fl_tensor *v, int64_t first_row, int64_t rows)
{
    (void)d, (void)kv, (void)first_token, (void)k, (void)v, (void)first_row, (void)rows;
}

static void null_kv_rotate(fl_device *d, const fl_kv_view *from, int64_t first, const float *cos, const float *sin,
                           int pairs, bool interleaved, const fl_kv_view *to)
{
    (void)d, (void)from, (void)first, (void)cos, (void)sin, (void)pairs, (void)interleaved, (void)to;
}

static void null_scale_rows(fl_device *d, const fl_tensor *x, const float *factor, fl_tensor *y)
{
    (void)d, (void)x, (void)factor, (void)y;
}

static void null_attend(fl_device *d, const fl_attend_args *args)
{
    (void)d, (void)args;
}

static void null_attend_backward(fl_device *d, const fl_attend_backward_args *args)
{
    (void)d, (void)args;
}

static void null_swiglu(fl_device *d, const fl_tensor *gate, const fl_tensor *up, fl_tensor *y)
{
    (void)d, (void)gate, (void)up, (void)y;
}

static void null_swiglu_backward(fl_device *d, const fl_tensor *gate, const fl_tensor *up, const fl_tensor *dy,
                                 fl_tensor *dgate, fl_tensor *dup)
{
    (void)d, (void)gate, (void)up, (void)dy, (void)dgate, (void)dup;
}

static void null_gelu(fl_device *d, const fl_tensor *x, bool tanh_form, fl_tensor *y)
{
    (void)d, (void)x, (void)tanh_form, (void)y;
}

static void null_gelu_backward(fl_device *d, const fl_tensor *x, bool tanh_form, const fl_tensor *dy, fl_tensor *dx)
{
    (void)d, (void)x, (void)tanh_form, (void)dy, (void)dx;
}

static void null_add(fl_device *d, const fl_tensor *a, const fl_tensor *b, fl_tensor *y)
{
    (void)d, (void)a, (void)b, (void)y;
}

static void null_copy(fl_device *d, const fl_tensor *from, fl_tensor *to)
{
    (void)d, (void)from, (void)to;
}

static void null_zero(fl_device *d, fl_tensor *t)
{
    (void)d, (void)t;
}

static void null_scale(fl_device *d, float factor, fl_tensor *t)
{
    (void)d, (void)factor, (void)t;
}

static void null_column_sum(fl_device *d, const fl_tensor *x, float *sum)
{
    (void)d, (void)x, (void)sum;
}

static void null_head(fl_device *d, const fl_head_args *args)
{
    (void)d, (void)args;
}

static double null_sum_squares(fl_device *d, const float *x, int64_t n)
{
    (void)d, (void)x, (void)n;
    return 0;
}

static void null_adamw(fl_device *d, const fl_adamw_args *args)
{
    (void)d, (void)args;
}

static const fl_device_table null_table = {
    .name = "null",
    .pack = null_pack,
    .packed_free = null_packed_free,
    .packed_bytes = fl_cpu_packed_bytes,
    .linear = null_linear,
    .matmul = null_matmul,
    .embed = null_embed,
    .embed_backward = null_embed_backward,
    .rms_norm = null_rms_norm,
    .rms_norm_backward = null_rms_norm_backward,
    .layer_norm = null_layer_norm,
    .layer_norm_backward = null_layer_norm_backward,
    .rotate = null_rotate,
    .kv_write = null_kv_write,
    .kv_rotate = null_kv_rotate,
    .scale_rows = null_scale_rows,
    .attend = null_attend,
    .attend_backward = null_attend_backward,
    .swiglu = null_swiglu,
    .swiglu_backward = null_swiglu_backward,
    .gelu = null_gelu,
    .gelu_backward = null_gelu_backward,
    .add = null_add,
    .copy = null_copy,
    .zero = null_zero,
    .scale = null_scale,
    .column_sum = null_column_sum,
    .head = null_head,
    .sum_squares = null_sum_squares,
    .adamw = null_adamw,
};

static fl_device null_device = {.table = &null_table};

fl_device *fl_null_device(void)
{
    return &null_device;
}
