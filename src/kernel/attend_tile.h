/* One tile of attention, written once for every level. A level includes this after it has defined, as static functions:
 *
 * product(rows, cols, depth, a, a_row, a_step, b, ldb, c, ldc, factor):
 *     c[r][i] = start + sum over k < depth, in order, of a[r*a_row + k*a_step] * b[k*ldb + i], by fused multiply-adds.
 *     start is 0 if factor is FROM_ZERO, the old c if it is FROM_C, else c[r][i] * factor[r]. Any rows and cols from 1.
 *
 * softmax(rows, s, max, sum, factor, peak, first, last):
 *     one step of the online softmax for up to 16 rows. Logits s[rows][64] become weights, max and sum move on,
 *     factor[rows] says by how much older sums shrink. With peak[rows] weights are relative to the largest of the tile,
 *     whose own weight is the peak: 0 if the row sees nothing.
 *
 * scale_row(x, n, factor):
 *     x[n] *= factor.
 *
 * reads_stored(format, rows, cols):
 *     whether product_stored can do so many rows and columns with a b that is stored in this format, without blocks;
 *
 * product_stored(format, rows, cols, depth, a, a_row, b, b_row, next, c, ldc, factor):
 *     product with a_step 1 and rows of b of b_row bytes; next is b in the tile to come.
 *
 * unpack(format, n, from, next, to):
 *     n values, in blocks of 32, to fp32.
 *
 * integer_keys(format, head_dim, from, next, tile):
 *     keys of Q8_0 or Q4_0 as integer_scores wants them, in FL_ATTEND_SCRATCH(head_dim) bytes.
 *
 * integer_scores(rows, head_dim, q8, tile, logit):
 *     logit[rows][64] of quantised queries; see kernel/attend_queries.h.
 *
 * integer_values(format, head_dim, from, next, tile):
 *     values of Q8_0 or Q4_0 as add_integer_values wants them, in FL_ATTEND_SCRATCH(head_dim) bytes.
 *
 * add_integer_values(rows, head_dim, weight, peak, factor, first, last, tile, out):
 *     out = out * factor + weights relative to the peak times values; rows with a peak of 0 may have any weights.
 *
 * softmax_backward(rows, w, dw, dw_stride, lse, mean, first, last):
 *     logits w[rows][64] become weights, their gradients dw become gradients of the logits, both 0 for unseen keys. */
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "kernel/attend.h"
#include "kernel/attend_queries.h"
#include "kernel/half.h"

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

/* ---- a tile ------------------------------------------------------------------------------------------------------ */

static bool is_quantised(fl_attend_format format)
{
    return format == FL_ATTEND_Q8_0 || format == FL_ATTEND_Q4_0;
}

/* Of formats without blocks. */
static ptrdiff_t bytes_of(fl_attend_format format, int values)
{
    return values * (format == FL_ATTEND_F32 ? 4 : 2);
}

static void unpack_values(fl_attend_format format, int head_dim, const void *from, float *to)
{
    int values = head_dim * FL_ATTEND_KEYS, whole = FL_ATTEND_BLOCKS(head_dim) * FL_ATTEND_BLOCK;
    if (format == FL_ATTEND_F32) {
        memcpy(to, from, (size_t)values * sizeof *to);
    } else if (!is_quantised(format) || whole == head_dim) {
        unpack(format, values, from, from, to);
    } else {
        const char *row = from;
        const ptrdiff_t row_bytes = whole / FL_ATTEND_BLOCK * (format == FL_ATTEND_Q8_0 ? 34 : 18);
        for (int key = 0; key < FL_ATTEND_KEYS; key++, row += row_bytes, to += head_dim)
            for (int c = 0; c < head_dim; c += FL_ATTEND_BLOCK) {
                float block[FL_ATTEND_BLOCK];
                const char *stored = row + row_bytes * c / whole;
                unpack(format, FL_ATTEND_BLOCK, stored, stored, block);
                memcpy(to + c, block, (size_t)smaller(FL_ATTEND_BLOCK, head_dim - c) * sizeof *to);
            }
    }
}

