/* LongRoPE's search (Ding et al. 2024, arXiv 2402.13753): an evolution of lists of divisors, one for each rotated pair,
 * by the perplexity of a text at the target length. Lists are kept as whole hundredths. */
#include "furlong.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/progress.h"
#include "base/rng.h"
#include "base/size.h"
#include "eval/scorer.h"
#include "file/json.h"
#include "model/model.h"

#define STEPS 100 /* of a factor of 1 */
#define CROSSOVER_TRIES 20
#define GENE_PROBABILITY 0.3 /* that a gene mutates, or comes from the second parent */
#define LARGEST_POPULATION 4096

typedef struct candidate {
    int gene[FL_ROPE_MAX_PAIRS]; /* divisor times STEPS, never falling */
    double nll;
} candidate;

typedef struct search {
    const fl_model *model;
    const fl_longrope_options *options;
    fl_rng rng;
    int pairs, most; /* genes; the largest of a gene */
    int64_t samples; /* texts of a candidate */
    int32_t *ids;    /* [samples][to] */
    float *nll;      /* [to] */
    candidate *list; /* [population + children], best first after each round */
    fl_progress progress;
    int64_t evaluated;
} search;

/* ---- judging ---------------------------------------------------------------------------------------------------- */

static void spec_of(const search *s, const int *gene, fl_rope_spec *spec)
{
    const fl_rope_spec *plain = &s->model->config.rope;
    fl_rope_spec_init(spec, plain->base, plain->dim, plain->original_window);
    spec->kind = FL_ROPE_LONGROPE;
    spec->factor = (double)s->options->to / (double)plain->original_window;
    spec->window = s->options->to;
    spec->factors = s->pairs;
    for (int i = 0; i < s->pairs; i++) {
        spec->short_factor[i] = 1;
        spec->long_factor[i] = (double)gene[i] / STEPS;
    }
}

/* The model reads with other positions: a copy of its facts that shares every weight. */
static fl_status judge(search *s, candidate *c)
{
    fl_model stretched = *s->model;
    spec_of(s, c->gene, &stretched.config.rope);
    stretched.config.window = s->options->to;
    stretched.scheme.rope = &stretched.config.rope;
    int64_t to = s->options->to;
    fl_scorer scorer;
    FL_TRY(fl_scorer_create(&scorer, &stretched, NULL, to));
    fl_status status = FL_OK;
    c->nll = 0;
    for (int64_t i = 0; i < s->samples && status == FL_OK; i++) {
        status = fl_scorer_text(&scorer, s->ids + i * to, to, 1, s->nll, NULL);
        for (int64_t j = 0; j < to - 1 && status == FL_OK; j++)
            c->nll += s->nll[j];
    }
    fl_scorer_destroy(&scorer);
    FL_TRY(status);
    c->nll /= (double)(s->samples * (to - 1));
    if (!isfinite(c->nll)) c->nll = INFINITY;
    return fl_progress_update(&s->progress, ++s->evaluated);
}

/* ---- lists ------------------------------------------------------------------------------------------------------ */

static void set_seed(const search *s, fl_rope_kind kind, candidate *c)
{
    fl_rope_spec spec;
    double divisor[FL_ROPE_MAX_PAIRS], magnitude;
    spec_of(s, c->gene, &spec);
    spec.kind = kind;
    if (fl_rope_divisors(&spec, s->options->to, divisor, &magnitude) != FL_OK) return; /* the spec is the model's */
    for (int i = 0; i < s->pairs; i++) {
        int least = i ? c->gene[i - 1] : STEPS;
        c->gene[i] = (int)fl_min64(fl_max64(llround(divisor[i] * STEPS), least), s->most);
    }
}

static bool known(const candidate *list, int count, const candidate *c, int pairs)
{
    for (int i = 0; i < count; i++)
        if (!memcmp(list[i].gene, c->gene, (size_t)pairs * sizeof *c->gene)) return true;
    return false;
}

/* Genes drawn anew between their neighbours, so that the list never falls. */
static void mutate(search *s, const candidate *parent, candidate *child)
{
    *child = *parent;
    for (int i = 0; i < s->pairs; i++) {
        if (fl_rng_uniform(&s->rng) >= GENE_PROBABILITY) continue;
        int least = i ? child->gene[i - 1] : STEPS, most = i + 1 < s->pairs ? child->gene[i + 1] : s->most;
        child->gene[i] = least + (int)fl_rng_below(&s->rng, (uint64_t)(most - least) + 1);
    }
}

