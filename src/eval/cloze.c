/* The true next tokens among others from the same document: a choice that a small model can make, and that shows what
 * it takes from far context (each continuation is as long, so no length needs to be allowed for). */
#include "base/alloc.h"
#include "base/size.h"
#include "eval/judge.h"
#include "eval/statistics.h"

#define MOST_CHOICES 64

typedef struct evaluation {
    const fl_cloze_options *o;
    const fl_document *document;
    int *fit; /* [fits] documents that are long enough */
    int fits;
    int32_t bos, *ids; /* [length] */
    int64_t length, context;
    fl_scorer scorer;
    fl_items items;
} evaluation;

/* Where the true continuation begins, and the others: none overlaps the context, the true one or another. */
static void draw(const evaluation *e, int64_t item, const fl_document **document, int64_t place[MOST_CHOICES])
{
    const fl_cloze_options *o = e->o;
    fl_rng rng;
    fl_item_rng(&rng, o->run.seed, (uint64_t)item, 0);
    *document = &e->document[e->fit[fl_rng_below(&rng, (uint64_t)e->fits)]];
    int64_t text = e->context - (e->bos >= 0), last = (*document)->count - o->target;
    place[0] = text + (int64_t)fl_rng_below(&rng, (uint64_t)(last - text + 1));
    for (int i = 1; i < o->choices;) {
        int64_t at = (int64_t)fl_rng_below(&rng, (uint64_t)last + 1);
        bool apart = at + o->target <= place[0] - text || at >= place[0] + o->target;
        for (int j = 1; j < i; j++)
            apart = apart && (at + o->target <= place[j] || at >= place[j] + o->target);
        if (apart) place[i++] = at;
    }
}

static fl_status judge_item(evaluation *e, int64_t item, const char *name)
{
    const fl_document *d;
    int64_t place[MOST_CHOICES], text = e->context - (e->bos >= 0);
    int best = 0;
    json_t *list = json_array();
    double least = 0;
    draw(e, item, &d, place);
    if (e->bos >= 0) e->ids[0] = e->bos;
    for (int64_t i = 0; i < text; i++)
        e->ids[e->context - text + i] = d->ids[place[0] - text + i];
    for (int i = 0; i < e->o->choices; i++) {
        fl_verdict v;
        for (int64_t j = 0; j < e->o->target; j++)
            e->ids[e->context + j] = d->ids[place[i] + j];
        fl_status s = fl_judge(&v, &e->scorer, e->ids, e->length, e->context);
        if (s != FL_OK) {
            json_decref(list);
            return s;
        }
        json_array_append_new(list, json_real(v.nll));
        if (!i || v.nll < least) {
            least = v.nll;
            best = i;
        }
    }
    return fl_items_add(&e->items, name,
                        json_pack("{sI si so}", "place", (json_int_t)place[0], "best", best, "nll", list));
}

static fl_status run_items(evaluation *e, fl_cloze_result *r)
{
    const fl_cloze_options *o = e->o;
    int64_t hits = 0;
    double others = 0;
    char name[32];
    r->nll_true = r->nll_false = 0;
    for (int64_t i = 0; i < o->items; i++) {
        int64_t done = e->scorer.done;
        snprintf(name, sizeof name, "%lld", (long long)i);
        if (!fl_items_find(&e->items, name)) FL_TRY(judge_item(e, i, name));
        const json_t *item = fl_items_find(&e->items, name), *list = json_object_get(item, "nll");
        hits += fl_item_integer(item, "best") == 0;
        for (int j = 0; j < o->choices; j++)
            *(j ? &others : &r->nll_true) += json_number_value(json_array_get(list, (size_t)j));
        e->scorer.done = done + e->length * o->choices;
        FL_TRY(fl_progress_update(&e->scorer.progress, e->scorer.done));
    }
    double tokens = (double)(o->items * o->target);
    r->nll_true /= tokens;
    r->nll_false = others / (tokens * (o->choices - 1));
    r->right = fl_share_of(hits, o->items);
    r->reused = e->items.reused;
    return FL_OK;
}

static fl_status run(evaluation *e, fl_cloze_result *r, const fl_model *model, int count)
{
    const fl_cloze_options *o = e->o;
    char digest[17];
    /* The context, the true continuation, and room for the others however they are drawn. */
    FL_TRY(
        fl_documents_fitting(&e->fit, &e->fits, e->document, count, e->length + (int64_t)(2 * o->choices) * o->target));
    FL_TRY(fl_documents_digest(digest, e->document, count, e->bos));
    e->ids = fl_calloc((size_t)e->length, sizeof *e->ids);
    if (!e->ids) return FL_ERR_MEMORY;
    FL_TRY(fl_scorer_create(&e->scorer, model, o->run.session, e->length));
    FL_TRY(fl_items_open(&e->items, o->run.items, "cloze", e->scorer.session,
                         json_pack("{sI sI si sI ss}", "length", (json_int_t)e->length, "target", (json_int_t)o->target,
                                   "choices", o->choices, "seed", (json_int_t)o->run.seed, "texts", digest)));
    fl_progress_start(&e->scorer.progress, o->run.progress, o->run.progress_user, "cloze",
                      o->items * o->choices * e->length);
    r->documents = e->fits;
    r->skipped = count - e->fits;
    return run_items(e, r);
}

fl_status fl_eval_cloze(fl_cloze_result *result, const fl_model *model, const fl_document *document, int document_count,
                        int32_t bos, const fl_cloze_options *o)
{
    if (!result || !model || !document || !o || o->size != sizeof *o)
        return fl_fail(FL_ERR_ARGUMENT, "fl_eval_cloze: an argument is NULL or options.size is not %zu",
                       sizeof(fl_cloze_options));
    evaluation e = {.o = o, .document = document, .bos = bos, .length = o->length ? o->length : fl_model_window(model)};
    e.context = e.length - o->target;
    if (o->target < 1 || e.context < 1 + (bos >= 0) || e.length > INT64_C(1) << 40 || o->items < 1 || o->choices < 2 ||
        o->choices > MOST_CHOICES)
        return fl_fail(
            FL_ERR_ARGUMENT,
            "--length %lld --target %lld --choices %d --count %lld: give a target shorter than the length, 2 "
            "to %d choices, and at least one item",
            (long long)e.length, (long long)o->target, o->choices, (long long)o->items, MOST_CHOICES);
    fl_cloze_result r = {0};
    fl_status s = run(&e, &r, model, document_count);
    s = fl_items_close(&e.items, s);
    fl_scorer_destroy(&e.scorer);
    fl_free(e.fit);
    fl_free(e.ids);
    if (s == FL_OK) *result = r;
    return s;
}
