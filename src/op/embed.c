/* Look-up of table rows by token or by position: y[i] = table[id[i]]        dtable[id[i]] += dy[i] */
#include "op/op.h"

#include <math.h>

typedef struct embed_node {
    fl_node node;
    const int32_t *ids;
    const fl_weight *table;
    fl_tensor *y;
} embed_node;

static void embed_backward(fl_run *r, fl_node *node)
{
    embed_node *n = (embed_node *)node;
    fl_tensor *dy = fl_run_grad_of(r, n->y);
    float *dtable = fl_run_weight_grad(r, n->table);
    if (dy && dtable) r->device->table->embed_backward(r->device, n->ids, dy, dtable, n->table->stored.cols);
}

static fl_tensor *look_up(fl_run *r, const fl_weight *table, const int32_t *ids)
{
    fl_tensor *y = fl_run_tensor(r, r->batch->rows, table->stored.cols);
    if (!y) return NULL;
    fl_stored rows = fl_run_operand(r, table).stored;
    r->device->table->embed(r->device, &rows, ids, y, false);
    y->needs_grad = fl_run_weight_grad(r, table) != NULL;
    if (r->recording && y->needs_grad) {
        embed_node *n = fl_run_record(r, sizeof *n, embed_backward);
        if (n) n->ids = ids, n->table = table, n->y = y;
    }
    return y;
}

fl_tensor *fl_embed(fl_run *r, const fl_weight *table)
{
    if (r->status != FL_OK) return NULL;
    for (int64_t i = 0; i < r->batch->rows; i++) {
        int32_t id = r->batch->tokens[i];
        if (id < 0 || id >= table->stored.rows)
            return fl_run_fail(r, FL_ERR_ARGUMENT,
                               "token %lld has id %d, outside the vocabulary of %lld: is this "
                               "the model's own tokenizer?",
                               (long long)i, id, (long long)table->stored.rows);
    }
    return look_up(r, table, r->batch->tokens);
}

fl_tensor *fl_embed_positions(fl_run *r, fl_tensor *x, const fl_weight *table)
{
    if (!x || r->status != FL_OK) return NULL;
    int32_t *ids = fl_arena_alloc(r->nodes, (size_t)r->batch->rows * sizeof *ids);
    if (!ids) return fl_run_fail(r, FL_ERR_MEMORY, "%s", fl_error_message());
    for (int s = 0; s < r->batch->sequences; s++) {
        const fl_batch_seq *seq = &r->batch->seq[s];
        int64_t last = seq->first_position + seq->rows;
        if (last > table->stored.rows)
            return fl_run_fail(r, FL_ERR_WINDOW, "position %lld does not exist: %s holds %lld learned positions",
                               (long long)last - 1, table->name, (long long)table->stored.rows);
        for (int64_t i = 0; i < seq->rows; i++)
            ids[seq->first_row + i] = (int32_t)(seq->first_position + i);
    }
    return fl_add(r, x, look_up(r, table, ids));
}

fl_tensor *fl_embed_sinusoidal(fl_run *r, fl_tensor *x)
{
    if (!x || r->status != FL_OK) return NULL;
    fl_tensor *y = fl_run_tensor(r, x->rows, x->cols);
    if (!y) return NULL;
    for (int s = 0; s < r->batch->sequences && !fl_arena_counting(r->data); s++) {
        const fl_batch_seq *seq = &r->batch->seq[s];
        for (int64_t c = 0; c < x->cols; c++) {
            double frequency = pow(10000, -(double)(c - c % 2) / (double)x->cols);
            for (int64_t i = 0; i < seq->rows; i++) {
                double angle = (double)(seq->first_position + i) * frequency;
                fl_row(y, seq->first_row + i)[c] = (float)(c % 2 ? cos(angle) : sin(angle));
            }
        }
    }
    return fl_add(r, x, y);
}
