/* Cutting a product into tasks and blocks (Goto, van de Geijn, "Anatomy of high-performance matrix multiplication",
 * 2008). A task owns a block of c and runs through all of k, so threads share nothing and no cut changes a bit:
 *
 *   for each block of k (kc values)
 *       pack the task's rows of a as register tiles       they stay in the second-level cache
 *       for each panel of b (32 columns), as F32          it stays in the first-level cache
 *           for each tile of a: c += tile * panel         in registers
 *
 * What comes next is asked for early: the next tile's part of c and the next panel.
 *
 * Few rows against packed weights are limited by reading the weights: there a is read in place and each value of b is
 * converted in registers, all of k at once. */
#include <string.h>

#include "base/size.h"
#include "device/cpu/product.h"
#include "device/cpu/quant_product.h"
#include "kernel/kernel.h"

#define PANEL FL_GEMM_PANEL

/* A product of fewer operations is done by the calling thread: it takes about as long as waking another. */
#define INLINE_OPERATIONS 1e6
/* Many tasks, so that a thread that loses its core for a while holds up little; but tasks of few rows read this many
 * bytes of weights at least, in whole groups of the panels that one row reads at once, and others have this many panels
 * of b for one packing of a and this many tiles of a for one panel in the first-level cache. */
#define TASKS_PER_THREAD 6
#define STREAM_BYTES ((int64_t)65536)
#define STREAM_PANELS 4
#define MOST_PANELS 32
#define LEAST_PANELS 4
#define LEAST_TILES 4

/* A stored b that few tiles use is packed where it is used, panel by panel. Else it is packed first, in chunks that
 * stay in the last-level cache; a packing task takes this many panels and values of k. */
#define FEW_TILES 8
#define CHUNK_BYTES ((int64_t)16 << 20)
#define PACK_PANELS 16
#define PACK_STEP 256

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

static int64_t value_bytes(const fl_packed *packed)
{
    return packed->type == FL_GEMM_F32 ? 4 : 2;
}

/* ---- packing b ------------------------------------------------------------------------------------------------ */

/* One panel of what is not aligned F32. */
static void convert_panel(const fl_gemm_kernels *kernels, const fl_stored *b, int64_t first, int64_t rows, int64_t k0,
                          int64_t kc, float *spare, float *out)
{
    const fl_dtype_info *info = fl_dtype_get(b->type);
    int64_t block = info->block, size = (int64_t)info->block_bytes;
    const char *data = (const char *)b->data + (first * b->row_stride + k0 * b->col_stride) / block * size;
    if (b->col_stride == 1) {
        for (int64_t i = 0; i < rows; i++)
            fl_to_f32(b->type, data + i * b->row_stride / block * size, spare + i * kc, kc);
        kernels->pack_panels(rows, kc, spare, kc, 1, out, 0);
        return;
    }
    for (int64_t l = 0; l < kc; l++) {
        const char *from = data + l * b->col_stride / block * size;
        if (b->row_stride == 1) {
            fl_to_f32(b->type, from, out + l * PANEL, rows);
        } else {
            for (int64_t i = 0; i < rows; i++)
                fl_to_f32(b->type, from + i * b->row_stride * size, out + l * PANEL + i, 1);
        }
        memset(out + l * PANEL + rows, 0, (size_t)(PANEL - rows) * sizeof *out);
    }
}

void fl_cpu_pack_panels(const fl_gemm_kernels *kernels, const fl_stored *b, int64_t first, int64_t rows, int64_t k0,
                        int64_t kc, float *spare, float *out, int64_t panel_stride)
{
    if (b->type == FL_F32 && (uintptr_t)b->data % sizeof(float) == 0) {
        const float *from = (const float *)b->data + first * b->row_stride + k0 * b->col_stride;
        kernels->pack_panels(rows, kc, from, b->row_stride, b->col_stride, out, panel_stride);
        return;
    }
    for (int64_t i = 0; i < rows; i += PANEL)
        convert_panel(kernels, b, first + i, fl_min64(PANEL, rows - i), k0, kc, spare, out + i / PANEL * panel_stride);
}

typedef struct pack_job {
    fl_device *d;
    fl_stored b;
    int64_t steps; /* along k */
    float *out;
} pack_job;

static void pack_step(void *context, int64_t task, int thread)
{
    const pack_job *j = context;
    int64_t first = task / j->steps * PACK_PANELS * PANEL, rows = fl_min64(PACK_PANELS * PANEL, j->b.rows - first);
    int64_t k0 = task % j->steps * PACK_STEP, kc = fl_min64(PACK_STEP, j->b.cols - k0);
    float *spare = fl_cpu_scratch(j->d, thread, 1, PACK_STEP * PANEL * sizeof(float));
    fl_cpu_pack_panels(j->d->kernels->gemm, &j->b, first, rows, k0, kc, spare, j->out + first * j->b.cols + k0 * PANEL,
                       j->b.cols * PANEL);
}

/* ---- blocks of c ---------------------------------------------------------------------------------------------- */

