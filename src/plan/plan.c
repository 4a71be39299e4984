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
    int64_t reach, own_window = m->scheme.passes.window;
    if (method->passes) FL_TRY(fl_plan_method_passes(&scheme.passes, &reach, method, &spec));
    if (method->stream && own_window > 0) scheme.passes.window = fl_min64(scheme.passes.window, own_window);
    FL_TRY(fl_count_reading(&count, m, &scheme, shape, p->target, chunk, rates));
    method->memory_bytes = p->weight_bytes + count.kv_bytes + count.scratch_bytes;
    method->read_seconds = count.seconds;
    method->token_seconds = count.token_seconds;
    return FL_OK;
}

/* A step at one length; schedules do not change what it takes. */
typedef struct step {
    int64_t bytes[2]; /* without and with recomputation */
    double seconds[2];
} step;

static fl_status count_step(step *out, const fl_plan *p, const fl_model *m, const fl_train_options *o,
                            const fl_rates *rates)
{
    fl_train_options options = *o;
    for (int i = 0; i < 2; i++) {
        fl_count count;
        options.recompute = i ? FL_RECOMPUTE_ON : FL_RECOMPUTE_OFF;
        FL_TRY(fl_count_training(&count, m, &options, rates));
        out->bytes[i] = p->weight_bytes + count.parameter_bytes + count.scratch_bytes;
        out->seconds[i] = count.seconds;
    }
    return FL_OK;
}

static fl_status count_training(fl_plan *p, const fl_model *m, int64_t batch, const fl_rates *rates)
{
    step tune, target, adapters;
    fl_train_options o = FL_TRAIN_OPTIONS_INIT;
    o.batch = batch;
    o.length = p->tune_length;
    FL_TRY(count_step(&tune, p, m, &o, rates));
    o.length = p->target;
    FL_TRY(count_step(&target, p, m, &o, rates));
    for (int i = 0; i < p->methods; i++) {
        fl_plan_method *method = &p->method[i];
        const step *s = method->tune_length == p->target ? &target : &tune;
        method->train_bytes = s->bytes[0];
        method->train_recompute_bytes = s->bytes[1];
        method->train_seconds = s->seconds[0];
        method->train_recompute_seconds = s->seconds[1];
    }
    p->train_bytes = tune.bytes[0];
    p->train_recompute_bytes = tune.bytes[1];
    p->train_seconds = tune.seconds[0];
    p->train_recompute_seconds = tune.seconds[1];
    /* LongLoRA's: embeddings and norms too. A family that names them otherwise has no such recipe. */
    o.lora_rank = 8;
    o.trainable = "embed,norm";
    if (count_step(&adapters, p, m, &o, rates) != FL_OK) return FL_OK;
    p->lora_bytes = adapters.bytes[0];
    p->lora_recompute_bytes = adapters.bytes[1];
    p->lora_seconds = adapters.seconds[0];
    p->lora_recompute_seconds = adapters.seconds[1];
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
    count_caches(p, m, o->to);
    FL_TRY(fl_count_reading(&count, m, &m->scheme, &shape, o->to, chunk, o->rates));
    p->kv_bytes = count.kv_bytes;
    p->scratch_bytes = count.scratch_bytes;
    p->read_bytes = p->weight_bytes + p->kv_bytes + p->scratch_bytes;
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
