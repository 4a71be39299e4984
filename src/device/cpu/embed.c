/* Rows of the embedding table for token ids, and the gradient of the table. */
#include "base/size.h"
#include "device/cpu/cpu.h"
#include "device/cpu/range.h"
#include "kernel/kernel.h"
#include "kernel/row.h"

/* Values converted at a time where they cannot be written to their place at once: a multiple of every block size. */
#define CHUNK 256
/* The gradient's work is cut by token id into this many shares. */
#define GRADIENT_SHARES 64

typedef struct embed_job {
    const fl_row_kernels *kernels;
    const fl_stored *table;
    const int32_t *tokens;
    fl_tensor *out;
    bool accumulate;
    const fl_tensor *dout;
    float *dtable;
    int64_t cols;
} embed_job;

/* n values of row `row` of the table from column `first` on, as fp32. */
static void read_values(const fl_stored *t, int64_t row, int64_t first, int64_t n, float *to)
{
    const fl_dtype_info *type = fl_dtype_get(t->type);
    const char *data = t->data;
    if (t->col_stride == 1) {
        fl_to_f32(t->type, data + (row * t->row_stride + first) / type->block * (int64_t)type->block_bytes, to, n);
        return;
    }
    const char *value = data + (row * t->row_stride + first * t->col_stride) * (int64_t)type->block_bytes;
    for (int64_t i = 0; i < n; i++)
        fl_to_f32(t->type, value + i * t->col_stride * (int64_t)type->block_bytes, to + i, 1);
}

static void embed_rows(void *context, int64_t first, int64_t end)
{
    const embed_job *j = context;
    int64_t cols = j->out->cols;
    for (int64_t r = first; r < end; r++) {
        float *to = fl_row(j->out, r);
        if (!j->accumulate) {
            read_values(j->table, j->tokens[r], 0, cols, to);
            continue;
        }
        for (int64_t c = 0; c < cols; c += CHUNK) {
            float chunk[CHUNK];
            int64_t n = fl_min64(CHUNK, cols - c);
            read_values(j->table, j->tokens[r], c, n, chunk);
            j->kernels->add(to + c, chunk, to + c, n);
        }
    }
}

void fl_cpu_embed(fl_device *d, const fl_stored *table, const int32_t *tokens, fl_tensor *out, bool accumulate)
{
    embed_job job = {
        .kernels = d->kernels->row, .table = table, .tokens = tokens, .out = out, .accumulate = accumulate};
    fl_cpu_ranges(d, out->rows, out->cols, embed_rows, &job);
}

/* A share owns the tokens congruent to it, so a token that comes several times adds its rows in order. */
static void embed_backward_shares(void *context, int64_t first, int64_t end)
{
    const embed_job *j = context;
    for (int64_t r = 0; r < j->dout->rows; r++) {
        int64_t token = j->tokens[r], share = token % GRADIENT_SHARES;
        if (share < first || share >= end) continue;
        float *to = j->dtable + token * j->cols;
        j->kernels->add(to, fl_row(j->dout, r), to, j->cols);
    }
}

void fl_cpu_embed_backward(fl_device *d, const int32_t *tokens, const fl_tensor *dout, float *dtable, int64_t cols)
{
    embed_job job = {.kernels = d->kernels->row, .tokens = tokens, .dout = dout, .dtable = dtable, .cols = cols};
    fl_cpu_ranges(d, GRADIENT_SHARES, dout->rows * cols / GRADIENT_SHARES, embed_backward_shares, &job);
}
