/* Weights in panels: made once when a model is opened, or taken from where they were made before. */
#include <string.h>

#include "base/alloc.h"
#include "base/size.h"
#include "device/cpu/product.h"
#include "device/cpu/quant_product.h"
#include "kernel/kernel.h"
#include "kernel/quant_tile.h"

#define PANEL FL_GEMM_PANEL
#define PACK_STEP 256 /* values of k that are gathered before they are written */

/* The record of w's panels, before they are there. False if their size does not fit. */
static bool describe(const fl_stored *w, fl_packed *out)
{
    fl_packed p = {.panels = {.layout = FL_GEMM_LAYOUT, .type = FL_F32, .rows = w->rows, .cols = w->cols}};
    fl_panels *panels = &p.panels;
    size_t rows;
    bool fits;
    p.quantised = fl_cpu_quant_keeps(w, &p.quant);
    if (p.quantised) {
        panels->layout = FL_QUANT_LAYOUT;
        panels->type = w->type;
        fits = fl_cpu_quant_bytes(w, p.quant, &panels->bytes);
    } else {
        if (w->type == FL_F16) panels->type = FL_F16, p.type = FL_GEMM_F16;
        if (w->type == FL_BF16) panels->type = FL_BF16, p.type = FL_GEMM_BF16;
        fits = w->rows >= 0 && w->cols >= 0 && fl_size_align((size_t)w->rows, PANEL, &rows) &&
               fl_size_mul(rows, (size_t)w->cols, &panels->bytes) &&
               fl_size_mul(panels->bytes, fl_dtype_get(panels->type)->block_bytes, &panels->bytes);
    }
    *out = p;
    return fits;
}

size_t fl_cpu_packed_bytes(const fl_device *d, const fl_stored *w)
{
    (void)d;
    fl_packed p;
    return describe(w, &p) ? p.panels.bytes : SIZE_MAX;
}

typedef struct pack_job {
    fl_device *d;
    const fl_stored *w;
    const fl_packed *packed;
} pack_job;

static void pack_16_bit(const fl_stored *w, int64_t first, int rows, uint16_t *out)
{
    const char *data = (const char *)w->data + first * w->row_stride * 2;
    int64_t row_bytes = w->row_stride * 2, col_bytes = w->col_stride * 2;
    for (int64_t l = 0; l < w->cols; l++) {
        const char *from = data + l * col_bytes;
        if (row_bytes == 2) {
            memcpy(out, from, (size_t)rows * 2);
        } else {
            for (int i = 0; i < rows; i++)
                memcpy(out + i, from + i * row_bytes, 2); /* tensors in files need not be aligned */
        }
        memset(out + rows, 0, (size_t)(PANEL - rows) * 2);
        out += PANEL;
    }
}

static void pack_panel(void *context, int64_t panel, int thread)
{
    const pack_job *j = context;
    const fl_stored *w = j->w;
    const fl_packed *p = j->packed;
    int64_t first = panel * PANEL, rows = fl_min64(PANEL, w->rows - first), cols = w->cols;
    if (p->quantised) {
        fl_cpu_quant_pack(w, p->quant, panel, p->owned);
        return;
    }
    if (p->type != FL_GEMM_F32) {
        pack_16_bit(w, first, (int)rows, (uint16_t *)p->owned + first * cols);
        return;
    }
    float *spare = fl_cpu_scratch(j->d, thread, 1, PACK_STEP * PANEL * sizeof(float));
    float *out = (float *)p->owned + first * cols;
    for (int64_t k0 = 0; k0 < cols; k0 += PACK_STEP)
        fl_cpu_pack_panels(j->d->kernels->gemm, w, first, rows, k0, fl_min64(PACK_STEP, cols - k0), spare,
                           out + k0 * PANEL, 0);
}

fl_status fl_cpu_pack(fl_device *d, const fl_stored *w, fl_packed **out)
{
    fl_packed *p = fl_calloc(1, sizeof *p);
    if (!p) return FL_ERR_MEMORY;
    if (!describe(w, p)) {
        fl_free(p);
        return fl_fail(FL_ERR_MEMORY, "a weight of [%lld, %lld] is too large to pack", (long long)w->rows,
                       (long long)w->cols);
    }
    p->panels.data = p->owned = fl_slab_alloc(&d->weights, p->panels.bytes, &p->slab);
    if (!p->owned) {
        fl_free(p);
        return FL_ERR_MEMORY;
    }
    pack_job j = {.d = d, .w = w, .packed = p};
    fl_pool_run(d->pool, (w->rows + PANEL - 1) / PANEL, pack_panel, &j);
    *out = p;
    return FL_OK;
}

/* Any bits are values of the types, so size and place are all that can be wrong with what a file holds. */
static fl_status check(const fl_panels *given, const fl_panels *own)
{
    const char *type = fl_dtype_get(given->type)->name;
    if (given->type != own->type)
        return fl_fail(FL_ERR_UNSUPPORTED, "type = %s: rows of %lld values have no panels of this type", type,
                       (long long)given->cols);
    if (strcmp(given->layout, own->layout))
        return fl_fail(FL_ERR_UNSUPPORTED, "layout = %.32s: this version of furlong has panels of %s as %s",
                       given->layout, type, own->layout);
    if (given->bytes != own->bytes)
        return fl_fail(FL_ERR_FORMAT, "%zu bytes, but panels of [%lld, %lld] of %s have %zu", given->bytes,
                       (long long)given->rows, (long long)given->cols, type, own->bytes);
    if ((uintptr_t)given->data % FL_PANELS_ALIGNMENT)
        return fl_fail(FL_ERR_FORMAT, "begins %d bytes after a multiple of %d, where panels must begin",
                       (int)((uintptr_t)given->data % FL_PANELS_ALIGNMENT), FL_PANELS_ALIGNMENT);
    return FL_OK;
}

fl_status fl_cpu_packed_from(fl_device *d, const fl_panels *panels, fl_packed **out)
{
    (void)d;
    fl_packed own;
    if (!describe(&(fl_stored){panels->type, panels->rows, panels->cols, panels->cols, 1, NULL}, &own))
        return fl_fail(FL_ERR_FORMAT, "panels of [%lld, %lld] are too large", (long long)panels->rows,
                       (long long)panels->cols);
    FL_TRY(check(panels, &own.panels));
    fl_packed *p = fl_calloc(1, sizeof *p);
    if (!p) return FL_ERR_MEMORY;
    *p = own;
    p->panels.data = panels->data;
    *out = p;
    return FL_OK;
}

fl_panels fl_cpu_panels(const fl_device *d, const fl_packed *p)
{
    (void)d;
    return p->panels;
}

void fl_cpu_packed_free(fl_device *d, fl_packed *p)
{
    if (!p) return;
    fl_slab_release(&d->weights, p->slab);
    fl_free(p);
}
