/* Summaries of long documents with the PI paper's prompt (section 3.5), compared with given ones by ROUGE. */
#include <string.h>

#include "base/alloc.h"
#include "base/size.h"
#include "eval/judge.h"
#include "eval/statistics.h"
#include "text/corpus.h"

typedef struct evaluation {
    const fl_summary_options *o;
    const fl_tokenizer *tokenizer;
    int64_t length, count; /* count: documents */
    fl_corpus *corpus;
    fl_corpus_document at;
    fl_buffer document, prompt, written;
    const char *summary; /* of the document at hand */
    fl_tokens ids;
    fl_scorer scorer;
    fl_items items;
    double *f[3]; /* [count] */
    fl_summary_result result;
} evaluation;

/* ---- the sets --------------------------------------------------------------------------------------------------- */

static const char *first_string(const json_t *o, const char *const *keys)
{
    for (; *keys; keys++) {
        const json_t *value = json_object_get(o, *keys);
        if (json_is_array(value)) value = json_array_get(value, 0);
        if (json_is_string(value)) return json_string_value(value);
    }
    return NULL;
}

/* QMSum: a transcript, and the question for the whole meeting's summary first of the general ones. */
static bool read_meeting(evaluation *e, const json_t *o)
{
    const json_t *turns = json_object_get(o, "meeting_transcripts");
    const json_t *general = json_array_get(json_object_get(o, "general_query_list"), 0);
    e->summary = json_string_value(json_object_get(general, "answer"));
    for (size_t i = 0; e->summary && i < json_array_size(turns); i++) {
        const char *speaker = json_string_value(json_object_get(json_array_get(turns, i), "speaker"));
        const char *content = json_string_value(json_object_get(json_array_get(turns, i), "content"));
        if (!speaker || !content) return false;
        fl_buffer_format(&e->document, "%s%s: %s", i ? "\n" : "", speaker, content);
    }
    return e->summary && e->document.size;
}

static fl_status read_document(evaluation *e)
{
    static const char *const texts[] = {"report", "document", "article", "input", "text", NULL};
    static const char *const summaries[] = {"summary", "highlights", "abstract", "outputs", "output", NULL};
    const json_t *o = e->at.object;
    fl_buffer_clear(&e->document);
    if (json_object_get(o, "meeting_transcripts")) {
        if (!read_meeting(e, o))
            return fl_fail(FL_ERR_FORMAT, "%s:%lld: meeting_transcripts without speakers, contents or a general query",
                           e->at.file, (long long)e->at.line);
    } else {
        const char *text = first_string(o, texts);
        e->summary = first_string(o, summaries);
        if (!text || !e->summary)
            return fl_fail(FL_ERR_FORMAT,
                           "%s:%lld: needs a text (report, document, article, input or text) and a summary (summary, "
                           "highlights, abstract or outputs), or QMSum's meeting_transcripts",
                           e->at.file, (long long)e->at.line);
        fl_buffer_text(&e->document, text);
    }
    return e->document.failed ? FL_ERR_MEMORY : FL_OK;
}

/* ---- prompts ---------------------------------------------------------------------------------------------------- */

/* Keep the first `tokens` tokens of the document. */
static fl_status cut_document(evaluation *e, int64_t tokens, bool *cut)
{
    e->ids.count = 0;
    FL_TRY(fl_tokenizer_encode(e->tokenizer, e->document.data, e->document.size, false, false, &e->ids));
    *cut = e->ids.count > tokens;
    if (!*cut) return FL_OK;
    fl_buffer_clear(&e->document);
    FL_TRY(fl_tokenizer_decode(e->tokenizer, e->ids.id, tokens, false, &e->document));
    return e->document.failed ? FL_ERR_MEMORY : FL_OK;
}

static fl_status make_prompt(evaluation *e)
{
    fl_buffer_clear(&e->prompt);
    fl_buffer_format(&e->prompt, "Read the following article and then summarize it.\n# ");
    fl_buffer_append(&e->prompt, e->document.data, e->document.size);
    fl_buffer_text(&e->prompt, "\nNow summarize the above article.\nSummary:");
    if (e->prompt.failed) return FL_ERR_MEMORY;
    return fl_prompt_encode_text(&e->ids, e->tokenizer, e->prompt.data, e->prompt.size);
}

