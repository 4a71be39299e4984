/* Products with quantised weights. The rows of a are quantised first, tile by tile, into scratch that all threads see;
 * then each task multiplies its block of tiles with its panels. Every output is one chain over all of k, so no cut
 * changes a bit. */
#include "device/cpu/quant_product.h"

#include "base/size.h"
#include "kernel/kernel.h"
#include "kernel/quant_tile.h"

#define PANEL FL_QUANT_PANEL

/* As in product.c: below so many operations waking a thread does not pay; several tasks per thread, but each reads this
 * many bytes of weights at least. Quantising so few values is left to the caller too. */
#define INLINE_OPERATIONS 1e6
#define INLINE_VALUES 16384
#define TASKS_PER_THREAD 6
#define TASK_BYTES ((int64_t)65536)
#define LEAST_TILES 8

/* Tiles of a task together: they stay in the second-level cache while its panels pass. */
#define ROW_BLOCK_BYTES ((int64_t)384 << 10)

/* Longer rows are converted when packed: one row of activations must fit into scratch. */
#define MOST_COLS ((int64_t)1 << 24)
_Static_assert(MOST_COLS / 32 * FL_QUANT_ROW_CHUNK_BYTES * 2 <= (int64_t)FL_CPU_SHARED_SCRATCH_BYTES,
               "a row of activations fits into scratch");

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

bool fl_cpu_quant_keeps(const fl_stored *w, fl_quant_type *type)
{
    static const struct {
        fl_dtype stored;
        fl_quant_type quant;
    } types[] = {
        {FL_Q8_0, FL_QUANT_Q8_0}, {FL_Q4_0, FL_QUANT_Q4_0},     {FL_Q4_1, FL_QUANT_Q4_1}, {FL_Q5_0, FL_QUANT_Q5_0},
        {FL_Q5_1, FL_QUANT_Q5_1}, {FL_IQ4_NL, FL_QUANT_IQ4_NL}, {FL_Q2_K, FL_QUANT_Q2_K}, {FL_Q3_K, FL_QUANT_Q3_K},
        {FL_Q4_K, FL_QUANT_Q4_K}, {FL_Q5_K, FL_QUANT_Q5_K},     {FL_Q6_K, FL_QUANT_Q6_K},
    };
    int64_t block = fl_dtype_get(w->type)->block;
    if (w->col_stride != 1 || w->cols % block || w->row_stride % block || w->cols > MOST_COLS) return false;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (types[i].stored != w->type) continue;
        *type = types[i].quant;
        return true;
    }
    return false;
}

bool fl_cpu_quant_bytes(const fl_stored *w, fl_quant_type type, size_t *bytes)
{
    size_t rows;
    return w->rows >= 0 && w->cols >= 0 && fl_size_align((size_t)w->rows, PANEL, &rows) &&
           fl_size_mul(rows / PANEL, (size_t)fl_quant_panel_bytes(type, w->cols), bytes);
}

void fl_cpu_quant_pack(const fl_stored *w, fl_quant_type type, int64_t panel, void *data)
{
    const fl_dtype_info *info = fl_dtype_get(w->type);
    int64_t first = panel * PANEL, row_bytes = w->row_stride / info->block * (int64_t)info->block_bytes;
    fl_quant_pack_panel(type, (int)fl_min64(PANEL, w->rows - first), w->cols, (const char *)w->data + first * row_bytes,
                        row_bytes, (char *)data + panel * fl_quant_panel_bytes(type, w->cols));
}

typedef struct job {
    const fl_quant_tile_kernels *kernels;
    const fl_product *p;
    fl_quant_type type;
    int64_t first, rows; /* of p that are worked on */
    char *tiles;
    int64_t tile_count, tile_bytes;
    int64_t panels, panel_bytes;
    int64_t row_blocks, col_blocks; /* of tiles and of panels */
} job;

static int tile_rows(const job *j, int64_t tile)
{
    int64_t height = j->kernels->height;
    return (int)fl_min64(height, j->rows - tile * height);
}

