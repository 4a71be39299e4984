/* furlong eval choice: questions with given answers, judged by likelihood. */
#include "cli/eval.h"

typedef struct choice_options {
    eval_shared shared; /* first */
    const char *task, *file, *labels;
    int64_t count, length;
} choice_options;

#define AT(member) offsetof(choice_options, member)

static const cli_flag choice_flags[] = {
    {"task", 0, "NAME", CLI_TEXT, AT(task), NULL, 0, 0, "boolq|piqa|arc", "which set"},
    {"file", 'f', "FILE", CLI_TEXT, AT(file), NULL, 0, 0, NULL, "the set as it is handed out: JSON lines, also .zst"},
    {"labels", 0, "FILE", CLI_TEXT, AT(labels), NULL, 0, 0, NULL, "piqa: its labels, one on a line"},
    {"count", 0, "N", CLI_INTEGER, AT(count), "0", 0, 0x1p40, NULL, "the first N questions; 0: all"},
    {"length", 0, "N", CLI_INTEGER, AT(length), "0", 0, 0x1p40, NULL,
     "leave out questions longer than N tokens with their answer, and say how many; 0: than the model's window"},
};
static const cli_group choice_group = CLI_GROUP("Choice", choice_flags);

static json_t *share_json(const fl_share *s)
{
    return json_pack("{sf sf sf sI}", "share", (double)s->hits / (double)s->items, "low", s->low, "high", s->high,
                     "hits", (json_int_t)s->hits);
}

static void print_share(const char *what, const fl_share *s)
{
    printf("%-24s  %5.1f %%  (%.1f - %.1f)\n", what, 100 * (double)s->hits / (double)s->items, 100 * s->low,
           100 * s->high);
}

static int print(const choice_options *o, const fl_choice_result *r)
{
    if (!r->right.items) {
        cli_error("%s: none of its %lld questions fits --length", o->file, (long long)r->skipped);
        return CLI_ERROR;
    }
    if (r->skipped) cli_note("%lld questions are too long and left out", (long long)r->skipped);
    eval_reused(&o->shared, r->reused, r->right.items + r->skipped);
    if (o->shared.common.json)
        return cli_print_json(json_pack("{ss ss sI sI so so}", "model", o->shared.common.model, "task", o->task,
                                        "items", (json_int_t)r->right.items, "skipped", (json_int_t)r->skipped,
                                        "accuracy", share_json(&r->right), "accuracy_normalised",
                                        share_json(&r->right_normalised)));
    printf("%-24s  %lld questions, %lld left out\n", o->task, (long long)r->right.items, (long long)r->skipped);
    print_share("accuracy", &r->right);
    print_share("accuracy per letter", &r->right_normalised);
    return cli_finish_output();
}

static int run(const cli_call *call)
{
    const choice_options *o = call->options;
    if (!o->task || !o->file) return cli_misused(call, "name a set and its file with --task NAME -f FILE");
    cli_work w = {0};
    fl_session_options reading;
    fl_choice_options options = FL_CHOICE_OPTIONS_INIT;
    fl_choice_result result;
    int status = cli_open_tokenizer(&w, call, &o->shared.common);
    if (status == CLI_OK) {
        eval_run(&options.run, &reading, &o->shared);
        options.task = o->task;
        options.path = o->file;
        options.labels = o->labels;
        options.items = o->count;
        options.length = o->length;
        fl_status s = fl_eval_choice(&result, w.model, w.tokenizer, &options);
        status = s == FL_OK ? print(o, &result) : cli_failed(s);
    }
    cli_close(&w);
    return status;
}

static const cli_group *const groups[] = {&cli_group_model,   &choice_group,    &cli_group_items,  &cli_group_positions,
                                          &cli_group_reading, &cli_group_cache, &cli_group_output, NULL};
const cli_command cli_eval_choice = {
    "eval choice",
    "questions with given answers: BoolQ, PIQA, ARC",
    NULL,
    "Takes the answer that the model finds likeliest after the question, by log-likelihood and by log-likelihood per "
    "letter, with the prompts of the LM evaluation harness.",
    sizeof(choice_options),
    groups,
    run};
