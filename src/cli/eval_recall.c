/* furlong eval recall: retrieval items of a file. */
#include <string.h>

#include "cli/eval.h"

typedef struct recall_options {
    eval_shared shared; /* first */
    const char *file;
} recall_options;

static const cli_flag recall_flags[] = {
    {"file", 'f', "FILE", CLI_TEXT, offsetof(recall_options, file), NULL, 0, 0, NULL,
     "items, one on a line: group, prompt and answer, separated by tabs"},
};
static const cli_group recall_group = CLI_GROUP("Recall", recall_flags);

static int print_json(const recall_options *o, const fl_recall_group *group, int count)
{
    json_t *list = json_array();
    for (int i = 0; list && i < count; i++) {
        const fl_recall_group *g = &group[i];
        json_array_append_new(list,
                              json_pack("{so sI sI sf sf sI sI sf}", "group", cli_json_text(g->name, strlen(g->name)),
                                        "items", (json_int_t)g->right.items, "hits", (json_int_t)g->right.hits, "low",
                                        g->right.low, "high", g->right.high, "answer_tokens", (json_int_t)g->tokens,
                                        "right_tokens", (json_int_t)g->right_tokens, "nll", g->nll));
    }
    return cli_print_json(json_pack("{ss so}", "model", o->shared.common.model, "groups", list));
}

static int print_text(const fl_recall_group *group, int count)
{
    printf("%-24s  %6s  %7s  %13s  %8s  %8s\n", "group", "items", "right %", "95 %", "tokens %", "nll");
    for (int i = 0; i < count; i++) {
        const fl_recall_group *g = &group[i];
        printf("%-24s  %6lld  %7.1f  %5.1f - %5.1f  %8.1f  %8.3f\n", g->name, (long long)g->right.items,
               100 * (double)g->right.hits / (double)g->right.items, 100 * g->right.low, 100 * g->right.high,
               100 * (double)g->right_tokens / (double)g->tokens, g->nll);
    }
    return cli_finish_output();
}

static int run(const cli_call *call)
{
    const recall_options *o = call->options;
    if (!o->file) return cli_misused(call, "name a file of items with -f FILE");
    cli_work w = {0};
    fl_eval_run evaluation;
    fl_session_options reading;
    fl_recall_group *group = NULL;
    int count = 0, status = cli_open_tokenizer(&w, call, &o->shared.common);
    if (status == CLI_OK) {
        eval_run(&evaluation, &reading, &o->shared);
        fl_status s = fl_eval_recall(&group, &count, w.model, w.tokenizer, o->file, &evaluation);
        status = s == FL_OK ? CLI_OK : cli_failed(s);
    }
    if (status == CLI_OK) status = o->shared.common.json ? print_json(o, group, count) : print_text(group, count);
    fl_eval_free(group);
    cli_close(&w);
    return status;
}

static const cli_group *const groups[] = {&cli_group_model,   &recall_group,    &cli_group_items,  &cli_group_positions,
                                          &cli_group_reading, &cli_group_cache, &cli_group_output, NULL};
const cli_command cli_eval_recall = {
    "eval recall",
    "retrieval items of a file, by group",
    NULL,
    "Asks for what prompts have told (tools/corpus/recall.py makes such items). An item is right if every token of its "
    "answer is the most likely one after those before it: what greedy decoding would write.",
    sizeof(recall_options),
    groups,
    run};
