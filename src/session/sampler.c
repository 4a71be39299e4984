#include "session/sampler.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/size.h"

fl_status fl_sampler_options_check(const fl_sampler_options *o)
{
    if (o->size != sizeof *o)
        return fl_fail(FL_ERR_ARGUMENT, "fl_sampler_options.size is not %zu: start from FL_SAMPLER_OPTIONS_INIT",
                       sizeof *o);
    if (!isfinite(o->temperature) || o->temperature < 0)
        return fl_fail(FL_ERR_ARGUMENT, "temperature = %g: give 0 (always the most likely token) or more",
                       o->temperature);
    if (o->top_k < 0) return fl_fail(FL_ERR_ARGUMENT, "top-k = %d: give 1 or more, or 0 for off", o->top_k);
    if (!(o->top_p >= 0 && o->top_p <= 1))
        return fl_fail(FL_ERR_ARGUMENT, "top-p = %g: give 0 to 1, where 1 is off", o->top_p);
    if (!(o->min_p >= 0 && o->min_p <= 1))
        return fl_fail(FL_ERR_ARGUMENT, "min-p = %g: give 0 to 1, where 0 is off", o->min_p);
    if (!isfinite(o->repeat_penalty) || o->repeat_penalty <= 0)
        return fl_fail(FL_ERR_ARGUMENT, "repeat-penalty = %g: give a positive number, where 1 is off",
                       o->repeat_penalty);
    if (o->repeat_last < -1)
        return fl_fail(FL_ERR_ARGUMENT, "repeat-last-n = %lld: give 1 or more, 0 for off or -1 for all tokens",
                       (long long)o->repeat_last);
    return FL_OK;
}

fl_status fl_sampler_init(fl_sampler *s, const fl_sampler_options *options, int64_t vocab)
{
    FL_TRY(fl_sampler_options_check(options));
    *s = (fl_sampler){.options = *options, .vocab = vocab};
    fl_rng_seed(&s->rng, options->seed);
    s->list = fl_calloc((size_t)vocab, sizeof *s->list);
    s->seen = fl_calloc((size_t)vocab, sizeof *s->seen);
    if (s->list && s->seen) return FL_OK;
    fl_sampler_free(s);
    return FL_ERR_MEMORY;
}

void fl_sampler_free(fl_sampler *s)
{
    fl_free(s->list);
    fl_free(s->seen);
    *s = (fl_sampler){0};
}

/* Once for each id among the last tokens, however often it occurs there. */
static void penalise(fl_sampler *s, const int32_t *history, int64_t count)
{
    const fl_sampler_options *o = &s->options;
    if (o->repeat_penalty == 1 || o->repeat_last == 0) return;
    if (s->calls == INT32_MAX) {
        memset(s->seen, 0, (size_t)s->vocab * sizeof *s->seen);
        s->calls = 0;
    }
    s->calls++;
    int64_t first = o->repeat_last < 0 ? 0 : fl_max64(0, count - o->repeat_last);
    for (int64_t i = first; i < count; i++) {
        int32_t id = history[i];
        if (id < 0 || id >= s->vocab || s->seen[id] == s->calls) continue;
        s->seen[id] = s->calls;
        /* Divided when positive, multiplied when negative: less likely either way (Keskar et al. 2019, CTRL). */
        float *logit = &s->list[id].logit;
        double penalty = o->repeat_penalty;
        *logit = (float)(*logit <= 0 ? *logit * penalty : *logit / penalty);
    }
}

