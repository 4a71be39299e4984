/* Summaries of long documents, compared with given ones by ROUGE: of the whole document with the PI paper's prompt
 * (section 3.5), of what a query asks for with LongBench's prompt for QMSum. */
#include <string.h>

#include "base/alloc.h"
#include "base/size.h"
#include "eval/judge.h"
#include "eval/statistics.h"
#include "text/corpus.h"

typedef struct evaluation {
    const fl_summary_options *o;
    const fl_tokenizer *tokenizer;
    int64_t length, documents, count; /* count: summaries */
    fl_corpus *corpus;
    fl_corpus_document at;
    fl_buffer document, head, prompt, written;
    const fl_buffer *shown;      /* what is read of the document: itself or its head; NULL: not looked at yet */
    const char *query, *summary; /* at hand; query: NULL for the whole document */
    fl_tokens ids;
    fl_scorer scorer;
    fl_items items;
    double *f[3]; /* [count] */
    fl_summary_result result;
} evaluation;

/* ---- the sets --------------------------------------------------------------------------------------------------- */

static const char *const text_keys[] = {"report", "document", "article", "input", "text", NULL};
static const char *const summary_keys[] = {"summary", "highlights", "abstract", "outputs", "output", NULL};

static const json_t *first_of(const json_t *o, const char *const *keys)
{
    for (; *keys; keys++)
        if (json_object_get(o, *keys)) return json_object_get(o, *keys);
    return NULL;
}

static bool is_meeting(const json_t *o)
{
    return json_object_get(o, "meeting_transcripts") != NULL;
}

/* How many summaries a document has: QMSum's general and specific queries, L-Eval's list of outputs, or one. */
static int64_t summaries_of(const json_t *o)
{
    if (is_meeting(o))
        return (int64_t)(json_array_size(json_object_get(o, "general_query_list")) +
                         json_array_size(json_object_get(o, "specific_query_list")));
    const json_t *given = first_of(o, summary_keys);
    return json_is_array(given) ? (int64_t)json_array_size(given) : 1;
}

static fl_status refuse(const evaluation *e, const char *why)
{
    return fl_fail(FL_ERR_FORMAT, "%s:%lld: %s", e->at.file, (long long)e->at.line, why);
}

static fl_status read_document(evaluation *e)
{
    const json_t *o = e->at.object, *turns = json_object_get(o, "meeting_transcripts");
    const char *text = json_string_value(first_of(o, text_keys));
    fl_buffer_clear(&e->document);
    e->shown = NULL;
    for (size_t i = 0; i < json_array_size(turns); i++) {
        const char *speaker = json_string_value(json_object_get(json_array_get(turns, i), "speaker"));
        const char *content = json_string_value(json_object_get(json_array_get(turns, i), "content"));
        if (!speaker || !content) return refuse(e, "meeting_transcripts without speakers or contents");
        fl_buffer_format(&e->document, "%s%s: %s", i ? "\n" : "", speaker, content);
    }
    if (!turns && text) fl_buffer_text(&e->document, text);
    if (e->document.failed) return FL_ERR_MEMORY;
    if ((!turns && !text) || (turns && !e->document.size) || summaries_of(o) < 1)
        return refuse(e, "needs a text (report, document, article, input or text) and a summary (summary, highlights, "
                         "abstract or outputs), or QMSum's meeting_transcripts with queries");
    return FL_OK;
}

/* The summary with a number, and its query. L-Eval's only instruction of a document asks for its summary. */
static fl_status read_summary(evaluation *e, int64_t number)
{
    const json_t *o = e->at.object, *list = json_object_get(o, "general_query_list"),
                 *given = first_of(o, summary_keys);
    bool several = is_meeting(o) || summaries_of(o) > 1;
    size_t i = (size_t)number;
    if (is_meeting(o)) {
        if (i >= json_array_size(list)) {
            i -= json_array_size(list);
            list = json_object_get(o, "specific_query_list");
        }
        e->query = json_string_value(json_object_get(json_array_get(list, i), "query"));
        e->summary = json_string_value(json_object_get(json_array_get(list, i), "answer"));
    } else {
        e->query = several ? json_string_value(json_array_get(json_object_get(o, "instructions"), i)) : NULL;
        e->summary = json_string_value(json_is_array(given) ? json_array_get(given, i) : given);
    }
    if (!e->summary || (several && !e->query))
        return refuse(e, "a summary is no string, or one of several has no query (QMSum) or instruction (L-Eval)");
    return FL_OK;
}

/* ---- prompts ---------------------------------------------------------------------------------------------------- */

/* All of the document, or its first --input-tokens tokens. */
static fl_status cut_document(evaluation *e)
{
    int64_t most = e->o->input_tokens;
    if (e->shown) return FL_OK;
    e->ids.count = 0;
    if (most) FL_TRY(fl_tokenizer_encode(e->tokenizer, e->document.data, e->document.size, false, false, &e->ids));
    if (e->ids.count > most) {
        fl_buffer_clear(&e->head);
        FL_TRY(fl_tokenizer_decode(e->tokenizer, e->ids.id, most, false, &e->head));
    }
    e->shown = e->ids.count > most ? &e->head : &e->document;
    return e->head.failed ? FL_ERR_MEMORY : FL_OK;
}

