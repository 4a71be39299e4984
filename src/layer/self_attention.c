#include <math.h>

#include "base/size.h"
#include "layer/shifted_attention.h"

static void rotate(fl_run *r, const fl_tensor *x, const fl_attention_shape *shape, int heads, fl_angles by,
                   bool inverse, fl_tensor *y)
{
    const fl_attention_plan *plan = r->attention;
    if (by.cos)
        r->device->table->rotate(r->device, x, heads, shape->head_dim, by.cos, by.sin, plan->pairs,
                                 plan->scheme->interleaved, inverse, y);
}

static void scale_logits(fl_run *r, fl_tensor *q)
{
    const float *scale = r->attention->logit_scale;
    if (scale) r->device->table->scale_rows(r->device, q, scale, q);
}

/* fp32 pages in the data arena for keys first .. keys-1, first a multiple of the page. */
static fl_kv_view scratch_view(fl_run *r, const fl_attention_shape *shape, int64_t first, int64_t keys)
{
    fl_kv_view view = {.shape = {shape->kv_heads, shape->head_dim, FL_F32, FL_F32}, .keys = keys};
    size_t count = (size_t)((keys + FL_PAGE_TOKENS - 1) / FL_PAGE_TOKENS);
    void **page = fl_attention_memory(r, count, sizeof *page);
    for (size_t i = 0; page && i < count; i++) {
        page[i] = NULL;
        if (i < (size_t)(first / FL_PAGE_TOKENS)) continue;
        page[i] = fl_arena_alloc(r->data, fl_kv_page_bytes(&view.shape));
        if (!page[i]) fl_run_fail(r, FL_ERR_MEMORY, "%s", fl_error_message());
    }
    view.page = page;
    return view;
}

/* Where each sequence's keys and values are kept; new rows are written on the way, keys as the scheme stores them. */
fl_attend_seq *fl_attention_gather(fl_run *r, int layer, const fl_attention_shape *shape, fl_tensor *k, fl_tensor *v)
{
    const fl_batch *b = r->batch;
    fl_attend_seq *seq = fl_attention_memory(r, (size_t)b->sequences, sizeof *seq);
    for (int i = 0; seq && i < b->sequences && r->status == FL_OK; i++) {
        const fl_batch_seq *s = &b->seq[i];
        fl_kv_view view = s->memory ? fl_memory_view(s->memory, layer) : scratch_view(r, shape, 0, s->rows);
        if (r->status != FL_OK) return NULL;
        r->device->table->kv_write(r->device, &view, fl_attention_keys(s), k, v, s->first_row, s->rows);
        seq[i] =
            (fl_attend_seq){.first_row = s->first_row, .rows = s->rows, .kv = view, .first_key = fl_attention_keys(s)};
    }
    return seq;
}

void fl_attention_set_ranges(const fl_run *r, fl_attend_seq *seq, int pass)
{
    for (int i = 0; i < r->batch->sequences; i++) {
        seq[i].lo = r->attention->pass[pass].lo + seq[i].first_row;
        seq[i].hi = r->attention->pass[pass].hi + seq[i].first_row;
    }
}

/* The sequences as a pass reads them: keys that it wants at other angles than the stored ones are turned in scratch
 * pages, tile by tile. */
static fl_attend_seq *pass_sequences(fl_run *r, const fl_attention_shape *shape, int pass, fl_attend_seq *stored)
{
    const fl_key_angles *keys = r->attention->pass[pass].keys;
    size_t n = (size_t)r->batch->sequences;
    fl_attention_set_ranges(r, stored, pass);
    if (!keys) return stored;
    fl_attend_seq *seq = fl_attention_memory(r, n, sizeof *seq);
    for (size_t i = 0; seq && i < n && r->status == FL_OK; i++) {
        seq[i] = stored[i];
        fl_kv_view view = scratch_view(r, shape, keys[i].first, stored[i].kv.keys);
        if (r->status != FL_OK) return NULL;
        r->device->table->kv_rotate(r->device, &stored[i].kv, keys[i].first, keys[i].tile.cos, keys[i].tile.sin,
                                    r->attention->pairs, r->attention->scheme->interleaved, &view);
        seq[i].kv = view;
    }
    return seq;
}

typedef struct attend_node {
    fl_node node;
    int layer;
    fl_attention_shape shape;
    float scale;
    fl_tensor *q, *k, *v, *out;
    float *lse;
} attend_node;

static void add_into(fl_run *r, fl_tensor *sum, const fl_tensor *part)
{
    r->device->table->add(r->device, sum, part, sum);
}