/* ---- one document ----------------------------------------------------------------------------------------------- */

static int add_text(const char *text, size_t length, void *user)
{
    evaluation *e = user;
    fl_buffer_append(&e->written, text, length);
    e->scorer.done++;
    return fl_progress_update(&e->scorer.progress, e->scorer.done) != FL_OK;
}

static fl_status write_summary(evaluation *e, int64_t number, fl_generate_result *how)
{
    fl_rng rng;
    fl_item_rng(&rng, e->o->run.seed, (uint64_t)number, 0);
    fl_generate_options options = FL_GENERATE_OPTIONS_INIT;
    options.max_tokens = e->o->output_tokens;
    options.sampler = (fl_sampler_options){.size = sizeof options.sampler,
                                           .temperature = e->o->temperature,
                                           .top_p = e->o->top_p,
                                           .repeat_penalty = 1,
                                           .seed = fl_rng_next(&rng) >> 1};
    options.text = add_text;
    options.text_user = e;
    fl_buffer_clear(&e->written);
    FL_TRY(fl_scorer_start(&e->scorer));
    FL_TRY(fl_session_read(e->scorer.session, e->ids.id, e->ids.count));
    e->scorer.done += e->ids.count;
    FL_TRY(fl_generate(e->scorer.session, e->tokenizer, &options, how));
    if (how->finish == FL_FINISH_CALLER) return fl_fail(FL_ERR_CANCELLED, "summary: cancelled");
    return e->written.failed ? FL_ERR_MEMORY : FL_OK;
}

static fl_status run_document(evaluation *e, int64_t number, const char *name)
{
    bool cut = false;
    fl_rouge rouge[3];
    fl_generate_result how;
    if (e->o->input_tokens) FL_TRY(cut_document(e, e->o->input_tokens, &cut));
    FL_TRY(make_prompt(e));
    if (e->ids.count + e->o->output_tokens > e->length)
        return fl_items_add(&e->items, name, json_pack("{sb sI}", "skipped", 1, "tokens", (json_int_t)e->ids.count));
    FL_TRY(write_summary(e, number, &how));
    FL_TRY(fl_eval_rouge(rouge, e->summary, e->written.data ? e->written.data : ""));
    return fl_items_add(&e->items, name,
                        json_pack("{sb sb sI sI s[fff] ss}", "skipped", 0, "cut", cut, "tokens",
                                  (json_int_t)e->ids.count, "written", (json_int_t)how.tokens, "rouge", rouge[0].f,
                                  rouge[1].f, rouge[2].f, "text", e->written.data ? e->written.data : ""));
}

static void add_result(evaluation *e, const json_t *item)
{
    fl_summary_result *r = &e->result;
    if (json_is_true(json_object_get(item, "skipped"))) {
        r->skipped++;
        return;
    }
    for (int k = 0; k < 3; k++) {
        e->f[k][r->items] = json_number_value(json_array_get(json_object_get(item, "rouge"), (size_t)k));
        r->f[k] += e->f[k][r->items];
    }
    r->items++;
    r->cut += json_is_true(json_object_get(item, "cut"));
    r->input_tokens += fl_item_integer(item, "tokens");
    r->output_tokens += fl_item_integer(item, "written");
}

/* An item is a document with its summary, wherever its file lies. */
static fl_status name_document(evaluation *e, int64_t number, char name[64])
{
    char digest[17];
    fl_buffer_clear(&e->prompt);
    fl_buffer_append(&e->prompt, e->document.data, e->document.size);
    fl_buffer_format(&e->prompt, "\n%s", e->summary);
    if (e->prompt.failed) return FL_ERR_MEMORY;
    fl_item_digest(digest, e->prompt.data, e->prompt.size);
    snprintf(name, 64, "%lld-%s", (long long)number, digest);
    return FL_OK;
}

