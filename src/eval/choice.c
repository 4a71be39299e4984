/* Questions with given answers: BoolQ, PIQA and ARC, prompted as by the LM evaluation harness (version 0.4: tasks
 * boolq, piqa, arc_easy, arc_challenge without examples). */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/size.h"
#include "eval/judge.h"
#include "eval/statistics.h"
#include "file/json.h"
#include "text/corpus.h"

#define MOST_ANSWERS 16
#define MOST_TOKENS (INT64_C(1) << 40)

typedef struct question {
    fl_buffer prompt;
    const char *answer[MOST_ANSWERS]; /* of the document */
    int answers, right;
} question;

typedef struct evaluation {
    const fl_choice_options *o;
    const fl_tokenizer *tokenizer;
    fl_corpus *corpus;
    fl_corpus_document at;
    fl_buffer labels;       /* piqa */
    const char *next_label; /* in it */
    question q;
    fl_buffer text;
    fl_tokens ids;
    int64_t length;
    fl_scorer scorer;
    fl_progress progress; /* in bytes of the file: how many questions it holds shows at its end */
    fl_items items;
    fl_choice_result result;
} evaluation;

/* ---- the sets --------------------------------------------------------------------------------------------------- */

static fl_status refuse(const evaluation *e, const char *key, const char *why)
{
    return fl_fail(FL_ERR_FORMAT, "%s:%lld: %s %s; is this a file of %s?", e->at.file, (long long)e->at.line, key, why,
                   e->o->task);
}

static fl_status string_of(const evaluation *e, const json_t *object, const char *key, const char **out)
{
    *out = json_string_value(json_object_get(object, key));
    return *out ? FL_OK : refuse(e, key, "is not a string");
}

/* {"question", "passage", "label": true or "answer": true} */
static fl_status read_boolq(evaluation *e)
{
    const char *text, *passage;
    const json_t *o = e->at.object, *label = json_object_get(o, "label");
    if (!label) label = json_object_get(o, "answer");
    FL_TRY(string_of(e, o, "question", &text));
    FL_TRY(string_of(e, o, "passage", &passage));
    const char *word = json_string_value(label);
    if (json_is_boolean(label))
        e->q.right = json_is_true(label);
    else if (json_is_integer(label) && (uint64_t)json_integer_value(label) < 2)
        e->q.right = (int)json_integer_value(label);
    else if (word && (!strcmp(word, "true") || !strcmp(word, "false")))
        e->q.right = !strcmp(word, "true");
    else
        return refuse(e, "label", "is neither true nor false");
    fl_buffer_format(&e->q.prompt, "%s\nQuestion: %s?\nAnswer:", passage, text);
    e->q.answer[0] = "no";
    e->q.answer[1] = "yes";
    e->q.answers = 2;
    return FL_OK;
}

/* {"goal", "sol1", "sol2"}; the label on its own line of another file, or as "label". */
static fl_status read_piqa(evaluation *e)
{
    const char *goal;
    const json_t *o = e->at.object, *label = json_object_get(o, "label");
    FL_TRY(string_of(e, o, "goal", &goal));
    FL_TRY(string_of(e, o, "sol1", &e->q.answer[0]));
    FL_TRY(string_of(e, o, "sol2", &e->q.answer[1]));
    e->q.answers = 2;
    fl_buffer_format(&e->q.prompt, "Question: %s\nAnswer:", goal);
    if (json_is_integer(label) && (uint64_t)json_integer_value(label) < 2) {
        e->q.right = (int)json_integer_value(label);
        return FL_OK;
    }
    const char *line = e->next_label;
    if (!line) return refuse(e, "label", "is neither 0 nor 1; name the file of labels with --labels");
    if ((*line != '0' && *line != '1') || (line[1] && line[1] != '\n' && line[1] != '\r'))
        return fl_fail(FL_ERR_FORMAT, "%s: has no label 0 or 1 for line %lld of %s", e->o->labels,
                       (long long)e->at.line, e->at.file);
    e->q.right = *line - '0';
    line += strcspn(line, "\n");
    e->next_label = line + (*line == '\n');
    return FL_OK;
}

