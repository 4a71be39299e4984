/* Blocks: where temporaries end. See fl_block in op.h for the three ways a block can run. */
#include "op/compact.h"
#include "op/op.h"

typedef struct block_node {
    fl_node node;
    fl_block_fn fn;
    const void *block;
    fl_tensor *x, *y;
    struct block_node *end; /* on the begin node: its end node */
    size_t mark;            /* on the end node: gradient memory in use when the backward pass entered the block */
    fl_compact compact;     /* on the end node, with r->half */
    void *saved;            /* of a block to be computed again, with r->half: x as bf16 */
} block_node;

static void move_down(fl_run *r, block_node *end, fl_tensor *x, float *x_grad)
{
    /* The gradient of y is dead now: the gradient of x takes its place, everything above is released. */
    fl_tensor from = {.type = FL_F32, .rows = x->rows, .cols = x->cols, .ld = x->cols, .data = x_grad};
    fl_tensor to = from;
    to.data = end->y->grad;
    if (x_grad && to.data != x_grad) r->device->table->copy(r->device, &from, &to);
    x->grad = x_grad ? to.data : NULL;
    fl_arena_release(r->grads, end->mark);
}

static void enter_backward(fl_run *r, fl_node *node)
{
    block_node *end = (block_node *)node;
    end->mark = fl_arena_mark(r->grads);
    if (r->half) fl_compact_restore(r, &end->compact);
}

static void leave_backward(fl_run *r, fl_node *node)
{
    block_node *begin = (block_node *)node;
    if (begin->end && begin->end->y->grad) move_down(r, begin->end, begin->x, begin->x->grad);
}

static fl_tensor *block_recorded(fl_run *r, fl_block_fn fn, const void *block, fl_tensor *x)
{
    fl_compact compact;
    fl_compact_begin(r, &compact);
    block_node *begin = fl_run_record(r, sizeof *begin, leave_backward);
    fl_tensor *y = fn(r, block, x);
    block_node *end = y ? fl_run_record(r, sizeof *end, enter_backward) : NULL;
    if (!end) return NULL;
    if (y->rows != x->rows || y->cols != x->cols) return fl_run_fail(r, FL_ERR_SHAPE, "a block must keep its shape");
    begin->x = x;
    begin->end = end;
    end->y = y;
    if (r->half) fl_compact_end(r, &compact, y);
    end->compact = compact;
    return y;
}

/* The block once more, recorded, and back through it; r->half is off: what is computed now is used at once. */
static bool again(fl_run *r, const block_node *n, fl_tensor *input)
{
    fl_node *stop = r->tape;
    r->recording = true;
    fl_tensor *y = n->fn(r, n->block, input);
    if (y) {
        y->grad = n->y->grad;
        fl_run_backward_to(r, stop);
    }
    r->recording = false;
    return y;
}

static void recompute_backward(fl_run *r, fl_node *node)
{
    block_node *n = (block_node *)node;
    if (!n->y->grad) return;
    size_t data = fl_arena_mark(r->data), grads = fl_arena_mark(r->grads), nodes = fl_arena_mark(r->nodes);
    fl_tensor input = *n->x;
    input.grad = NULL;
    if (n->saved) {
        fl_tensor *wide = fl_run_tensor(r, input.rows, input.cols);
        if (!wide) return;
        r->device->table->widen(r->device, wide->data, n->saved, input.rows * input.cols);
        input.data = wide->data;
    }
    bool half = r->half;
    r->half = false;
    bool done = again(r, n, &input);
    r->half = half;
    if (!done) return;
    n->mark = grads;
    move_down(r, n, n->x, input.grad);
    fl_arena_release(r->data, data);
    fl_arena_release(r->nodes, nodes);
}

/* Runs fn without a tape; the result replaces the contents of x. */
static fl_tensor *block_in_place(fl_run *r, fl_block_fn fn, const void *block, fl_tensor *x)
{
    size_t data = fl_arena_mark(r->data), nodes = fl_arena_mark(r->nodes);
    fl_tensor *y = fn(r, block, x);
    if (!y) return NULL;
    if (y->rows != x->rows || y->cols != x->cols) return fl_run_fail(r, FL_ERR_SHAPE, "a block must keep its shape");
    if (y->data != x->data) r->device->table->copy(r->device, y, x);
    fl_arena_release(r->data, data);
    fl_arena_release(r->nodes, nodes);
    return x;
}

/* Where y is computed: over a copy of x, or, when half the room must do, over x itself, whose copy is kept as bf16. */
static fl_tensor *result_place(fl_run *r, block_node *n, fl_tensor *x)
{
    int64_t values = x->rows * x->cols;
    fl_tensor *y = fl_run_tensor(r, r->half ? 1 : x->rows, r->half ? (values + 1) / 2 : x->cols);
    if (!y) return NULL;
    if (!r->half) {
        r->device->table->copy(r->device, x, y);
        return y;
    }
    n->saved = y->data;
    r->device->table->narrow(r->device, n->saved, x->data, values);
    *y = (fl_tensor){.type = FL_F32, .rows = x->rows, .cols = x->cols, .ld = x->ld, .data = x->data};
    return y;
}

static fl_tensor *block_kept(fl_run *r, fl_block_fn fn, const void *block, fl_tensor *x)
{
    block_node *n = fl_run_record(r, sizeof *n, recompute_backward);
    fl_tensor *y = n ? result_place(r, n, x) : NULL;
    if (!y) return NULL;
    r->recording = false;
    y = block_in_place(r, fn, block, y);
    r->recording = true;
    if (!y) return NULL;
    /* Whether anything inside trains is only known once it is recorded. */
    y->needs_grad = true;
    n->fn = fn;
    n->block = block;
    n->x = x;
    n->y = y;
    return y;
}

fl_tensor *fl_block(fl_run *r, fl_block_fn fn, const void *block, fl_tensor *x)
{
    if (!x || r->status != FL_OK) return NULL;
    if (r->cancel && atomic_load_explicit(r->cancel, memory_order_relaxed))
        return fl_run_fail(r, FL_ERR_CANCELLED, "cancelled");
    if (!r->recording) return block_in_place(r, fn, block, x);
    return r->recompute ? block_kept(r, fn, block, x) : block_recorded(r, fn, block, x);
}
