/* Next-token accuracy and likelihood by position, in windows that do not overlap. */
#include <math.h>

#include "base/alloc.h"
#include "base/size.h"
#include "eval/judge.h"

typedef struct evaluation {
    const fl_position_options *o;
    const fl_document *document;
    int documents;
    int32_t bos, *ids, *argmax; /* [length] */
    float *nll;                 /* [length] */
    int64_t length, windows;
    fl_scorer scorer;
    fl_items items;
} evaluation;

/* Tokens of text in a window. */
static int64_t text_tokens(const evaluation *e)
{
    return e->length - (e->bos >= 0);
}

/* The place of the i-th window of all that there are, i < e->windows; false: there are no more. */
static bool find_window(const evaluation *e, int64_t i, const int32_t **ids)
{
    for (int d = 0; d < e->documents; d++) {
        int64_t n = e->document[d].count / text_tokens(e);
        if (i < n) {
            *ids = e->document[d].ids + i * text_tokens(e);
            return true;
        }
        i -= n;
    }
    return false;
}

/* Positions of a bin: [begin, end); position 0 is never judged. */
static int64_t bin_begin(const evaluation *e, int b)
{
    return e->length * b / e->o->bins;
}

static fl_status judge_window(evaluation *e, const char *name, const int32_t *text)
{
    int64_t n = text_tokens(e);
    if (e->bos >= 0) e->ids[0] = e->bos;
    for (int64_t i = 0; i < n; i++)
        e->ids[e->length - n + i] = text[i];
    FL_TRY(fl_scorer_text(&e->scorer, e->ids, e->length, 1, e->nll + 1, e->argmax + 1));
    json_t *list = json_array();
    for (int b = 0; list && b < e->o->bins; b++) {
        double sum = 0;
        int64_t right = 0;
        for (int64_t i = fl_max64(1, bin_begin(e, b)); i < bin_begin(e, b + 1); i++) {
            sum += e->nll[i];
            right += e->argmax[i] == e->ids[i];
        }
        if (!isfinite(sum)) {
            json_decref(list);
            return fl_fail(FL_ERR_NUMERIC, "the likelihood near position %lld is not finite",
                           (long long)bin_begin(e, b));
        }
        json_array_append_new(list, json_pack("[fI]", sum, (json_int_t)right));
    }
    return fl_items_add(&e->items, name, json_pack("{so}", "bins", list));
}

static fl_status run_windows(evaluation *e, int64_t all)
{
    char name[32];
    const int32_t *text;
    for (int64_t i = 0; i < e->windows; i++) {
        int64_t done = e->scorer.done, at = all * i / e->windows; /* evenly spread */
        snprintf(name, sizeof name, "%lld", (long long)at);
        if (!fl_items_find(&e->items, name) && find_window(e, at, &text)) FL_TRY(judge_window(e, name, text));
        e->scorer.done = done + e->length;
        FL_TRY(fl_progress_update(&e->scorer.progress, e->scorer.done));
    }
    return FL_OK;
}

static void sum_up(const evaluation *e, int64_t all, fl_position_bin *bin)
{
    char name[32];
    double nll = 0, right = 0, tokens = 0;
    for (int b = 0; b < e->o->bins; b++) {
        fl_position_bin *x = &bin[b];
        *x = (fl_position_bin){.begin = bin_begin(e, b), .end = bin_begin(e, b + 1)};
        double bin_nll = 0, bin_right = 0;
        for (int64_t i = 0; i < e->windows; i++) {
            snprintf(name, sizeof name, "%lld", (long long)(all * i / e->windows));
            const json_t *pair = json_array_get(json_object_get(fl_items_find(&e->items, name), "bins"), (size_t)b);
            bin_nll += json_number_value(json_array_get(pair, 0));
            bin_right += json_number_value(json_array_get(pair, 1));
        }
        x->tokens = (x->end - fl_max64(1, x->begin)) * e->windows;
        nll += bin_nll;
        right += bin_right;
        tokens += (double)x->tokens;
        x->nll = x->tokens ? bin_nll / (double)x->tokens : 0;
        x->accuracy = x->tokens ? bin_right / (double)x->tokens : 0;
        x->cumulative_nll = tokens > 0 ? nll / tokens : 0;
        x->cumulative_accuracy = tokens > 0 ? right / tokens : 0;
    }
}

static fl_status run(evaluation *e, const fl_model *model, int64_t all)
{
    const fl_position_options *o = e->o;
    char digest[17];
    FL_TRY(fl_documents_digest(digest, e->document, e->documents, e->bos));
    e->ids = fl_calloc((size_t)e->length, sizeof *e->ids);
    e->argmax = fl_calloc((size_t)e->length, sizeof *e->argmax);
    e->nll = fl_calloc((size_t)e->length, sizeof *e->nll);
    if (!e->ids || !e->argmax || !e->nll) return FL_ERR_MEMORY;
    FL_TRY(fl_scorer_create(&e->scorer, model, o->run.session, e->length));
    FL_TRY(fl_items_open(&e->items, o->run.items, "position", e->scorer.session,
                         json_pack("{sI si ss}", "length", (json_int_t)e->length, "bins", o->bins, "texts", digest)));
    fl_progress_start(&e->scorer.progress, o->run.progress, o->run.progress_user, "position", e->windows * e->length);
    return run_windows(e, all);
}

fl_status fl_eval_position(fl_position_bin *bin, int64_t *windows, int *short_documents, const fl_model *model,
                           const fl_document *document, int document_count, int32_t bos, const fl_position_options *o)
{
    if (!bin || !windows || !short_documents || !model || !document || !o || o->size != sizeof *o)
        return fl_fail(FL_ERR_ARGUMENT, "fl_eval_position: an argument is NULL or options.size is not %zu",
                       sizeof(fl_position_options));
    evaluation e = {.o = o,
                    .document = document,
                    .documents = document_count,
                    .bos = bos,
                    .length = o->length ? o->length : fl_model_window(model)};
    if (e.length < 2 || e.length > INT64_C(1) << 40 || o->bins < 1 || o->bins > e.length || o->windows < 0)
        return fl_fail(FL_ERR_ARGUMENT,
                       "--length %lld --bins %d --windows %lld: give at least 2 tokens and 1 bin per token",
                       (long long)e.length, o->bins, (long long)o->windows);
    int64_t all = 0;
    int left_out = 0;
    for (int d = 0; d < document_count; d++) {
        all += document[d].count / text_tokens(&e);
        left_out += document[d].count < text_tokens(&e);
    }
    if (!all)
        return fl_fail(FL_ERR_ARGUMENT, "none of %d documents has the %lld tokens of a window", document_count,
                       (long long)text_tokens(&e));
    e.windows = o->windows ? fl_min64(o->windows, all) : all;
    fl_status s = run(&e, model, all);
    if (s == FL_OK) {
        sum_up(&e, all, bin);
        *windows = e.windows;
        *short_documents = left_out;
    }
    s = fl_items_close(&e.items, s);
    fl_scorer_destroy(&e.scorer);
    fl_free(e.ids);
    fl_free(e.argmax);
    fl_free(e.nll);
    return s;
}
