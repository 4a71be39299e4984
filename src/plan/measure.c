#include "plan/measure.h"

#include "base/alloc.h"
#include "eval/blocks.h"

typedef struct measurement {
    const fl_model *model;
    const fl_measure_options *options;
    fl_blocks blocks;
    double *base; /* [blocks] the untouched model within its window */
    int64_t total, done;
} measurement;

/* Loss of every block when read with `length` tokens under the schedule. */
static fl_status judge(measurement *w, const fl_rope_spec *spec, int64_t length, double *nll)
{
    fl_model model;
    fl_scorer scorer;
    fl_model_view(&model, w->model, spec);
    FL_TRY(fl_scorer_create(&scorer, &model, w->options->session, length));
    fl_progress_start(&scorer.progress, w->options->progress, w->options->progress_user, "critical pair", w->total);
    scorer.done = w->done;
    fl_status s = fl_blocks_judge(&w->blocks, &scorer, length, nll);
    w->done = scorer.done;
    fl_scorer_destroy(&scorer);
    return s;
}

/* Pairs first .. end turn no further in `length` tokens than they did in the trained window. */
static void hold(fl_rope_spec *spec, const fl_rope_spec *own, int first, int64_t length)
{
    *spec = *own;
    spec->kind = FL_ROPE_DIVISORS;
    spec->window = length;
    spec->factor = 1;
    spec->attention_factor = 0;
    spec->factors = own->dim / 2;
    for (int i = 0; i < spec->factors; i++)
        spec->short_factor[i] = i < first ? 1 : (double)length / (double)own->original_window;
}

static fl_status measure_length(measurement *w, fl_measured *m, int pairs)
{
    const fl_rope_spec *own = &w->model->config.rope;
    double **nll = fl_calloc((size_t)pairs + 1, sizeof *nll);
    fl_status s = nll ? FL_OK : FL_ERR_MEMORY;
    for (int i = 0; i <= pairs && s == FL_OK; i++) {
        fl_rope_spec spec;
        nll[i] = fl_calloc((size_t)w->blocks.count, sizeof **nll);
        if (!nll[i]) s = FL_ERR_MEMORY;
        hold(&spec, own, i, m->length);
        if (s == FL_OK) s = judge(w, &spec, m->length, nll[i]);
        if (s != FL_OK) break;
        fl_paired(nll[i], w->base, w->blocks.count, &m->loss[i], &m->error[i]);
        if (m->loss[i] < m->loss[m->best]) m->best = i;
    }
    for (int i = m->knee = m->best; i <= pairs && s == FL_OK; i++) {
        double mean, error;
        fl_paired(nll[i], nll[m->best], w->blocks.count, &mean, &error);
        if (mean > error) break;
        m->knee = i;
    }
    for (int i = 0; nll && i <= pairs; i++)
        fl_free(nll[i]);
    fl_free(nll);
    return s;
}

static fl_status measure_all(measurement *w, fl_measure *out)
{
    const fl_rope_spec *own = &w->model->config.rope;
    w->total = w->blocks.count * out->window;
    for (int i = 0; i < FL_MEASURE_LENGTHS; i++)
        w->total += w->blocks.count * out->at[i].length * (out->pairs + 1);
    FL_TRY(judge(w, own, out->window, w->base));
    for (int i = 0; i < FL_MEASURE_LENGTHS; i++)
        FL_TRY(measure_length(w, &out->at[i], out->pairs));
    return FL_OK;
}

fl_status fl_measure_critical_pair(fl_measure *out, const fl_model *m, const fl_document *text, int32_t bos,
                                   const fl_measure_options *o)
{
    *out = (fl_measure){0};
    const fl_rope_spec *own = &m->config.rope;
    if (!m->config.rotary || own->kind != FL_ROPE_PLAIN)
        return fl_fail(FL_ERR_UNSUPPORTED, "the critical pair is measured on plain rotary positions; this model has %s",
                       m->config.rotary ? fl_rope_kind_name(own->kind) : "none");
    out->pairs = own->dim / 2;
    out->window = own->original_window;
    measurement w = {.model = m, .options = o};
    for (int i = 0; i < FL_MEASURE_LENGTHS; i++) {
        fl_measured *at = &out->at[i];
        at->length = out->window * (2 << i);
        at->loss = fl_calloc((size_t)out->pairs + 1, sizeof *at->loss);
        at->error = fl_calloc((size_t)out->pairs + 1, sizeof *at->error);
        if (!at->loss || !at->error) return FL_ERR_MEMORY;
    }
    FL_TRY(
        fl_blocks_create(&w.blocks, text, 1, bos, out->at[FL_MEASURE_LENGTHS - 1].length, o->score, o->blocks, false));
    w.base = fl_calloc((size_t)o->blocks, sizeof *w.base);
    fl_status s = w.base ? measure_all(&w, out) : FL_ERR_MEMORY;
    fl_free(w.base);
    fl_blocks_destroy(&w.blocks);
    return s;
}

void fl_measure_free(fl_measure *m)
{
    for (int i = 0; i < FL_MEASURE_LENGTHS; i++) {
        fl_free(m->at[i].loss);
        fl_free(m->at[i].error);
    }
    *m = (fl_measure){0};
}
