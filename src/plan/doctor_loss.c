/* Where the loss rises: the same targets read with contexts from a quarter of the claimed window to four of them. */
#include <math.h>

#include "base/alloc.h"
#include "base/size.h"
#include "eval/blocks.h"
#include "plan/doctor_internal.h"

#define LEAST_BLOCKS 8

/* Quarters and multiples of the claimed window, as far as text and options go. */
static void choose_lengths(fl_doctor *d, int64_t longest, int64_t least)
{
    static const double part[FL_DOCTOR_LENGTHS] = {0.0625, 0.125, 0.25, 0.5, 1, 1.25, 1.5, 2, 3, 4};
    for (int i = 0; i < FL_DOCTOR_LENGTHS; i++) {
        int64_t length = (int64_t)(part[i] * (double)d->claimed);
        if (length >= least && length <= longest) d->length[d->lengths++] = length;
    }
    /* A text that ends before the claimed window still says something about what it holds. */
    if (longest < d->claimed && longest >= least && d->lengths < FL_DOCTOR_LENGTHS)
        if (!d->lengths || d->length[d->lengths - 1] < longest) d->length[d->lengths++] = longest;
}

static void judge(fl_doctor *d, double **nll, int64_t blocks, double margin)
{
    int least = 0;
    for (int i = 0; i < d->lengths; i++) {
        double mean, error;
        fl_paired(nll[i], NULL, blocks, &d->loss[i], &error);
        fl_paired(nll[i], nll[least], blocks, &mean, &d->error[i]);
        if (!d->rises && mean > margin && mean > 2 * d->error[i]) d->rises = d->length[i];
        if (d->loss[i] < d->loss[least]) least = i;
    }
}

static void report(fl_doctor *d, double margin)
{
    long long last = d->length[d->lengths - 1], claimed = d->claimed;
    if (d->rises && d->rises <= d->claimed) {
        fl_doctor_find(d, FL_FINDING_BAD, "loss",
                       "at %lld tokens the loss is more than %g nats above shorter contexts, inside the claimed %lld",
                       (long long)d->rises, margin, claimed);
        fl_doctor_advise(
            d,
            "the claimed window does not hold: look for a lost scaling key (rope_scaling), or use at most half of %lld",
            (long long)d->rises);
    } else if (d->rises) {
        fl_doctor_find(d, FL_FINDING_OK, "loss",
                       "holds the claimed %lld tokens; at %lld the loss is more than %g nats above", claimed,
                       (long long)d->rises, margin);
        fl_doctor_advise(d, "to read further: furlong plan -m MODEL --to %lld", 4 * claimed);
    } else if (last < d->claimed) {
        fl_doctor_find(d, FL_FINDING_WARN, "loss",
                       "does not rise up to %lld tokens, but %lld are claimed and were not reached", last, claimed);
        fl_doctor_advise(d, "give a longer text with -f, or raise --longest");
    } else {
        fl_doctor_find(d, FL_FINDING_OK, "loss", "does not rise up to %lld tokens", last);
    }
}

fl_status fl_doctor_loss(fl_doctor *d, const fl_model *m, const fl_doctor_options *o)
{
    int64_t tokens = o->text->count + (o->bos >= 0), longest = (m->config.rotary ? 4 : 1) * d->claimed;
    if (o->longest) longest = fl_min64(longest, o->longest);
    longest = fl_min64(longest, tokens - (LEAST_BLOCKS - 1) * o->score);
    choose_lengths(d, longest, 2 * o->score);
    if (d->lengths < 2)
        return fl_fail(
            FL_ERR_ARGUMENT,
            "the text has %lld tokens: too few to measure a window of %lld on; give a longer one, or a smaller --score",
            (long long)tokens, (long long)d->claimed);
    longest = d->length[d->lengths - 1];
    int64_t blocks = fl_min64(o->blocks, (tokens - longest) / o->score + 1), total = 0;
    fl_blocks b;
    fl_scorer scorer;
    double *nll[FL_DOCTOR_LENGTHS] = {0};
    FL_TRY(fl_blocks_create(&b, o->text, 1, o->bos, longest, o->score, blocks, false));
    fl_status s = fl_scorer_create(&scorer, m, o->session, longest);
    if (s == FL_OK) {
        for (int i = 0; i < d->lengths; i++)
            total += d->length[i] * blocks;
        fl_progress_start(&scorer.progress, o->progress, o->progress_user, "loss by length", total);
        for (int i = 0; i < d->lengths && s == FL_OK; i++) {
            nll[i] = fl_calloc((size_t)blocks, sizeof **nll);
            s = nll[i] ? fl_blocks_judge(&b, &scorer, d->length[i], nll[i]) : FL_ERR_MEMORY;
        }
        fl_scorer_destroy(&scorer);
    }
    if (s == FL_OK) {
        judge(d, nll, blocks, o->margin);
        report(d, o->margin);
    }
    for (int i = 0; i < d->lengths; i++)
        fl_free(nll[i]);
    fl_blocks_destroy(&b);
    return s;
}
