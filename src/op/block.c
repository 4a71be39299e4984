/* Blocks: where temporaries end. See fl_block in op.h for the three ways a block can run. */
#include "op/op.h"

typedef struct block_node {
    fl_node node;
    fl_block_fn fn;
    const void *block;
    fl_tensor *x, *y;
    struct block_node *end; /* on the begin node: its end node */
    size_t mark;            /* on the end node: gradient memory in use when the backward pass entered the block */
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
}

static void leave_backward(fl_run *r, fl_node *node)
{
    block_node *begin = (block_node *)node;
    if (begin->end && begin->end->y->grad) move_down(r, begin->end, begin->x, begin->x->grad);
}

static fl_tensor *block_recorded(fl_run *r, fl_block_fn fn, const void *block, fl_tensor *x)
{
    block_node *begin = fl_run_record(r, sizeof *begin, leave_backward);
    fl_tensor *y = fn(r, block, x);
    block_node *end = y ? fl_run_record(r, sizeof *end, enter_backward) : NULL;
    if (!end) return NULL;
    if (y->rows != x->rows || y->cols != x->cols) return fl_run_fail(r, FL_ERR_SHAPE, "a block must keep its shape");
    begin->x = x;
    begin->end = end;
    end->y = y;
    return y;
}

static void recompute_backward(fl_run *r, fl_node *node)
{
    block_node *n = (block_node *)node;
    if (!n->y->grad) return;
    size_t data = fl_arena_mark(r->data), grads = fl_arena_mark(r->grads), nodes = fl_arena_mark(r->nodes);
    fl_node *stop = r->tape;
    fl_tensor input = *n->x;
    input.grad = NULL;
    r->recording = true;
    fl_tensor *y = n->fn(r, n->block, &input);
    if (!y) return;
    y->grad = n->y->grad;
    fl_run_backward_to(r, stop);
    r->recording = false;
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

static fl_tensor *block_kept(fl_run *r, fl_block_fn fn, const void *block, fl_tensor *x)
{
    block_node *n = fl_run_record(r, sizeof *n, recompute_backward);
    fl_tensor *y = n ? fl_run_tensor(r, x->rows, x->cols) : NULL;
    if (!y) return NULL;
    r->device->table->copy(r->device, x, y);
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