static bool cross(search *s, const candidate *a, const candidate *b, candidate *child)
{
    for (int attempt = 0; attempt < CROSSOVER_TRIES; attempt++) {
        bool rising = true;
        for (int i = 0; i < s->pairs; i++) {
            child->gene[i] = (fl_rng_uniform(&s->rng) < GENE_PROBABILITY ? b : a)->gene[i];
            rising = rising && (i == 0 || child->gene[i] >= child->gene[i - 1]);
        }
        if (rising) return true;
    }
    return false;
}

/* Child number n of the `parents` best: crossovers first. One that is there already is mutated on, a few times. */
static void breed(search *s, int parents, int n, bool crossover, candidate *child)
{
    const candidate *a = &s->list[fl_rng_below(&s->rng, (uint64_t)parents)];
    const candidate *b = &s->list[fl_rng_below(&s->rng, (uint64_t)parents)];
    if (!crossover || !cross(s, a, b, child)) mutate(s, a, child);
    for (int attempt = 0; attempt < CROSSOVER_TRIES && known(s->list, parents + n, child, s->pairs); attempt++) {
        candidate again = *child;
        mutate(s, &again, child);
    }
}

/* Best first; equals in order of their genes, so that the order does not depend on the sort. */
static int better(const void *x, const void *y)
{
    const candidate *a = x, *b = y;
    if (a->nll != b->nll) return a->nll < b->nll ? -1 : 1;
    return memcmp(a->gene, b->gene, sizeof a->gene);
}

/* ---- the evolution ---------------------------------------------------------------------------------------------- */

static void report(const search *s, fl_longrope_result *r)
{
    r->pairs = s->pairs;
    r->nll = s->list[0].nll;
    r->evaluated = s->evaluated;
    for (int i = 0; i < s->pairs; i++)
        r->factor[i] = (double)s->list[0].gene[i] / STEPS;
}

static fl_status write_best(const search *s)
{
    if (!s->options->path) return FL_OK;
    fl_rope_spec spec;
    spec_of(s, s->list[0].gene, &spec);
    json_t *shorter = json_array(), *longer = json_array();
    for (int i = 0; i < s->pairs; i++) {
        json_array_append_new(shorter, json_real(spec.short_factor[i]));
        json_array_append_new(longer, json_real(spec.long_factor[i]));
    }
    json_t *root = json_pack("{ss sf sf sI so so}", "rope_type", "longrope", "rope_theta", spec.base, "factor",
                             spec.factor, "original_max_position_embeddings", (json_int_t)spec.original_window,
                             "short_factor", shorter, "long_factor", longer);
    fl_status status = root ? fl_json_write(s->options->path, root)
                            : fl_fail(FL_ERR_MEMORY, "%s: no memory for the JSON", s->options->path);
    json_decref(root);
    return status;
}

static fl_status first_round(search *s, fl_longrope_result *r)
{
    static const fl_rope_kind kinds[] = {FL_ROPE_LINEAR, FL_ROPE_NTK, FL_ROPE_YARN};
    int population = (int)s->options->population, seeds = s->pairs > 1 ? 3 : 1;
    double *nll[] = {&r->nll_linear, &r->nll_ntk, &r->nll_yarn};
    for (int i = 0; i < population; i++) {
        candidate *c = &s->list[i];
        if (i < seeds)
            set_seed(s, kinds[i], c);
        else
            breed(s, seeds, i - seeds, false, c);
        FL_TRY(judge(s, c));
        if (i < seeds) *nll[i] = c->nll;
    }
    return FL_OK;
}

static fl_status evolve(search *s, fl_longrope_result *r)
{
    int population = (int)s->options->population, kept = (population + 1) / 2;
    FL_TRY(first_round(s, r));
    qsort(s->list, (size_t)population, sizeof *s->list, better);
    FL_TRY(write_best(s));
    for (int64_t round = 0; round < s->options->rounds; round++) {
        for (int i = kept; i < population; i++) {
            breed(s, kept, i - kept, (i - kept) % 2, &s->list[i]);
            FL_TRY(judge(s, &s->list[i]));
        }
        qsort(s->list, (size_t)population, sizeof *s->list, better);
        FL_TRY(write_best(s));
    }
    report(s, r);
    return FL_OK;
}

