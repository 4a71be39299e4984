/* Choosing the next token from logits. Order and meaning of the steps are llama.cpp's: penalty, top-k, top-p, min-p,
 * temperature, draw. Each step sees what the one before it left; top-p and min-p look at the distribution before the
 * temperature. Same logits, history, options and seed: same token. */
#ifndef FL_SESSION_SAMPLER_H
#define FL_SESSION_SAMPLER_H

#include "base/rng.h"
#include "base/status.h"

typedef struct fl_candidate {
    int32_t id;
    float logit;  /* after the penalty */
    double share; /* probability; only of candidates that fl_sampler_candidates returned */
} fl_candidate;

typedef struct fl_sampler {
    fl_sampler_options options;
    fl_rng rng;
    int64_t vocab;
    fl_candidate *list; /* [vocab] */
    int32_t *seen;      /* [vocab] the call in which the penalty last met this id */
    int32_t calls;
} fl_sampler;

/* FL_ERR_ARGUMENT names the option that is out of range. */
fl_status fl_sampler_options_check(const fl_sampler_options *options);

fl_status fl_sampler_init(fl_sampler *s, const fl_sampler_options *options, int64_t vocab);
void fl_sampler_free(fl_sampler *s);

/* logits [vocab]; history [count]: all tokens so far, newest last, of which the penalty looks at the last
 * options.repeat_last. FL_ERR_NUMERIC when no logit is a number. */
fl_status fl_sampler_next(fl_sampler *s, const float *logits, const int32_t *history, int64_t count, int32_t *out);

/* The distribution that fl_sampler_next draws from (with a temperature of 0: one candidate): s->list[0 .. *kept-1],
 * most likely first, lower id first among equals. */
fl_status fl_sampler_candidates(fl_sampler *s, const float *logits, const int32_t *history, int64_t count,
                                int64_t *kept);

#endif
