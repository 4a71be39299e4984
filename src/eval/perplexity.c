/* Perplexity by length under five protocols; docs/evaluation.md defines each. A stream is BOS (if the model has one)
 * followed by a document; every protocol is a list of windows of streams and of the targets scored in them. A window is
 * an item: what is kept of it are its sums. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/size.h"
#include "eval/divergence.h"
#include "eval/items.h"
#include "eval/perplexity.h"
#include "eval/statistics.h"
#include "eval/windows.h"
#include "text/tokenizer.h"

typedef struct evaluation {
    const fl_ppl_options *o;
    const fl_overlay *overlay; /* of a model that trains; NULL: none */
    int documents;             /* given */
    fl_streams streams;
    fl_scorer scorer, reference; /* reference: with o->reference */
    fl_items items;
    int64_t longest, near;
    int32_t *ids; /* [longest] */
    float *nll;   /* [longest] */
    fl_buffer text;
} evaluation;

/* ---- one window ------------------------------------------------------------------------------------------------- */

/* Mean and sum of squared deviations of samples: tokens, or whole blocks for matched windows, whose tokens are not
 * independent. */
typedef struct sums {
    double samples, mean, squares;
} sums;

/* Two lists put together (Chan, Golub, LeVeque 1979). */
static void sums_merge(sums *a, sums b)
{
    double n = a->samples + b.samples, delta = b.mean - a->mean;
    if (n == 0) return;
    a->mean += delta * b.samples / n;
    a->squares += b.squares + delta * delta * a->samples * b.samples / n;
    a->samples = n;
}

/* Bytes of the text that ids[first .. count-1] stand for. One token before them takes the space that decoding drops at
 * the beginning of a text. */
static fl_status count_bytes(evaluation *e, int64_t count, int64_t first, int64_t *bytes)
{
    *bytes = 0;
    if (!e->o->tokenizer) return FL_OK;
    fl_buffer_clear(&e->text);
    FL_TRY(fl_tokenizer_decode(e->o->tokenizer, e->ids + first - 1, 1, false, &e->text));
    int64_t before = (int64_t)e->text.size;
    fl_buffer_clear(&e->text);
    FL_TRY(fl_tokenizer_decode(e->o->tokenizer, e->ids + first - 1, count - first + 1, false, &e->text));
    *bytes = (int64_t)e->text.size - before;
    return e->text.failed ? FL_ERR_MEMORY : FL_OK;
}

/* Positions [i, i+1) * length / 16 of those judged. */
static json_t *buckets(const evaluation *e, int64_t length, int64_t first, int64_t n)
{
    double sum[FL_PPL_BUCKETS] = {0};
    int64_t tokens[FL_PPL_BUCKETS] = {0};
    json_t *list = json_array();
    for (int64_t i = 0; i < n; i++) {
        int64_t b = (first + i) * FL_PPL_BUCKETS / length;
        if (b >= FL_PPL_BUCKETS) continue;
        sum[b] += e->nll[i];
        tokens[b]++;
    }
    for (int b = 0; list && b < FL_PPL_BUCKETS; b++)
        json_array_append_new(list, json_pack("[fI]", sum[b], (json_int_t)tokens[b]));
    return list;
}

static fl_status keep(evaluation *e, const char *name, int64_t length, const fl_window *w, const fl_divergence *d)
{
    int64_t count = fl_window_tokens(w), n = count - w->first, bytes;
    sums total = {0};
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += e->nll[i];
        sums_merge(&total, (sums){1, e->nll[i], 0});
    }
    if (!isfinite(sum)) return fl_fail(FL_ERR_NUMERIC, "perplexity at length %lld is not finite", (long long)length);
    FL_TRY(count_bytes(e, count, w->first, &bytes));
    json_t *item = json_pack("{sI sf sf}", "tokens", (json_int_t)n, "nll", sum, "squares", total.squares);
    if (item && bytes) json_object_set_new(item, "bytes", json_integer(bytes));
    if (item && e->o->protocol == FL_PPL_POSITION)
        json_object_set_new(item, "buckets", buckets(e, length, w->first, n));
    if (item && e->o->reference) {
        json_t *kl = json_pack("{sI sf sf sf sf}", "agree", (json_int_t)d->agree, "kl", d->kl, "kl_squares", d->squares,
                               "kl_max", d->most, "reference_nll", d->reference_nll);
        if (!kl || json_object_update(item, kl)) json_object_clear(item);
        json_decref(kl);
    }
    return fl_items_add(&e->items, name, item);
}

