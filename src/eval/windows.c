/* Where the windows of each protocol lie; docs/evaluation.md defines them. */
#include "eval/windows.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/size.h"
#include "eval/items.h"

void fl_streams_free(fl_streams *s)
{
    for (int i = 0; s->ids && i < s->count; i++)
        fl_free(s->ids[i]);
    fl_free(s->ids);
    fl_free(s->size);
    fl_free(s->document);
}

static fl_status add_stream(fl_streams *s, const fl_document *document, int number, int64_t tokens)
{
    int i = s->count++;
    int64_t bos = s->bos >= 0;
    s->document[i] = number;
    s->size[i] = tokens + bos;
    s->ids[i] = fl_calloc((size_t)s->size[i] + 1, sizeof **s->ids);
    if (!s->ids[i]) return FL_ERR_MEMORY;
    if (bos) s->ids[i][0] = s->bos;
    if (tokens) memcpy(s->ids[i] + bos, document->ids, (size_t)tokens * sizeof **s->ids);
    return FL_OK;
}

fl_status fl_streams_build(fl_streams *s, const fl_document *document, int count, int32_t bos, int64_t max_tokens,
                           int64_t least)
{
    *s = (fl_streams){.bos = bos};
    s->ids = fl_calloc((size_t)count, sizeof *s->ids);
    s->size = fl_calloc((size_t)count, sizeof *s->size);
    s->document = fl_calloc((size_t)count, sizeof *s->document);
    if (!s->ids || !s->size || !s->document) return FL_ERR_MEMORY;
    for (int i = 0; i < count; i++) {
        int64_t n = max_tokens > 0 ? fl_min64(max_tokens, document[i].count) : document[i].count;
        if (n + (bos >= 0) >= least) FL_TRY(add_stream(s, &document[i], i, n));
    }
    return s->count ? FL_OK
                    : fl_fail(FL_ERR_ARGUMENT,
                              "none of %d documents has %lld tokens: give longer texts or smaller "
                              "--lengths",
                              count, (long long)least);
}

static fl_status plan_add(fl_windows *p, fl_window w)
{
    if (p->count == p->capacity) {
        int64_t capacity = p->capacity ? 2 * p->capacity : 64;
        fl_window *list = fl_realloc(p->list, (size_t)capacity, sizeof *list);
        if (!list) return FL_ERR_MEMORY;
        p->list = list;
        p->capacity = capacity;
    }
    p->list[p->count++] = w;
    return FL_OK;
}

static fl_status too_short(const fl_streams *s, int i, int64_t need)
{
    return fl_fail(FL_ERR_ARGUMENT,
                   "document %d has %lld tokens but this evaluation needs %lld: give a longer text or "
                   "smaller --lengths",
                   s->document[i] + 1, (long long)s->size[i], (long long)need);
}

static fl_status plan_single(fl_windows *p, const fl_streams *s, int64_t length)
{
    for (int i = 0; i < s->count; i++) {
        if (s->size[i] < length) return too_short(s, i, length);
        FL_TRY(plan_add(p, (fl_window){.stream = i, .end = length, .first = 1}));
    }
    return FL_OK;
}

static fl_status plan_sliding(fl_windows *p, const fl_streams *s, int64_t length, int64_t stride)
{
    if (stride <= 0 || stride >= length)
        return fl_fail(FL_ERR_ARGUMENT, "--stride %lld: must be at least 1 and less than the length %lld",
                       (long long)stride, (long long)length);
    for (int i = 0; i < s->count; i++) {
        if (s->size[i] < length) return too_short(s, i, length);
        int64_t scored = 1; /* tokens of this stream that are context or scored already */
        for (int64_t begin = 0; scored < s->size[i]; begin += stride) {
            int64_t end = fl_min64(begin + length, s->size[i]);
            FL_TRY(plan_add(p, (fl_window){.stream = i, .begin = begin, .end = end, .first = scored - begin}));
            scored = end;
        }
    }
    return FL_OK;
}

static fl_status plan_disjoint(fl_windows *p, const fl_streams *s, int64_t length)
{
    int64_t text = s->bos >= 0; /* where the text begins in a stream */
    int64_t step = length - text;
    for (int i = 0; i < s->count; i++) {
        if (s->size[i] < length) return too_short(s, i, length);
        for (int64_t begin = text; begin + step <= s->size[i]; begin += step)
            FL_TRY(plan_add(
                p, (fl_window){
                       .stream = i, .bos = text == 1, .begin = begin, .end = begin + step, .first = length / 2 + 1}));
    }
    return FL_OK;
}

