#include "layer/shifted_attention.h"

/* One half of the heads, as columns of the whole. */
typedef struct half {
    fl_attention_shape shape;
    int64_t q_first, kv_first; /* columns */
    fl_tensor q, k, v, out;
    float *lse;
    const float *slope;
} half;

static fl_tensor columns(const fl_tensor *t, int64_t first, int heads, int head_dim)
{
    fl_tensor part = *t;
    part.data = (float *)t->data + first;
    part.cols = (int64_t)heads * head_dim;
    return part;
}

bool fl_shifted_fits(fl_run *r, const fl_attention_shape *s)
{
    if (s->heads % 2 == 0 && (s->kv_heads % 2 == 0 || s->kv_heads == 1)) return true;
    fl_run_fail(r, FL_ERR_UNSUPPORTED,
                "shifted sparse attention shifts half of the heads: %d heads over %d key heads do not fall into halves",
                s->heads, s->kv_heads);
    return false;
}

static half half_of(const fl_run *r, const fl_attention_shape *shape, const fl_attend_tensors *t, int which)
{
    const float *slopes = r->attention->scheme->alibi;
    bool shared = shape->kv_heads == 1;
    half h = {.shape = *shape};
    h.shape.heads /= 2;
    if (!shared) h.shape.kv_heads /= 2;
    h.q_first = which * (int64_t)h.shape.heads * shape->head_dim;
    h.kv_first = shared ? 0 : which * (int64_t)h.shape.kv_heads * shape->head_dim;
    h.q = columns(t->q, h.q_first, h.shape.heads, shape->head_dim);
    h.out = columns(t->out, h.q_first, h.shape.heads, shape->head_dim);
    h.k = columns(t->k, h.kv_first, h.shape.kv_heads, shape->head_dim);
    h.v = columns(t->v, h.kv_first, h.shape.kv_heads, shape->head_dim);
    h.lse = t->lse + which * t->q->rows * h.shape.heads;
    h.slope = slopes ? slopes + which * h.shape.heads : NULL;
    return h;
}

/* With the half's keys and values in scratch pages and its key ranges; the run may have failed. */
static fl_attend_args arguments(fl_run *r, int layer, half *h, int which, float scale)
{
    fl_attend_seq *seq = fl_attention_gather(r, layer, &h->shape, &h->k, &h->v);
    if (seq) fl_attention_set_ranges(r, seq, which);
    return (fl_attend_args){.sequences = r->batch->sequences,
                            .seq = seq,
                            .heads = h->shape.heads,
                            .scale = scale,
                            .slope = h->slope,
                            .q = &h->q,
                            .out = &h->out,
                            .lse = h->lse};
}

void fl_shifted_attend(fl_run *r, int layer, const fl_attention_shape *shape, float scale, const fl_attend_tensors *t)
{
    for (int which = 0; which < 2 && r->status == FL_OK; which++) {
        size_t mark = fl_arena_mark(r->data);
        half h = half_of(r, shape, t, which);
        fl_attend_args args = arguments(r, layer, &h, which, scale);
        if (r->status != FL_OK) return;
        r->device->table->attend(r->device, &args);
        fl_arena_release(r->data, mark);
    }
}

void fl_shifted_attend_backward(fl_run *r, int layer, const fl_attention_shape *shape, float scale,
                                const fl_attend_tensors *t, const fl_tensor *dout, fl_tensor *dq, fl_tensor *dk,
                                fl_tensor *dv)
{
    for (int which = 0; which < 2 && r->status == FL_OK; which++) {
        size_t mark = fl_arena_mark(r->data);
        half h = half_of(r, shape, t, which);
        fl_tensor half_dout = columns(dout, h.q_first, h.shape.heads, shape->head_dim),
                  half_dq = columns(dq, h.q_first, h.shape.heads, shape->head_dim),
                  half_dk = columns(dk, h.kv_first, h.shape.kv_heads, shape->head_dim),
                  half_dv = columns(dv, h.kv_first, h.shape.kv_heads, shape->head_dim);
        fl_attend_args forward = arguments(r, layer, &h, which, scale);
        bool again = which == 1 && shape->kv_heads == 1; /* the gradients of the only key head are a sum */
        fl_tensor *to_dk = again ? fl_run_tensor(r, dk->rows, dk->cols) : &half_dk,
                  *to_dv = again ? fl_run_tensor(r, dv->rows, dv->cols) : &half_dv;
        if (r->status != FL_OK) return;
        fl_attend_backward_args args = {
            .forward = forward, .k = &h.k, .v = &h.v, .dout = &half_dout, .dq = &half_dq, .dk = to_dk, .dv = to_dv};
        r->device->table->attend_backward(r->device, &args);
        if (again) {
            r->device->table->add(r->device, dk, to_dk, dk);
            r->device->table->add(r->device, dv, to_dv, dv);
        }
        fl_arena_release(r->data, mark);
    }
}