static fl_status run_window(evaluation *e, const char *name, int64_t length, const fl_window *w)
{
    int64_t done = e->scorer.done, count = fl_window_tokens(w);
    fl_divergence d = {0};
    if (!fl_items_find(&e->items, name)) {
        fl_window_ids(e->ids, &e->streams, w, e->o->seed);
        if (e->o->reference)
            FL_TRY(fl_divergence_text(&d, &e->scorer, &e->reference, e->ids, count, w->first, e->nll));
        else
            FL_TRY(fl_scorer_text(&e->scorer, e->ids, count, w->first, e->nll, NULL));
        FL_TRY(keep(e, name, length, w, &d));
    }
    e->scorer.done = done + count;
    return fl_progress_update(&e->scorer.progress, e->scorer.done);
}

static void window_name(char name[96], const evaluation *e, int64_t length, const fl_window *w)
{
    snprintf(name, 96, "%lld/%d/%lld", (long long)length, e->streams.document[w->stream] + 1, (long long)w->begin);
}

/* ---- one length ------------------------------------------------------------------------------------------------- */

/* What is known of each stream at one length. */
typedef struct totals {
    double *nll, *tokens; /* [streams] sums */
    int64_t *bytes;       /* [streams] */
} totals;

static void gather(const evaluation *e, fl_ppl_result *r, totals *t, sums *all, double *squares, const fl_window *w,
                   const json_t *item)
{
    bool matched = e->o->protocol == FL_PPL_MATCHED;
    int64_t n = fl_item_integer(item, "tokens");
    double sum = fl_item_real(item, "nll");
    sums_merge(all, matched ? (sums){1, sum / (double)n, 0}
                            : (sums){(double)n, sum / (double)n, fl_item_real(item, "squares")});
    r->tokens += n;
    r->nll += sum;
    r->bytes += fl_item_integer(item, "bytes");
    t->nll[w->stream] += sum;
    t->tokens[w->stream] += (double)n;
    t->bytes[w->stream] += fl_item_integer(item, "bytes");
    const json_t *list = json_object_get(item, "buckets");
    for (size_t b = 0; b < json_array_size(list); b++) {
        r->bucket[b] += json_number_value(json_array_get(json_array_get(list, b), 0));
        r->bucket_tokens[b] += json_integer_value(json_array_get(json_array_get(list, b), 1));
    }
    r->kl += fl_item_real(item, "kl");
    *squares += fl_item_real(item, "kl_squares");
    r->kl_max = fmax(r->kl_max, fl_item_real(item, "kl_max"));
    r->top1 += (double)fl_item_integer(item, "agree");
    r->reference_nll += fl_item_real(item, "reference_nll");
}

static fl_status summarise(evaluation *e, fl_ppl_result *r, const totals *t, const sums *all, double squares)
{
    double n = (double)r->tokens;
    r->nll /= n;
    r->ppl = exp(r->nll);
    if (all->samples > 1) r->stderr_nll = sqrt(all->squares / (all->samples - 1) / all->samples);
    if (r->bytes) r->bits_per_byte = r->nll * n / log(2) / (double)r->bytes;
    for (int b = 0; b < FL_PPL_BUCKETS; b++)
        if (r->bucket_tokens[b]) r->bucket[b] /= (double)r->bucket_tokens[b];
    r->documents = e->streams.count;
    r->skipped = e->documents - e->streams.count;
    if (e->o->reference) {
        r->kl /= n;
        if (r->tokens > 1) r->kl_stderr = sqrt(fmax(0, squares / n - r->kl * r->kl) / (n - 1));
        r->top1 /= n;
        r->reference_nll /= n;
    }
    r->peak_bytes = fl_peak_resident_bytes();
    return fl_bootstrap(t->nll, t->tokens, e->streams.count, e->o->seed, &r->low, &r->high);
}