static int compare_starts(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* `blocks` different places among longest, longest + score, ... so that targets never overlap. */
static fl_status draw_starts(int64_t *start, int64_t blocks, const fl_streams *s, int i, int64_t longest, int64_t score,
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

/* Another stream and a place in it with the longest far part before it, the same for every length. */
static fl_status draw_far(fl_window *w, const fl_streams *s, int64_t far, int64_t longest_far, uint64_t seed)
{
    fl_rng rng;
    fl_item_rng(&rng, ~seed, (uint64_t)s->document[w->stream], (uint64_t)w->end);
    int fits = 0, which;
    for (int i = 0; i < s->count; i++)
        fits += i != w->stream && s->size[i] >= longest_far;
    if (!fits)
        return fl_fail(FL_ERR_ARGUMENT,
                       "--far other: document %d needs another one of at least %lld tokens; give more texts",
                       s->document[w->stream] + 1, (long long)longest_far);
    which = (int)fl_rng_below(&rng, (uint64_t)fits);
    w->far_stream = 0;
    while (w->far_stream == w->stream || s->size[w->far_stream] < longest_far || which-- > 0)
        w->far_stream++;
    int64_t places = s->size[w->far_stream] - longest_far + 1;
    w->far = far;
    w->far_begin = (int64_t)fl_rng_below(&rng, (uint64_t)places) + longest_far - far;
    return FL_OK;
}

static fl_status change_far(fl_window *w, const fl_streams *s, int64_t longest, int64_t near, const fl_ppl_options *o)
{
    int64_t far = w->end - w->begin - near;
    if (far <= 0) return FL_OK;
    switch (o->far) {
    case FL_FAR_KEEP:
        return FL_OK;
    case FL_FAR_OTHER:
        return draw_far(w, s, far, longest - near, o->seed);
    case FL_FAR_SHUFFLE:
        w->far = far;
        w->far_stream = -1;
        return FL_OK;
    case FL_FAR_DROP:
        w->begin += far;
        w->first -= far;
        return FL_OK;
    }
    return fl_fail(FL_ERR_ARGUMENT, "unknown control %d of far context", (int)o->far);
}

void fl_window_ids(int32_t *ids, const fl_streams *s, const fl_window *w, uint64_t seed)
{
    if (w->bos) ids[0] = s->bos;
    int32_t *text = ids + w->bos;
    memcpy(text, s->ids[w->stream] + w->begin, (size_t)(w->end - w->begin) * sizeof *ids);
    if (!w->far) return;
    if (w->far_stream >= 0) {
        memcpy(text, s->ids[w->far_stream] + w->far_begin, (size_t)w->far * sizeof *ids);
        return;
    }
    fl_rng rng;
    fl_item_rng(&rng, ~seed, (uint64_t)s->document[w->stream], (uint64_t)w->end);
    for (int64_t i = w->far - 1; i > 0; i--) {
        int64_t j = (int64_t)fl_rng_below(&rng, (uint64_t)i + 1);
        int32_t swap = text[i];
        text[i] = text[j];
        text[j] = swap;
    }
}

static fl_status plan_matched(fl_windows *p, const fl_streams *s, int64_t length, int64_t longest, int64_t near,
                              const fl_ppl_options *o)
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
            fl_window w = {.stream = i, .begin = end - length, .end = end, .first = length - o->score};
            if (start[j] < longest - o->score || end > s->size[i])
                status = fl_fail(FL_ERR_ARGUMENT,
                                 "block start %lld leaves no room for %lld tokens of context or %lld "
                                 "targets",
                                 (long long)start[j], (long long)longest, (long long)o->score);
            else
                status = change_far(&w, s, longest, near, o);
            if (status == FL_OK) status = plan_add(p, w);
        }
    }
    fl_free(start);
    return status;
}

int64_t fl_windows_least(const fl_ppl_options *o, int64_t longest)
{
    return o->protocol == FL_PPL_MATCHED ? longest + o->blocks * o->score : longest;
}

fl_status fl_windows_lay(fl_windows *p, const fl_streams *s, int64_t length, int64_t longest, int64_t near,
                         const fl_ppl_options *o)
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
        return plan_matched(p, s, length, longest, near, o);
    }
    return fl_fail(FL_ERR_ARGUMENT, "unknown perplexity protocol %d", (int)o->protocol);
}