/* Texts of `to` tokens from documents that hold as many, BOS first if there is one. */
static fl_status draw_samples(search *s)
{
    const fl_longrope_options *o = s->options;
    int64_t own = o->to - (o->bos >= 0), long_enough = 0;
    for (int i = 0; i < o->documents; i++)
        long_enough += o->document[i].count >= own;
    if (!long_enough)
        return fl_fail(FL_ERR_ARGUMENT, "no document holds %lld tokens: give longer texts or a smaller --to",
                       (long long)own);
    for (int64_t n = 0; n < s->samples; n++) {
        int64_t which = (int64_t)fl_rng_below(&s->rng, (uint64_t)long_enough);
        const fl_document *d = o->document;
        while (d->count < own || which-- > 0)
            d++;
        int32_t *to = s->ids + n * o->to;
        if (o->bos >= 0) *to++ = o->bos;
        int64_t begin = (int64_t)fl_rng_below(&s->rng, (uint64_t)(d->count - own) + 1);
        memcpy(to, d->ids + begin, (size_t)own * sizeof *to);
    }
    return FL_OK;
}

static fl_status check(const fl_model *m, const fl_longrope_options *o)
{
    const fl_config *c = &m->config;
    if (c->positions != FL_POSITIONS_ROTARY)
        return fl_fail(FL_ERR_UNSUPPORTED, "this model has %s positions: LongRoPE is for rotary ones",
                       fl_positions_name(c->positions));
    if (c->rope.kind != FL_ROPE_PLAIN)
        return fl_fail(FL_ERR_UNSUPPORTED, "the model's positions are scaled by %s already: search on the unscaled one",
                       fl_rope_kind_name(c->rope.kind));
    if (o->to <= c->rope.original_window || o->to > INT64_C(1) << 32)
        return fl_fail(FL_ERR_ARGUMENT, "--to %lld: give a window beyond the trained one of %lld tokens",
                       (long long)o->to, (long long)c->rope.original_window);
    if (c->rope.original_window < 2 || (double)o->to / (double)c->rope.original_window > 1e6)
        return fl_fail(FL_ERR_ARGUMENT, "--to %lld: more than a million times the trained window", (long long)o->to);
    if (o->population < 4 || o->population > LARGEST_POPULATION || o->rounds < 0 || o->rounds > 1000000 ||
        o->samples < 1 || o->samples > 1000000)
        return fl_fail(
            FL_ERR_ARGUMENT,
            "--population %lld --rounds %lld --samples %lld: give 4 to %d lists, up to a million rounds, and "
            "1 to a million samples",
            (long long)o->population, (long long)o->rounds, (long long)o->samples, LARGEST_POPULATION);
    return FL_OK;
}

static fl_status run(search *s, fl_longrope_result *r)
{
    const fl_longrope_options *o = s->options;
    size_t ids;
    if (!fl_size_mul((size_t)o->samples, (size_t)o->to, &ids)) return fl_fail(FL_ERR_MEMORY, "--samples: too many");
    s->ids = fl_calloc(ids, sizeof *s->ids);
    s->nll = fl_calloc((size_t)o->to, sizeof *s->nll);
    s->list = fl_calloc((size_t)o->population, sizeof *s->list);
    if (!s->ids || !s->nll || !s->list) return FL_ERR_MEMORY;
    FL_TRY(draw_samples(s));
    int64_t children = o->population - (o->population + 1) / 2;
    fl_progress_start(&s->progress, o->progress, o->progress_user, "search", o->population + o->rounds * children);
    FL_TRY(fl_progress_update(&s->progress, 0));
    return evolve(s, r);
}

fl_status fl_longrope_search(fl_longrope_result *out, const fl_model *model, const fl_longrope_options *options)
{
    if (!out || out->size != sizeof *out || !model || !options || options->size != sizeof *options ||
        !options->document)
        return fl_fail(FL_ERR_ARGUMENT,
                       "fl_longrope_search: an argument is NULL, or result.size is not %zu or options.size not %zu",
                       sizeof *out, sizeof *options);
    FL_TRY(check(model, options));
    search s = {.model = model,
                .options = options,
                .pairs = model->config.rope.dim / 2,
                .samples = options->samples,
                .most = (int)ceil(1.25 * STEPS * (double)options->to / (double)model->config.rope.original_window)};
    fl_rng_seed(&s.rng, options->seed);
    fl_longrope_result r = {.size = sizeof r};
    fl_status status = run(&s, &r);
    fl_free(s.ids);
    fl_free(s.nll);
    fl_free(s.list);
    if (status == FL_OK) *out = r;
    return status;
}
