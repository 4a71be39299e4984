/* y = chosen column ranges of x        the same ranges of dx = dy */
#include "op/op.h"

typedef struct split_node {
    fl_node node;
    fl_tensor *x, *y;
    int groups, parts, part;
} split_node;

static fl_tensor columns(const fl_tensor *t, float *data, int64_t ld, int64_t first, int64_t count)
{
    return (fl_tensor){.type = FL_F32, .rows = t->rows, .cols = count, .ld = ld, .data = data + first};
}

static void split_backward(fl_run *r, fl_node *node)
{
    split_node *n = (split_node *)node;
    bool accumulate;
    fl_tensor *dx = fl_run_grad(r, n->x, &accumulate);
    if (!dx || !n->y->grad) return;
    int64_t width = n->y->cols / n->groups;
    for (int g = 0; g < n->groups; g++) {
        fl_tensor from = columns(n->y, n->y->grad, n->y->cols, g * width, width);
        fl_tensor to = columns(dx, dx->data, dx->ld, (g * n->parts + n->part) * width, width);
        r->device->table->copy(r->device, &from, &to);
    }
}

fl_tensor *fl_split(fl_run *r, fl_tensor *x, int groups, int parts, int part)
{
    if (!x || r->status != FL_OK) return NULL;
    if (x->cols % ((int64_t)groups * parts))
        return fl_run_fail(r, FL_ERR_SHAPE, "%lld columns do not fall into %d groups of %d parts", (long long)x->cols,
                           groups, parts);
    int64_t width = x->cols / groups / parts;
    fl_tensor *y = fl_run_tensor(r, x->rows, groups * width);
    if (!y) return NULL;
    for (int g = 0; g < groups; g++) {
        fl_tensor from = columns(x, x->data, x->ld, (g * parts + part) * width, width);
        fl_tensor to = columns(y, y->data, y->ld, g * width, width);
        r->device->table->copy(r->device, &from, &to);
    }
    y->needs_grad = x->needs_grad;
    if (r->recording && y->needs_grad) {
        split_node *n = fl_run_record(r, sizeof *n, split_backward);
        if (n) n->x = x, n->y = y, n->groups = groups, n->parts = parts, n->part = part;
    }
    return y;
}
