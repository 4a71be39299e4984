/* y[m, out] = x[m, in] W^T + b        dx = dy W        dW += dy^T x        db += column sums of dy
 * with an adapter, t[m, r] = scale x A^T:
 * y += t B^T        dB += dy^T t        dt = scale dy B        dA += dt^T x        dx += dt A */
#include "op/op.h"

typedef struct linear_node {
    fl_node node;
    fl_tensor *x, *y;
    const fl_weight *w, *bias;
    fl_tensor *low; /* t; NULL without an adapter */
} linear_node;

static fl_stored matrix(const float *data, int64_t rows, int64_t cols, int64_t row_stride, int64_t col_stride)
{
    return (fl_stored){FL_F32, rows, cols, row_stride, col_stride, data};
}

/* to[rows, cols] += sum over the batch of a^T b, a [m, rows], b [m, cols]. */
static void add_outer(fl_run *r, const fl_tensor *a, const fl_tensor *b, float *to)
{
    fl_stored left = matrix(a->data, a->cols, a->rows, 1, a->ld), right = matrix(b->data, b->cols, b->rows, 1, b->ld);
    r->device->table->matmul(r->device, &left, &right, to, b->cols, true);
}

/* to[m, w.cols] (+)= a w. */
static void times(fl_run *r, const fl_tensor *a, fl_stored w, fl_tensor *to, bool accumulate)
{
    fl_stored left = matrix(a->data, a->rows, a->cols, a->ld, 1);
    fl_stored transposed = {w.type, w.cols, w.rows, w.col_stride, w.row_stride, w.data};
    r->device->table->matmul(r->device, &left, &transposed, to->data, to->ld, accumulate);
}

static void adapter_backward(fl_run *r, const linear_node *n, const fl_tensor *dy, fl_tensor *dx)
{
    const fl_adapter *a = fl_run_adapter(r, n->w);
    int64_t in = n->w->stored.cols, out = n->w->stored.rows;
    fl_tensor *dlow = fl_run_tensor(r, dy->rows, a->rank);
    if (!dlow) return;
    add_outer(r, dy, n->low, a->up_grad);
    times(r, dy, matrix(a->up, out, a->rank, a->rank, 1), dlow, false);
    r->device->table->scale(r->device, a->scale, dlow);
    add_outer(r, dlow, n->x, a->down_grad);
    if (dx) times(r, dlow, matrix(a->down, a->rank, in, in, 1), dx, true);
}

static void linear_backward(fl_run *r, fl_node *node)
{
    linear_node *n = (linear_node *)node;
    fl_tensor *dy = fl_run_grad_of(r, n->y);
    if (!dy) return;
    size_t data = fl_arena_mark(r->data);
    bool accumulate;
    fl_tensor *dx = fl_run_grad(r, n->x, &accumulate);
    if (dx) {
        fl_stored w = fl_run_unblocked(r, fl_run_operand(r, n->w).stored);
        if (r->status != FL_OK) return;
        times(r, dy, w, dx, accumulate);
    }
    if (n->low) adapter_backward(r, n, dy, dx);
    fl_arena_release(r->data, data);
    float *dw = fl_run_weight_grad(r, n->w);
    if (dw) add_outer(r, dy, n->x, dw);
    float *db = fl_run_weight_grad(r, n->bias);
    if (db) r->device->table->column_sum(r->device, dy, db);
}

/* Adds the adapter's part to y -> t, needed again by the backward pass. */
static fl_tensor *adapt(fl_run *r, const fl_adapter *a, const fl_tensor *x, fl_tensor *y)
{
    fl_tensor *low = fl_run_tensor(r, x->rows, a->rank);
    if (!low) return NULL;
    fl_operand down = {NULL, matrix(a->down, a->rank, x->cols, x->cols, 1)},
               up = {NULL, matrix(a->up, y->cols, a->rank, a->rank, 1)};
    r->device->table->linear(r->device, &down, NULL, x, low, false);
    r->device->table->scale(r->device, a->scale, low);
    r->device->table->linear(r->device, &up, NULL, low, y, true);
    return low;
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
    const fl_adapter *a = fl_run_adapter(r, w);
    size_t data = fl_arena_mark(r->data);
    fl_tensor *low = a ? adapt(r, a, x, y) : NULL;
    if (a && !low) return NULL;
    y->needs_grad = x->needs_grad || a || fl_run_weight_grad(r, w) || fl_run_weight_grad(r, bias);
    if (!r->recording) fl_arena_release(r->data, data);
    if (r->recording && y->needs_grad) {
        linear_node *n = fl_run_record(r, sizeof *n, linear_backward);
        if (n) n->x = x, n->y = y, n->w = w, n->bias = bias, n->low = low;
    }
    return y;
}
