#include "train/parameters.h"

#include <string.h>

#include "base/alloc.h"
#include "base/size.h"

/* Weights start at multiples of 16 values so that every row kernel sees aligned data. */
#define STEP 16

static fl_status place(fl_parameters *p, const fl_model *m)
{
    p->offset = fl_calloc((size_t)m->weights + 1, sizeof *p->offset);
    p->decays = fl_calloc((size_t)m->weights, sizeof *p->decays);
    if (!p->offset || !p->decays) return FL_ERR_MEMORY;
    for (int i = 0; i < m->weights; i++) {
        const fl_stored *s = &m->weight[i]->stored;
        size_t n;
        if (!fl_size_product((int64_t[]){s->rows, s->cols}, 2, &n))
            return fl_fail(FL_ERR_MEMORY, "%s is too large to train", m->weight[i]->name);
        p->offset[i] = p->count;
        p->count += fl_round_up((int64_t)n, STEP);
        p->decays[i] = s->rows > 1;
    }
    p->offset[m->weights] = p->count;
    return FL_OK;
}

static fl_status block(float **out, int64_t count)
{
    size_t bytes;
    if (!fl_size_mul((size_t)count, sizeof **out, &bytes)) return fl_fail(FL_ERR_MEMORY, "too many parameters");
    *out = fl_alloc_aligned(bytes);
    if (!*out) return FL_ERR_MEMORY;
    memset(*out, 0, bytes);
    return FL_OK;
}

fl_status fl_parameters_create(fl_parameters *p, const fl_model *m)
{
    *p = (fl_parameters){0};
    fl_status s = place(p, m);
    if (s == FL_OK) s = block(&p->master, p->count);
    if (s == FL_OK) s = block(&p->grad, p->count);
    if (s == FL_OK) s = block(&p->moment1, p->count);
    if (s == FL_OK) s = block(&p->moment2, p->count);
    p->overlay.count = m->weights;
    p->overlay.master = fl_calloc((size_t)m->weights, sizeof *p->overlay.master);
    p->overlay.grad = fl_calloc((size_t)m->weights, sizeof *p->overlay.grad);
    if (s == FL_OK && (!p->overlay.master || !p->overlay.grad)) s = FL_ERR_MEMORY;
    if (s != FL_OK) {
        fl_parameters_destroy(p);
        return s;
    }
    for (int i = 0; i < m->weights; i++) {
        p->overlay.master[i] = p->master + p->offset[i];
        p->overlay.grad[i] = p->grad + p->offset[i];
        const fl_stored *stored = &m->weight[i]->stored;
        for (int64_t n = 0; n < stored->rows; n++)
            fl_stored_row(stored, n, p->overlay.master[i] + n * stored->cols);
    }
    return FL_OK;
}

void fl_parameters_destroy(fl_parameters *p)
{
    fl_free_aligned(p->master);
    fl_free_aligned(p->grad);
    fl_free_aligned(p->moment1);
    fl_free_aligned(p->moment2);
    fl_free(p->offset);
    fl_free(p->decays);
    fl_free(p->overlay.master);
    fl_free(p->overlay.grad);
    *p = (fl_parameters){0};
}
