/* Cutting a product into tasks and blocks (Goto, van de Geijn, "Anatomy of high-performance matrix multiplication",
 * 2008). A task owns a block of c and runs through all of k, so threads share nothing and no cut changes a bit:
 *
 *   for each block of k (kc values)
 *       pack the task's rows of a as register tiles            second-level cache
 *       for each panel of b (32 columns)                       first-level cache, converted to F32
 *           for each tile of a: c += tile * panel              registers
 *
 * Few rows against packed weights are limited by reading the weights: there a is read in place and each value of b is
 * converted in registers, all of k at once. */
#include <string.h>

#include "base/size.h"
#include "device/cpu/product.h"
#include "kernel/kernel.h"

#define PANEL FL_GEMM_PANEL
#define TASKS_PER_THREAD 6            /* so that a thread that loses its core for a while holds up little */
#define TASK_PANELS 16                /* panels of b that use one packing of a, at most */
#define TASK_TILES 4                  /* tiles of a that use one panel in the first-level cache, at least */
#define INLINE_FLOPS 1000000.0        /* less is done by the calling thread: it takes about as long as waking another */
#define STREAM_BYTES ((int64_t)65536) /* weights that one task of few rows reads, at least */
#define CHUNK_BYTES ((int64_t)16 << 20) /* b packed at once when several blocks of rows share it: it stays in cache */
#define PACK_STEP 512                   /* values of k that one packing task takes */

_Static_assert(CHUNK_BYTES <= (int64_t)FL_CPU_SHARED_SCRATCH_BYTES, "b's chunk fits into its scratch");

typedef struct job {
    fl_device *d;
    const fl_gemm_kernels *kernels;
    const fl_product *p;
    int64_t row_blocks, col_blocks; /* blocks of c, in rows and in panels */
    int64_t panels, kc;
} job;

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* First element of part i when n are dealt evenly to `parts`. */
static int64_t share(int64_t n, int64_t parts, int64_t i)
{
    return n / parts * i + fl_min64(i, n % parts);
}

void fl_cpu_pack_panel(const fl_gemm_kernels *kernels, const fl_stored *b, int64_t first, int64_t k0, int64_t kc,
                       float *spare, float *out)
{
    int rows = (int)fl_min64(PANEL, b->rows - first);
    const fl_dtype_info *info = fl_dtype_get(b->type);
    const char *data = b->data;
    if (b->type == FL_F32 && (uintptr_t)data % sizeof(float) == 0) {
        const float *from = (const float *)b->data + first * b->row_stride + k0 * b->col_stride;
        kernels->pack(rows, PANEL, kc, from, b->row_stride, b->col_stride, out);
        return;
    }
    int64_t block = info->block, size = (int64_t)info->block_bytes;
    data += (first * b->row_stride + k0 * b->col_stride) / block * size;
    if (b->col_stride == 1) {
        for (int i = 0; i < rows; i++)
            fl_to_f32(b->type, data + i * b->row_stride / block * size, spare + i * kc, kc);
        kernels->pack(rows, PANEL, kc, spare, kc, 1, out);
        return;
    }
    for (int64_t l = 0; l < kc; l++) {
        const char *from = data + l * b->col_stride * size;
        if (b->row_stride == 1) {
            fl_to_f32(b->type, from, out + l * PANEL, rows);
        } else {
            for (int i = 0; i < rows; i++)
                fl_to_f32(b->type, from + i * b->row_stride * size, out + l * PANEL + i, 1);
        }
        memset(out + l * PANEL + rows, 0, (size_t)(PANEL - rows) * sizeof *out);
    }
}

/* kc values of a panel as F32: in place where they lie so, else in `slab`, which has room for twice as many. */
static const float *panel_values(const job *j, int64_t panel, int64_t k0, int64_t kc, float *slab)
{
    const fl_packed *packed = j->p->b.packed;
    if (!packed) {
        fl_cpu_pack_panel(j->kernels, &j->p->b.stored, panel * PANEL, k0, kc, slab + kc * PANEL, slab);
        return slab;
    }
    int64_t index = (panel * j->p->k + k0) * PANEL;
    if (packed->type == FL_GEMM_F32) return (const float *)packed->data + index;
    j->kernels->unpack[packed->type]((const uint16_t *)packed->data + index, slab, kc * PANEL);
    return slab;
}

