/* A plan: predicted windows, then bytes and seconds counted on the model's own code. */
#include "plan/count.h"
#include "plan/window.h"

#include "base/size.h"

static void count_caches(fl_plan *p, const fl_model *m, int64_t tokens)
{
    static const char *const types[FL_PLAN_CACHES] = {"f32", "f16", "bf16", "q8_0", "q4_0"};
    int64_t pages = (tokens + FL_PAGE_TOKENS - 1) / FL_PAGE_TOKENS;
    for (int i = 0; i < FL_PLAN_CACHES; i++) {
        fl_kv_shape shape;
        bool fits = fl_model_kv_types(m, types[i], types[i], &shape) == FL_OK;
        p->cache[i].type = types[i];
        p->cache[i].bytes = fits ? pages * m->config.layers * (int64_t)fl_kv_page_bytes(&shape) : 0;
    }
}

static fl_status count_method(fl_plan *p, fl_plan_method *method, const fl_model *m, const fl_kv_shape *shape,
                              int64_t chunk, const fl_rates *rates)
{
    fl_rope_spec spec;
    fl_count count;
    FL_TRY(fl_plan_method_spec(&spec, method, &m->config.rope));
    fl_scheme scheme = m->scheme;
    scheme.rope = &spec;
    FL_TRY(fl_count_reading(&count, m, &scheme, shape, p->target, chunk, rates));
    method->memory_bytes = p->weight_bytes + p->file_bytes + count.kv_bytes + count.scratch_bytes;
    method->read_seconds = count.seconds;
    method->token_seconds = count.token_seconds;
    return FL_OK;
}

/* A step at one length; schedules do not change what it takes. */
typedef struct step {
    fl_count whole, recompute;
} step;

static fl_status count_steps(step *out, const fl_model *m, int64_t batch, int64_t length, const fl_rates *rates)
{
    FL_TRY(fl_count_training(&out->whole, m, batch, length, false, rates));
    return fl_count_training(&out->recompute, m, batch, length, true, rates);
}

static fl_status count_training(fl_plan *p, const fl_model *m, int64_t batch, const fl_rates *rates)
{
    step tune, target;
    int64_t held = p->weight_bytes + p->file_bytes + fl_count_parameters(m);
    FL_TRY(count_steps(&tune, m, batch, p->tune_length, rates));
    FL_TRY(count_steps(&target, m, batch, p->target, rates));
    for (int i = 0; i < p->methods; i++) {
        fl_plan_method *method = &p->method[i];
        const step *s = method->tune_length == p->target ? &target : &tune;
        method->train_bytes = held + s->whole.scratch_bytes;
        method->train_recompute_bytes = held + s->recompute.scratch_bytes;
        method->train_seconds = s->whole.seconds;
        method->train_recompute_seconds = s->recompute.seconds;
    }
    p->train_bytes = held + tune.whole.scratch_bytes;
    p->train_recompute_bytes = held + tune.recompute.scratch_bytes;
    p->train_seconds = tune.whole.seconds;
    p->train_recompute_seconds = tune.recompute.seconds;
    return FL_OK;
}

static fl_status count_everything(fl_plan *p, const fl_model *m, const fl_plan_options *o)
{
    int64_t chunk = o->chunk ? o->chunk : 512, batch = o->batch ? o->batch : 1;
    fl_kv_shape shape;
    fl_count count;
    if (chunk < 1 || batch < 1)
        return fl_fail(FL_ERR_ARGUMENT, "chunk = %lld, batch = %lld: both must be at least 1", (long long)chunk,
                       (long long)batch);
    FL_TRY(fl_model_kv_types(m, o->type_k, o->type_v, &shape));
    p->weight_bytes = m->weight_bytes;
    p->file_bytes = fl_count_file(m);
    count_caches(p, m, o->to);
    FL_TRY(fl_count_reading(&count, m, &m->scheme, &shape, o->to, chunk, o->rates));
    p->kv_bytes = count.kv_bytes;
    p->scratch_bytes = count.scratch_bytes;
    p->read_bytes = p->weight_bytes + p->file_bytes + p->kv_bytes + p->scratch_bytes;
    for (int i = 0; i < p->methods; i++)
        FL_TRY(count_method(p, &p->method[i], m, &shape, chunk, o->rates));
    return count_training(p, m, batch, o->rates);
}

fl_status fl_plan_make(fl_plan *out, const fl_plan_options *o)
{
    if (!out || out->size != sizeof *out || !o || o->size != sizeof *o)
        return fl_fail(FL_ERR_ARGUMENT,
                       "fl_plan_make: an argument is NULL, plan.size is not %zu or options.size not %zu",
                       sizeof(fl_plan), sizeof(fl_plan_options));
    const fl_model *m = o->model;
    if (m && m->config.positions != FL_POSITIONS_ROTARY)
        return fl_fail(FL_ERR_UNSUPPORTED, "family %s has %s positions here: there is no rotary window to plan",
                       m->config.family, fl_positions_name(m->config.positions));
    const fl_rope_spec *rope = m ? &m->config.rope : NULL;
    fl_plan p = {.size = sizeof p, .target = o->to, .trained_window = rope ? rope->original_window : o->window};
    FL_TRY(fl_plan_windows(&p, rope ? rope->dim : o->head_dim, (double)p.trained_window, rope ? rope->base : o->base,
                           (double)o->to, (double)o->tune_length, rope));
    if (m) FL_TRY(count_everything(&p, m, o));
    *out = p;
    return FL_OK;
}
