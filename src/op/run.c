#include "op/run.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/size.h"

fl_status fl_run_create(fl_run **out, fl_engine *engine, size_t limit_bytes, bool counting)
{
    fl_run *r = fl_calloc(1, sizeof *r);
    if (!r) return FL_ERR_MEMORY;
    r->engine = engine;
    r->device = counting ? fl_null_device() : engine->device;
    fl_status s = fl_arena_create(&r->data, limit_bytes, counting);
    if (s == FL_OK) s = fl_arena_create(&r->grads, limit_bytes, counting);
    if (s == FL_OK) s = fl_arena_create(&r->nodes, 0, false);
    if (s != FL_OK) {
        fl_run_destroy(r);
        return s;
    }
    *out = r;
    return FL_OK;
}

void fl_run_destroy(fl_run *r)
{
    if (!r) return;
    fl_arena_destroy(r->data);
    fl_arena_destroy(r->grads);
    fl_arena_destroy(r->nodes);
    fl_free(r);
}

void fl_run_begin(fl_run *r, const fl_batch *batch, const fl_overlay *overlay, bool recording)
{
    fl_arena_release(r->data, 0);
    fl_arena_release(r->grads, 0);
    fl_arena_release(r->nodes, 0);
    r->batch = batch;
    r->overlay = overlay;
    r->attention = NULL;
    r->tape = NULL;
    r->exact = NULL;
    r->recording = recording;
    r->status = FL_OK;
    r->message[0] = 0;
}

void fl_run_backward_to(fl_run *r, fl_node *stop)
{
    bool recording = r->recording;
    r->recording = false;
    while (r->tape != stop && r->status == FL_OK) {
        fl_node *node = r->tape;
        r->tape = node->previous;
        node->backward(r, node);
    }
    r->recording = recording;
}

void fl_run_backward(fl_run *r)
{
    fl_run_backward_to(r, NULL);
}

fl_status fl_run_status(fl_run *r)
{
    return r->status == FL_OK ? FL_OK : fl_fail(r->status, "%s", r->message);
}

void *fl_run_fail(fl_run *r, fl_status code, const char *format, ...)
{
    if (r->status == FL_OK) {
        r->status = code;
        va_list list;
        va_start(list, format);
        vsnprintf(r->message, sizeof r->message, format, list);
        va_end(list);
    }
    return NULL;
}

static void *small(fl_run *r, size_t size)
{
    void *p = fl_arena_alloc(r->nodes, size);
    if (!p) return fl_run_fail(r, FL_ERR_MEMORY, "%s", fl_error_message());
    memset(p, 0, size);
    return p;
}

static void *values(fl_run *r, fl_arena *arena, int64_t rows, int64_t cols)
{
    size_t bytes;
    if (!fl_size_product((int64_t[]){rows, cols, (int64_t)sizeof(float)}, 3, &bytes))
        return fl_run_fail(r, FL_ERR_MEMORY, "a tensor of %lld x %lld values is too large", (long long)rows,
                           (long long)cols);
    void *p = fl_arena_alloc(arena, bytes);
    if (!p) return fl_run_fail(r, FL_ERR_MEMORY, "%s", fl_error_message());
    return p;
}

fl_tensor *fl_run_tensor(fl_run *r, int64_t rows, int64_t cols)
{
    if (r->status != FL_OK) return NULL;
    fl_tensor *t = small(r, sizeof *t);
    void *data = t ? values(r, r->data, rows, cols) : NULL;
    if (!data) return NULL;
    *t = (fl_tensor){.type = FL_F32, .rows = rows, .cols = cols, .ld = cols, .data = data};
    return t;
}

float *fl_run_floats(fl_run *r, int64_t n)
{
    if (r->status != FL_OK) return NULL;
    float *data = values(r, r->data, 1, n);
    fl_exact *e = data && r->half && r->recording ? small(r, sizeof *e) : NULL;
    if (e) {
        *e = (fl_exact){r->exact, data, (size_t)fl_round_up(n * (int64_t)sizeof(float), FL_ALIGNMENT)};
        r->exact = e;
    }
    return data;
}

void *fl_run_record(fl_run *r, size_t size, void (*backward)(fl_run *, fl_node *))
{
    if (r->status != FL_OK) return NULL;
    fl_node *node = small(r, size);
    if (!node) return NULL;
    node->backward = backward;
    node->previous = r->tape;
    r->tape = node;
    return node;
}

fl_tensor *fl_run_grad_of(fl_run *r, const fl_tensor *t)
{
    if (!t->grad || r->status != FL_OK) return NULL;
    fl_tensor *g = small(r, sizeof *g);
    if (g) *g = (fl_tensor){.type = FL_F32, .rows = t->rows, .cols = t->cols, .ld = t->cols, .data = t->grad};
    return g;
}

fl_tensor *fl_run_grad(fl_run *r, fl_tensor *t, bool *accumulate)
{
    if (!t->needs_grad || r->status != FL_OK) return NULL;
    *accumulate = t->grad != NULL;
    if (!t->grad) t->grad = values(r, r->grads, t->rows, t->cols);
    return fl_run_grad_of(r, t);
}

static float *master_of(const fl_run *r, const fl_weight *w)
{
    return r->overlay && w->index < r->overlay->count ? r->overlay->master[w->index] : NULL;
}

fl_operand fl_run_operand(const fl_run *r, const fl_weight *w)
{
    float *master = master_of(r, w);
    if (!master) return (fl_operand){w->packed, w->stored};
    return (fl_operand){NULL, {FL_F32, w->stored.rows, w->stored.cols, w->stored.cols, 1, master}};
}

fl_stored fl_run_unblocked(fl_run *r, fl_stored w)
{
    if (r->status != FL_OK || fl_dtype_get(w.type)->block == 1) return w;
    int32_t *rows = fl_arena_alloc(r->nodes, (size_t)w.rows * sizeof *rows);
    fl_tensor *plain = fl_run_tensor(r, w.rows, w.cols);
    if (!rows) fl_run_fail(r, FL_ERR_MEMORY, "%s", fl_error_message());
    if (r->status != FL_OK) return w;
    for (int64_t i = 0; i < w.rows; i++)
        rows[i] = (int32_t)i;
    r->device->table->embed(r->device, &w, rows, plain, false);
    return (fl_stored){FL_F32, w.rows, w.cols, w.cols, 1, plain->data};
}

const float *fl_run_vector(const fl_run *r, const fl_weight *w)
{
    if (!w) return NULL;
    float *master = master_of(r, w);
    return master ? master : w->values;
}

const fl_adapter *fl_run_adapter(const fl_run *r, const fl_weight *w)
{
    if (!r->overlay || !r->overlay->adapter || w->index >= r->overlay->count) return NULL;
    const fl_adapter *a = &r->overlay->adapter[w->index];
    return a->rank ? a : NULL;
}

float *fl_run_weight_grad(const fl_run *r, const fl_weight *w)
{
    return w && master_of(r, w) ? r->overlay->grad[w->index] : NULL;
}