static void multiply_block(void *context, int64_t task, int thread)
{
    const job *j = context;
    const fl_product *p = j->p;
    const fl_gemm_kernels *kernels = j->kernels;
    int64_t row_block = task % j->row_blocks, col_block = task / j->row_blocks;
    int64_t row = share(p->m, j->row_blocks, row_block), rows = share(p->m, j->row_blocks, row_block + 1) - row;
    int64_t panel = share(j->panels, j->col_blocks, col_block), end = share(j->panels, j->col_blocks, col_block + 1);
    int64_t tiles = ceil_div(rows, kernels->mr);

    float *a = fl_cpu_scratch(j->d, thread, 0, (size_t)(rows * j->kc + FL_GEMM_SLACK) * sizeof(float));
    float *slab = fl_cpu_scratch(j->d, thread, 1, (size_t)(2 * j->kc * PANEL) * sizeof(float));
    int64_t k0 = 0;
    do {
        int64_t kc = fl_min64(j->kc, p->k - k0);
        bool last = k0 + kc == p->k;
        for (int64_t t = 0; t < tiles; t++) {
            int64_t first = share(rows, tiles, t), height = share(rows, tiles, t + 1) - first;
            kernels->pack((int)height, (int)height, kc, p->a + (row + first) * p->a_row + k0 * p->a_col, p->a_row,
                          p->a_col, a + first * kc);
        }
        for (int64_t n = panel; n < end; n++) {
            const float *b = panel_values(j, n, k0, kc, slab);
            fl_gemm_out out = {.c = p->c + row * p->ldc + n * PANEL,
                               .ldc = p->ldc,
                               .cols = fl_min64(PANEL, p->n - n * PANEL),
                               .accumulate = p->accumulate || k0 > 0,
                               .bias = last && p->bias ? p->bias + n * PANEL : NULL};
            for (int64_t t = 0; t < tiles; t++) {
                int64_t first = share(rows, tiles, t), height = share(rows, tiles, t + 1) - first;
                kernels->tile((int)height, kc, a + first * kc, b, &out);
                out.c += height * p->ldc;
            }
        }
        k0 += kc;
    } while (k0 < p->k);
}

static void multiply_rows(void *context, int64_t task, int thread)
{
    (void)thread;
    const job *j = context;
    const fl_product *p = j->p;
    const fl_packed *packed = p->b.packed;
    int64_t panel = share(j->panels, j->col_blocks, task), end = share(j->panels, j->col_blocks, task + 1);
    int64_t value_bytes = packed->type == FL_GEMM_F32 ? 4 : 2;
    fl_gemm_out out = {.c = p->c + panel * PANEL,
                       .ldc = p->ldc,
                       .cols = fl_min64(end * PANEL, p->n) - panel * PANEL,
                       .accumulate = p->accumulate,
                       .bias = p->bias ? p->bias + panel * PANEL : NULL};
    const char *b = (const char *)packed->data + panel * p->k * PANEL * value_bytes;
    j->kernels->row_panels[packed->type]((int)p->m, p->k, p->a, p->a_row, b, p->k * PANEL, &out);
}

typedef struct pack_job {
    const fl_gemm_kernels *kernels;
    fl_device *d;
    fl_stored b;
    int64_t steps;
    float *out;
} pack_job;

static void pack_step(void *context, int64_t task, int thread)
{
    const pack_job *j = context;
    int64_t panel = task / j->steps, k0 = task % j->steps * PACK_STEP, kc = fl_min64(PACK_STEP, j->b.cols - k0);
    float *spare = fl_cpu_scratch(j->d, thread, 1, PACK_STEP * PANEL * sizeof(float));
    fl_cpu_pack_panel(j->kernels, &j->b, panel * PANEL, k0, kc, spare, j->out + (panel * j->b.cols + k0) * PANEL);
}

