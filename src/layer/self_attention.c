#include "layer/self_attention.h"

#include <math.h>

#include "base/size.h"

#define MAX_PASSES 2

/* Angles of a run of positions: cos and sin [rows][pairs]. */
typedef struct angles {
    float *cos, *sin;
} angles;

typedef struct fl_attention_plan {
    const fl_scheme *scheme;
    int pairs, passes;
    bool keys_unrotated;
    angles row;                               /* of the batch's rows */
    angles *memory;                           /* [sequences] of every key of a memory; only with keys_unrotated */
    int64_t *lo[MAX_PASSES], *hi[MAX_PASSES]; /* [rows] */
} fl_attention_plan;

static void *node_memory(fl_run *r, size_t count, size_t size)
{
    size_t bytes;
    void *p = fl_size_mul(count, size, &bytes) ? fl_arena_alloc(r->nodes, bytes) : NULL;
    return p ? p : fl_run_fail(r, FL_ERR_MEMORY, "%s", fl_error_message());
}

static angles angles_new(fl_run *r, int64_t rows, int pairs)
{
    float *both = fl_run_floats(r, 2 * rows * pairs);
    return both ? (angles){both, both + rows * pairs} : (angles){0};
}

static int64_t keys_before(const fl_batch_seq *s)
{
    return s->memory ? fl_memory_tokens(s->memory) : 0;
}

static void fill_angles(fl_run *r, const fl_attention_plan *plan, const double *freq, double magnitude, angles a,
                        int64_t first_position, int64_t first_row, int64_t rows)
{
    if (fl_arena_counting(r->data)) return;
    fl_rope_table(freq, plan->pairs, magnitude, NULL, first_position, rows, a.cos + first_row * plan->pairs,
                  a.sin + first_row * plan->pairs);
}

static void prepare_angles(fl_run *r, fl_attention_plan *plan)
{
    const fl_batch *b = r->batch;
    const fl_rope_spec *rope = plan->scheme->rope;
    plan->pairs = rope->dim / 2;
    plan->keys_unrotated = fl_rope_depends_on_length(rope);
    plan->row = angles_new(r, b->rows, plan->pairs);
    if (plan->keys_unrotated) plan->memory = node_memory(r, (size_t)b->sequences, sizeof *plan->memory);
    for (int i = 0; i < b->sequences && r->status == FL_OK; i++) {
        const fl_batch_seq *s = &b->seq[i];
        double freq[FL_ROPE_MAX_PAIRS], magnitude;
        int64_t length = fl_max64(s->length, s->first_position + s->rows);
        if (fl_rope_frequencies(rope, length, freq, &magnitude) != FL_OK) {
            fl_run_fail(r, FL_ERR_ARGUMENT, "%s", fl_error_message());
            return;
        }
        fill_angles(r, plan, freq, magnitude, plan->row, s->first_position, s->first_row, s->rows);
        if (!plan->keys_unrotated || !s->memory) continue;
        int64_t keys = keys_before(s) + s->rows;
        plan->memory[i] = angles_new(r, keys, plan->pairs);
        if (r->status == FL_OK)
            fill_angles(r, plan, freq, magnitude, plan->memory[i], s->first_position - keys_before(s), 0, keys);
    }
}

static void prepare_ranges(fl_run *r, fl_attention_plan *plan)
{
    const fl_batch *b = r->batch;
    const fl_scheme *scheme = plan->scheme;
    plan->passes = scheme->window > 0 && scheme->sinks > 0 ? 2 : 1;
    for (int p = 0; p < plan->passes; p++) {
        plan->lo[p] = node_memory(r, (size_t)b->rows, sizeof(int64_t));
        plan->hi[p] = node_memory(r, (size_t)b->rows, sizeof(int64_t));
    }
    if (r->status != FL_OK) return;
    for (int i = 0; i < b->sequences; i++) {
        const fl_batch_seq *s = &b->seq[i];
        int64_t before = keys_before(s);
        for (int64_t j = 0; j < s->rows; j++) {
            int64_t row = s->first_row + j, key = before + j;
            plan->lo[0][row] = scheme->window > 0 ? fl_max64(0, key + 1 - scheme->window) : 0;
            plan->hi[0][row] = scheme->bidirectional ? before + s->rows : key + 1;
            if (plan->passes == 2) {
                plan->lo[1][row] = 0;
                plan->hi[1][row] = fl_min64(scheme->sinks, plan->lo[0][row]);
            }
        }
    }
}

void fl_attention_prepare(fl_run *r, const fl_scheme *scheme)
{
    if (r->status != FL_OK) return;
    fl_attention_plan *plan = node_memory(r, 1, sizeof *plan);
    if (!plan) return;
    *plan = (fl_attention_plan){.scheme = scheme};
    if (scheme->rope) prepare_angles(r, plan);
    prepare_ranges(r, plan);
    r->attention = plan;
}

static void rotate(fl_run *r, const fl_attention_plan *plan, fl_tensor *x, const fl_attention_shape *shape, int heads,
                   bool inverse)
{
    if (plan->scheme->rope)
        r->device->table->rotate(r->device, x, heads, shape->head_dim, plan->row.cos, plan->row.sin, plan->pairs,
                                 plan->scheme->interleaved, inverse, x);
}

