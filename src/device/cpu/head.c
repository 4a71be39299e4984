/* The head: logits = x W^T (+ bias) in tiles of rows, and what is read off them while they are in the cache.
 *
 *   nll = log(sum over j of exp(l_j - max)) + max - l_target      (exp in fp32, sum and logarithm in double)
 *   dl  = loss_weight * (softmax(l) - onehot(target))             in place of l
 *   dx += dl W          dW += dl^T x
 *
 * Every row is worked on by one thread and every product keeps its order of sums, that of dW continuing from tile to
 * tile, so neither tiles nor threads change a bit. */
#include <math.h>
#include <string.h>

#include "base/size.h"
#include "device/cpu/product.h"
#include "kernel/kernel.h"

#define LOGITS_BYTES ((int64_t)32 << 20)        /* few tiles: each packs all of W, or passes over all of dW */
#define CACHED_LOGITS_BYTES ((int64_t)16 << 20) /* W is packed and nothing trains: in the last-level cache */
#define ROWS_BYTES ((int64_t)12 << 20)          /* rows of x, and of dx, that do not lie together */
#define MOST_ROWS 1024

_Static_assert(LOGITS_BYTES + 2 * ROWS_BYTES <= (int64_t)FL_CPU_SHARED_SCRATCH_BYTES, "a tile fits into its scratch");
_Static_assert(LOGITS_BYTES / 4 >= FL_HEAD_MOST_VOCABULARY, "one row fits into a tile");

typedef struct tile {
    const fl_head_args *args;
    const fl_gemm_kernels *kernels;
    int64_t count, vocabulary;
    int64_t item[MOST_ROWS]; /* which of the args->n entries */
    float *logits;           /* [count, vocabulary] */
    bool train;
} tile;

static int64_t row_of(const fl_head_args *args, int64_t item)
{
    return args->row ? args->row[item] : item;
}

static bool has_target(const fl_head_args *args, int64_t item)
{
    return args->target && args->target[item] >= 0;
}

static bool has_gradient(const fl_head_args *args, int64_t item)
{
    return has_target(args, item) && args->loss_weight[item] != 0.0f;
}

static void finish_row(void *context, int64_t task, int thread)
{
    (void)thread;
    const tile *t = context;
    const fl_head_args *args = t->args;
    int64_t item = t->item[task], n = t->vocabulary;
    float *l = t->logits + task * n;
    bool target = has_target(args, item), gradient = t->train && has_gradient(args, item);
    float at_target = target ? l[args->target[item]] : 0.0f;
    if (args->rank) args->rank[item] = target ? (int32_t)t->kernels->count_above(l, at_target, n) : -1;
    if (!args->argmax && !gradient && !(args->nll && target)) return;

    float max = t->kernels->maximum(l, n, args->argmax ? &args->argmax[item] : NULL);
    if (!target || !(args->nll || gradient)) return;
    double sum = t->kernels->exp_sum(l, max, n);
    if (args->nll) args->nll[item] = (float)(log(sum) + (double)max - (double)at_target);
    if (!gradient) return;
    float weight = args->loss_weight[item];
    t->kernels->exp_scale(l, max, (float)((double)weight / sum), n);
    l[args->target[item]] -= weight;
}

/* The tile's rows of x as one matrix: in place if they follow each other, else gathered into `room`. */
static const float *rows_of_x(const tile *t, float *room, int64_t *ld)
{
    const fl_tensor *x = t->args->x;
    int64_t first = row_of(t->args, t->item[0]);
    bool together = true;
    for (int64_t i = 1; i < t->count; i++)
        together = together && row_of(t->args, t->item[i]) == first + i;
    *ld = together ? x->ld : x->cols;
    if (together) return fl_row(x, first);
    for (int64_t i = 0; i < t->count; i++)
        memcpy(room + i * x->cols, fl_row(x, row_of(t->args, t->item[i])), (size_t)x->cols * sizeof *room);
    return room;
}

/* Rows without a gradient leave the tile: not even a zero times an infinity comes from them. */
static void keep_gradients(tile *t)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < t->count; i++) {
        if (!has_gradient(t->args, t->item[i])) continue;
        if (kept != i)
            memmove(t->logits + kept * t->vocabulary, t->logits + i * t->vocabulary,
                    (size_t)t->vocabulary * sizeof *t->logits);
        t->item[kept++] = t->item[i];
    }
    t->count = kept;
}

