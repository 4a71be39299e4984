#include "train/memory.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/size.h"
#include "train/evaluate.h"

#define LEAST_ROWS 2048 /* tokens of a pass below which products slow down: rather recompute than cut on */
#define MARGIN ((int64_t)40 << 20)

typedef struct question {
    const fl_model *model;
    const fl_parameters *outline;
    fl_train_options options; /* length filled in */
    int64_t limit;
} question;

fl_status fl_train_count_pass(const fl_model *m, const fl_overlay *overlay, const fl_train_options *o, int64_t sequences,
                              bool recompute, int64_t *bytes, fl_work *work)
{
    int64_t length = o->length, rows = sequences * length;
    fl_run *run = NULL;
    fl_device counting = fl_counting_device(work);
    fl_batch_seq *seq = fl_calloc((size_t)sequences, sizeof *seq);
    int32_t *tokens = fl_calloc((size_t)rows, sizeof *tokens);
    float *weight = fl_calloc((size_t)rows, sizeof *weight);
    fl_status s = seq && tokens && weight ? fl_run_create(&run, m->engine, (size_t)1 << 46, true) : FL_ERR_MEMORY;
    if (s == FL_OK) {
        for (int64_t i = 0; i < sequences; i++)
            seq[i] = (fl_batch_seq){.first_row = i * length, .rows = length};
        fl_scheme scheme = m->scheme;
        scheme.shifted_group = o->shifted_group;
        fl_batch batch = {.sequences = (int)sequences, .seq = seq, .rows = rows, .tokens = tokens, .scheme = &scheme};
        fl_head_spec spec = {.n = rows, .loss_weight = weight};
        run->recompute = recompute;
        run->half = o->store == FL_STORE_BF16;
        if (work) run->device = &counting;
        s = fl_model_pass(m, run, &batch, overlay, true, &spec);
        *bytes = (int64_t)(fl_arena_peak(run->data) + fl_arena_peak(run->grads) + fl_arena_peak(run->nodes));
        fl_run_destroy(run);
    }
    fl_free(seq);
    fl_free(tokens);
    fl_free(weight);
    return s;
}

static fl_status measure(const question *q, int64_t accumulate, bool recompute, fl_train_memory *out)
{
    int64_t sequences = q->options.batch / accumulate;
    *out = (fl_train_memory){.size = sizeof *out,
                             .model_bytes = q->model->weight_bytes,
                             .parameter_bytes = q->outline->count * 4 * (int64_t)sizeof(float),
                             .limit_bytes = q->limit,
                             .trained = q->outline->trained,
                             .accumulate = accumulate,
                             .recompute = recompute};
    /* Ids and cuts of the step; of the pass a sequence per document, inputs, targets, losses and their weights, drawn
     * positions. */
    int64_t each = (int64_t)(sizeof(fl_batch_seq) + 2 * sizeof(int32_t) + 2 * sizeof(float));
    if (q->options.positions != FL_TRAIN_POSITIONS_PLAIN) each += (int64_t)sizeof(double);
    out->batch_bytes = q->options.batch * (q->options.length + 1) * (int64_t)(sizeof(int32_t) + sizeof(bool)) +
                       sequences * q->options.length * each;
    FL_TRY(fl_train_count_pass(q->model, &q->outline->overlay, &q->options, sequences, recompute, &out->pass_bytes, NULL));
    FL_TRY(fl_train_eval_bytes(&out->eval_bytes, q->model, &q->outline->overlay, q->options.eval));
    out->total_bytes = out->eval_bytes + out->model_bytes + out->parameter_bytes + out->pass_bytes + out->batch_bytes;
    return FL_OK;
}

static bool fits(const fl_train_memory *m)
{
    return m->total_bytes + m->total_bytes / 20 + MARGIN <= m->limit_bytes;
}

static int64_t next_divisor(int64_t n, int64_t after)
{
    for (after++; after < n && n % after;)
        after++;
    return after;
}

