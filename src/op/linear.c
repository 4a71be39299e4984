/* y[m, out] = x[m, in] W^T + b        dx = dy W        dW += dy^T x        db += column sums of dy */
#include "op/op.h"

typedef struct linear_node {
    fl_node node;
    fl_tensor *x, *y;
    const fl_weight *w, *bias;
} linear_node;

static void linear_backward(fl_run *r, fl_node *node)
{
    linear_node *n = (linear_node *)node;
    fl_tensor *dy = fl_run_grad_of(r, n->y);
    if (!dy) return;
    const fl_device_table *d = r->device->table;
    int64_t rows = n->w->stored.rows, cols = n->w->stored.cols;
    bool accumulate;
    fl_tensor *dx = fl_run_grad(r, n->x, &accumulate);
    if (dx) {
        size_t data = fl_arena_mark(r->data);
        fl_stored w = fl_run_unblocked(r, fl_run_operand(r, n->w).stored);
        if (r->status != FL_OK) return;
        fl_stored transposed = {w.type, cols, rows, w.col_stride, w.row_stride, w.data};
        fl_stored a = {FL_F32, dy->rows, rows, dy->ld, 1, dy->data};
        d->matmul(r->device, &a, &transposed, dx->data, dx->ld, accumulate);
        fl_arena_release(r->data, data);
    }
    float *dw = fl_run_weight_grad(r, n->w);
    if (dw) {
        fl_stored a = {FL_F32, rows, dy->rows, 1, dy->ld, dy->data};
        fl_stored b = {FL_F32, cols, n->x->rows, 1, n->x->ld, n->x->data};
        d->matmul(r->device, &a, &b, dw, cols, true);
    }
    float *db = fl_run_weight_grad(r, n->bias);
    if (db) d->column_sum(r->device, dy, db);
}

fl_tensor *fl_linear(fl_run *r, fl_tensor *x, const fl_weight *w, const fl_weight *bias)
{
    if (!x || r->status != FL_OK) return NULL;
    if (x->cols != w->stored.cols)
        return fl_run_fail(r, FL_ERR_SHAPE, "%s is [%lld, %lld] but its input has %lld columns", w->name,
                           (long long)w->stored.rows, (long long)w->stored.cols, (long long)x->cols);
    fl_tensor *y = fl_run_tensor(r, x->rows, w->stored.rows);
    if (!y) return NULL;
    fl_operand operand = fl_run_operand(r, w);
    r->device->table->linear(r->device, &operand, fl_run_vector(r, bias), x, y, false);
    y->needs_grad = x->needs_grad || fl_run_weight_grad(r, w) || fl_run_weight_grad(r, bias);
    if (r->recording && y->needs_grad) {
        linear_node *n = fl_run_record(r, sizeof *n, linear_backward);
        if (n) n->x = x, n->y = y, n->w = w, n->bias = bias;
    }
    return y;
}
