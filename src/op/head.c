/* The vocabulary product and what is read off it; see fl_head_args for why it is one operator. */
#include "op/op.h"

typedef struct head_node {
    fl_node node;
    fl_tensor *x, *dx;
} head_node;

static void head_backward(fl_run *r, fl_node *node)
{
    head_node *n = (head_node *)node;
    if (!n->x->grad) {
        n->x->grad = n->dx->data;
        return;
    }
    bool accumulate;
    fl_tensor *dx = fl_run_grad(r, n->x, &accumulate);
    if (dx) r->device->table->add(r->device, dx, n->dx, dx);
}

void fl_head(fl_run *r, fl_tensor *x, const fl_weight *w, const fl_weight *bias, const fl_head_spec *spec)
{
    if (!x || r->status != FL_OK) return;
    if (x->cols != w->stored.cols) {
        fl_run_fail(r, FL_ERR_SHAPE, "%s is [%lld, %lld] but its input has %lld columns", w->name,
                    (long long)w->stored.rows, (long long)w->stored.cols, (long long)x->cols);
        return;
    }
    if (w->stored.rows > FL_HEAD_MOST_VOCABULARY) {
        fl_run_fail(r, FL_ERR_UNSUPPORTED, "%s has %lld rows; the head takes vocabularies up to %lld", w->name,
                    (long long)w->stored.rows, (long long)FL_HEAD_MOST_VOCABULARY);
        return;
    }
    for (int64_t i = 0; i < spec->n; i++) {
        int64_t row = spec->row ? spec->row[i] : i;
        int32_t target = spec->target ? spec->target[i] : -1;
        if (row < 0 || row >= x->rows || target >= w->stored.rows) {
            fl_run_fail(r, FL_ERR_ARGUMENT, "head entry %lld: row %lld of %lld, target %d of %lld", (long long)i,
                        (long long)row, (long long)x->rows, target, (long long)w->stored.rows);
            return;
        }
    }
    fl_head_args args = {.x = x,
                         .w = fl_run_operand(r, w),
                         .bias = fl_run_vector(r, bias),
                         .n = spec->n,
                         .row = spec->row,
                         .target = spec->target,
                         .nll = spec->nll,
                         .argmax = spec->argmax,
                         .rank = spec->rank,
                         .logits = spec->logits};
    bool train = r->recording && spec->loss_weight && (x->needs_grad || fl_run_weight_grad(r, w));
    head_node *n = NULL;
    if (train) {
        args.loss_weight = spec->loss_weight;
        args.dw = fl_run_weight_grad(r, w);
        args.w.stored = fl_run_unblocked(r, args.w.stored);
        n = fl_run_record(r, sizeof *n, head_backward);
        fl_tensor like = {.rows = x->rows, .cols = x->cols, .needs_grad = true};
        bool accumulate;
        args.dx = fl_run_grad(r, &like, &accumulate);
        if (!n || !args.dx) return;
        n->x = x;
        n->dx = args.dx;
    }
    r->device->table->head(r->device, &args);
}
