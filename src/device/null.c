/* The device that computes nothing. Sizes come from the same code as the CPU's, so that a run measured on it counts the
 * bytes that the real one will take; with a fl_work in its scratch it also counts the work. */
#include "device/cpu/cpu.h"
#include "device/device.h"

#include "base/size.h"

/* Never read: it only has to differ from NULL. */
static char nothing;

/* Where a call of this device is counted: nowhere unless asked for. */
static fl_work *counted(const fl_device *d)
{
    static _Thread_local fl_work nowhere;
    fl_work *work = d->scratch ? d->scratch : &nowhere;
    work->calls++;
    return work;
}

/* `times` tensors of this shape are read or written. */
static void rows(const fl_device *d, int times, int64_t count, int64_t cols)
{
    counted(d)->row_bytes += (double)times * (double)count * (double)cols * sizeof(float);
}

static void product(const fl_device *d, const fl_operand *w, int64_t m, int times)
{
    fl_work *work = counted(d);
    double flops = 2.0 * times * (double)m * (double)w->stored.rows * (double)w->stored.cols;
    *(w->packed ? &work->packed_flops : &work->plain_flops) += flops;
    if (w->packed) work->weight_bytes += (double)fl_cpu_packed_bytes(d, &w->stored);
}

/* Query-key pairs of one pass; *bytes gains the keys and values that it reads. */
static double pairs(const fl_attend_args *args, double *bytes)
{
    double n = 0;
    for (int i = 0; i < args->sequences; i++) {
        const fl_attend_seq *s = &args->seq[i];
        int64_t first = s->kv.keys, last = 0;
        for (int64_t r = 0; r < s->rows; r++) {
            if (s->hi[r] <= s->lo[r]) continue;
            n += (double)(s->hi[r] - s->lo[r]);
            first = fl_min64(first, s->lo[r]);
            last = fl_max64(last, s->hi[r]);
        }
        if (last > first) *bytes += (double)(last - first) * (double)fl_kv_page_bytes(&s->kv.shape) / FL_PAGE_TOKENS;
    }
    return n;
}

static fl_status null_pack(fl_device *d, const fl_stored *w, fl_packed **out)
{
    (void)d, (void)w;
    *out = (fl_packed *)(void *)&nothing;
    return FL_OK;
}

static fl_status null_packed_from(fl_device *d, const fl_panels *panels, fl_packed **out)
{
    (void)d, (void)panels;
    *out = (fl_packed *)(void *)&nothing;
    return FL_OK;
}

static fl_panels null_panels(const fl_device *d, const fl_packed *p)
{
    (void)d, (void)p;
    return (fl_panels){.layout = "null"};
}

static void null_packed_free(fl_device *d, fl_packed *p)
{
    (void)d, (void)p;
}

static void null_linear(fl_device *d, const fl_operand *w, const float *bias, const fl_tensor *x, fl_tensor *y,
                        bool accumulate)
{
    (void)bias, (void)y, (void)accumulate;
    product(d, w, x->rows, 1);
}

static void null_matmul(fl_device *d, const fl_stored *a, const fl_stored *b, float *c, int64_t ldc, bool accumulate)
{
    (void)c, (void)ldc, (void)accumulate;
    counted(d)->plain_flops += 2.0 * (double)a->rows * (double)a->cols * (double)b->rows;
}

static void null_embed(fl_device *d, const fl_stored *table, const int32_t *tokens, fl_tensor *out, bool accumulate)
{
    (void)table, (void)tokens, (void)accumulate;
    rows(d, 2, out->rows, out->cols);
}

static void null_embed_backward(fl_device *d, const int32_t *tokens, const fl_tensor *dout, float *dtable, int64_t cols)
{
    (void)tokens, (void)dtable;
    rows(d, 3, dout->rows, cols);
}

static void null_rms_norm(fl_device *d, const fl_tensor *x, const float *w, float eps, fl_tensor *y, float *inverse)
{
    (void)w, (void)eps, (void)y, (void)inverse;
    rows(d, 2, x->rows, x->cols);
}

static void null_rms_norm_backward(fl_device *d, const fl_tensor *x, const float *w, const float *inverse,
                                   const fl_tensor *dy, fl_tensor *dx, bool accumulate, float *dw)
{
    (void)w, (void)inverse, (void)dy, (void)dx, (void)accumulate, (void)dw;
    rows(d, 3, x->rows, x->cols);
}

static void null_layer_norm(fl_device *d, const fl_tensor *x, const float *w, const float *b, float eps, fl_tensor *y,
                            float *stats)
{
    (void)w, (void)b, (void)eps, (void)y, (void)stats;
    rows(d, 2, x->rows, x->cols);
}