/* {"question": {"stem", "choices": [{"text", "label"}, ...]}, "answerKey"}, as AI2 hands it out. */
static fl_status read_arc(evaluation *e)
{
    const json_t *o = e->at.object, *inner = json_object_get(o, "question"), *list = json_object_get(inner, "choices");
    const char *stem, *key, *label;
    FL_TRY(string_of(e, inner, "stem", &stem));
    FL_TRY(string_of(e, o, "answerKey", &key));
    size_t n = json_array_size(list);
    if (n < 2 || n > MOST_ANSWERS) return refuse(e, "choices", "are not a list of 2 to 16");
    e->q.right = -1;
    for (size_t i = 0; i < n; i++) {
        FL_TRY(string_of(e, json_array_get(list, i), "text", &e->q.answer[i]));
        FL_TRY(string_of(e, json_array_get(list, i), "label", &label));
        if (!strcmp(label, key)) e->q.right = (int)i;
    }
    if (e->q.right < 0) return refuse(e, "answerKey", "names none of the choices");
    e->q.answers = (int)n;
    fl_buffer_format(&e->q.prompt, "Question: %s\nAnswer:", stem);
    return FL_OK;
}

static const struct {
    const char *name;
    fl_status (*read)(evaluation *e);
} tasks[] = {{"boolq", read_boolq}, {"piqa", read_piqa}, {"arc", read_arc}};

/* The next question; e->at.file is NULL after the last. */
static fl_status next_question(evaluation *e, int task)
{
    FL_TRY(fl_corpus_next(e->corpus, &e->at));
    if (!e->at.file) return FL_OK;
    if (!e->at.object) return refuse(e, "a line", "is not JSON");
    fl_buffer_clear(&e->q.prompt);
    FL_TRY(tasks[task].read(e));
    return e->q.prompt.failed ? FL_ERR_MEMORY : FL_OK;
}

/* ---- judging ---------------------------------------------------------------------------------------------------- */

static double letters(const char *text)
{
    double n = 0;
    for (; *text; text++)
        n += (*text & 0xc0) != 0x80;
    return n;
}

/* Log-likelihood of one answer; *fits: false when question and answer are too long. */
static fl_status judge_answer(evaluation *e, int i, double *likelihood, bool *fits)
{
    fl_buffer_clear(&e->text);
    fl_buffer_append(&e->text, e->q.prompt.data, e->q.prompt.size);
    fl_buffer_format(&e->text, " %s", e->q.answer[i]);
    if (e->text.failed) return FL_ERR_MEMORY;
    int64_t first;
    fl_verdict v;
    FL_TRY(fl_prompt_encode_counted(&e->ids, e->tokenizer, e->text.data, e->q.prompt.size, e->text.size, &first));
    *fits = e->ids.count <= e->length;
    if (!*fits) return FL_OK;
    FL_TRY(fl_judge(&v, &e->scorer, e->ids.id, e->ids.count, first));
    *likelihood = -v.nll;
    return FL_OK;
}

static int best(const double *x, int n)
{
    int at = 0;
    for (int i = 1; i < n; i++)
        if (x[i] > x[at]) at = i;
    return at;
}

static fl_status judge_question(evaluation *e, const char *name)
{
    double raw[MOST_ANSWERS], normalised[MOST_ANSWERS];
    bool fits = true;
    json_t *list = json_array();
    fl_status s = list ? FL_OK : FL_ERR_MEMORY;
    for (int i = 0; s == FL_OK && fits && i < e->q.answers; i++) {
        s = judge_answer(e, i, &raw[i], &fits);
        if (s != FL_OK || !fits) break;
        normalised[i] = raw[i] / fmax(1, letters(e->q.answer[i]));
        json_array_append_new(list, json_real(raw[i]));
    }
    if (s != FL_OK || !fits) {
        json_decref(list);
        return s != FL_OK ? s : fl_items_add(&e->items, name, json_pack("{sb}", "skipped", 1));
    }
    return fl_items_add(&e->items, name,
                        json_pack("{sb si si si so}", "skipped", 0, "answer", e->q.right, "best",
                                  best(raw, e->q.answers), "best_normalised", best(normalised, e->q.answers),
                                  "log_likelihood", list));
}

