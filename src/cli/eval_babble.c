/* furlong eval babble: what a model writes past its window. */
#include "cli/eval.h"

typedef struct babble_options {
    eval_texts text; /* first */
    int64_t prompt, predict, count, near;
} babble_options;

#define AT(member) offsetof(babble_options, member)

static const cli_flag babble_flags[] = {
    EVAL_TEXT_FLAGS,
    {"prompt-tokens", 0, "N", CLI_INTEGER, AT(prompt), "0", 0, 0x1p40, NULL,
     "tokens read before the model writes; 0: the trained window"},
    {"predict", 'n', "N", CLI_INTEGER, AT(predict), "256", 1, 0x1p30, NULL, "tokens it writes"},
    {"count", 0, "N", CLI_INTEGER, AT(count), "8", 1, 0x1p30, NULL, "places in the texts"},
    {"near", 0, "N", CLI_INTEGER, AT(near), "0", 0, 0x1p40, NULL,
     "judge the writing in windows of N tokens; 0: the trained window"},
};
static const cli_group babble_group = CLI_GROUP("Babble", babble_flags);

static json_t *four(const double x[4])
{
    return json_pack("[ffff]", x[0], x[1], x[2], x[3]);
}

static int print_babble(const babble_options *o, const fl_babble_result *r)
{
    eval_reused(&o->text.shared, r->reused, r->items);
    if (o->text.shared.common.json)
        return cli_print_json(json_pack("{ss sI sI so so sf sf sf}", "model", o->text.shared.common.model, "items",
                                        (json_int_t)r->items, "tokens", (json_int_t)r->tokens, "distinct",
                                        four(r->distinct), "text_distinct", four(r->text_distinct), "nll", r->nll,
                                        "text_nll", r->text_nll, "looping", r->looping));
    printf("%-10s  %9s  %9s  %9s  %9s  %13s\n", "", "distinct-1", "distinct-2", "distinct-3", "distinct-4",
           "nll in window");
    printf("%-10s  %10.4f  %10.4f  %10.4f  %10.4f  %13.5f\n", "writing", r->distinct[0], r->distinct[1], r->distinct[2],
           r->distinct[3], r->nll);
    printf("%-10s  %10.4f  %10.4f  %10.4f  %10.4f  %13.5f\n", "the text", r->text_distinct[0], r->text_distinct[1],
           r->text_distinct[2], r->text_distinct[3], r->text_nll);
    printf("%lld writings of %lld tokens; %.0f %% end in a loop\n", (long long)r->items, (long long)r->tokens,
           100 * r->looping);
    return cli_finish_output();
}

static int babble_run(const cli_call *call)
{
    const babble_options *o = call->options;
    cli_work w = {0};
    cli_documents documents = {0};
    fl_session_options reading;
    fl_babble_options options = FL_BABBLE_OPTIONS_INIT;
    fl_babble_result result;
    int status = eval_open_texts(&w, &documents, call);
    if (status == CLI_OK) {
        eval_run(&options.run, &reading, &o->text.shared);
        options.prompt = o->prompt;
        options.tokens = o->predict;
        options.items = o->count;
        options.window = o->near;
        fl_status s = fl_eval_babble(&result, w.model, documents.item, documents.count, cli_bos(w.model), &options);
        status = s == FL_OK ? print_babble(o, &result) : cli_failed(s);
    }
    cli_documents_free(&documents);
    cli_close(&w);
    return status;
}

static const cli_group *const babble_groups[] = {
    &cli_group_model,   &babble_group,    &cli_group_items,  &cli_group_positions,
    &cli_group_reading, &cli_group_cache, &cli_group_output, NULL};
const cli_command cli_eval_babble = {
    "eval babble",
    "what a model writes past its window",
    NULL,
    "Lets the model write on from the end of its window, always taking the most likely token, and prints how much the "
    "writing repeats itself and how likely the model finds it inside the window, beside the text that really follows.",
    sizeof(babble_options),
    babble_groups,
    babble_run};
