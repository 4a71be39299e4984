/* Weights in panels, made once when a model is opened. */
#include <string.h>

#include "base/alloc.h"
#include "base/size.h"
#include "device/cpu/product.h"
#include "device/cpu/quant_product.h"
#include "kernel/kernel.h"

#define PANEL FL_GEMM_PANEL
#define PACK_STEP 256 /* values of k that are gathered before they are written */

static fl_gemm_type packed_type(fl_dtype type)
{
    return type == FL_F16 ? FL_GEMM_F16 : type == FL_BF16 ? FL_GEMM_BF16 : FL_GEMM_F32;
}

/* False if the size does not fit. */
static bool data_bytes(const fl_stored *w, size_t *out)
{
    fl_quant_type quant;
    if (fl_cpu_quant_keeps(w, &quant)) return fl_cpu_quant_bytes(w, quant, out);
    size_t value = packed_type(w->type) == FL_GEMM_F32 ? 4 : 2, panels;
    return w->rows >= 0 && w->cols >= 0 && fl_size_align((size_t)w->rows, PANEL, &panels) &&
           fl_size_mul(panels, (size_t)w->cols, out) && fl_size_mul(*out, value, out);
}

size_t fl_cpu_packed_bytes(const fl_device *d, const fl_stored *w)
{
    (void)d;
    size_t bytes;
    return data_bytes(w, &bytes) ? bytes : SIZE_MAX;
}

typedef struct pack_job {
    fl_device *d;
    const fl_stored *w;
    fl_packed *packed;
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
    int64_t first = panel * PANEL, rows = fl_min64(PANEL, w->rows - first), cols = w->cols;
    if (j->packed->quantised) {
        fl_cpu_quant_pack(w, j->packed->quant, panel, j->packed->data);
        return;
    }
    if (j->packed->type != FL_GEMM_F32) {
        pack_16_bit(w, first, (int)rows, (uint16_t *)j->packed->data + first * cols);
        return;
    }
    float *spare = fl_cpu_scratch(j->d, thread, 1, PACK_STEP * PANEL * sizeof(float));
    float *out = (float *)j->packed->data + first * cols;
    for (int64_t k0 = 0; k0 < cols; k0 += PACK_STEP)
        fl_cpu_pack_panels(j->d->kernels->gemm, w, first, rows, k0, fl_min64(PACK_STEP, cols - k0), spare,
                           out + k0 * PANEL, 0);
}

fl_status fl_cpu_pack(fl_device *d, const fl_stored *w, fl_packed **out)
{
    size_t bytes;
    if (!data_bytes(w, &bytes))
        return fl_fail(FL_ERR_MEMORY, "a weight of [%lld, %lld] is too large to pack", (long long)w->rows,
                       (long long)w->cols);
    fl_packed *p = fl_calloc(1, sizeof *p);
    if (!p) return FL_ERR_MEMORY;
    *p = (fl_packed){.type = packed_type(w->type), .rows = w->rows, .cols = w->cols, .data = fl_alloc_aligned(bytes)};
    if (!p->data) {
        fl_free(p);
        return FL_ERR_MEMORY;
    }
    p->quantised = fl_cpu_quant_keeps(w, &p->quant);
    pack_job j = {.d = d, .w = w, .packed = p};
    fl_pool_run(d->pool, (w->rows + PANEL - 1) / PANEL, pack_panel, &j);
    *out = p;
    return FL_OK;
}

void fl_cpu_packed_free(fl_device *d, fl_packed *p)
{
    (void)d;
    if (!p) return;
    fl_free_aligned(p->data);
    fl_free(p);
}
