#include "plan/count.h"

#include <math.h>

#include "base/alloc.h"
#include "base/size.h"
#include "train/memory.h"

#define SAMPLES 9 /* depths at which a reading pass is counted; between them its time is a straight line */

/* A counting run that also adds up the work of its passes. */
typedef struct counter {
    fl_device device;
    fl_work work;
    fl_run *run;
    int32_t *tokens;
} counter;

static void counter_destroy(counter *c)
{
    if (c->run) fl_run_destroy(c->run);
    fl_free(c->tokens);
}

static fl_status counter_create(counter *c, const fl_model *m, int64_t rows)
{
    *c = (counter){0};
    c->tokens = fl_calloc((size_t)rows, sizeof *c->tokens);
    fl_status s = c->tokens ? fl_run_create(&c->run, m->engine, (size_t)1 << 46, true) : FL_ERR_MEMORY;
    if (s != FL_OK) {
        counter_destroy(c);
        return s;
    }
    c->device = fl_counting_device(&c->work);
    c->run->device = &c->device;
    return FL_OK;
}

static int64_t peak(const counter *c)
{
    return (int64_t)(fl_arena_peak(c->run->data) + fl_arena_peak(c->run->grads) + fl_arena_peak(c->run->nodes));
}

double fl_count_seconds(const fl_work *w, const fl_rates *r)
{
    return fmax(w->packed_flops / r->packed_flops, w->weight_bytes / r->weight_bytes) +
           w->plain_flops / r->plain_flops + fmax(w->attend_flops / r->attend_flops, w->cache_bytes / r->cache_bytes) +
           w->attend_backward_flops / r->attend_backward_flops + w->row_bytes / r->row_bytes +
           (double)w->calls * r->call_seconds;
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

typedef struct reading {
    counter counter;
    const fl_model *m;
    const fl_scheme *scheme;
    const fl_kv_shape *shape; /* [layers] */
    const fl_rates *rates;
    int64_t tokens;
} reading;

/* `rows` tokens behind `depth` others. */
static fl_status count_chunk(reading *c, int64_t depth, int64_t rows, bool head, double *seconds)
{
    fl_memory *memory;
    FL_TRY(fl_memory_create_counting(&memory, (int)c->m->config.layers, c->shape, depth));
    fl_attention_evict(c->scheme, memory);
    fl_batch_seq seq = {.memory = memory, .rows = rows, .first_position = depth, .length = c->tokens};
    fl_batch batch = {.sequences = 1, .seq = &seq, .rows = rows, .tokens = c->counter.tokens, .scheme = c->scheme};
    int64_t row = rows - 1;
    fl_head_spec spec = {.n = 1, .row = &row};
    c->counter.work = (fl_work){0};
    fl_status s = fl_model_pass(c->m, c->counter.run, &batch, NULL, false, head ? &spec : NULL);
    fl_memory_destroy(memory);
    if (s == FL_OK && c->rates) *seconds = fl_count_seconds(&c->counter.work, c->rates);
    return s;
}

/* Full chunks 0 .. count-1: counted at a few depths, summed along the lines between them. */
static fl_status count_full(reading *c, int64_t chunk, int64_t count, double *seconds)
{
    int64_t at = 0;
    double here = 0;
    if (!c->rates) return count_chunk(c, (count - 1) * chunk, chunk, false, seconds);
    FL_TRY(count_chunk(c, 0, chunk, false, &here));
    for (int i = 1; i < SAMPLES && at < count - 1; i++) {
        int64_t next = fl_max64(at + 1, (count - 1) * i / (SAMPLES - 1));
        double there = 0, n = (double)(next - at);
        FL_TRY(count_chunk(c, next * chunk, chunk, false, &there));
        *seconds += n * here + (there - here) * (n - 1) / 2;
        at = next;
        here = there;
    }
    *seconds += here;
    return FL_OK;
}

/* Keys and values held at most, and the depth of the chunk that they are held in. A stream holds what its window has
 * not let go of, which repeats after at most as many chunks as an evicted block has tokens. */
static fl_status count_held(reading *c, int64_t chunk, int64_t *bytes, int64_t *deepest)
{
    int64_t most = c->tokens, span = fl_passes_span(&c->scheme->passes, c->tokens);
    fl_memory *memory;
    *bytes = 0;
    if (most / chunk > span / chunk + 2 * FL_EVICT_TOKENS) most = span + (2 * FL_EVICT_TOKENS) * chunk;
    FL_TRY(fl_memory_create_counting(&memory, (int)c->m->config.layers, c->shape, 0));
    fl_status s = FL_OK;
    for (int64_t depth = 0; depth < most && s == FL_OK; depth += chunk) {
        s = fl_memory_begin(memory, fl_min64(chunk, most - depth));
        if ((int64_t)fl_memory_bytes(memory) > *bytes) {
            *bytes = (int64_t)fl_memory_bytes(memory);
            *deepest = depth;
        }
        fl_memory_commit(memory);
        fl_attention_evict(c->scheme, memory);
    }
    fl_memory_destroy(memory);
    return s;
}

static fl_status count_all(reading *c, int64_t chunk, fl_count *out)
{
    int64_t rest = (c->tokens - 1) % chunk + 1, full = (c->tokens - rest) / chunk; /* the last chunk meets the head */
    double last = 0;
    if (c->scheme->passes.kind == FL_PASSES_STREAM) {
        int64_t deepest = 0;
        FL_TRY(count_held(c, chunk, &out->kv_bytes, &deepest));
        FL_TRY(count_chunk(c, deepest, fl_min64(chunk, c->tokens - deepest), false, &last));
    }
    if (full > 0) FL_TRY(count_full(c, chunk, full, &out->seconds));
    FL_TRY(count_chunk(c, full * chunk, rest, true, &last));
    out->seconds += last;
    out->scratch_bytes = peak(&c->counter);
    c->tokens++;
    return c->rates ? count_chunk(c, c->tokens - 1, 1, true, &out->token_seconds) : FL_OK;
}

fl_status fl_count_reading(fl_count *out, const fl_model *m, const fl_scheme *scheme, const fl_kv_shape *shape,
                           int64_t tokens, int64_t chunk, const fl_rates *rates)
{
    *out = (fl_count){0};
    int64_t layers = m->config.layers, pages = (tokens + FL_PAGE_TOKENS - 1) / FL_PAGE_TOKENS;
    fl_kv_shape *shapes = fl_calloc((size_t)layers, sizeof *shapes);
    if (!shapes) return FL_ERR_MEMORY;
    for (int64_t i = 0; i < layers; i++)
        shapes[i] = *shape;
    out->kv_bytes = pages * layers * (int64_t)fl_kv_page_bytes(shape);
    reading c = {.m = m, .scheme = scheme, .shape = shapes, .rates = rates, .tokens = tokens};
    chunk = fl_min64(chunk, tokens);
    fl_status s = counter_create(&c.counter, m, chunk);
    if (s == FL_OK) {
        s = count_all(&c, chunk, out);
        counter_destroy(&c.counter);
    }
    fl_free(shapes);
    return s;
}

/* ---- training --------------------------------------------------------------------------------------------------- */

fl_status fl_count_training(fl_count *out, const fl_model *m, const fl_train_options *o, const fl_rates *rates)
{
    *out = (fl_count){0};
    size_t rows;
    int64_t passes = fl_max64(1, o->accumulate);
    if (!fl_size_product((int64_t[]){o->batch, o->length, 64}, 3, &rows) || o->batch > INT32_MAX)
        return fl_fail(FL_ERR_ARGUMENT, "%lld sequences of %lld tokens: too many to train on at once",
                       (long long)o->batch, (long long)o->length);
    fl_parameters outline;
    fl_work work = {0}, update = {0};
    FL_TRY(fl_parameters_outline(&outline, m, o));
    fl_status s = fl_train_count_pass(m, &outline.overlay, o, o->batch / passes, o->recompute == FL_RECOMPUTE_ON,
                                      &out->scratch_bytes, &work);
    /* Masters, gradients and two moments. The update reads four arrays and writes three; before it gradients are zeroed
     * and summed. */
    out->parameter_bytes = outline.count * 4 * (int64_t)sizeof(float);
    update.row_bytes = 9.0 / 4 * (double)out->parameter_bytes;
    if (rates) out->seconds = (double)passes * fl_count_seconds(&work, rates) + fl_count_seconds(&update, rates);
    fl_parameters_destroy(&outline);
    return s;
}

fl_status fl_train_step_seconds(double *out, const fl_model *model, const fl_train_options *o, const fl_rates *rates)
{
    fl_count count;
    if (!out || !model || !o || o->size != sizeof *o || !rates || rates->size != sizeof *rates)
        return fl_fail(FL_ERR_ARGUMENT,
                       "fl_train_step_seconds: an argument is NULL, options.size is not %zu or rates.size not %zu",
                       sizeof *o, sizeof *rates);
    fl_train_options options = *o;
    if (!options.length) options.length = fl_model_window(model);
    FL_TRY(fl_train_options_check(model, &options));
    FL_TRY(fl_count_training(&count, model, &options, rates));
    *out = count.seconds;
    return FL_OK;
}