static void quantise_tile(void *context, int64_t tile, int thread)
{
    (void)thread;
    const job *j = context;
    const fl_product *p = j->p;
    const float *a = p->a + (j->first + tile * j->kernels->height) * p->a_row;
    j->kernels->pack_rows(j->type, tile_rows(j, tile), p->k, a, p->a_row, j->tiles + tile * j->tile_bytes);
}

static void multiply_block(void *context, int64_t task, int thread)
{
    (void)thread;
    const job *j = context;
    const fl_product *p = j->p;
    int64_t row_block = task % j->row_blocks, col_block = task / j->row_blocks;
    int64_t tile = fl_gemm_share(j->tile_count, j->row_blocks, row_block);
    int64_t tile_end = fl_gemm_share(j->tile_count, j->row_blocks, row_block + 1);
    int64_t begin = fl_gemm_share(j->panels, j->col_blocks, col_block);
    int64_t end = fl_gemm_share(j->panels, j->col_blocks, col_block + 1);
    for (int64_t n = begin; n < end; n++) {
        const char *panel = (const char *)p->b.packed->panels.data + n * j->panel_bytes;
        fl_gemm_out out = {.ldc = p->ldc,
                           .cols = fl_min64(PANEL, p->n - n * PANEL),
                           .accumulate = p->accumulate,
                           .bias = p->bias ? p->bias + n * PANEL : NULL,
                           .ahead = panel};
        for (int64_t t = tile; t < tile_end; t++) {
            out.c = p->c + (j->first + t * j->kernels->height) * p->ldc + n * PANEL;
            j->kernels->tile[j->type](tile_rows(j, t), p->k, j->tiles + t * j->tile_bytes, panel, &out);
        }
    }
}

void fl_cpu_quant_product(fl_device *d, const fl_product *p)
{
    fl_quant_type type = p->b.packed->quant;
    int64_t height = d->kernels->quant->height, threads = fl_pool_threads(d->pool);
    job j = {.kernels = d->kernels->quant,
             .p = p,
             .type = type,
             .tile_bytes = fl_quant_tile_bytes(fl_min64(p->m, height), p->k),
             .panels = ceil_div(p->n, PANEL),
             .panel_bytes = fl_quant_panel_bytes(type, p->k)};
    /* The longest rows are worked on one by one. */
    int64_t row_bytes = fl_quant_tile_bytes(1, p->k), most = (int64_t)FL_CPU_SHARED_SCRATCH_BYTES;
    int64_t step = p->m;
    if (ceil_div(p->m, height) * height * row_bytes > most) step = fl_max64(1, most / (height * row_bytes) * height);
    j.tiles = fl_cpu_shared_scratch(d, 0, (size_t)most);
    for (; j.first < p->m; j.first += j.rows) {
        j.rows = fl_min64(step, p->m - j.first);
        j.tile_count = ceil_div(j.rows, height);
        bool alone = threads == 1 || 2.0 * (double)j.rows * (double)p->n * (double)p->k < INLINE_OPERATIONS;
        int64_t wanted = alone ? 1 : threads * TASKS_PER_THREAD;

        if (j.rows * p->k <= INLINE_VALUES)
            for (int64_t t = 0; t < j.tile_count; t++)
                quantise_tile(&j, t, 0);
        else
            fl_pool_run(d->pool, j.tile_count, quantise_tile, &j);

        /* First as many blocks of columns as read enough, for many rows more blocks of rows. */
        j.row_blocks = ceil_div(j.tile_count * j.tile_bytes, ROW_BLOCK_BYTES);
        j.row_blocks = fl_max64(1, fl_min64(j.tile_count, j.row_blocks));
        int64_t most_cols = j.tile_count > 1 ? j.panels : j.panels * j.panel_bytes / TASK_BYTES;
        j.col_blocks = fl_min64(ceil_div(wanted, j.row_blocks), fl_min64(most_cols, j.panels));
        j.col_blocks = fl_max64(1, j.col_blocks);
        int64_t most_rows = fl_max64(j.row_blocks, j.tile_count / LEAST_TILES);
        j.row_blocks = fl_min64(most_rows, fl_max64(j.row_blocks, ceil_div(wanted, j.col_blocks)));
        fl_pool_run(d->pool, j.row_blocks * j.col_blocks, multiply_block, &j);
    }
}