static bool before(const fl_candidate *a, const fl_candidate *b)
{
    return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

static void swap(fl_candidate *a, fl_candidate *b)
{
    fl_candidate t = *a;
    *a = *b;
    *b = t;
}

static void sift_down(fl_candidate *list, int64_t i, int64_t n)
{
    for (int64_t child = 2 * i + 1; child < n; i = child, child = 2 * i + 1) {
        if (child + 1 < n && before(&list[child], &list[child + 1])) child++;
        if (!before(&list[i], &list[child])) return;
        swap(&list[i], &list[child]);
    }
}

/* Heap sort: its worst case is its usual case. */
static void sort(fl_candidate *list, int64_t n)
{
    for (int64_t i = n / 2 - 1; i >= 0; i--)
        sift_down(list, i, n);
    for (int64_t end = n - 1; end > 0; end--) {
        swap(&list[0], &list[end]);
        sift_down(list, 0, end);
    }
}

/* The k first of list[n] in their order, at its front: a heap of the k best so far, whose root is the worst of them. */
static void select_first(fl_candidate *list, int64_t n, int64_t k)
{
    if (k >= n) {
        sort(list, n);
        return;
    }
    for (int64_t i = k / 2 - 1; i >= 0; i--)
        sift_down(list, i, k);
    for (int64_t i = k; i < n; i++)
        if (before(&list[i], &list[0])) {
            swap(&list[i], &list[0]);
            sift_down(list, 0, k);
        }
    sort(list, k);
}

/* Length of the shortest front of the sorted list[n] that holds a share p of it. The list is sorted no further than
 * needed; its first `sorted` entries are already. */
static int64_t front(fl_candidate *list, int64_t n, int64_t sorted, double temperature, double p)
{
    double top = list[0].logit, total = 0, sum = 0;
    int64_t last = 0;
    for (int64_t i = 0; i < n; i++)
        total += exp(((double)list[i].logit - top) / temperature);
    for (int64_t i = 0; i < n; i++) {
        if (i == sorted) {
            int64_t more = fl_min64(n - sorted, fl_max64(64, 3 * sorted));
            select_first(list + sorted, n - sorted, more);
            sorted += more;
        }
        double weight = exp(((double)list[i].logit - top) / temperature);
        sum += weight;
        if (weight > 0) last = i;
        if (sum >= p * total) return i + 1;
    }
    return last + 1; /* rounding left the sum a hair below: never a candidate that has no share */
}

static void fill_shares(fl_candidate *list, int64_t n, double temperature)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        list[i].share = exp(((double)list[i].logit - list[0].logit) / temperature);
        sum += list[i].share;
    }
    for (int64_t i = 0; i < n; i++)
        list[i].share /= sum;
}

/* Not a number sorts last, whatever its sign. */
static int64_t load(fl_sampler *s, const float *logits)
{
    int64_t numbers = 0;
    for (int64_t i = 0; i < s->vocab; i++) {
        bool number = isfinite(logits[i]);
        numbers += number;
        s->list[i] = (fl_candidate){(int32_t)i, number ? logits[i] : -INFINITY, 0};
    }
    return numbers;
}

/* All steps but the draw: s->list[0 .. *n-1] is left, its first *sorted entries in order. */
static fl_status narrow(fl_sampler *s, const float *logits, const int32_t *history, int64_t count, int64_t *n,
                        int64_t *sorted)
{
    const fl_sampler_options *o = &s->options;
    if (!load(s, logits))
        return fl_fail(FL_ERR_NUMERIC,
                       "none of the %lld logits is a number: the model's weights or its scaling are broken",
                       (long long)s->vocab);
    penalise(s, history, count);
    bool greedy = o->temperature == 0;
    int64_t k = greedy ? 1 : o->top_k > 0 ? fl_min64(o->top_k, s->vocab) : s->vocab;
    *sorted = k < s->vocab ? k : 1;
    select_first(s->list, s->vocab, *sorted);
    *n = k;
    if (*n > 1 && o->top_p < 1) *n = *sorted = front(s->list, *n, *sorted, 1, o->top_p);
    if (*n > 1 && o->min_p > 0) {
        double least = (double)s->list[0].logit + log(o->min_p);
        int64_t kept = 1;
        for (int64_t i = 1; i < *n; i++)
            if (s->list[i].logit >= least) swap(&s->list[i], &s->list[kept++]);
        *n = kept;
        *sorted = fl_min64(*sorted, kept);
    }
    return FL_OK;
}

fl_status fl_sampler_candidates(fl_sampler *s, const float *logits, const int32_t *history, int64_t count,
                                int64_t *kept)
{
    int64_t sorted;
    FL_TRY(narrow(s, logits, history, count, kept, &sorted));
    if (sorted < *kept) sort(s->list, *kept);
    fill_shares(s->list, *kept, *kept > 1 ? s->options.temperature : 1);
    return FL_OK;
}

fl_status fl_sampler_next(fl_sampler *s, const float *logits, const int32_t *history, int64_t count, int32_t *out)
{
    int64_t n, sorted, i = 0;
    FL_TRY(narrow(s, logits, history, count, &n, &sorted));
    if (n > 1) i = front(s->list, n, sorted, s->options.temperature, fl_rng_uniform(&s->rng)) - 1;
    *out = s->list[i].id;
    return FL_OK;
}
