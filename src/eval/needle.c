/* A needle in a haystack (gkamradt's test): depth by length, judged by the likelihood of the answer instead of by a
 * model. */
#include "eval/needle.h"

#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/size.h"
#include "eval/judge.h"

#define FITS 6

static const char standard_needle[] = "The best thing to do in San Francisco is eat a sandwich and sit in Dolores Park "
                                      "on a sunny day.";
static const char standard_question[] = "What is the best thing to do in San Francisco? The best thing to do in San "
                                        "Francisco is";
static const char standard_answer[] = "eat a sandwich and sit in Dolores Park on a sunny day.";

typedef struct evaluation {
    const fl_needle_options *o;
    const fl_tokenizer *tokenizer;
    double bytes_per_token;
    int64_t longest, first;
    fl_buffer text, needle, question, answer;
    fl_tokens ids;
    fl_scorer scorer;
    fl_items items;
} evaluation;

/* text with every {} replaced. */
static void fill(fl_buffer *out, const char *text, const char *key)
{
    fl_buffer_clear(out);
    for (const char *at; (at = strstr(text, "{}")); text = at + 2) {
        fl_buffer_append(out, text, (size_t)(at - text));
        fl_buffer_text(out, key);
    }
    fl_buffer_text(out, text);
}

static void draw(evaluation *e, int trial, fl_needle_text *t)
{
    const fl_needle_options *o = e->o;
    fl_rng rng;
    char key[16];
    fl_item_rng(&rng, o->run.seed, (uint64_t)trial, 0);
    snprintf(key, sizeof key, "%d", 10000 + (int)fl_rng_below(&rng, 90000));
    fill(&e->needle, o->needle ? o->needle : standard_needle, key);
    fill(&e->question, o->question ? o->question : standard_question, key);
    fill(&e->answer, o->answer ? o->answer : standard_answer, key);
    *t = (fl_needle_text){.haystack = o->haystack,
                          .haystack_bytes = o->haystack_bytes,
                          .needle = e->needle.data,
                          .question = e->question.data,
                          .answer = e->answer.data};
    /* The first trial reads the text from its beginning, the others from the beginning of some word. */
    if (trial) t->start = (size_t)fl_rng_below(&rng, o->haystack_bytes);
    for (size_t i = 0; trial && i < o->haystack_bytes && o->haystack[t->start] != ' '; i++)
        t->start = (t->start + 1) % o->haystack_bytes;
}

static fl_status make(evaluation *e, const fl_needle_text *t)
{
    size_t prompt;
    fl_needle_write(&e->text, t, &prompt);
    if (e->text.failed) return FL_ERR_MEMORY;
    return fl_prompt_encode(&e->ids, e->tokenizer, e->text.data, prompt, e->text.size, &e->first);
}

/* As much haystack as the length allows, the same for every depth of a trial. */
static fl_status fit(evaluation *e, fl_needle_text *t, int64_t length)
{
    t->depth = 1;
    t->bytes = (size_t)((double)length * e->bytes_per_token);
    for (int i = 0; i < FITS; i++) {
        FL_TRY(make(e, t));
        int64_t room = length - e->ids.count;
        if (room >= 2 && room <= 8 + 4 * i) return FL_OK; /* another place of the needle may cost a token or two */
        /* The text may be denser than its mean: never away with all of it at once. */
        double to = (double)t->bytes + (double)(room - 4) * e->bytes_per_token, least = (double)t->bytes / 4;
        t->bytes = (size_t)(to > least ? to : least);
    }
    FL_TRY(make(e, t));
    while (e->ids.count > length - 2) {
        if (!t->bytes)
            return fl_fail(FL_ERR_ARGUMENT, "length %lld: needle, question and answer alone have %lld tokens",
                           (long long)length, (long long)e->ids.count);
        t->bytes = t->bytes > 16 ? t->bytes * 7 / 8 : 0;
        FL_TRY(make(e, t));
    }
    return FL_OK;
}

static double depth_of(const fl_needle_options *o, int d)
{
    return o->depths > 1 ? (double)d / (o->depths - 1) : 0.5;
}

static void item_name(char name[64], int64_t length, int trial, int depth)
{
    snprintf(name, 64, "%lld/%d/%d", (long long)length, trial, depth);
}

static fl_status run_item(evaluation *e, fl_needle_text *t, int64_t length, const char *name)
{
    fl_verdict v;
    FL_TRY(make(e, t));
    if (e->ids.count > length)
        return fl_fail(FL_ERR_STATE, "a needle prompt of %lld tokens for a length of %lld", (long long)e->ids.count,
                       (long long)length);
    FL_TRY(fl_judge(&v, &e->scorer, e->ids.id, e->ids.count, e->first));
    json_t *item = fl_verdict_json(&v);
    if (item) json_object_set_new(item, "tokens", json_integer(e->ids.count));
    return fl_items_add(&e->items, name, item);
}