static void attend_backward(fl_run *r, fl_node *node)
{
    attend_node *n = (attend_node *)node;
    fl_tensor *dout = fl_run_grad_of(r, n->out);
    bool part[3] = {false};
    fl_tensor *dq = fl_run_grad(r, n->q, &part[0]), *dk = fl_run_grad(r, n->k, &part[1]),
              *dv = fl_run_grad(r, n->v, &part[2]);
    if (!dout || r->status != FL_OK) return;
    if (part[0] || part[1] || part[2]) {
        fl_run_fail(r, FL_ERR_STATE, "attention: q, k and v must not be used by another operator");
        return;
    }
    size_t data = fl_arena_mark(r->data), grads = fl_arena_mark(r->grads);
    bool halves = r->attention->halves;
    if (halves)
        fl_shifted_attend_backward(r, n->layer, &n->shape, n->scale,
                                   &(fl_attend_tensors){n->q, n->k, n->v, n->out, n->lse}, dout, dq, dk, dv);
    fl_attend_seq *seq = halves ? NULL : fl_attention_gather(r, n->layer, &n->shape, n->k, n->v);
    for (int p = 0; seq && p < r->attention->passes; p++) {
        fl_tensor *pq = dq, *pk = dk, *pv = dv;
        if (p > 0) {
            pq = fl_run_tensor(r, dq->rows, dq->cols);
            pk = fl_run_tensor(r, dk->rows, dk->cols);
            pv = fl_run_tensor(r, dv->rows, dv->cols);
        }
        if (r->status != FL_OK) return;
        fl_attention_set_ranges(r, seq, p);
        fl_attend_backward_args args = {.forward = {.sequences = r->batch->sequences,
                                                    .seq = seq,
                                                    .heads = n->shape.heads,
                                                    .scale = n->scale,
                                                    .q = n->q,
                                                    .out = n->out,
                                                    .lse = n->lse,
                                                    .slope = r->attention->scheme->alibi},
                                        .k = n->k,
                                        .v = n->v,
                                        .dout = dout,
                                        .dq = pq,
                                        .dk = pk,
                                        .dv = pv};
        r->device->table->attend_backward(r->device, &args);
        if (p > 0) {
            add_into(r, dq, pq);
            add_into(r, dk, pk);
            add_into(r, dv, pv);
        }
    }
    if (r->status != FL_OK) return;
    fl_arena_release(r->data, data);
    fl_arena_release(r->grads, grads);
    rotate(r, dq, &n->shape, n->shape.heads, r->attention->pass[0].query, true, dq);
    rotate(r, dk, &n->shape, n->shape.kv_heads, r->attention->stored, true, dk);
    scale_logits(r, dq);
}

static bool shapes_fit(fl_run *r, const fl_attention_shape *s, const fl_tensor *q, const fl_tensor *k,
                       const fl_tensor *v)
{
    int64_t q_cols = (int64_t)s->heads * s->head_dim, kv_cols = (int64_t)s->kv_heads * s->head_dim;
    if (s->head_dim > FL_HEAD_DIM_MAX) {
        fl_run_fail(r, FL_ERR_UNSUPPORTED, "attention: heads of size %d: the most is %d", s->head_dim, FL_HEAD_DIM_MAX);
        return false;
    }
    if (q->cols == q_cols && k->cols == kv_cols && v->cols == kv_cols && s->heads % s->kv_heads == 0) return true;
    fl_run_fail(r, FL_ERR_SHAPE, "attention of %d heads, %d kv heads of %d: q has %lld columns, k %lld, v %lld",
                s->heads, s->kv_heads, s->head_dim, (long long)q->cols, (long long)k->cols, (long long)v->cols);
    return false;
}

fl_tensor *fl_self_attend(fl_run *r, int layer, const fl_attention_shape *shape, fl_tensor *q, fl_tensor *k,
                          fl_tensor *v)
{
    if (!q || !k || !v || r->status != FL_OK || !shapes_fit(r, shape, q, k, v)) return NULL;
    const fl_attention_plan *plan = r->attention;
    if (plan->halves && !fl_shifted_fits(r, shape)) return NULL;
    fl_tensor *out = fl_run_tensor(r, q->rows, q->cols);
    float *lse = fl_run_floats(r, q->rows * shape->heads);
    if (r->status != FL_OK) return NULL;
    bool train = r->recording && (q->needs_grad || k->needs_grad || v->needs_grad);
    for (int i = 0; train && i < r->batch->sequences; i++)
        if (r->batch->seq[i].memory)
            return fl_run_fail(r, FL_ERR_UNSUPPORTED,
                               "gradients through a memory are not supported: train without one");

    scale_logits(r, q);
    rotate(r, k, shape, shape->kv_heads, plan->stored, false, k);
    if (plan->one_query) rotate(r, q, shape, shape->heads, plan->pass[0].query, false, q);

    size_t mark = fl_arena_mark(r->data);
    float scale = (float)(shape->scale > 0 ? shape->scale : 1.0 / sqrt(shape->head_dim));
    if (plan->halves) fl_shifted_attend(r, layer, shape, scale, &(fl_attend_tensors){q, k, v, out, lse});
    fl_attend_seq *stored = plan->halves ? NULL : fl_attention_gather(r, layer, shape, k, v);
    fl_tensor *query = plan->one_query ? q : fl_run_tensor(r, q->rows, q->cols);
    for (int p = 0; stored && p < plan->passes && r->status == FL_OK; p++) {
        if (p > 0 && !plan->pass[p].seen) continue;
        size_t before = fl_arena_mark(r->data);
        if (!plan->one_query) rotate(r, q, shape, shape->heads, plan->pass[p].query, false, query);
        fl_attend_seq *seq = pass_sequences(r, shape, p, stored);
        if (r->status != FL_OK) return NULL;
        fl_attend_args args = {r->batch->sequences, seq, shape->heads, scale, query, out, lse, p > 0,
                               plan->scheme->alibi};
        r->device->table->attend(r->device, &args);
        fl_arena_release(r->data, before);
    }
    if (r->status != FL_OK) return NULL;
    fl_arena_release(r->data, mark);
    out->needs_grad = train;
    if (train) {
        q->needs_grad = k->needs_grad = v->needs_grad = true;
        attend_node *n = fl_run_record(r, sizeof *n, attend_backward);
        if (n) {
            n->layer = layer, n->shape = *shape, n->scale = scale;
            n->q = q, n->k = k, n->v = v, n->out = out, n->lse = lse;
        }
    }
    return out;
}