static void unpack_keys(fl_attend_format format, int head_dim, const void *from, float *to)
{
    if (!is_quantised(format)) {
        unpack_values(format, head_dim, from, to);
        return;
    }
    const int half = FL_ATTEND_BLOCK / 2;
    const uint8_t *scales = from, *q = scales + 2 * FL_ATTEND_BLOCKS(head_dim) * FL_ATTEND_KEYS;
    for (int c = 0; c < head_dim; c++) {
        int block = c / FL_ATTEND_BLOCK, within = c % FL_ATTEND_BLOCK;
        const uint8_t *scale = scales + 2 * block * FL_ATTEND_KEYS;
        const uint8_t *byte = q + (format == FL_ATTEND_Q8_0 ? c : block * half + within % half) * FL_ATTEND_KEYS;
        for (int j = 0; j < FL_ATTEND_KEYS; j++) {
            uint16_t bits = (uint16_t)(scale[2 * j] | scale[2 * j + 1] << 8);
            int x = format == FL_ATTEND_Q8_0 ? (int8_t)byte[j] : (within < half ? byte[j] & 15 : byte[j] >> 4) - 8;
            *to++ = fl_f16_to_f32(bits) * (float)x;
        }
    }
}

/* Keys or values of a tile to multiply with: in place where they are fp32 or few rows read them, else converted once
 * for all rows. */
typedef struct operand {
    fl_attend_format format;
    const char *data;
    ptrdiff_t next; /* from data */
} operand;

static operand operand_of(fl_attend_format format, const void *stored, const void *next, int rows, int cols, int values,
                          void *scratch)
{
    if (reads_stored(format, rows, cols)) return (operand){format, stored, (const char *)next - (const char *)stored};
    if (format == FL_ATTEND_F32) return (operand){format, stored, 0};
    unpack(format, values, stored, next, scratch);
    return (operand){FL_ATTEND_F32, scratch, 0};
}

/* rows [from, from + depth) of b */
static void multiply(int rows, int cols, int from, int depth, const float *a, ptrdiff_t a_row, const operand *b,
                     float *c, ptrdiff_t ldc, const float *factor)
{
    ptrdiff_t row = bytes_of(b->format, cols);
    const char *data = b->data + from * row;
    if (reads_stored(b->format, rows, cols))
        product_stored(b->format, rows, cols, depth, a, a_row, data, row, data + b->next, c, ldc, factor);
    else
        product(rows, cols, depth, a, a_row, 1, (const float *)(const void *)data, cols, c, ldc, factor);
}

/* out = out * factor + weights of keys from .. to-1 times their values */
static void add_values(int rows, int head_dim, const float *weight, const operand *v, int from, int to, float *out,
                       const float *factor)
{
    if (from < to) multiply(rows, head_dim, from, to - from, weight + from, FL_ATTEND_KEYS, v, out, head_dim, factor);
}