/* Blocks of c for one product whose b is packed, or used by one block of rows only. */
static void run(fl_device *d, const fl_product *p)
{
    const fl_gemm_kernels *kernels = d->kernels->gemm;
    job j = {.d = d, .kernels = kernels, .p = p, .panels = ceil_div(p->n, PANEL)};
    int threads = fl_pool_threads(d->pool);
    bool alone = threads == 1 || 2.0 * (double)p->m * (double)p->n * (double)p->k < INLINE_FLOPS;
    if (p->b.packed && p->m <= kernels->row_panels_rows && p->a_col == 1) {
        int64_t bytes = j.panels * p->k * PANEL * (p->b.packed->type == FL_GEMM_F32 ? 4 : 2);
        j.col_blocks = alone ? 1 : fl_min64(bytes / STREAM_BYTES, (int64_t)threads * TASKS_PER_THREAD);
        j.col_blocks = fl_max64(1, fl_min64(j.col_blocks, j.panels));
        fl_pool_run(d->pool, j.col_blocks, multiply_rows, &j);
        return;
    }
    int64_t k_blocks = fl_max64(1, ceil_div(p->k, kernels->kc));
    j.kc = fl_min64(kernels->kc, fl_round_up(ceil_div(p->k, k_blocks), 32));
    j.row_blocks = ceil_div(p->m, kernels->mc);
    j.col_blocks = ceil_div(j.panels, TASK_PANELS);
    if (!alone) {
        /* More tasks: first by fewer rows, since a is packed once per row however low the blocks are. */
        int64_t wanted = (int64_t)threads * TASKS_PER_THREAD;
        int64_t most = p->b.packed ? ceil_div(p->m, TASK_TILES * kernels->mr) : 1;
        j.row_blocks = fl_max64(j.row_blocks, fl_min64(ceil_div(wanted, j.col_blocks), most));
        j.col_blocks = fl_min64(j.panels, fl_max64(j.col_blocks, ceil_div(wanted, j.row_blocks)));
    }
    fl_pool_run(d->pool, j.row_blocks * j.col_blocks, multiply_block, &j);
}

void fl_cpu_product(fl_device *d, const fl_product *p)
{
    const fl_gemm_kernels *kernels = d->kernels->gemm;
    if (p->m < 1 || p->n < 1) return;
    if (p->b.packed || p->m <= kernels->mc) {
        run(d, p);
        return;
    }
    /* Several blocks of rows would each pack all of b: it is packed once, in chunks, and multiplied from there. */
    float *chunk = fl_cpu_shared_scratch(d, 0, CHUNK_BYTES);
    int64_t room = CHUNK_BYTES / (int64_t)(PANEL * sizeof(float));
    int64_t most_panels = fl_max64(1, room / fl_max64(1, fl_min64(p->k, kernels->kc)));
    int64_t n_step = fl_min64(ceil_div(p->n, PANEL), most_panels) * PANEL;
    int64_t k_step = fl_max64(kernels->kc, room / (n_step / PANEL) / kernels->kc * kernels->kc);
    for (int64_t n0 = 0; n0 < p->n; n0 += n_step) {
        int64_t k0 = 0;
        do {
            const fl_stored *b = &p->b.stored;
            fl_product part = *p;
            part.n = fl_min64(n_step, p->n - n0);
            part.k = fl_min64(k_step, p->k - k0);
            part.a += k0 * p->a_col;
            part.c += n0;
            part.accumulate = p->accumulate || k0 > 0;
            part.bias = p->bias && k0 + part.k == p->k ? p->bias + n0 : NULL;
            part.b.stored.rows = part.n;
            part.b.stored.cols = part.k;
            const fl_dtype_info *info = fl_dtype_get(b->type);
            part.b.stored.data = (const char *)b->data +
                                 (n0 * b->row_stride + k0 * b->col_stride) / info->block * (int64_t)info->block_bytes;
            pack_job pack = {
                .kernels = kernels, .d = d, .b = part.b.stored, .steps = ceil_div(part.k, PACK_STEP), .out = chunk};
            fl_pool_run(d->pool, ceil_div(part.n, PANEL) * pack.steps, pack_step, &pack);
            fl_packed packed = {.type = FL_GEMM_F32, .rows = part.n, .cols = part.k, .data = chunk};
            part.b.packed = &packed;
            run(d, &part);
            k0 += part.k;
        } while (k0 < p->k);
    }
}