static fl_status run_documents(evaluation *e)
{
    char name[64];
    for (int64_t i = 0; i < e->count; i++) {
        FL_TRY(fl_corpus_next(e->corpus, &e->at));
        FL_TRY(read_document(e));
        FL_TRY(name_document(e, i + 1, name));
        if (!fl_items_find(&e->items, name)) FL_TRY(run_document(e, i, name));
        add_result(e, fl_items_find(&e->items, name));
        e->scorer.done = (i + 1) * e->length;
        FL_TRY(fl_progress_update(&e->scorer.progress, e->scorer.done));
    }
    fl_summary_result *r = &e->result;
    r->reused = e->items.reused;
    for (int k = 0; k < 3; k++) {
        r->f[k] /= (double)fl_max64(1, r->items);
        FL_TRY(fl_bootstrap(e->f[k], NULL, r->items, e->o->run.seed, &r->low[k], &r->high[k]));
    }
    return FL_OK;
}

/* ---- all of them ------------------------------------------------------------------------------------------------- */

static fl_status open_corpus(evaluation *e)
{
    fl_corpus_options options = FL_CORPUS_OPTIONS_INIT;
    options.path = &e->o->path;
    options.paths = 1;
    options.format = FL_CORPUS_LINES;
    options.text_field = NULL;
    fl_corpus_close(e->corpus);
    e->corpus = NULL;
    return fl_corpus_open(&e->corpus, &options);
}

/* How many documents there are; the file is then read again. */
static fl_status count_documents(evaluation *e)
{
    FL_TRY(open_corpus(e));
    for (;;) {
        FL_TRY(fl_corpus_next(e->corpus, &e->at));
        if (!e->at.file || (e->o->items && e->count == e->o->items)) break;
        e->count++;
    }
    return open_corpus(e);
}

static fl_status run(evaluation *e, const fl_model *model)
{
    const fl_summary_options *o = e->o;
    FL_TRY(count_documents(e));
    for (int k = 0; k < 3; k++)
        if (!(e->f[k] = fl_calloc((size_t)e->count + 1, sizeof **e->f))) return FL_ERR_MEMORY;
    FL_TRY(fl_scorer_create(&e->scorer, model, o->run.session, e->length));
    FL_TRY(fl_items_open(&e->items, o->run.items, "summary", e->scorer.session,
                         json_pack("{sI sI sI sI sf sf}", "length", (json_int_t)e->length, "input",
                                   (json_int_t)o->input_tokens, "output", (json_int_t)o->output_tokens, "seed",
                                   (json_int_t)o->run.seed, "temperature", o->temperature, "top_p", o->top_p)));
    fl_progress_start(&e->scorer.progress, o->run.progress, o->run.progress_user, "summary", e->count * e->length);
    return run_documents(e);
}

fl_status fl_eval_summary(fl_summary_result *result, const fl_model *model, const fl_tokenizer *tokenizer,
                          const fl_summary_options *o)
{
    if (!result || !model || !tokenizer || !o || o->size != sizeof *o || !o->path)
        return fl_fail(FL_ERR_ARGUMENT, "fl_eval_summary: an argument is NULL or options.size is not %zu",
                       sizeof(fl_summary_options));
    evaluation e = {.o = o, .tokenizer = tokenizer, .length = o->length ? o->length : fl_model_window(model)};
    if (o->output_tokens < 1 || o->input_tokens < 0 || e.length <= o->output_tokens + o->input_tokens ||
        e.length > INT64_C(1) << 40)
        return fl_fail(FL_ERR_ARGUMENT, "--length %lld: must hold the prompt, --input-tokens %lld and --predict %lld",
                       (long long)e.length, (long long)o->input_tokens, (long long)o->output_tokens);
    fl_status s = run(&e, model);
    s = fl_items_close(&e.items, s);
    fl_scorer_destroy(&e.scorer);
    fl_corpus_close(e.corpus);
    fl_tokens_free(&e.ids);
    fl_buffer_free(&e.document);
    fl_buffer_free(&e.prompt);
    fl_buffer_free(&e.written);
    for (int k = 0; k < 3; k++)
        fl_free(e.f[k]);
    if (s == FL_OK) *result = e.result;
    return s;
}