static fl_status make_prompt(evaluation *e)
{
    fl_buffer *p = &e->prompt;
    fl_buffer_clear(p);
    fl_buffer_text(p, e->query ? "You are given a meeting transcript and a query containing a question or instruction. "
                                 "Answer the query in one or more sentences.\n\nTranscript:\n"
                               : "Read the following article and then summarize it.\n# ");
    fl_buffer_append(p, e->shown->data, e->shown->size);
    if (e->query)
        fl_buffer_format(p,
                         "\n\nNow, answer the query based on the above meeting transcript in one or more sentences.\n\n"
                         "Query: %s\nAnswer:",
                         e->query);
    else
        fl_buffer_text(p, "\nNow summarize the above article.\nSummary:");
    if (p->failed) return FL_ERR_MEMORY;
    return fl_prompt_encode_text(&e->ids, e->tokenizer, p->data, p->size);
}

/* ---- one summary ------------------------------------------------------------------------------------------------ */

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
    FL_TRY(fl_scorer_read(&e->scorer, e->ids.id, e->ids.count));
    FL_TRY(fl_generate(e->scorer.session, e->tokenizer, &options, how));
    if (how->finish == FL_FINISH_CALLER) return fl_fail(FL_ERR_CANCELLED, "summary: cancelled");
    return e->written.failed ? FL_ERR_MEMORY : FL_OK;
}

static fl_status run_summary(evaluation *e, int64_t number, const char *name)
{
    fl_rouge rouge[3];
    fl_generate_result how;
    FL_TRY(cut_document(e));
    FL_TRY(make_prompt(e));
    if (e->ids.count + e->o->output_tokens > e->length)
        return fl_items_add(&e->items, name, json_pack("{sb sI}", "skipped", 1, "tokens", (json_int_t)e->ids.count));
    FL_TRY(write_summary(e, number, &how));
    FL_TRY(fl_eval_rouge(rouge, e->summary, e->written.data ? e->written.data : ""));
    return fl_items_add(&e->items, name,
                        json_pack("{sb sb sI sI s[fff] ss}", "skipped", 0, "cut", e->shown != &e->document, "tokens",
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

/* An item is a document with its query and summary, wherever its file lies. */
static fl_status name_summary(evaluation *e, int64_t number, char name[64])
{
    char digest[17];
    fl_buffer_clear(&e->prompt);
    fl_buffer_append(&e->prompt, e->document.data, e->document.size);
    fl_buffer_format(&e->prompt, "\n%s%s%s", e->query ? e->query : "", e->query ? "\n" : "", e->summary);
    if (e->prompt.failed) return FL_ERR_MEMORY;
    fl_item_digest(digest, e->prompt.data, e->prompt.size);
    snprintf(name, 64, "%lld-%s", (long long)number, digest);
    return FL_OK;
}

static fl_status run_document(evaluation *e, int64_t *number)
{
    char name[64];
    FL_TRY(fl_corpus_next(e->corpus, &e->at));
    FL_TRY(read_document(e));
    int64_t count = summaries_of(e->at.object);
    for (int64_t i = 0; i < count; i++) {
        FL_TRY(read_summary(e, i));
        FL_TRY(name_summary(e, *number + 1, name));
        if (!fl_items_find(&e->items, name)) FL_TRY(run_summary(e, *number, name));
        add_result(e, fl_items_find(&e->items, name));
        e->scorer.done = ++*number * e->length;
        FL_TRY(fl_progress_update(&e->scorer.progress, e->scorer.done));
    }
    return FL_OK;
}

static fl_status run_documents(evaluation *e)
{
    int64_t number = 0;
    for (int64_t i = 0; i < e->documents; i++)
        FL_TRY(run_document(e, &number));
    fl_summary_result *r = &e->result;
    r->documents = e->documents;
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

/* How many documents and summaries there are; the file is then read again. */
static fl_status count_summaries(evaluation *e)
{
    FL_TRY(open_corpus(e));
    for (;;) {
        FL_TRY(fl_corpus_next(e->corpus, &e->at));
        if (!e->at.file || (e->o->items && e->documents == e->o->items)) break;
        e->documents++;
        e->count += summaries_of(e->at.object);
    }
    return open_corpus(e);
}

static fl_status run(evaluation *e, const fl_model *model)
{
    const fl_summary_options *o = e->o;
    FL_TRY(count_summaries(e));
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
    fl_buffer_free(&e.head);
    fl_buffer_free(&e.prompt);
    fl_buffer_free(&e.written);
    for (int k = 0; k < 3; k++)
        fl_free(e.f[k]);
    if (s == FL_OK) *result = e.result;
    return s;
}
