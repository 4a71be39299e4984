/* RMSNorm and LayerNorm. One number (1/rms) or two (mean, 1/deviation) per row are kept for the backward pass. */
#include "op/op.h"

typedef struct norm_node {
    fl_node node;
    fl_tensor *x, *y;
    const fl_weight *w, *b;
    float *stats;
} norm_node;

static void rms_norm_backward(fl_run *r, fl_node *node)
{
    norm_node *n = (norm_node *)node;
    fl_tensor *dy = fl_run_grad_of(r, n->y);
    bool accumulate = false;
    fl_tensor *dx = fl_run_grad(r, n->x, &accumulate);
    if (!dy || r->status != FL_OK) return;
    r->device->table->rms_norm_backward(r->device, n->x, fl_run_vector(r, n->w), n->stats, dy, dx, accumulate,
                                        fl_run_weight_grad(r, n->w));
}

static void layer_norm_backward(fl_run *r, fl_node *node)
{
    norm_node *n = (norm_node *)node;
    fl_tensor *dy = fl_run_grad_of(r, n->y);
    bool accumulate = false;
    fl_tensor *dx = fl_run_grad(r, n->x, &accumulate);
    if (!dy || r->status != FL_OK) return;
    r->device->table->layer_norm_backward(r->device, n->x, fl_run_vector(r, n->w), n->stats, dy, dx, accumulate,
                                          fl_run_weight_grad(r, n->w), fl_run_weight_grad(r, n->b));
}

static bool fits(fl_run *r, const fl_tensor *x, const fl_weight *w)
{
    if (x->cols == w->stored.cols) return true;
    fl_run_fail(r, FL_ERR_SHAPE, "%s has %lld values but its input has %lld columns", w->name,
                (long long)w->stored.cols, (long long)x->cols);
    return false;
}

static void record(fl_run *r, fl_tensor *x, fl_tensor *y, const fl_weight *w, const fl_weight *b, float *stats,
                   void (*backward)(fl_run *, fl_node *))
{
    y->needs_grad = x->needs_grad || fl_run_weight_grad(r, w) || fl_run_weight_grad(r, b);
    if (!r->recording || !y->needs_grad) return;
    norm_node *n = fl_run_record(r, sizeof *n, backward);
    if (n) n->x = x, n->y = y, n->w = w, n->b = b, n->stats = stats;
}

fl_tensor *fl_rms_norm(fl_run *r, fl_tensor *x, const fl_weight *w, double eps)
{
    if (!x || r->status != FL_OK || !fits(r, x, w)) return NULL;
    fl_tensor *y = fl_run_tensor(r, x->rows, x->cols);
    float *inverse = r->recording ? fl_run_floats(r, x->rows) : NULL;
    if (r->status != FL_OK) return NULL;
    r->device->table->rms_norm(r->device, x, fl_run_vector(r, w), (float)eps, y, inverse);
    record(r, x, y, w, NULL, inverse, rms_norm_backward);
    return y;
}

/* The same memory with one head per row. */
static fl_tensor *by_heads(fl_run *r, fl_tensor *x, int64_t head_dim)
{
    fl_tensor *t = fl_arena_alloc(r->nodes, sizeof *t);
    if (!t) return fl_run_fail(r, FL_ERR_MEMORY, "%s", fl_error_message());
    *t = *x;
    t->rows = x->rows * (x->cols / head_dim);
    t->cols = t->ld = head_dim;
    return t;
}

typedef struct reshape_node {
    fl_node node;
    fl_tensor *from, *to;
} reshape_node;

/* Both shapes share the gradient's memory as they share the data. */
static void reshape_backward(fl_run *r, fl_node *node)
{
    reshape_node *n = (reshape_node *)node;
    if (n->from->grad)
        fl_run_fail(r, FL_ERR_STATE, "the input of a norm over heads must not be used by another operator");
    n->from->grad = n->to->grad;
}

static void record_reshape(fl_run *r, fl_tensor *from, fl_tensor *to)
{
    reshape_node *n = r->recording && from->needs_grad ? fl_run_record(r, sizeof *n, reshape_backward) : NULL;
    if (n) n->from = from, n->to = to;
}

fl_tensor *fl_rms_norm_heads(fl_run *r, fl_tensor *x, const fl_weight *w, double eps)
{
    if (!x || r->status != FL_OK) return NULL;
    int64_t head_dim = w->stored.cols;
    if (x->cols % head_dim || x->ld != x->cols)
        return fl_run_fail(r, FL_ERR_SHAPE, "%s has %lld values, which do not divide the %lld columns of its input",
                           w->name, (long long)head_dim, (long long)x->cols);
    fl_tensor *heads = by_heads(r, x, head_dim);
    if (!heads) return NULL;
    record_reshape(r, x, heads);
    fl_tensor *normed = fl_rms_norm(r, heads, w, eps);
    fl_tensor *y = normed ? by_heads(r, normed, head_dim) : NULL;
    if (!y) return NULL;
    y->rows = x->rows;
    y->cols = y->ld = x->cols;
    record_reshape(r, normed, y);
    return y;
}

fl_tensor *fl_layer_norm(fl_run *r, fl_tensor *x, const fl_weight *w, const fl_weight *b, double eps)
{
    if (!x || r->status != FL_OK || !fits(r, x, w)) return NULL;
    fl_tensor *y = fl_run_tensor(r, x->rows, x->cols);
    float *stats = r->recording ? fl_run_floats(r, 2 * x->rows) : NULL;
    if (r->status != FL_OK) return NULL;
    r->device->table->layer_norm(r->device, x, fl_run_vector(r, w), fl_run_vector(r, b), (float)eps, y, stats);
    record(r, x, y, w, b, stats, layer_norm_backward);
    return y;
}
