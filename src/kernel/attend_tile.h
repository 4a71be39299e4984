/* One tile of attention, written once for every level. A level includes this after it has defined, as static functions:
 *
 * product(rows, cols, depth, a, a_row, a_step, b, ldb, c, ldc, factor):
 *     c[r][i] = start + sum over k < depth, in order, of a[r*a_row + k*a_step] * b[k*ldb + i], by fused multiply-adds.
 *     start is 0 if factor is FROM_ZERO, the old c if it is FROM_C, else c[r][i] * factor[r]. Any rows and cols from 1.
 *
 * softmax(rows, s, max, sum, factor, first, last):
 *     one step of the online softmax for up to 16 rows. Logits s[rows][64] become weights, max and sum move on,
 *     factor[rows] says by how much older sums shrink.
 *
 * scale_row(x, n, factor):
 *     x[n] *= factor.
 *
 * softmax_backward(rows, w, dw, dw_stride, lse, mean, first, last):
 *     logits w[rows][64] become weights, their gradients dw become gradients of the logits, both 0 for unseen keys. */
#include <math.h>
#include <stdbool.h>
#include <stddef.h>

#include "kernel/attend.h"

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

static int larger(int a, int b)
{
    return a > b ? a : b;
}

/* What the rows of a group see between them: some row sees something of [from, to), every row sees all of
 * [all_from, all_to). whole_from and whole_to are from and to moved outwards to whole vectors. */
typedef struct seen {
    int from, to, all_from, all_to, whole_from, whole_to;
} seen;

static seen seen_by(int rows, const uint8_t *first, const uint8_t *last)
{
    if (!first) return (seen){0, FL_ATTEND_KEYS, 0, FL_ATTEND_KEYS, 0, FL_ATTEND_KEYS};
    seen s = {.from = FL_ATTEND_KEYS, .all_to = FL_ATTEND_KEYS};
    for (int r = 0; r < rows; r++) {
        s.all_from = larger(s.all_from, first[r]);
        s.all_to = smaller(s.all_to, last[r]);
        if (first[r] >= last[r]) continue;
        s.from = smaller(s.from, first[r]);
        s.to = larger(s.to, last[r]);
    }
    s.whole_from = s.from / FL_ATTEND_LANES * FL_ATTEND_LANES;
    s.whole_to = (s.to + FL_ATTEND_LANES - 1) / FL_ATTEND_LANES * FL_ATTEND_LANES;
    return s;
}

/* One rounding for each logit, the same at every level. */
static void add_bias(int rows, const float *slope, const float *offset, float *s)
{
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < FL_ATTEND_KEYS; j++)
            s[r * FL_ATTEND_KEYS + j] = fmaf(slope[r], offset[r] + (float)j, s[r * FL_ATTEND_KEYS + j]);
}

/* out = out * factor + weights of keys from .. to-1 times their values */
static void add_values(int rows, int head_dim, const float *weight, const float *v, int from, int to, float *out,
                       const float *factor)
{
    if (from < to)
        product(rows, head_dim, to - from, weight + from, FL_ATTEND_KEYS, 1, v + (ptrdiff_t)from * head_dim, head_dim,
                out, head_dim, factor);
}

/* Values only some rows see are never multiplied into another row, not even by a weight of 0. */
static void add_seen_values(int rows, int head_dim, const float *weight, const float *v, const seen *s,
                            const uint8_t *first, const uint8_t *last, float *out, const float *factor)
{
    int from = s->all_from, to = larger(s->all_from, s->all_to);
    for (int r = 0; r < rows; r++) {
        float *row = out + (ptrdiff_t)r * head_dim;
        scale_row(row, head_dim, factor[r]);
        add_values(1, head_dim, weight + r * FL_ATTEND_KEYS, v, first[r], smaller(from, last[r]), row, FROM_C);
    }
    add_values(rows, head_dim, weight, v, from, to, out, FROM_C);
    for (int r = 0; r < rows; r++)
        add_values(1, head_dim, weight + r * FL_ATTEND_KEYS, v, to, last[r], out + (ptrdiff_t)r * head_dim, FROM_C);
}

