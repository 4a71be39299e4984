/* y = a + b        da += dy        db += dy */
#include "op/op.h"

typedef struct add_node {
    fl_node node;
    fl_tensor *a, *b, *y;
} add_node;

static void pass_on(fl_run *r, fl_tensor *t, const fl_tensor *dy)
{
    bool accumulate;
    fl_tensor *dt = fl_run_grad(r, t, &accumulate);
    if (!dt) return;
    if (accumulate)
        r->device->table->add(r->device, dt, dy, dt);
    else
        r->device->table->copy(r->device, dy, dt);
}

static void add_backward(fl_run *r, fl_node *node)
{
    add_node *n = (add_node *)node;
    fl_tensor *dy = fl_run_grad_of(r, n->y);
    if (!dy) return;
    pass_on(r, n->a, dy);
    /* Nobody reads the gradient of y after this node, so one operand may simply take it over. */
    if (n->b->needs_grad && !n->b->grad && n->b != n->a)
        n->b->grad = n->y->grad;
    else
        pass_on(r, n->b, dy);
}

fl_tensor *fl_add(fl_run *r, fl_tensor *a, fl_tensor *b)
{
    if (!a || !b || r->status != FL_OK) return NULL;
    if (a->rows != b->rows || a->cols != b->cols)
        return fl_run_fail(r, FL_ERR_SHAPE, "cannot add [%lld, %lld] and [%lld, %lld]", (long long)a->rows,
                           (long long)a->cols, (long long)b->rows, (long long)b->cols);
    fl_tensor *y = r->recording ? fl_run_tensor(r, a->rows, a->cols) : a;
    if (!y) return NULL;
    r->device->table->add(r->device, a, b, y);
    y->needs_grad = a->needs_grad || b->needs_grad;
    if (r->recording && y->needs_grad) {
        add_node *n = fl_run_record(r, sizeof *n, add_backward);
        if (n) n->a = a, n->b = b, n->y = y;
    }
    return y;
}
