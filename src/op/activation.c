/* Elementwise non-linearities of feed-forward layers; the backward passes compute them again from their inputs. */
#include "op/op.h"

typedef struct activation_node {
    fl_node node;
    fl_tensor *x, *up, *y;
    bool tanh_form;
} activation_node;

static void swiglu_backward(fl_run *r, fl_node *node)
{
    activation_node *n = (activation_node *)node;
    fl_tensor *dy = fl_run_grad_of(r, n->y);
    /* gate and up have one consumer each, so nothing has been accumulated before. */
    bool gate_part, up_part;
    fl_tensor *dgate = fl_run_grad(r, n->x, &gate_part), *dup = fl_run_grad(r, n->up, &up_part);
    if (!dy || !dgate || !dup) return;
    if (gate_part || up_part) {
        fl_run_fail(r, FL_ERR_STATE, "swiglu: gate and up must not be used by another operator");
        return;
    }
    r->device->table->swiglu_backward(r->device, n->x, n->up, dy, dgate, dup);
}

static void gelu_backward(fl_run *r, fl_node *node)
{
    activation_node *n = (activation_node *)node;
    fl_tensor *dy = fl_run_grad_of(r, n->y);
    bool part;
    fl_tensor *dx = fl_run_grad(r, n->x, &part);
    if (!dy || !dx) return;
    if (part) {
        fl_run_fail(r, FL_ERR_STATE, "gelu: its input must not be used by another operator");
        return;
    }
    r->device->table->gelu_backward(r->device, n->x, n->tanh_form, dy, dx);
}

fl_tensor *fl_swiglu(fl_run *r, fl_tensor *gate, fl_tensor *up)
{
    if (!gate || !up || r->status != FL_OK) return NULL;
    if (gate->rows != up->rows || gate->cols != up->cols)
        return fl_run_fail(r, FL_ERR_SHAPE, "swiglu: gate is [%lld, %lld] but up is [%lld, %lld]",
                           (long long)gate->rows, (long long)gate->cols, (long long)up->rows, (long long)up->cols);
    fl_tensor *y = r->recording ? fl_run_tensor(r, gate->rows, gate->cols) : gate;
    if (!y) return NULL;
    r->device->table->swiglu(r->device, gate, up, y);
    y->needs_grad = gate->needs_grad || up->needs_grad;
    if (r->recording && y->needs_grad) {
        gate->needs_grad = up->needs_grad = true;
        activation_node *n = fl_run_record(r, sizeof *n, swiglu_backward);
        if (n) n->x = gate, n->up = up, n->y = y;
    }
    return y;
}

fl_tensor *fl_gelu(fl_run *r, fl_tensor *x, bool tanh_form)
{
    if (!x || r->status != FL_OK) return NULL;
    fl_tensor *y = r->recording ? fl_run_tensor(r, x->rows, x->cols) : x;
    if (!y) return NULL;
    r->device->table->gelu(r->device, x, tanh_form, y);
    y->needs_grad = x->needs_grad;
    if (r->recording && y->needs_grad) {
        activation_node *n = fl_run_record(r, sizeof *n, gelu_backward);
        if (n) n->x = x, n->y = y, n->tanh_form = tanh_form;
    }
    return y;
}
