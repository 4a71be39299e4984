/* What a model writes past its window when it always takes the most likely token: how much it repeats itself, and what
 * the same model thinks of it inside the window. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/size.h"
#include "eval/judge.h"

#define GRAMS 4
#define LOOP_TOKENS 32
#define LOOP_PERIOD 16
#define PIECE 64

typedef struct evaluation {
    const fl_babble_options *o;
    const fl_document *document;
    int *fit; /* [fits] documents that are long enough */
    int fits;
    int32_t bos, *ids; /* [prompt + tokens] */
    int64_t prompt, window;
    fl_scorer scorer;
    fl_items items;
} evaluation;

/* ---- repetition -------------------------------------------------------------------------------------------------- */

typedef struct gram {
    int32_t id[GRAMS]; /* zeros behind the n-th */
} gram;

static int compare_grams(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(gram));
}

/* Different n-grams among all of count ids, as a share. */
static fl_status distinct(double *out, const int32_t *ids, int64_t count, int n)
{
    int64_t all = fl_max64(0, count - n + 1), different = 0;
    gram *list = fl_calloc((size_t)all + 1, sizeof *list);
    if (!list) return FL_ERR_MEMORY;
    for (int64_t i = 0; i < all; i++)
        memcpy(list[i].id, ids + i, (size_t)n * sizeof *ids);
    qsort(list, (size_t)all, sizeof *list, compare_grams);
    for (int64_t i = 0; i < all; i++)
        different += !i || compare_grams(&list[i], &list[i - 1]) != 0;
    *out = all ? (double)different / (double)all : 0;
    fl_free(list);
    return FL_OK;
}

/* Does the end go round in a circle? */
static bool loops(const int32_t *ids, int64_t count)
{
    for (int64_t period = 1; count >= LOOP_TOKENS && period <= LOOP_PERIOD; period++) {
        int64_t i = count - LOOP_TOKENS + period;
        while (i < count && ids[i] == ids[i - period])
            i++;
        if (i == count) return true;
    }
    return false;
}

/* ---- one writing ------------------------------------------------------------------------------------------------- */

/* Sum over ids[first .. count-1], each with at least half a window of what stands before it and at most a whole one. */
static fl_status judge_in_windows(evaluation *e, const int32_t *ids, int64_t first, int64_t count, double *sum)
{
    int64_t step = fl_max64(1, e->window / 2);
    *sum = 0;
    for (int64_t at = first; at < count; at += step) {
        fl_verdict v;
        int64_t end = fl_min64(at + step, count), begin = fl_max64(0, end - e->window);
        FL_TRY(fl_judge(&v, &e->scorer, ids + begin, end - begin, at - begin));
        *sum += v.nll;
    }
    return FL_OK;
}

/* A piece at a time: a session that forgets what is far keeps the ids of the last piece. */
static fl_status write_on(evaluation *e)
{
    fl_session *session = e->scorer.session;
    fl_generate_options options = FL_GENERATE_OPTIONS_INIT;
    options.ignore_eos = true;
    options.sampler =
        (fl_sampler_options){.size = sizeof options.sampler, .temperature = 0, .top_p = 1, .repeat_penalty = 1};
    FL_TRY(fl_scorer_start(&e->scorer));
    FL_TRY(fl_session_read(session, e->ids, e->prompt));
    e->scorer.done += e->prompt;
    for (int64_t done = 0; done < e->o->tokens; done += options.max_tokens) {
        options.max_tokens = fl_min64(PIECE, e->o->tokens - done);
        FL_TRY(fl_generate(session, NULL, &options, NULL));
        const int32_t *last = fl_session_ids(session) + fl_session_tokens(session) - options.max_tokens;
        memcpy(e->ids + e->prompt + done, last, (size_t)options.max_tokens * sizeof *e->ids);
        e->scorer.done += options.max_tokens;
        FL_TRY(fl_progress_update(&e->scorer.progress, e->scorer.done));
    }
    return FL_OK;
}

static fl_status describe(evaluation *e, json_t *item, const char *name, const char *nll_name)
{
    const int32_t *written = e->ids + e->prompt;
    double share[GRAMS], nll;
    json_t *list = json_array();
    fl_status s = judge_in_windows(e, e->ids, e->prompt, e->prompt + e->o->tokens, &nll);
    for (int n = 1; n <= GRAMS && s == FL_OK; n++) {
        s = distinct(&share[n - 1], written, e->o->tokens, n);
        if (s == FL_OK) json_array_append_new(list, json_real(share[n - 1]));
    }
    json_object_set_new(item, name, list);
    json_object_set_new(item, nll_name, json_real(s == FL_OK ? nll : 0));
    return s;
}