/* Pages in the data arena, for sequences without a memory and for keys rotated at use. */
static fl_kv_view scratch_view(fl_run *r, const fl_attention_shape *shape, int64_t keys)
{
    fl_kv_view view = {.shape = {shape->kv_heads, shape->head_dim, FL_F32, FL_F32}, .keys = keys};
    size_t count = (size_t)((keys + FL_PAGE_TOKENS - 1) / FL_PAGE_TOKENS);
    void **page = node_memory(r, count, sizeof *page);
    for (size_t i = 0; page && i < count; i++) {
        page[i] = fl_arena_alloc(r->data, fl_kv_page_bytes(&view.shape));
        if (!page[i]) fl_run_fail(r, FL_ERR_MEMORY, "%s", fl_error_message());
    }
    view.page = page;
    return view;
}

/* The memory's keys rotated for the present length. */
static fl_kv_view rotated_view(fl_run *r, const fl_attention_plan *plan, const fl_attention_shape *shape,
                               fl_kv_view stored, angles a)
{
    fl_kv_view view = scratch_view(r, shape, stored.keys);
    fl_tensor *k = fl_run_tensor(r, stored.keys, (int64_t)shape->kv_heads * shape->head_dim);
    fl_tensor *v = fl_run_tensor(r, stored.keys, (int64_t)shape->kv_heads * shape->head_dim);
    if (r->status != FL_OK) return view;
    const fl_device_table *d = r->device->table;
    d->kv_read(r->device, &stored, 0, k, v);
    d->rotate(r->device, k, shape->kv_heads, shape->head_dim, a.cos, a.sin, plan->pairs, plan->scheme->interleaved,
              false, k);
    d->kv_write(r->device, &view, 0, k, v, 0, stored.keys);
    return view;
}

/* Where each sequence's keys and values are read; new rows are written on the way. k is rotated unless stored raw. */
static fl_attend_seq *gather(fl_run *r, int layer, const fl_attention_shape *shape, fl_tensor *k, fl_tensor *v)
{
    const fl_batch *b = r->batch;
    const fl_attention_plan *plan = r->attention;
    fl_attend_seq *seq = node_memory(r, (size_t)b->sequences, sizeof *seq);
    for (int i = 0; seq && i < b->sequences && r->status == FL_OK; i++) {
        const fl_batch_seq *s = &b->seq[i];
        fl_kv_view view = s->memory ? fl_memory_view(s->memory, layer) : scratch_view(r, shape, s->rows);
        if (r->status != FL_OK) return NULL;
        r->device->table->kv_write(r->device, &view, keys_before(s), k, v, s->first_row, s->rows);
        if (plan->keys_unrotated && s->memory) view = rotated_view(r, plan, shape, view, plan->memory[i]);
        seq[i] = (fl_attend_seq){.first_row = s->first_row, .rows = s->rows, .kv = view};
    }
    return seq;
}

static void set_pass(const fl_run *r, fl_attend_seq *seq, int pass)
{
    for (int i = 0; i < r->batch->sequences; i++) {
        seq[i].lo = r->attention->lo[pass] + seq[i].first_row;
        seq[i].hi = r->attention->hi[pass] + seq[i].first_row;
    }
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
    fl_attend_seq *seq = gather(r, n->layer, &n->shape, n->k, n->v);
    for (int p = 0; seq && p < r->attention->passes; p++) {
        fl_tensor *pq = dq, *pk = dk, *pv = dv;
        if (p > 0) {
            pq = fl_run_tensor(r, dq->rows, dq->cols);
            pk = fl_run_tensor(r, dk->rows, dk->cols);
            pv = fl_run_tensor(r, dv->rows, dv->cols);
        }
        if (r->status != FL_OK) return;
        set_pass(r, seq, p);
        fl_attend_backward_args args = {.forward = {.sequences = r->batch->sequences,
                                                    .seq = seq,
                                                    .heads = n->shape.heads,
                                                    .scale = n->scale,
                                                    .q = n->q,
                                                    .out = n->out,
                                                    .lse = n->lse},
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
    rotate(r, r->attention, dq, &n->shape, n->shape.heads, true);
    rotate(r, r->attention, dk, &n->shape, n->shape.kv_heads, true);
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
    fl_tensor *out = fl_run_tensor(r, q->rows, q->cols);
    float *lse = fl_run_floats(r, q->rows * shape->heads);
    if (r->status != FL_OK) return NULL;
    bool alone = true;
    for (int i = 0; i < r->batch->sequences; i++)
        alone = alone && !r->batch->seq[i].memory;
    bool train = r->recording && (q->needs_grad || k->needs_grad || v->needs_grad);
    if (train && !alone)
        return fl_run_fail(r, FL_ERR_UNSUPPORTED, "gradients through a memory are not supported: train without one");

    rotate(r, plan, q, shape, shape->heads, false);
    /* Keys of a sequence that stands alone are always rotated here: only a memory outlives the present length. */
    if (!plan->keys_unrotated || alone)
        rotate(r, plan, k, shape, shape->kv_heads, false);
    else
        for (int i = 0; i < r->batch->sequences; i++)
            if (!r->batch->seq[i].memory)
                return fl_run_fail(r, FL_ERR_UNSUPPORTED,
                                   "a batch must not mix sequences with and without a memory "
                                   "when keys are rotated at use");

    size_t mark = fl_arena_mark(r->data);
    float scale = (float)(shape->scale > 0 ? shape->scale : 1.0 / sqrt(shape->head_dim));
    fl_attend_seq *seq = gather(r, layer, shape, k, v);
    for (int p = 0; seq && p < plan->passes; p++) {
        set_pass(r, seq, p);
        fl_attend_args args = {r->batch->sequences, seq, shape->heads, scale, q, out, lse, p > 0};
        r->device->table->attend(r->device, &args);
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
