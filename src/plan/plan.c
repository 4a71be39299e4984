/* A plan: predicted windows, and bytes by counting runs of the model's own code. */
#include "plan/window.h"

#include "base/alloc.h"
#include "base/size.h"
#include "model/model.h"

/* One counting pass -> bytes of activations and gradients at their peak. */
static fl_status count_pass(const fl_model *m, int64_t rows, bool train, const fl_overlay *overlay, int64_t *bytes)
{
    fl_run *run;
    int32_t *tokens = fl_calloc((size_t)rows, sizeof *tokens);
    float *weight = fl_calloc((size_t)rows, sizeof *weight);
    fl_status s = tokens && weight ? fl_run_create(&run, m->engine, (size_t)1 << 46, true) : FL_ERR_MEMORY;
    if (s == FL_OK) {
        fl_batch_seq seq = {.rows = rows};
        fl_batch batch = {.sequences = 1, .seq = &seq, .rows = rows, .tokens = tokens};
        fl_head_spec spec = {.n = train ? rows : 1, .loss_weight = train ? weight : NULL};
        s = fl_model_pass(m, run, &batch, overlay, train, &spec);
        *bytes = (int64_t)(fl_arena_peak(run->data) + fl_arena_peak(run->grads) + fl_arena_peak(run->nodes));
        fl_run_destroy(run);
    }
    fl_free(tokens);
    fl_free(weight);
    return s;
}

/* Everything trains: masters exist, but a counting run never looks at them. */
static fl_status count_training(const fl_model *m, int64_t rows, int64_t *bytes)
{
    static float nowhere;
    float **pointer = fl_calloc((size_t)m->weights, sizeof *pointer);
    if (!pointer) return FL_ERR_MEMORY;
    for (int i = 0; i < m->weights; i++)
        pointer[i] = &nowhere;
    fl_overlay overlay = {.count = m->weights, .master = pointer, .grad = pointer};
    fl_status s = count_pass(m, rows, true, &overlay, bytes);
    fl_free(pointer);
    /* Masters, gradients and two moments. */
    if (s == FL_OK) *bytes += m->parameters * 4 * (int64_t)sizeof(float) + m->weight_bytes;
    return s;
}

static fl_status count_bytes(fl_plan *p, const fl_model *m, int64_t to, int64_t chunk, int64_t tune_length)
{
    fl_kv_shape shape = fl_model_kv_shape(m);
    int64_t pages = (to + FL_PAGE_TOKENS - 1) / FL_PAGE_TOKENS;
    p->weight_bytes = m->weight_bytes;
    p->kv_bytes = pages * m->config.layers * (int64_t)fl_kv_page_bytes(&shape);
    int64_t scratch;
    FL_TRY(count_pass(m, fl_min64(chunk, to), false, NULL, &scratch));
    p->read_bytes = p->weight_bytes + p->kv_bytes + scratch;
    return count_training(m, tune_length, &p->train_bytes);
}

fl_status fl_plan_make(fl_plan *out, const fl_plan_options *o)
{
    if (!out || out->size != sizeof *out || !o || o->size != sizeof *o)
        return fl_fail(FL_ERR_ARGUMENT,
                       "fl_plan_make: an argument is NULL, plan.size is not %zu or options.size not %zu",
                       sizeof(fl_plan), sizeof(fl_plan_options));
    const fl_model *m = o->model;
    if (m && !m->config.rotary)
        return fl_fail(FL_ERR_UNSUPPORTED, "family %s has learned positions: there is no rotary window to plan",
                       m->config.family);
    fl_plan p = {.size = sizeof p, .target = o->to};
    p.trained_window = m ? m->config.rope.original_window : o->window;
    int dim = m ? m->config.rope.dim : o->head_dim;
    double base = m ? m->config.rope.base : o->base;
    FL_TRY(fl_plan_windows(&p, dim, (double)p.trained_window, base, (double)o->to, (double)o->tune_length));
    if (m)
        FL_TRY(
            count_bytes(&p, m, o->to, o->chunk ? o->chunk : 512, o->tune_length ? o->tune_length : p.trained_window));
    *out = p;
    return FL_OK;
}