/* Three sweeps over the block rather than one over each group: the softmax of many rows hides its own latencies. */
static void forward(const fl_attend_state *state, const float *k, const float *v, const uint8_t *first,
                    const uint8_t *last)
{
    int d = state->head_dim;
    float factor[FL_ATTEND_ROWS];
    seen group[FL_ATTEND_ROWS / FL_ATTEND_GROUP];
    for (int r = 0, g = 0; r < state->rows; r += FL_ATTEND_GROUP, g++) {
        int rows = smaller(FL_ATTEND_GROUP, state->rows - r);
        group[g] = seen_by(rows, first ? first + r : NULL, first ? last + r : NULL);
        int from = group[g].whole_from, keys = group[g].whole_to - from;
        if (keys > 0)
            product(rows, keys, d, state->q + (ptrdiff_t)r * d, d, 1, k + from, FL_ATTEND_KEYS,
                    state->weight + r * FL_ATTEND_KEYS + from, FL_ATTEND_KEYS, FROM_ZERO);
    }
    if (state->slope) add_bias(state->rows, state->slope, state->offset, state->weight);
    for (int r = 0; r < state->rows; r += FL_ATTEND_LANES) {
        int rows = smaller(FL_ATTEND_LANES, state->rows - r);
        seen s = seen_by(rows, first ? first + r : NULL, first ? last + r : NULL);
        bool whole = s.all_from == 0 && s.all_to == FL_ATTEND_KEYS;
        if (s.from >= s.to)
            for (int i = 0; i < rows; i++)
                factor[r + i] = 1;
        else
            softmax(rows, state->weight + r * FL_ATTEND_KEYS, state->max + r, state->sum + r * FL_ATTEND_LANES,
                    factor + r, whole ? NULL : first + r, whole ? NULL : last + r);
    }
    for (int r = 0, g = 0; r < state->rows; r += FL_ATTEND_GROUP, g++) {
        int rows = smaller(FL_ATTEND_GROUP, state->rows - r);
        const seen *s = &group[g];
        const float *weight = state->weight + r * FL_ATTEND_KEYS;
        float *out = state->out + (ptrdiff_t)r * d;
        if (s->all_from == s->from && s->all_to == s->to)
            add_values(rows, d, weight, v, s->from, s->to, out, factor + r);
        else if (s->from < s->to)
            add_seen_values(rows, d, weight, v, s, first + r, last + r, out, factor + r);
    }
}

/* dk and dv of keys that rows from .. to-1 see, in groups of keys that share a run of rows. */
static void add_key_gradients(const fl_attend_pair *p, const uint8_t *first, const uint8_t *last)
{
    int d = p->head_dim;
    for (int key = 0; key < FL_ATTEND_KEYS; key += FL_ATTEND_GROUP) {
        int keys = smaller(FL_ATTEND_GROUP, FL_ATTEND_KEYS - key), from = 0, to = p->rows;
        if (first) {
            while (from < to && (first[from] >= key + keys || last[from] <= key))
                from++;
            while (from < to && (first[to - 1] >= key + keys || last[to - 1] <= key))
                to--;
        }
        if (from == to) continue;
        product(keys, d, to - from, p->weight + from * FL_ATTEND_KEYS + key, 1, FL_ATTEND_KEYS,
                p->dout + (ptrdiff_t)from * d, d, p->dv + (ptrdiff_t)key * d, d, FROM_C);
        product(keys, d, to - from, p->dlogit + (ptrdiff_t)from * p->dlogit_stride + key, 1, p->dlogit_stride,
                p->q + (ptrdiff_t)from * d, d, p->dk + (ptrdiff_t)key * d, d, FROM_C);
    }
}

static void backward(const fl_attend_pair *p, const float *k, const float *v, const uint8_t *first, const uint8_t *last)
{
    int d = p->head_dim;
    for (int r = 0; r < p->rows; r += FL_ATTEND_GROUP) {
        int rows = smaller(FL_ATTEND_GROUP, p->rows - r);
        const uint8_t *group_first = first ? first + r : NULL, *group_last = first ? last + r : NULL;
        seen s = seen_by(rows, group_first, group_last);
        float *weight = p->weight + r * FL_ATTEND_KEYS, *dlogit = p->dlogit + (ptrdiff_t)r * p->dlogit_stride;
        if (s.from < s.to) {
            int from = s.whole_from, keys = s.whole_to - from;
            product(rows, keys, d, p->q + (ptrdiff_t)r * d, d, 1, k + from, FL_ATTEND_KEYS, weight + from,
                    FL_ATTEND_KEYS, FROM_ZERO);
            product(rows, keys, d, p->dout + (ptrdiff_t)r * d, d, 1, v + from, FL_ATTEND_KEYS, dlogit + from,
                    p->dlogit_stride, FROM_ZERO);
            if (p->slope) add_bias(rows, p->slope + r, p->offset + r, weight);
        }
        softmax_backward(rows, weight, dlogit, p->dlogit_stride, p->lse + r, p->mean + r, group_first, group_last);
    }
    add_key_gradients(p, first, last);
}

static void backward_query(int rows, int head_dim, int keys, const float *dlogit, int dlogit_stride, const float *k,
                           float *dq, int64_t ldq, int accumulate)
{
    product(rows, head_dim, keys, dlogit, dlogit_stride, 1, k, head_dim, dq, ldq, accumulate ? FROM_C : FROM_ZERO);
}
