/* furlong eval cloze: the true continuation among others. */
#include "cli/eval.h"

typedef struct cloze_options {
    eval_texts text; /* first */
    int64_t length, target, choices, count;
} cloze_options;

#define AT(member) offsetof(cloze_options, member)

static const cli_flag cloze_flags[] = {
    EVAL_TEXT_FLAGS,
    {"length", 0, "N", CLI_INTEGER, AT(length), "0", 0, 0x1p40, NULL,
     "tokens of context and continuation; 0: the model's window"},
    {"target", 0, "N", CLI_INTEGER, AT(target), "32", 1, 1 << 20, NULL, "tokens of a continuation"},
    {"choices", 0, "N", CLI_INTEGER, AT(choices), "4", 2, 64, NULL, "continuations to choose from"},
    {"count", 0, "N", CLI_INTEGER, AT(count), "200", 1, 0x1p30, NULL, "items"},
};
static const cli_group cloze_group = CLI_GROUP("Cloze", cloze_flags);

static int print_cloze(const cloze_options *o, const fl_cloze_result *r)
{
    double share = (double)r->right.hits / (double)r->right.items;
    if (r->skipped) cli_note("%d documents are too short and left out", r->skipped);
    eval_reused(&o->text.shared, r->reused, r->right.items);
    if (o->text.shared.common.json)
        return cli_print_json(json_pack("{ss sI sI sf sf sf sf sf si si}", "model", o->text.shared.common.model,
                                        "items", (json_int_t)r->right.items, "hits", (json_int_t)r->right.hits,
                                        "accuracy", share, "low", r->right.low, "high", r->right.high, "nll_true",
                                        r->nll_true, "nll_false", r->nll_false, "documents", r->documents, "skipped",
                                        r->skipped));
    printf("right  %5.1f %%  (%.1f - %.1f) of %lld; by chance %.1f\nnll    %.4f of the true continuations, %.4f of the "
           "others\n",
           100 * share, 100 * r->right.low, 100 * r->right.high, (long long)r->right.items, 100.0 / (double)o->choices,
           r->nll_true, r->nll_false);
    return cli_finish_output();
}

static int cloze_run(const cli_call *call)
{
    const cloze_options *o = call->options;
    cli_work w = {0};
    cli_documents documents = {0};
    fl_session_options reading;
    fl_cloze_options options = FL_CLOZE_OPTIONS_INIT;
    fl_cloze_result result;
    int status = eval_open_texts(&w, &documents, call);
    if (status == CLI_OK) {
        eval_run(&options.run, &reading, &o->text.shared);
        options.length = o->length;
        options.target = o->target;
        options.choices = (int)o->choices;
        options.items = o->count;
        fl_status s = fl_eval_cloze(&result, w.model, documents.item, documents.count, cli_bos(w.model), &options);
        status = s == FL_OK ? print_cloze(o, &result) : cli_failed(s);
    }
    cli_documents_free(&documents);
    cli_close(&w);
    return status;
}

static const cli_group *const cloze_groups[] = {
    &cli_group_model,   &cloze_group,     &cli_group_items,  &cli_group_positions,
    &cli_group_reading, &cli_group_cache, &cli_group_output, NULL};
const cli_command cli_eval_cloze = {"eval cloze",
                                    "the true next tokens among others of the same text",
                                    NULL,
                                    "Takes the continuation that the model finds likeliest after a piece of text: the "
                                    "true one, or one from elsewhere in "
                                    "the same document.",
                                    sizeof(cloze_options),
                                    cloze_groups,
                                    cloze_run};