/* How much less a token costs than at the first length, document by document. */
static fl_status compare_lengths(const evaluation *e, fl_ppl_result *r, const totals *first, const totals *t)
{
    int n = e->streams.count;
    double *saved = fl_calloc((size_t)n, sizeof *saved), sum = 0;
    if (!saved) return FL_ERR_MEMORY;
    for (int i = 0; i < n; i++) {
        saved[i] = first->nll[i] - t->nll[i];
        sum += saved[i];
        r->gain_documents += saved[i] > 0;
    }
    r->gain = sum / (double)r->tokens;
    fl_status s = fl_bootstrap(saved, t->tokens, n, e->o->seed, &r->gain_low, &r->gain_high);
    fl_free(saved);
    return s;
}

static void documents_finish(fl_ppl_document *document, const fl_streams *s, const totals *t)
{
    for (int i = 0; i < s->count; i++) {
        fl_ppl_document *d = &document[s->document[i]];
        d->tokens = (int64_t)t->tokens[i];
        d->bytes = t->bytes[i];
        d->nll = t->nll[i] / t->tokens[i];
    }
}

static fl_status run_length(evaluation *e, fl_ppl_result *r, totals *t, const fl_windows *p)
{
    double started = fl_clock_seconds(), squares = 0;
    int64_t before = e->scorer.computed;
    sums all = {0};
    char name[96];
    for (int64_t i = 0; i < p->count; i++) {
        window_name(name, e, r->length, &p->list[i]);
        r->reused += fl_items_find(&e->items, name) != NULL;
        FL_TRY(run_window(e, name, r->length, &p->list[i]));
        gather(e, r, t, &all, &squares, &p->list[i], fl_items_find(&e->items, name));
    }
    r->seconds = fl_clock_seconds() - started;
    r->tokens_per_second = (double)(e->scorer.computed - before) / fmax(r->seconds, 1e-9);
    return summarise(e, r, t, &all, squares);
}

/* ---- all of them ------------------------------------------------------------------------------------------------- */

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
    if (o->far != FL_FAR_KEEP && o->protocol != FL_PPL_MATCHED)
        return fl_fail(FL_ERR_ARGUMENT, "--far belongs to the protocol matched");
    return FL_OK;
}

static fl_status open_scorers(evaluation *e, const fl_model *model)
{
    const fl_ppl_options *o = e->o;
    FL_TRY(fl_scorer_create(&e->scorer, model, o->session, e->longest));
    fl_session_set_overlay(e->scorer.session, e->overlay);
    if (!o->reference) return FL_OK;
    if (o->reference->config.vocab != model->config.vocab)
        return fl_fail(FL_ERR_ARGUMENT, "the reference has a vocabulary of %lld, the model one of %lld",
                       (long long)o->reference->config.vocab, (long long)model->config.vocab);
    fl_session_options reading = FL_SESSION_OPTIONS_INIT;
    if (o->session) reading = *o->session;
    reading.type_k = reading.type_v = NULL;
    return fl_scorer_create(&e->reference, o->reference, &reading, e->longest);
}

static json_t *setting(const evaluation *e)
{
    const fl_ppl_options *o = e->o;
    fl_buffer ids = {0};
    char digest[17];
    for (int i = 0; i < e->streams.count; i++) {
        fl_buffer_format(&ids, "%d:", e->streams.document[i]);
        fl_buffer_append(&ids, e->streams.ids[i], (size_t)e->streams.size[i] * sizeof **e->streams.ids);
    }
    if (o->starts) fl_buffer_append(&ids, o->starts, (size_t)o->blocks * sizeof *o->starts);
    fl_item_digest(digest, ids.data ? ids.data : "", ids.size);
    char *reference = o->reference ? fl_session_reading(e->reference.session) : NULL;
    json_t *made =
        ids.failed || (o->reference && !reference)
            ? NULL
            : json_pack("{si sI sI sI sI sI si sI sI ss sb ss}", "protocol", (int)o->protocol, "stride",
                        (json_int_t)o->stride, "score", (json_int_t)o->score, "blocks", (json_int_t)o->blocks, "seed",
                        (json_int_t)o->seed, "longest", (json_int_t)(o->protocol == FL_PPL_MATCHED ? e->longest : 0),
                        "far", (int)o->far, "near", (json_int_t)e->near, "bos", (json_int_t)e->streams.bos, "texts",
                        digest, "bytes", o->tokenizer != NULL, "reference", reference ? reference : "");
    fl_buffer_free(&ids);
    fl_free(reference);
    return made;
}