/* Deep needles first: the prompts have the longest beginnings in common. */
static fl_status run_trial(evaluation *e, int64_t length, int trial)
{
    fl_needle_text t;
    char name[64];
    bool fitted = false;
    for (int d = e->o->depths - 1; d >= 0; d--) {
        int64_t done = e->scorer.done;
        item_name(name, length, trial, d);
        if (!fl_items_find(&e->items, name)) {
            if (!fitted) {
                draw(e, trial, &t);
                FL_TRY(fit(e, &t, length));
                fitted = true;
            }
            t.depth = depth_of(e->o, d);
            FL_TRY(run_item(e, &t, length, name));
        }
        e->scorer.done = done + length;
        FL_TRY(fl_progress_update(&e->scorer.progress, e->scorer.done));
    }
    return FL_OK;
}

static void sum_up(const evaluation *e, fl_needle_cell *cell)
{
    const fl_needle_options *o = e->o;
    char name[64];
    for (int d = 0; d < o->depths; d++)
        for (int i = 0; i < o->length_count; i++) {
            fl_needle_cell *c = &cell[d * o->length_count + i];
            double tokens = 0;
            *c = (fl_needle_cell){.length = o->lengths[i], .depth = depth_of(o, d), .trials = o->trials};
            for (int t = 0; t < o->trials; t++) {
                item_name(name, o->lengths[i], t, d);
                fl_verdict v = fl_verdict_of(fl_items_find(&e->items, name));
                c->hits += v.right == v.tokens;
                c->right += (double)v.right;
                c->nll += v.nll;
                tokens += (double)v.tokens;
            }
            c->right /= tokens;
            c->nll /= tokens;
        }
}

static fl_status measure_text(evaluation *e)
{
    fl_needle_text t;
    draw(e, 0, &t);
    FL_TRY(make(e, &t));
    int64_t least = e->ids.count;
    t.bytes = 4000;
    FL_TRY(make(e, &t));
    e->bytes_per_token = 4000.0 / (double)fl_max64(1, e->ids.count - least);
    return FL_OK;
}

static json_t *setting(evaluation *e)
{
    const fl_needle_options *o = e->o;
    char digest[17];
    fl_item_digest(digest, o->haystack, o->haystack_bytes);
    return json_pack("{si sI ss ss ss ss}", "depths", o->depths, "seed", (json_int_t)o->run.seed, "texts", digest,
                     "needle", o->needle ? o->needle : "", "question", o->question ? o->question : "", "answer",
                     o->answer ? o->answer : "");
}

static fl_status run(evaluation *e, fl_needle_cell *cell, const fl_model *model)
{
    const fl_needle_options *o = e->o;
    int64_t total = 0;
    for (int i = 0; i < o->length_count; i++) {
        if (o->lengths[i] < 2 || o->lengths[i] > INT64_C(1) << 40)
            return fl_fail(FL_ERR_ARGUMENT, "--lengths %lld: give at least 2 tokens", (long long)o->lengths[i]);
        e->longest = fl_max64(e->longest, o->lengths[i]);
        total += o->lengths[i] * o->depths * o->trials;
    }
    FL_TRY(measure_text(e));
    FL_TRY(fl_scorer_create(&e->scorer, model, o->run.session, e->longest));
    FL_TRY(fl_items_open(&e->items, o->run.items, "needle", e->scorer.session, setting(e)));
    fl_progress_start(&e->scorer.progress, o->run.progress, o->run.progress_user, "needle", total);
    for (int i = 0; i < o->length_count; i++)
        for (int t = 0; t < o->trials; t++)
            FL_TRY(run_trial(e, o->lengths[i], t));
    sum_up(e, cell);
    return FL_OK;
}

fl_status fl_eval_needle(fl_needle_cell *cell, int64_t *reused, const fl_model *model, const fl_tokenizer *tokenizer,
                         const fl_needle_options *o)
{
    if (!cell || !model || !tokenizer || !o || o->size != sizeof *o || !o->lengths)
        return fl_fail(FL_ERR_ARGUMENT, "fl_eval_needle: an argument is NULL or options.size is not %zu",
                       sizeof(fl_needle_options));
    if (o->length_count < 1 || o->depths < 1 || o->trials < 1 || !o->haystack || o->haystack_bytes < 1000)
        return fl_fail(FL_ERR_ARGUMENT,
                       "a needle test needs a length, a depth, a trial, and a text of at least 1000 bytes");
    evaluation e = {.o = o, .tokenizer = tokenizer};
    fl_status s = run(&e, cell, model);
    if (s == FL_OK && reused) *reused = e.items.reused;
    s = fl_items_close(&e.items, s);
    fl_scorer_destroy(&e.scorer);
    fl_tokens_free(&e.ids);
    fl_buffer_free(&e.text);
    fl_buffer_free(&e.needle);
    fl_buffer_free(&e.question);
    fl_buffer_free(&e.answer);
    return s;
}
