/* Perplexity by length under five protocols; docs/evaluation.md defines each. A stream is BOS (if the model has one)
 * followed by a document; every protocol is a list of windows of streams and of the targets scored in them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/rng.h"
#include "base/size.h"
#include "eval/scorer.h"

/* A window: BOS put before it or not, tokens [begin, end) of a stream, targets from first (index in the window). */
typedef struct window {
    int stream;
    bool bos;
    int64_t begin, end, first;
} window;

typedef struct plan {
    window *list;
    int64_t count, capacity;
} plan;

typedef struct streams {
    int count;
    int32_t **ids; /* [count][size] */
    int64_t *size;
    int32_t bos;
} streams;

static void streams_free(streams *s)
{
    for (int i = 0; s->ids && i < s->count; i++)
        fl_free(s->ids[i]);
    fl_free(s->ids);
    fl_free(s->size);
}

static fl_status streams_build(streams *s, const fl_document *document, int count, int32_t bos, int64_t max_tokens)
{
    *s = (streams){.count = count, .bos = bos};
    s->ids = fl_calloc((size_t)count, sizeof *s->ids);
    s->size = fl_calloc((size_t)count, sizeof *s->size);
    if (!s->ids || !s->size) return FL_ERR_MEMORY;
    for (int i = 0; i < count; i++) {
        int64_t n = max_tokens > 0 ? fl_min64(max_tokens, document[i].count) : document[i].count;
        s->size[i] = n + (bos >= 0);
        s->ids[i] = fl_calloc((size_t)s->size[i] + 1, sizeof **s->ids);
        if (!s->ids[i]) return FL_ERR_MEMORY;
        if (bos >= 0) s->ids[i][0] = bos;
        if (n) memcpy(s->ids[i] + (bos >= 0), document[i].ids, (size_t)n * sizeof **s->ids);
    }
    return FL_OK;
}

static fl_status plan_add(plan *p, window w)
{
    if (p->count == p->capacity) {
        int64_t capacity = p->capacity ? 2 * p->capacity : 64;
        window *list = fl_realloc(p->list, (size_t)capacity, sizeof *list);
        if (!list) return FL_ERR_MEMORY;
        p->list = list;
        p->capacity = capacity;
    }
    p->list[p->count++] = w;
    return FL_OK;
}

static fl_status too_short(const streams *s, int i, int64_t need)
{
    return fl_fail(FL_ERR_ARGUMENT,
                   "document %d has %lld tokens but this evaluation needs %lld: give a longer text or "
                   "smaller --lengths",
                   i + 1, (long long)s->size[i], (long long)need);
}

static fl_status plan_single(plan *p, const streams *s, int64_t length)
{
    for (int i = 0; i < s->count; i++) {
        if (s->size[i] < length) return too_short(s, i, length);
        FL_TRY(plan_add(p, (window){i, false, 0, length, 1}));
    }
    return FL_OK;
}

static fl_status plan_sliding(plan *p, const streams *s, int64_t length, int64_t stride)
{
    if (stride <= 0 || stride >= length)
        return fl_fail(FL_ERR_ARGUMENT, "--stride %lld: must be at least 1 and less than the length %lld",
                       (long long)stride, (long long)length);
    for (int i = 0; i < s->count; i++) {
        if (s->size[i] < length) return too_short(s, i, length);
        int64_t scored = 1; /* tokens of this stream that are context or scored already */
        for (int64_t begin = 0; scored < s->size[i]; begin += stride) {
            int64_t end = fl_min64(begin + length, s->size[i]);
            FL_TRY(plan_add(p, (window){i, false, begin, end, scored - begin}));
            scored = end;
        }
    }
    return FL_OK;
}

static fl_status plan_disjoint(plan *p, const streams *s, int64_t length)
{
    int64_t text = s->bos >= 0; /* where the text begins in a stream */
    int64_t step = length - text;
    for (int i = 0; i < s->count; i++) {
        if (s->size[i] < length) return too_short(s, i, length);
        for (int64_t begin = text; begin + step <= s->size[i]; begin += step)
            FL_TRY(plan_add(p, (window){i, text == 1, begin, begin + step, length / 2 + 1}));
    }
    return FL_OK;
}