static const char *packed_address(const job *j, int64_t panel, int64_t k0)
{
    const fl_packed *packed = j->p->b.packed;
    return (const char *)packed->panels.data + (panel * j->p->k + k0) * PANEL * value_bytes(packed);
}

/* kc values of a panel as F32: in place where they lie so, else in `slab`, which has room for twice as many. */
static const float *panel_values(const job *j, int64_t panel, int64_t k0, int64_t kc, float *slab)
{
    const fl_packed *packed = j->p->b.packed;
    if (packed && packed->type == FL_GEMM_F32) return (const float *)(const void *)packed_address(j, panel, k0);
    if (packed) {
        j->kernels->unpack[packed->type](packed_address(j, panel, k0), slab, kc * PANEL);
    } else {
        const fl_stored *b = &j->p->b.stored;
        int64_t first = panel * PANEL, rows = fl_min64(PANEL, b->rows - first);
        fl_cpu_pack_panels(j->kernels, b, first, rows, k0, kc, slab + kc * PANEL, slab, 0);
    }
    return slab;
}

static void prefetch_block(const float *c, int64_t ldc, int64_t rows)
{
    for (int64_t i = 0; i < rows; i++) {
        __builtin_prefetch(c + i * ldc, 1);
        __builtin_prefetch(c + i * ldc + PANEL - 1, 1);
    }
}