/* The first of what the options leave open that fits, in the order of furlong.h; *found says whether any does. The last
 * one tried, which takes least, is left in *out. */
static fl_status choose(const question *q, fl_train_memory *out, bool *found)
{
    const fl_train_options *o = &q->options;
    bool open_passes = o->accumulate == 0, open_recompute = o->recompute == FL_RECOMPUTE_AUTO;
    int64_t accumulate = open_passes ? 1 : o->accumulate;
    bool recompute = o->recompute == FL_RECOMPUTE_ON;
    for (;;) {
        FL_TRY(measure(q, accumulate, recompute, out));
        *found = fits(out);
        bool can_cut = open_passes && accumulate < o->batch;
        bool small = o->batch / accumulate * o->length <= LEAST_ROWS || !can_cut;
        if (*found) return FL_OK;
        if (!recompute && open_recompute && small)
            recompute = true;
        else if (can_cut)
            accumulate = next_divisor(o->batch, accumulate);
        else
            return FL_OK;
    }
}

static double gib(int64_t bytes)
{
    return (double)bytes / 0x1p30;
}

/* Nothing fits: what would, of the options that were given and then of the length. */
static fl_status refuse(const question *q, const fl_train_memory *least)
{
    question other = *q;
    other.options.accumulate = 0;
    other.options.recompute = FL_RECOMPUTE_AUTO;
    fl_train_memory m;
    bool found;
    FL_TRY(choose(&other, &m, &found));
    if (found)
        return fl_fail(FL_ERR_MEMORY,
                       "training needs %.2f GiB of the %.2f GiB there are: --accumulate %lld%s needs %.2f GiB",
                       gib(least->total_bytes), gib(q->limit), (long long)m.accumulate,
                       m.recompute ? " with --recompute" : "", gib(m.total_bytes));
    while (!found && other.options.length > 1) {
        other.options.length /= 2;
        FL_TRY(choose(&other, &m, &found));
    }
    if (found)
        return fl_fail(FL_ERR_MEMORY,
                       "training needs %.2f GiB of the %.2f GiB there are, one recomputed sequence at a time: --length "
                       "%lld fits (%.2f GiB); more memory, or a smaller model, would do too",
                       gib(least->total_bytes), gib(q->limit), (long long)other.options.length, gib(m.total_bytes));
    return fl_fail(FL_ERR_MEMORY,
                   "the model (%.2f GiB) and what trains of it (%.2f GiB) leave no room in %.2f GiB: train adapters "
                   "(--lora-rank 8) or a smaller model",
                   gib(least->model_bytes), gib(least->parameter_bytes), gib(q->limit));
}

fl_status fl_train_memory_plan(fl_train_memory *out, const fl_model *m, const fl_train_options *o)
{
    if (!out || out->size != sizeof *out || !m || !o || o->size != sizeof *o)
        return fl_fail(FL_ERR_ARGUMENT,
                       "fl_train_memory_plan: an argument is NULL, memory.size is not %zu or "
                       "options.size not %zu",
                       sizeof *out, sizeof *o);
    FL_TRY(fl_train_options_check(m, o));
    size_t values;
    int64_t length = o->length ? o->length : fl_model_window(m);
    if (!fl_size_product((int64_t[]){o->batch, length, 256}, 3, &values))
        return fl_fail(FL_ERR_MEMORY, "--batch %lld of --length %lld: too many tokens", (long long)o->batch,
                       (long long)length);
    fl_parameters outline;
    FL_TRY(fl_parameters_outline(&outline, m, o));
    question q = {m, &outline, *o, o->memory_limit ? o->memory_limit : fl_physical_bytes()};
    q.options.length = length;
    bool found = false;
    fl_train_memory chosen;
    fl_status s = choose(&q, &chosen, &found);
    if (s == FL_OK && !found) s = refuse(&q, &chosen);
    fl_parameters_destroy(&outline);
    if (s == FL_OK) *out = chosen;
    return s;
}
