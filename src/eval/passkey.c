/* Passkey retrieval: 32 distances, some trials each, and how far the key can be fetched (PI paper, section 3.3). */
#include "eval/passkey.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/size.h"
#include "eval/judge.h"
#include "eval/statistics.h"

#define FITS 6 /* rounds of fitting the filler to a number of tokens */

typedef struct trial {
    fl_buffer text;
    fl_tokens ids;
    int64_t first, distance; /* of the answer; measured */
} trial;

typedef struct evaluation {
    const fl_passkey_options *o;
    const fl_tokenizer *tokenizer;
    int64_t length;
    double bytes_per_token;
    trial now;
    size_t before, after; /* filler that fits a key of the distance at hand: near what each of its trials needs */
} evaluation;

static void trial_free(trial *t)
{
    fl_buffer_free(&t->text);
    fl_tokens_free(&t->ids);
}

/* Ids of a trial with so much filler. The distance counts from the id that the key's line begins in. */
static fl_status make(evaluation *e, const fl_passkey_text *t)
{
    trial *now = &e->now;
    fl_tokens head = {0};
    size_t key_at, prompt;
    fl_passkey_write(&now->text, t, &key_at, &prompt);
    if (now->text.failed) return FL_ERR_MEMORY;
    FL_TRY(fl_prompt_encode(&now->ids, e->tokenizer, now->text.data, prompt, now->text.size, &now->first));
    fl_status s = fl_prompt_encode_text(&head, e->tokenizer, now->text.data, key_at);
    now->distance = now->first - head.count;
    fl_tokens_free(&head);
    return s;
}

static size_t moved(size_t bytes, double tokens, double bytes_per_token)
{
    double to = (double)bytes + tokens * bytes_per_token;
    return to > 0 ? (size_t)to : 0;
}

/* Filler on both sides such that the distance is what is asked and the whole as long as it may be. What cannot be left
 * out bounds both; a whole that is too long even so is an error. */
static fl_status fit(evaluation *e, fl_passkey_text *t, int64_t distance)
{
    const fl_passkey_options *o = e->o;
    t->before = o->grow ? 0 : e->before;
    t->after = e->after;
    for (int i = 0; i < FITS; i++) {
        FL_TRY(make(e, t));
        int64_t far = distance - e->now.distance, room = e->length - e->now.ids.count;
        if (!t->before) far = fl_min64(far, room); /* no farther than there is room for */
        bool near = llabs((long long)far) <= 1 + i || (far < 0 && !t->after);
        if (near && room >= 0 && (o->grow || room <= 2 + i)) return FL_OK;
        if (near) far = 0;
        t->after = moved(t->after, (double)far, e->bytes_per_token);
        if (!o->grow) t->before = moved(t->before, (double)(room - far), e->bytes_per_token);
    }
    FL_TRY(make(e, t));
    for (int i = 0; e->now.ids.count > e->length; i++) {
        int64_t over = e->now.ids.count - e->length + i;
        size_t *side = t->before ? &t->before : &t->after;
        if (!*side)
            return fl_fail(FL_ERR_ARGUMENT, "--length %lld: a passkey prompt without any filler has %lld tokens",
                           (long long)e->length, (long long)e->now.ids.count);
        *side = moved(*side, -(double)over, e->bytes_per_token);
        FL_TRY(make(e, t));
    }
    return FL_OK;
}

/* The filler of a distance, by a key that is not asked for: what a trial gets depends on nothing that was done before.
 */
static fl_status fit_distance(evaluation *e, int64_t distance)
{
    fl_passkey_text t = {
        .key = e->o->words ? e->o->words[0] : "55555", .filler = e->o->filler, .filler_bytes = e->o->filler_bytes};
    e->before = moved(0, (double)(e->length - distance), e->bytes_per_token);
    e->after = moved(0, (double)distance, e->bytes_per_token);
    FL_TRY(fit(e, &t, distance));
    e->before = t.before;
    e->after = t.after;
    return FL_OK;
}

static void draw(const evaluation *e, fl_passkey_text *t, char key[16], int distance, int number)
{
    const fl_passkey_options *o = e->o;
    fl_rng rng;
    fl_item_rng(&rng, o->run.seed, (uint64_t)distance, (uint64_t)number);
    snprintf(key, 16, "%d", 10000 + (int)fl_rng_below(&rng, 90000));
    *t = (fl_passkey_text){.key = key, .filler = o->filler, .filler_bytes = o->filler_bytes};
    if (o->words) t->key = o->words[fl_rng_below(&rng, (uint64_t)o->word_count)];
    if (o->filler) t->start = (size_t)fl_rng_below(&rng, o->filler_bytes);
    /* From the beginning of a word. */
    for (size_t i = 0; o->filler && i < o->filler_bytes && !strchr(" \n", o->filler[t->start]); i++)
        t->start = (t->start + 1) % o->filler_bytes;
}

static fl_status run_trial(evaluation *e, fl_scorer *scorer, fl_items *items, const char *name, int distance,
                           int number)
{
    fl_passkey_text t;
    char key[16];
    draw(e, &t, key, distance, number);
    FL_TRY(fit(e, &t, e->length * distance / e->o->distances));
    fl_verdict v;
    FL_TRY(fl_judge(&v, scorer, e->now.ids.id, e->now.ids.count, e->now.first));
    json_t *item = fl_verdict_json(&v), *facts = json_pack("{sI sI ss}", "tokens", (json_int_t)e->now.ids.count,
                                                           "distance", (json_int_t)e->now.distance, "key", t.key);
    if (item && (!facts || json_object_update(item, facts))) json_object_clear(item);
    json_decref(facts);
    return fl_items_add(items, name, item);
}