static int compare_starts(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* `blocks` different places among longest, longest + score, ... so that targets never overlap. */
static fl_status draw_starts(int64_t *start, int64_t blocks, const streams *s, int i, int64_t longest, int64_t score,
                             fl_rng *rng)
{
    int64_t places = s->size[i] >= longest + score ? (s->size[i] - score - longest) / score + 1 : 0;
    if (places < blocks) return too_short(s, i, longest + blocks * score);
    int64_t *all = fl_calloc((size_t)places, sizeof *all);
    if (!all) return FL_ERR_MEMORY;
    for (int64_t j = 0; j < places; j++)
        all[j] = longest + j * score;
    for (int64_t j = 0; j < blocks; j++) {
        int64_t k = j + (int64_t)fl_rng_below(rng, (uint64_t)(places - j)), swap = all[j];
        start[j] = all[k];
        all[k] = swap;
    }
    fl_free(all);
    qsort(start, (size_t)blocks, sizeof *start, compare_starts);
    return FL_OK;
}

static fl_status plan_matched(plan *p, const streams *s, int64_t length, int64_t longest, const fl_ppl_options *o)
{
    fl_rng rng;
    fl_rng_seed(&rng, o->seed);
    int64_t *start = fl_calloc((size_t)o->blocks, sizeof *start);
    if (!start) return FL_ERR_MEMORY;
    fl_status status = FL_OK;
    for (int i = 0; i < s->count && status == FL_OK; i++) {
        if (o->starts)
            memcpy(start, o->starts, (size_t)o->blocks * sizeof *start);
        else
            status = draw_starts(start, o->blocks, s, i, longest, o->score, &rng);
        for (int64_t j = 0; j < o->blocks && status == FL_OK; j++) {
            int64_t end = start[j] + o->score;
            if (start[j] < longest - o->score || end > s->size[i])
                status = fl_fail(FL_ERR_ARGUMENT,
                                 "block start %lld leaves no room for %lld tokens of context or %lld "
                                 "targets",
                                 (long long)start[j], (long long)longest, (long long)o->score);
            else
                status = plan_add(p, (window){i, false, end - length, end, length - o->score});
        }
    }
    fl_free(start);
    return status;
}

static fl_status plan_make(plan *p, const streams *s, int64_t length, int64_t longest, const fl_ppl_options *o)
{
    switch (o->protocol) {
    case FL_PPL_SINGLE:
    case FL_PPL_POSITION:
        return plan_single(p, s, length);
    case FL_PPL_SLIDING:
        return plan_sliding(p, s, length, o->stride);
    case FL_PPL_DISJOINT:
        return plan_disjoint(p, s, length);
    case FL_PPL_MATCHED:
        return plan_matched(p, s, length, longest, o);
    }
    return fl_fail(FL_ERR_ARGUMENT, "unknown perplexity protocol %d", (int)o->protocol);
}

/* Sums over samples: tokens, or whole blocks for matched windows, whose tokens are not independent. */
typedef struct sums {
    int64_t samples;
    double mean, squares; /* Welford: running mean and sum of squared deviations */
} sums;

static void sums_add(sums *s, double x)
{
    double delta = x - s->mean;
    s->mean += delta / (double)++s->samples;
    s->squares += delta * (x - s->mean);
}

static void collect(fl_ppl_result *r, sums *s, const window *w, const float *nll, bool by_block)
{
    int64_t length = w->end - w->begin + w->bos, n = length - w->first;
    double total = 0;
    for (int64_t i = 0; i < n; i++) {
        total += nll[i];
        if (!by_block) sums_add(s, nll[i]);
        int64_t bucket = (w->first + i) * FL_PPL_BUCKETS / r->length;
        if (bucket < FL_PPL_BUCKETS) {
            r->bucket[bucket] += nll[i];
            r->bucket_tokens[bucket]++;
        }
    }
    if (by_block) sums_add(s, total / (double)n);
    r->tokens += n;
    r->nll += total;
}

static fl_status run_plan(fl_ppl_result *r, fl_scorer *scorer, const streams *s, const plan *p, bool by_block)
{
    int32_t *ids = fl_calloc((size_t)r->length + 1, sizeof *ids);
    float *nll = fl_calloc((size_t)r->length + 1, sizeof *nll);
    fl_status status = ids && nll ? FL_OK : FL_ERR_MEMORY;
    sums total = {0};
    double started = fl_clock_seconds();
    int64_t before = scorer->computed;
    for (int64_t i = 0; i < p->count && status == FL_OK; i++) {
        const window *w = &p->list[i];
        int64_t length = w->end - w->begin;
        if (w->bos) ids[0] = s->bos;
        memcpy(ids + w->bos, s->ids[w->stream] + w->begin, (size_t)length * sizeof *ids);
        status = fl_scorer_text(scorer, ids, length + w->bos, w->first, nll, NULL);
        if (status == FL_OK) collect(r, &total, w, nll, by_block);
    }
    fl_free(ids);
    fl_free(nll);
    if (status != FL_OK) return status;
    r->seconds = fl_clock_seconds() - started;
    r->tokens_per_second = (double)(scorer->computed - before) / fmax(r->seconds, 1e-9);
    r->nll /= (double)r->tokens;
    r->ppl = exp(r->nll);
    if (total.samples > 1) r->stderr_nll = sqrt(total.squares / (double)(total.samples - 1) / (double)total.samples);
    for (int b = 0; b < FL_PPL_BUCKETS; b++)
        if (r->bucket_tokens[b]) r->bucket[b] /= (double)r->bucket_tokens[b];
    r->peak_bytes = fl_peak_resident_bytes();
    return isfinite(r->nll) ? FL_OK
                            : fl_fail(FL_ERR_NUMERIC, "perplexity at length %lld is not finite", (long long)r->length);
}

static fl_status check(const fl_document *document, int count, const fl_ppl_options *o, int64_t *longest)
{
    if (!document || count < 1 || !o->lengths || o->length_count < 1)
        return fl_fail(FL_ERR_ARGUMENT, "perplexity needs at least one document and one length");
    *longest = 0;
    for (int i = 0; i < o->length_count; i++) {
        int64_t least = o->protocol == FL_PPL_MATCHED ? o->score + 1 : 2;
        if (o->lengths[i] < least || o->lengths[i] > INT64_C(1) << 40)
            return fl_fail(FL_ERR_ARGUMENT, "--lengths %lld: must be at least %lld", (long long)o->lengths[i],
                           (long long)least);
        *longest = fl_max64(*longest, o->lengths[i]);
    }
    if (o->protocol == FL_PPL_MATCHED && (o->score < 1 || o->blocks < 1))
        return fl_fail(FL_ERR_ARGUMENT, "--score %lld --blocks %lld: both must be at least 1", (long long)o->score,
                       (long long)o->blocks);
    if (o->protocol == FL_PPL_MATCHED && o->starts && count != 1)
        return fl_fail(FL_ERR_ARGUMENT, "given block starts fit one document, not %d", count);
    return FL_OK;
}

static int64_t plan_tokens(const plan *p)
{
    int64_t n = 0;
    for (int64_t i = 0; i < p->count; i++)
        n += p->list[i].end - p->list[i].begin + p->list[i].bos;
    return n;
}

fl_status fl_eval_ppl(fl_ppl_result *result, const fl_model *model, const fl_document *document, int document_count,
                      int32_t bos, const fl_ppl_options *o)
{
    if (!result || !model || !o || o->size != sizeof *o)
        return fl_fail(FL_ERR_ARGUMENT, "fl_eval_ppl: an argument is NULL or options.size is not %zu",
                       sizeof(fl_ppl_options));
    int64_t longest = 0;
    FL_TRY(check(document, document_count, o, &longest));
    streams s;
    fl_scorer scorer = {0};
    plan *plans = fl_calloc((size_t)o->length_count, sizeof *plans);
    fl_status status = plans ? streams_build(&s, document, document_count, bos, o->max_tokens) : FL_ERR_MEMORY;
    if (!plans) return status;
    int64_t total = 0;
    for (int i = 0; i < o->length_count && status == FL_OK; i++) {
        status = plan_make(&plans[i], &s, o->lengths[i], longest, o);
        total += plan_tokens(&plans[i]);
    }
    if (status == FL_OK) status = fl_scorer_create(&scorer, model, o->session, longest);
    fl_progress_start(&scorer.progress, o->progress, o->progress_user, "perplexity", total);
    for (int i = 0; i < o->length_count && status == FL_OK; i++) {
        result[i] = (fl_ppl_result){.length = o->lengths[i]};
        status = run_plan(&result[i], &scorer, &s, &plans[i], o->protocol == FL_PPL_MATCHED);
    }
    fl_scorer_destroy(&scorer);
    for (int i = 0; i < o->length_count; i++)
        fl_free(plans[i].list);
    fl_free(plans);
    streams_free(&s);
    return status;
}