/* Values only some rows see are never multiplied into another row, not even by a weight of 0. */
static void add_seen_values(int rows, int head_dim, const float *weight, const operand *v, const seen *s,
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

/* Logits of the keys that some row of a group sees, perhaps of others beside them. */
static void add_scores(const fl_attend_state *state, const fl_attend_tile *tile, const operand *k, int row, int rows,
                       const seen *s)
{
    int d = state->head_dim;
    const float *q = state->q + (ptrdiff_t)row * d;
    float *logit = state->weight + row * FL_ATTEND_KEYS;
    if (s->whole_from >= s->whole_to) return;
    if (is_quantised(tile->k_format)) {
        queries some = queries_at(state->q8, state->rows, d, row);
        integer_scores(rows, d, &some, tile->k_scratch, logit);
    } else if (reads_stored(k->format, rows, FL_ATTEND_KEYS)) {
        multiply(rows, FL_ATTEND_KEYS, 0, d, q, d, k, logit, FL_ATTEND_KEYS, FROM_ZERO);
    } else {
        const float *keys = (const float *)(const void *)k->data + s->whole_from;
        product(rows, s->whole_to - s->whole_from, d, q, d, 1, keys, FL_ATTEND_KEYS, logit + s->whole_from,
                FL_ATTEND_KEYS, FROM_ZERO);
    }
}

/* out = out * factor + weights times values, group by group. */
static void add_group_values(const fl_attend_state *state, const fl_attend_tile *tile, const seen *group,
                             const float *factor, const uint8_t *first, const uint8_t *last)
{
    int d = state->head_dim;
    operand v = operand_of(tile->v_format, tile->v, tile->next_v, state->rows, d, d * FL_ATTEND_KEYS, tile->v_scratch);
    for (int r = 0, g = 0; r < state->rows; r += FL_ATTEND_GROUP, g++) {
        int rows = smaller(FL_ATTEND_GROUP, state->rows - r);
        const seen *s = &group[g];
        const float *weight = state->weight + r * FL_ATTEND_KEYS;
        float *out = state->out + (ptrdiff_t)r * d;
        if (s->all_from == s->from && s->all_to == s->to)
            add_values(rows, d, weight, &v, s->from, s->to, out, factor + r);
        else if (s->from < s->to)
            add_seen_values(rows, d, weight, &v, s, first + r, last + r, out, factor + r);
    }
}

/* Three sweeps over the block rather than one over each group: the softmax of many rows hides its own latencies. */
static void forward(const fl_attend_state *state, const fl_attend_tile *tile, const uint8_t *first, const uint8_t *last)
{
    int d = state->head_dim, values = d * FL_ATTEND_KEYS;
    float factor[FL_ATTEND_ROWS], peak[FL_ATTEND_ROWS];
    const bool integer_v = is_quantised(tile->v_format);
    seen group[FL_ATTEND_ROWS / FL_ATTEND_GROUP];
    operand k = {0};
    if (is_quantised(tile->k_format))
        integer_keys(tile->k_format, d, tile->k, tile->next_k, tile->k_scratch);
    else
        k = operand_of(tile->k_format, tile->k, tile->next_k, state->rows, FL_ATTEND_KEYS, values, tile->k_scratch);
    for (int r = 0, g = 0; r < state->rows; r += FL_ATTEND_GROUP, g++) {
        int rows = smaller(FL_ATTEND_GROUP, state->rows - r);
        group[g] = seen_by(rows, first ? first + r : NULL, first ? last + r : NULL);
        add_scores(state, tile, &k, r, rows, &group[g]);
    }
    if (state->slope) add_bias(state->rows, state->slope, state->offset, state->weight);
    for (int r = 0; r < state->rows; r += FL_ATTEND_LANES) {
        int rows = smaller(FL_ATTEND_LANES, state->rows - r);
        seen s = seen_by(rows, first ? first + r : NULL, first ? last + r : NULL);
        bool whole = s.all_from == 0 && s.all_to == FL_ATTEND_KEYS;
        if (s.from >= s.to)
            for (int i = 0; i < rows; i++) {
                factor[r + i] = 1;
                peak[r + i] = 0;
            }
        else
            softmax(rows, state->weight + r * FL_ATTEND_KEYS, state->max + r, state->sum + r * FL_ATTEND_LANES,
                    factor + r, integer_v ? peak + r : NULL, whole ? NULL : first + r, whole ? NULL : last + r);
    }
    if (integer_v) {
        integer_values(tile->v_format, d, tile->v, tile->next_v, tile->v_scratch);
        add_integer_values(state->rows, d, state->weight, peak, factor, first, last, tile->v_scratch, state->out);
    } else {
        add_group_values(state, tile, group, factor, first, last);
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
