#include "device/cpu/columns.h"

#include "base/size.h"
#include "device/cpu/cpu.h"
#include "device/cpu/range.h"
#include "kernel/kernel.h"
#include "kernel/row.h"

#include <string.h>

#define BLOCK_ROWS 32
#define BLOCK_COLS 256
#define SCRATCH_SLOT 2

static int64_t wanted_sums(const fl_columns *c)
{
    return (c->sum[0] != NULL) + (c->sum[1] != NULL);
}

fl_columns fl_cpu_columns(fl_device *d, int64_t rows, int64_t cols, float *sum0, float *sum1)
{
    fl_columns c = {.rows = rows, .cols = cols, .block_rows = BLOCK_ROWS, .sum = {sum0, sum1}};
    size_t block_bytes = (size_t)(wanted_sums(&c) * cols) * sizeof(float);
    if (block_bytes) {
        int64_t most = fl_max64(1, (int64_t)(FL_CPU_SHARED_SCRATCH_BYTES / block_bytes));
        c.block_rows = fl_max64(BLOCK_ROWS, (rows + most - 1) / most);
    }
    c.blocks = (rows + c.block_rows - 1) / c.block_rows;
    if (block_bytes && c.blocks > 1) c.part = fl_cpu_shared_scratch(d, SCRATCH_SLOT, (size_t)c.blocks * block_bytes);
    return c;
}

void fl_cpu_columns_start(const fl_columns *c, int64_t block, float *part[FL_COLUMN_SUMS])
{
    float *next = c->part ? c->part + block * wanted_sums(c) * c->cols : NULL;
    for (int k = 0; k < FL_COLUMN_SUMS; k++) {
        part[k] = c->sum[k];
        if (!c->sum[k] || !next) continue;
        memset(next, 0, (size_t)c->cols * sizeof *next);
        part[k] = next;
        next += c->cols;
    }
}

typedef struct finish_job {
    const fl_row_kernels *kernels;
    const fl_columns *columns;
} finish_job;

static void finish_columns(void *context, int64_t first, int64_t end)
{
    const finish_job *j = context;
    const fl_columns *c = j->columns;
    int64_t from = first * BLOCK_COLS, n = fl_min64(end * BLOCK_COLS, c->cols) - from;
    int64_t step = wanted_sums(c) * c->cols;
    float *total = c->part + from;
    for (int k = 0; k < FL_COLUMN_SUMS; k++) {
        if (!c->sum[k]) continue;
        for (int64_t b = 1; b < c->blocks; b++)
            j->kernels->add(total, total + b * step, total, n);
        j->kernels->add(c->sum[k] + from, total, c->sum[k] + from, n);
        total += c->cols;
    }
}

void fl_cpu_columns_finish(fl_device *d, const fl_columns *c)
{
    finish_job job = {d->kernels->row, c};
    if (c->part)
        fl_cpu_ranges(d, (c->cols + BLOCK_COLS - 1) / BLOCK_COLS, c->blocks * BLOCK_COLS, finish_columns, &job);
}