/* Far keys first: their prompts have the shortest beginnings, which those of nearer keys go on from. */
static fl_status run_all(evaluation *e, fl_scorer *scorer, fl_items *items)
{
    char name[48];
    for (int d = e->o->distances; d >= 1; d--) {
        FL_TRY(fit_distance(e, e->length * d / e->o->distances));
        for (int i = 0; i < e->o->trials; i++) {
            int64_t begun = scorer->done;
            snprintf(name, sizeof name, "%d/%d", d, i);
            if (!fl_items_find(items, name)) FL_TRY(run_trial(e, scorer, items, name, d, i));
            scorer->done = begun + e->length;
            FL_TRY(fl_progress_update(&scorer->progress, scorer->done));
        }
    }
    return FL_OK;
}

static void sum_up(fl_passkey_result *r, fl_passkey_point *point, const evaluation *e, const fl_items *items)
{
    int best[2] = {0, 0}, until[2] = {e->o->distances, e->o->distances};
    char name[48];
    for (int d = 1; d <= e->o->distances; d++) {
        fl_passkey_point *p = &point[d - 1];
        double tokens = 0;
        *p = (fl_passkey_point){.distance = e->length * d / e->o->distances, .trials = e->o->trials};
        for (int i = 0; i < e->o->trials; i++) {
            snprintf(name, sizeof name, "%d/%d", d, i);
            const json_t *item = fl_items_find(items, name);
            fl_verdict v = fl_verdict_of(item);
            p->hits += v.right == v.tokens;
            p->measured += (double)fl_item_integer(item, "distance") / e->o->trials;
            p->nll += v.nll;
            tokens += (double)v.tokens;
        }
        p->nll /= tokens;
        fl_wilson(p->hits, p->trials, &p->low, &p->high);
        for (int k = 0; k < 2; k++) {
            if (5 * p->hits < (k ? 4 : 1) * p->trials && until[k] == e->o->distances) until[k] = d - 1;
            if (d <= until[k]) best[k] = d;
        }
    }
    r->length = e->length;
    r->k_max = e->length * best[0] / e->o->distances;
    r->k_max_80 = e->length * best[1] / e->o->distances;
    r->reused = items->reused;
}

static json_t *setting(const evaluation *e)
{
    const fl_passkey_options *o = e->o;
    char digest[17] = "";
    fl_buffer words = {0};
    for (int64_t i = 0; o->words && i < o->word_count; i++)
        fl_buffer_format(&words, "%s\n", o->words[i]);
    if (o->filler) fl_buffer_append(&words, o->filler, o->filler_bytes);
    if (words.size) fl_item_digest(digest, words.data, words.size);
    json_t *made = words.failed ? NULL
                                : json_pack("{sI si si sb sI ss sb}", "length", (json_int_t)e->length, "distances",
                                            o->distances, "trials", o->trials, "grow", o->grow, "seed",
                                            (json_int_t)o->run.seed, "texts", digest, "words", o->words != NULL);
    fl_buffer_free(&words);
    return made;
}

static fl_status check(const fl_passkey_options *o, int64_t length)
{
    if (o->distances < 1 || o->trials < 1 || length < 2 || length > INT64_C(1) << 40)
        return fl_fail(FL_ERR_ARGUMENT, "--length %lld --distances %d --trials %d: give at least 2, 1 and 1",
                       (long long)length, o->distances, o->trials);
    if (o->filler && o->filler_bytes < 1000)
        return fl_fail(FL_ERR_ARGUMENT, "a filler of %zu bytes: give a text of at least 1000", o->filler_bytes);
    if (o->words && o->word_count < 2)
        return fl_fail(FL_ERR_ARGUMENT, "%lld words to draw keys from: give at least two", (long long)o->word_count);
    return FL_OK;
}

/* How many bytes of filler make a token. */
static fl_status measure_filler(evaluation *e)
{
    fl_passkey_text t = {.key = "1", .filler = e->o->filler, .filler_bytes = e->o->filler_bytes};
    FL_TRY(make(e, &t));
    int64_t least = e->now.ids.count;
    t.before = 4000;
    FL_TRY(make(e, &t));
    e->bytes_per_token = 4000.0 / (double)fl_max64(1, e->now.ids.count - least);
    return FL_OK;
}

fl_status fl_eval_passkey(fl_passkey_result *result, fl_passkey_point *point, const fl_model *model,
                          const fl_tokenizer *tokenizer, const fl_passkey_options *o)
{
    if (!result || !point || !model || !tokenizer || !o || o->size != sizeof *o)
        return fl_fail(FL_ERR_ARGUMENT, "fl_eval_passkey: an argument is NULL or options.size is not %zu",
                       sizeof(fl_passkey_options));
    evaluation e = {.o = o, .tokenizer = tokenizer, .length = o->length ? o->length : fl_model_window(model)};
    fl_scorer scorer = {0};
    fl_items items = {0};
    double started = fl_clock_seconds();
    FL_TRY(check(o, e.length));
    fl_status s = measure_filler(&e);
    if (s == FL_OK) s = fl_scorer_create(&scorer, model, o->run.session, e.length);
    if (s == FL_OK) s = fl_items_open(&items, o->run.items, "passkey", scorer.session, setting(&e));
    fl_progress_start(&scorer.progress, o->run.progress, o->run.progress_user, "passkey",
                      e.length * o->distances * o->trials);
    if (s == FL_OK) s = run_all(&e, &scorer, &items);
    if (s == FL_OK) {
        sum_up(result, point, &e, &items);
        result->seconds = fl_clock_seconds() - started;
    }
    s = fl_items_close(&items, s);
    fl_scorer_destroy(&scorer);
    trial_free(&e.now);
    return s;
}