/* An item is a question with its answers, wherever its file lies. */
static fl_status name_question(evaluation *e, int64_t number, char name[64])
{
    char digest[17];
    fl_buffer_clear(&e->text);
    fl_buffer_format(&e->text, "%s\n%d", e->q.prompt.data, e->q.right);
    for (int i = 0; i < e->q.answers; i++)
        fl_buffer_format(&e->text, "\n%s", e->q.answer[i]);
    if (e->text.failed) return FL_ERR_MEMORY;
    fl_item_digest(digest, e->text.data, e->text.size);
    snprintf(name, 64, "%lld-%s", (long long)number, digest);
    return FL_OK;
}

static fl_status run_all(evaluation *e, int task)
{
    int64_t bytes, total, hits = 0, normalised = 0, judged = 0;
    char name[64];
    for (int64_t i = 0; !e->o->items || i < e->o->items; i++) {
        FL_TRY(next_question(e, task));
        if (!e->at.file) break;
        FL_TRY(name_question(e, i + 1, name));
        if (!fl_items_find(&e->items, name)) FL_TRY(judge_question(e, name));
        const json_t *item = fl_items_find(&e->items, name);
        bool skipped = json_is_true(json_object_get(item, "skipped"));
        e->result.skipped += skipped;
        judged += !skipped;
        hits += !skipped && fl_item_integer(item, "best") == e->q.right;
        normalised += !skipped && fl_item_integer(item, "best_normalised") == e->q.right;
        fl_corpus_position(e->corpus, &bytes, &total);
        e->progress.total = e->o->items ? e->o->items : total;
        FL_TRY(fl_progress_update(&e->progress, e->o->items ? i + 1 : bytes));
    }
    e->result.right = fl_share_of(hits, judged);
    e->result.right_normalised = fl_share_of(normalised, judged);
    e->result.reused = e->items.reused;
    return FL_OK;
}

static fl_status open_inputs(evaluation *e, const fl_model *model)
{
    const fl_choice_options *o = e->o;
    fl_corpus_options options = FL_CORPUS_OPTIONS_INIT;
    options.path = &o->path;
    options.paths = 1;
    options.format = FL_CORPUS_LINES;
    options.text_field = NULL;
    FL_TRY(fl_corpus_open(&e->corpus, &options));
    if (o->labels) FL_TRY(fl_file_read(&e->labels, o->labels, (size_t)1 << 28));
    e->next_label = e->labels.data;
    FL_TRY(fl_scorer_create(&e->scorer, model, o->run.session, e->length));
    FL_TRY(fl_items_open(&e->items, o->run.items, "choice", e->scorer.session,
                         json_pack("{ss sI}", "task", o->task, "length", (json_int_t)e->length)));
    fl_progress_start(&e->progress, o->run.progress, o->run.progress_user, o->task, 1);
    return FL_OK;
}

fl_status fl_eval_choice(fl_choice_result *result, const fl_model *model, const fl_tokenizer *tokenizer,
                         const fl_choice_options *o)
{
    if (!result || !model || !tokenizer || !o || o->size != sizeof *o || !o->task || !o->path)
        return fl_fail(FL_ERR_ARGUMENT, "fl_eval_choice: an argument is NULL or options.size is not %zu",
                       sizeof(fl_choice_options));
    int task = 0;
    while (task < 3 && strcmp(tasks[task].name, o->task))
        task++;
    if (task == 3) return fl_fail(FL_ERR_ARGUMENT, "task %s: give boolq, piqa or arc", o->task);
    if (o->items < 0 || o->length < 0 || o->length > MOST_TOKENS)
        return fl_fail(FL_ERR_ARGUMENT, "--items %lld --length %lld: neither may be negative", (long long)o->items,
                       (long long)o->length);
    evaluation e = {.o = o, .tokenizer = tokenizer, .length = o->length ? o->length : fl_model_window(model)};
    fl_status s = open_inputs(&e, model);
    if (s == FL_OK) s = run_all(&e, task);
    s = fl_items_close(&e.items, s);
    fl_scorer_destroy(&e.scorer);
    fl_corpus_close(e.corpus);
    fl_tokens_free(&e.ids);
    fl_buffer_free(&e.labels);
    fl_buffer_free(&e.q.prompt);
    fl_buffer_free(&e.text);
    if (s == FL_OK) *result = e.result;
    return s;
}