static fl_status run_item(evaluation *e, int64_t number, const char *name)
{
    const fl_babble_options *o = e->o;
    fl_rng rng;
    fl_item_rng(&rng, o->run.seed, (uint64_t)number, 0);
    const fl_document *d = &e->document[e->fit[fl_rng_below(&rng, (uint64_t)e->fits)]];
    int64_t bos = e->bos >= 0, text = e->prompt - bos + o->tokens;
    int64_t place = (int64_t)fl_rng_below(&rng, (uint64_t)(d->count - text + 1));
    if (bos) e->ids[0] = e->bos;
    memcpy(e->ids + bos, d->ids + place, (size_t)text * sizeof *e->ids);
    json_t *item = json_pack("{sI}", "place", (json_int_t)place);
    fl_status s = item ? describe(e, item, "text_distinct", "text_nll") : FL_ERR_MEMORY;
    if (s == FL_OK) s = write_on(e);
    if (s == FL_OK) s = describe(e, item, "distinct", "nll");
    if (s == FL_OK) json_object_set_new(item, "loops", json_boolean(loops(e->ids + e->prompt, o->tokens)));
    if (s == FL_OK) return fl_items_add(&e->items, name, item);
    json_decref(item);
    return s;
}

static void add_item(fl_babble_result *r, const json_t *item)
{
    for (size_t n = 0; n < GRAMS; n++) {
        r->distinct[n] += json_number_value(json_array_get(json_object_get(item, "distinct"), n));
        r->text_distinct[n] += json_number_value(json_array_get(json_object_get(item, "text_distinct"), n));
    }
    r->nll += fl_item_real(item, "nll");
    r->text_nll += fl_item_real(item, "text_nll");
    r->looping += json_is_true(json_object_get(item, "loops"));
}

static fl_status run_items(evaluation *e, fl_babble_result *r)
{
    const fl_babble_options *o = e->o;
    char name[32];
    for (int64_t i = 0; i < o->items; i++) {
        snprintf(name, sizeof name, "%lld", (long long)i);
        if (!fl_items_find(&e->items, name)) FL_TRY(run_item(e, i, name));
        add_item(r, fl_items_find(&e->items, name));
        e->scorer.done = (i + 1) * (e->prompt + 5 * o->tokens);
        FL_TRY(fl_progress_update(&e->scorer.progress, e->scorer.done));
    }
    double n = (double)o->items;
    for (int g = 0; g < GRAMS; g++) {
        r->distinct[g] /= n;
        r->text_distinct[g] /= n;
    }
    r->nll /= n * (double)o->tokens;
    r->text_nll /= n * (double)o->tokens;
    r->looping /= n;
    r->items = o->items;
    r->tokens = o->tokens;
    r->reused = e->items.reused;
    return FL_OK;
}

static fl_status run(evaluation *e, fl_babble_result *r, const fl_model *model, int count)
{
    const fl_babble_options *o = e->o;
    char digest[17];
    int64_t whole = e->prompt + o->tokens;
    FL_TRY(fl_documents_fitting(&e->fit, &e->fits, e->document, count, whole));
    e->ids = fl_calloc((size_t)whole, sizeof *e->ids);
    if (!e->ids) return FL_ERR_MEMORY;
    FL_TRY(fl_documents_digest(digest, e->document, count, e->bos));
    FL_TRY(fl_scorer_create(&e->scorer, model, o->run.session, fl_max64(whole, e->window)));
    FL_TRY(fl_items_open(&e->items, o->run.items, "babble", e->scorer.session,
                         json_pack("{sI sI sI sI ss}", "prompt", (json_int_t)e->prompt, "tokens", (json_int_t)o->tokens,
                                   "window", (json_int_t)e->window, "seed", (json_int_t)o->run.seed, "texts", digest)));
    /* Each item: the prompt, the writing, and both continuations in windows that overlap by half. */
    fl_progress_start(&e->scorer.progress, o->run.progress, o->run.progress_user, "babble",
                      o->items * (e->prompt + 5 * o->tokens));
    return run_items(e, r);
}

fl_status fl_eval_babble(fl_babble_result *result, const fl_model *model, const fl_document *document,
                         int document_count, int32_t bos, const fl_babble_options *o)
{
    if (!result || !model || !document || !o || o->size != sizeof *o)
        return fl_fail(FL_ERR_ARGUMENT, "fl_eval_babble: an argument is NULL or options.size is not %zu",
                       sizeof(fl_babble_options));
    fl_model_info info = {.size = sizeof info};
    FL_TRY(fl_model_get_info(model, &info));
    evaluation e = {.o = o,
                    .document = document,
                    .bos = bos,
                    .prompt = o->prompt ? o->prompt : info.trained_window,
                    .window = o->window ? o->window : info.trained_window};
    if (e.prompt < 2 || o->tokens < 1 || o->items < 1 || e.window < 2 || e.prompt + o->tokens > INT64_C(1) << 40)
        return fl_fail(FL_ERR_ARGUMENT,
                       "--prompt %lld --predict %lld --count %lld --near %lld: give at least 2, 1, 1 and 2",
                       (long long)e.prompt, (long long)o->tokens, (long long)o->items, (long long)e.window);
    fl_babble_result r = {0};
    fl_status s = run(&e, &r, model, document_count);
    s = fl_items_close(&e.items, s);
    fl_scorer_destroy(&e.scorer);
    fl_free(e.fit);
    fl_free(e.ids);
    if (s == FL_OK) *result = r;
    return s;
}