/* total: [length_count] */
static fl_status run_lengths(evaluation *e, fl_ppl_result *result, fl_windows *windows, totals *total)
{
    const fl_ppl_options *o = e->o;
    int64_t tokens = 0;
    for (int i = 0; i < o->length_count; i++) {
        FL_TRY(fl_windows_lay(&windows[i], &e->streams, o->lengths[i], e->longest, e->near, o));
        for (int64_t j = 0; j < windows[i].count; j++)
            tokens += fl_window_tokens(&windows[i].list[j]);
    }
    fl_progress_start(&e->scorer.progress, o->progress, o->progress_user, "perplexity", tokens);
    for (int i = 0; i < o->length_count; i++) {
        totals *t = &total[i];
        result[i] = (fl_ppl_result){.length = o->lengths[i]};
        t->nll = fl_calloc((size_t)e->streams.count, sizeof *t->nll);
        t->tokens = fl_calloc((size_t)e->streams.count, sizeof *t->tokens);
        t->bytes = fl_calloc((size_t)e->streams.count, sizeof *t->bytes);
        if (!t->nll || !t->tokens || !t->bytes) return FL_ERR_MEMORY;
        FL_TRY(run_length(e, &result[i], t, &windows[i]));
        if (o->protocol == FL_PPL_MATCHED) FL_TRY(compare_lengths(e, &result[i], &total[0], t));
    }
    return FL_OK;
}

static fl_status run(evaluation *e, fl_ppl_result *result, const fl_model *model)
{
    const fl_ppl_options *o = e->o;
    fl_model_info info = {.size = sizeof info};
    FL_TRY(fl_model_get_info(model, &info));
    e->near = o->near ? o->near : info.trained_window;
    e->ids = fl_calloc((size_t)e->longest + 1, sizeof *e->ids);
    e->nll = fl_calloc((size_t)e->longest + 1, sizeof *e->nll);
    fl_windows *windows = fl_calloc((size_t)o->length_count, sizeof *windows);
    totals *total = fl_calloc((size_t)o->length_count, sizeof *total);
    fl_status s = e->ids && e->nll && windows && total ? open_scorers(e, model) : FL_ERR_MEMORY;
    if (s == FL_OK) s = fl_items_open(&e->items, o->items, "ppl", e->scorer.session, setting(e));
    if (s == FL_OK) s = run_lengths(e, result, windows, total);
    s = fl_items_close(&e->items, s);
    for (int i = 0; windows && total && i < o->length_count; i++) {
        if (s == FL_OK && o->documents)
            documents_finish(o->documents + (int64_t)i * e->documents, &e->streams, &total[i]);
        fl_free(windows[i].list);
        fl_free(total[i].nll);
        fl_free(total[i].tokens);
        fl_free(total[i].bytes);
    }
    fl_free(windows);
    fl_free(total);
    return s;
}

fl_status fl_eval_ppl(fl_ppl_result *result, const fl_model *model, const fl_document *document, int document_count,
                      int32_t bos, const fl_ppl_options *o)
{
    return fl_eval_ppl_training(result, model, NULL, document, document_count, bos, o);
}

fl_status fl_eval_ppl_training(fl_ppl_result *result, const fl_model *model, const fl_overlay *overlay,
                               const fl_document *document, int document_count, int32_t bos, const fl_ppl_options *o)
{
    if (!result || !model || !o || o->size != sizeof *o)
        return fl_fail(FL_ERR_ARGUMENT, "fl_eval_ppl: an argument is NULL or options.size is not %zu",
                       sizeof(fl_ppl_options));
    evaluation e = {.o = o, .overlay = overlay, .documents = document_count};
    FL_TRY(check(document, document_count, o, &e.longest));
    fl_status s = fl_streams_build(&e.streams, document, document_count, bos, o->max_tokens,
                                   o->skip_short ? fl_windows_least(o, e.longest) : 0);
    if (s == FL_OK) s = run(&e, result, model);
    fl_scorer_destroy(&e.scorer);
    fl_scorer_destroy(&e.reference);
    fl_streams_free(&e.streams);
    fl_buffer_free(&e.text);
    fl_free(e.ids);
    fl_free(e.nll);
    return s;
}