/* logits of the tile hold the gradient of the logits. */
static void backward(fl_device *d, tile *t, float *x_room, float *dx_room)
{
    const fl_head_args *args = t->args;
    const fl_stored *w = &args->w.stored;
    keep_gradients(t);
    if (t->count == 0) return;
    int64_t ldx;
    const float *x = rows_of_x(t, x_room, &ldx);
    if (args->dx) {
        bool direct = x != x_room;
        fl_tensor *dx = args->dx;
        fl_stored transposed = {w->type, w->cols, w->rows, w->col_stride, w->row_stride, w->data};
        fl_product p = {.m = t->count,
                        .n = w->cols,
                        .k = t->vocabulary,
                        .a = t->logits,
                        .a_row = t->vocabulary,
                        .a_col = 1,
                        .b = {.stored = transposed},
                        .c = direct ? fl_row(dx, row_of(args, t->item[0])) : dx_room,
                        .ldc = direct ? dx->ld : w->cols,
                        .accumulate = direct};
        fl_cpu_product(d, &p);
        for (int64_t i = 0; !direct && i < t->count; i++) {
            float *to = fl_row(dx, row_of(args, t->item[i]));
            for (int64_t j = 0; j < w->cols; j++)
                to[j] += dx_room[i * w->cols + j];
        }
    }
    if (args->dw) {
        fl_product p = {.m = t->vocabulary,
                        .n = w->cols,
                        .k = t->count,
                        .a = t->logits,
                        .a_row = 1,
                        .a_col = t->vocabulary,
                        .b = {.stored = {FL_F32, w->cols, t->count, 1, ldx, x}},
                        .c = args->dw,
                        .ldc = w->cols,
                        .accumulate = true};
        fl_cpu_product(d, &p);
    }
}

void fl_cpu_head(fl_device *d, const fl_head_args *args)
{
    const fl_stored *w = &args->w.stored;
    int64_t vocabulary = w->rows, width = w->cols;
    bool train = args->loss_weight && (args->dx || args->dw);
    tile t = {.args = args, .kernels = d->kernels->gemm, .vocabulary = vocabulary, .train = train};
    if (train && args->dx) {
        for (int64_t i = 0; i < args->dx->rows; i++)
            memset(fl_row(args->dx, i), 0, (size_t)args->dx->cols * sizeof(float));
    }
    if (vocabulary < 1 || vocabulary > FL_HEAD_MOST_VOCABULARY) return;

    int64_t most =
        fl_min64(MOST_ROWS, (train || !args->w.packed ? LOGITS_BYTES : CACHED_LOGITS_BYTES) / (4 * vocabulary));
    most = fl_max64(1, fl_min64(most, ROWS_BYTES / (4 * fl_max64(1, width))));
    float *scratch = fl_cpu_shared_scratch(d, 1, (size_t)(LOGITS_BYTES + 2 * ROWS_BYTES));
    float *x_room = scratch + LOGITS_BYTES / 4, *dx_room = x_room + ROWS_BYTES / 4;

    for (int64_t i = 0; i < args->n;) {
        int64_t first = i;
        for (t.count = 0; i < args->n && t.count < most; i++) {
            if (args->nll && !has_target(args, i)) args->nll[i] = 0;
            if (args->rank && !has_target(args, i)) args->rank[i] = -1;
            if (args->logits || args->argmax || has_target(args, i)) t.item[t.count++] = i;
        }
        if (t.count == 0) break;
        t.logits = args->logits ? args->logits + first * vocabulary : scratch;
        int64_t ldx;
        const float *x = rows_of_x(&t, x_room, &ldx);
        fl_product p = {.m = t.count,
                        .n = vocabulary,
                        .k = width,
                        .a = x,
                        .a_row = ldx,
                        .a_col = 1,
                        .b = args->w,
                        .bias = args->bias,
                        .c = t.logits,
                        .ldc = vocabulary};
        fl_cpu_product(d, &p);
        if (args->logits && train) {
            memcpy(scratch, t.logits, (size_t)(t.count * vocabulary) * sizeof *scratch);
            t.logits = scratch;
        }
        if (args->nll || args->argmax || args->rank || train) fl_pool_run(d->pool, t.count, finish_row, &t);
        if (train) backward(d, &t, x_room, dx_room);
    }
}