static void multiply_block(void *context, int64_t task, int thread)
{
    const job *j = context;
    const fl_product *p = j->p;
    const fl_gemm_kernels *kernels = j->kernels;
    int64_t row_block = task % j->row_blocks, col_block = task / j->row_blocks;
    int64_t row = fl_gemm_share(p->m, j->row_blocks, row_block);
    int64_t rows = fl_gemm_share(p->m, j->row_blocks, row_block + 1) - row;
    int64_t begin = fl_gemm_share(j->panels, j->col_blocks, col_block);
    int64_t end = fl_gemm_share(j->panels, j->col_blocks, col_block + 1);
    int64_t tiles = ceil_div(rows, kernels->mr);

    float *a = fl_cpu_scratch(j->d, thread, 0, (size_t)(rows * j->kc) * sizeof *a);
    float *slab = fl_cpu_scratch(j->d, thread, 1, (size_t)(2 * j->kc * PANEL) * sizeof *slab);
    int64_t k0 = 0;
    do {
        int64_t kc = fl_min64(j->kc, p->k - k0);
        bool last = k0 + kc == p->k;
        kernels->pack_tiles(rows, tiles, kc, p->a + row * p->a_row + k0 * p->a_col, p->a_row, p->a_col, a);
        for (int64_t n = begin; n < end; n++) {
            const float *b = panel_values(j, n, k0, kc, slab);
            float *c = p->c + row * p->ldc + n * PANEL;
            fl_gemm_out out = {.ldc = p->ldc,
                               .cols = fl_min64(PANEL, p->n - n * PANEL),
                               .accumulate = p->accumulate || k0 > 0,
                               .bias = last && p->bias ? p->bias + n * PANEL : NULL};
            bool coming = p->b.packed && n + 1 < end;
            int64_t coming_bytes = coming ? kc * PANEL * value_bytes(p->b.packed) : 0;
            for (int64_t t = 0; t < tiles; t++) {
                int64_t first = fl_gemm_share(rows, tiles, t), next = fl_gemm_share(rows, tiles, t + 1);
                out.c = c + first * p->ldc;
                /* A tile asks for 64*kc bytes, one or two tiles for the whole panel. */
                out.ahead = t * kc * 64 < coming_bytes ? packed_address(j, n + 1, k0) + t * kc * 64 : (const void *)b;
                if (t + 1 < tiles)
                    prefetch_block(c + next * p->ldc, p->ldc, fl_gemm_share(rows, tiles, t + 2) - next);
                else if (n + 1 < end)
                    prefetch_block(c + PANEL, p->ldc, fl_gemm_share(rows, tiles, 1));
                kernels->tile((int)(next - first), kc, a + first * kc, b, &out);
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
    int64_t groups = ceil_div(j->panels, STREAM_PANELS);
    int64_t begin = fl_gemm_share(groups, j->col_blocks, task) * STREAM_PANELS;
    int64_t end = fl_gemm_share(groups, j->col_blocks, task + 1) * STREAM_PANELS;
    fl_gemm_out out = {.c = p->c + begin * PANEL,
                       .ldc = p->ldc,
                       .cols = fl_min64(end * PANEL, p->n) - begin * PANEL,
                       .accumulate = p->accumulate,
                       .bias = p->bias ? p->bias + begin * PANEL : NULL};
    j->kernels->row_panels[p->b.packed->type]((int)p->m, p->k, p->a, p->a_row, packed_address(j, begin, 0),
                                              p->k * PANEL, &out);
}

/* ---- cutting -------------------------------------------------------------------------------------------------- */

/* Values of k in one block: what suits the caches, in whole blocks of b's type. */
static int64_t k_block(const fl_gemm_kernels *kernels, const fl_product *p)
{
    int64_t block = p->b.packed ? 1 : fl_dtype_get(p->b.stored.type)->block;
    return fl_max64(block, kernels->kc / block * block);
}

/* A product whose b is packed, or has few rows in a. */
static void run(fl_device *d, const fl_product *p)
{
    const fl_gemm_kernels *kernels = d->kernels->gemm;
    job j = {.d = d, .kernels = kernels, .p = p, .panels = ceil_div(p->n, PANEL)};
    int threads = fl_pool_threads(d->pool);
    bool alone = threads == 1 || 2.0 * (double)p->m * (double)p->n * (double)p->k < INLINE_OPERATIONS;
    int64_t wanted = alone ? 1 : (int64_t)threads * TASKS_PER_THREAD;
    if (p->b.packed && p->m <= kernels->row_panels_rows && p->a_col == 1) {
        int64_t bytes = j.panels * p->k * PANEL * value_bytes(p->b.packed);
        int64_t most = fl_min64(ceil_div(j.panels, STREAM_PANELS), bytes / STREAM_BYTES);
        j.col_blocks = fl_max64(1, fl_min64(wanted, most));
        fl_pool_run(d->pool, j.col_blocks, multiply_rows, &j);
        return;
    }
    int64_t kc = k_block(kernels, p), k_blocks = fl_max64(1, ceil_div(p->k, kc));
    int64_t step = p->b.packed ? 32 : fl_max64(32, fl_dtype_get(p->b.stored.type)->block);
    j.kc = fl_min64(kc, fl_round_up(ceil_div(p->k, k_blocks), step));
    j.row_blocks = ceil_div(p->m, kernels->mc);
    j.col_blocks = ceil_div(j.panels, MOST_PANELS);
    /* More tasks: first by fewer rows, which costs least, since each block of columns packs all of a. */
    int64_t most_rows = p->b.packed ? ceil_div(p->m, LEAST_TILES * kernels->mr) : 1;
    j.row_blocks = fl_max64(j.row_blocks, fl_min64(ceil_div(wanted, j.col_blocks), most_rows));
    int64_t most_cols = fl_max64(ceil_div(j.panels, LEAST_PANELS), ceil_div(threads, j.row_blocks));
    most_cols = fl_min64(j.panels, most_cols);
    j.col_blocks = fl_max64(j.col_blocks, fl_min64(ceil_div(wanted, j.row_blocks), most_cols));
    fl_pool_run(d->pool, j.row_blocks * j.col_blocks, multiply_block, &j);
}

void fl_cpu_product(fl_device *d, const fl_product *p)
{
    const fl_gemm_kernels *kernels = d->kernels->gemm;
    if (p->m < 1 || p->n < 1) return;
    if (p->b.packed && p->b.packed->quantised) {
        fl_cpu_quant_product(d, p);
        return;
    }
    if (p->b.packed || p->m <= FEW_TILES * kernels->mr) {
        run(d, p);
        return;
    }
    int64_t kc = k_block(kernels, p);
    float *chunk = fl_cpu_shared_scratch(d, 0, CHUNK_BYTES);
    int64_t room = CHUNK_BYTES / (int64_t)(PANEL * sizeof *chunk); /* panels times values of k */
    int64_t most_panels = fl_max64(1, room / fl_max64(1, fl_min64(p->k, kc)));
    int64_t n_step = fl_min64(ceil_div(p->n, PANEL), most_panels) * PANEL;
    int64_t k_step = fl_max64(kc, room / (n_step / PANEL) / kc * kc);
    for (int64_t n0 = 0; n0 < p->n; n0 += n_step) {
        int64_t k0 = 0;
        do {
            const fl_stored *b = &p->b.stored;
            const fl_dtype_info *info = fl_dtype_get(b->type);
            int64_t blocks = (n0 * b->row_stride + k0 * b->col_stride) / info->block;
            fl_product part = *p;
            part.n = fl_min64(n_step, p->n - n0);
            part.k = fl_min64(k_step, p->k - k0);
            part.a += k0 * p->a_col;
            part.c += n0;
            part.accumulate = p->accumulate || k0 > 0;
            part.bias = p->bias && k0 + part.k == p->k ? p->bias + n0 : NULL;
            part.b.stored.rows = part.n;
            part.b.stored.cols = part.k;
            part.b.stored.data = (const char *)b->data + blocks * (int64_t)info->block_bytes;
            pack_job pack = {.d = d, .b = part.b.stored, .steps = ceil_div(part.k, PACK_STEP), .out = chunk};
            fl_pool_run(d->pool, ceil_div(part.n, PACK_PANELS * PANEL) * pack.steps, pack_step, &pack);
            fl_packed packed = {.panels.data = chunk, .type = FL_GEMM_F32};
            part.b.packed = &packed;
            run(d, &part);
            k0 += part.k;
        } while (k0 < p->k);
    }
}
