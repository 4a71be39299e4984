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