static void null_layer_norm_backward(fl_device *d, const fl_tensor *x, const float *w, const float *stats,
                                     const fl_tensor *dy, fl_tensor *dx, bool accumulate, float *dw, float *db)
{
    (void)w, (void)stats, (void)dy, (void)dx, (void)accumulate, (void)dw, (void)db;
    rows(d, 3, x->rows, x->cols);
}

static void null_rotate(fl_device *d, const fl_tensor *x, int heads, int head_dim, const float *cos, const float *sin,
                        int pairs, bool interleaved, bool inverse, fl_tensor *y)
{
    (void)heads, (void)head_dim, (void)cos, (void)sin, (void)pairs, (void)interleaved, (void)inverse, (void)y;
    rows(d, 2, x->rows, x->cols);
}

static void null_kv_write(fl_device *d, const fl_kv_view *kv, int64_t first_token, const fl_tensor *k,
                          const fl_tensor *v, int64_t first_row, int64_t count)
{
    (void)kv, (void)first_token, (void)v, (void)first_row;
    rows(d, 4, count, k->cols);
}

static void null_kv_rotate(fl_device *d, const fl_kv_view *from, int64_t first, const float *cos, const float *sin,
                           int pairs, bool interleaved, const fl_kv_view *to)
{
    (void)first, (void)cos, (void)sin, (void)pairs, (void)interleaved, (void)to;
    rows(d, 2, from->keys, (int64_t)from->shape.kv_heads * from->shape.head_dim);
}

static void null_scale_rows(fl_device *d, const fl_tensor *x, const float *factor, fl_tensor *y)
{
    (void)factor, (void)y;
    rows(d, 2, x->rows, x->cols);
}

static void null_attend(fl_device *d, const fl_attend_args *args)
{
    fl_work *work = counted(d);
    work->attend_flops += 4.0 * pairs(args, &work->cache_bytes) * (double)args->q->cols;
}

static void null_attend_backward(fl_device *d, const fl_attend_backward_args *args)
{
    fl_work *work = counted(d);
    work->attend_backward_flops += 10.0 * pairs(&args->forward, &work->cache_bytes) * (double)args->forward.q->cols;
}

static void null_swiglu(fl_device *d, const fl_tensor *gate, const fl_tensor *up, fl_tensor *y)
{
    (void)up, (void)y;
    rows(d, 3, gate->rows, gate->cols);
}

static void null_swiglu_backward(fl_device *d, const fl_tensor *gate, const fl_tensor *up, const fl_tensor *dy,
                                 fl_tensor *dgate, fl_tensor *dup)
{
    (void)up, (void)dy, (void)dgate, (void)dup;
    rows(d, 5, gate->rows, gate->cols);
}

static void null_gelu(fl_device *d, const fl_tensor *x, bool tanh_form, fl_tensor *y)
{
    (void)tanh_form, (void)y;
    rows(d, 2, x->rows, x->cols);
}

static void null_gelu_backward(fl_device *d, const fl_tensor *x, bool tanh_form, const fl_tensor *dy, fl_tensor *dx)
{
    (void)tanh_form, (void)dy, (void)dx;
    rows(d, 3, x->rows, x->cols);
}

static void null_add(fl_device *d, const fl_tensor *a, const fl_tensor *b, fl_tensor *y)
{
    (void)b, (void)y;
    rows(d, 3, a->rows, a->cols);
}

static void null_copy(fl_device *d, const fl_tensor *from, fl_tensor *to)
{
    (void)to;
    rows(d, 2, from->rows, from->cols);
}

static void null_zero(fl_device *d, fl_tensor *t)
{
    rows(d, 1, t->rows, t->cols);
}

static void null_scale(fl_device *d, float factor, fl_tensor *t)
{
    (void)d, (void)factor, (void)t;
}

static void null_narrow(fl_device *d, void *to, const void *from, int64_t n)
{
    (void)to, (void)from;
    rows(d, 2, 1, n);
}

static void null_column_sum(fl_device *d, const fl_tensor *x, float *sum)
{
    (void)sum;
    rows(d, 1, x->rows, x->cols);
}

static void null_head(fl_device *d, const fl_head_args *args)
{
    int times = !args->dx ? 1 : args->dw ? 3 : 2; /* the backward products run in the same sweep */
    product(d, &args->w, args->n, times);
}

static double null_sum_squares(fl_device *d, const float *x, int64_t n)
{
    (void)x;
    rows(d, 1, 1, n);
    return 0;
}

static void null_adamw(fl_device *d, const fl_adamw_args *args)
{
    rows(d, 7, 1, args->n); /* four arrays read, three written */
}

static const fl_device_table null_table = {
    .name = "null",
    .pack = null_pack,
    .packed_from = null_packed_from,
    .panels = null_panels,
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
    .narrow = null_narrow,
    .widen = null_narrow,
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

fl_device fl_counting_device(fl_work *work)
{
    fl_device d = null_device;
    d.scratch = work;
    return d;
}
