/* furlong eval summary: summaries of long documents by ROUGE. */
#include "cli/eval.h"

typedef struct summary_options {
    eval_shared shared; /* first */
    const char *file;
    int64_t count, input, length, predict;
    double temperature, top_p;
} summary_options;

#define AT(member) offsetof(summary_options, member)

static const cli_flag summary_flags[] = {
    {"file", 'f', "FILE", CLI_TEXT, AT(file), NULL, 0, 0, NULL,
     "JSON lines, also .zst: GovReport's (report, summary), L-Eval's (input, outputs) or QMSum's"},
    {"count", 0, "N", CLI_INTEGER, AT(count), "0", 0, 0x1p40, NULL,
     "the first N documents, each with all its queries; 0: all"},
    {"input-tokens", 0, "N", CLI_INTEGER, AT(input), "0", 0, 0x1p40, NULL,
     "cut longer documents to N tokens, and say how many; without it those that do not fit are left out"},
    {"length", 0, "N", CLI_INTEGER, AT(length), "0", 0, 0x1p40, NULL,
     "most tokens of prompt and summary together; 0: the model's window"},
    {"predict", 'n', "N", CLI_INTEGER, AT(predict), "1000", 1, 0x1p30, NULL, "most tokens of a summary"},
    {"temp", 0, "T", CLI_REAL, AT(temperature), "0.5", 0, 1e6, NULL, "temperature; 0: always the most likely token"},
    {"top-p", 0, "P", CLI_REAL, AT(top_p), "0.95", 0, 1, NULL,
     "keep the most likely tokens that together reach P; 1: all"},
};
static const cli_group summary_group = CLI_GROUP("Summary", summary_flags);

static int print(const summary_options *o, const fl_summary_result *r)
{
    static const char *const name[] = {"ROUGE-1", "ROUGE-2", "ROUGE-L"};
    if (!r->items) {
        cli_error("%s: none of its %lld documents fits --length; cut them with --input-tokens", o->file,
                  (long long)r->documents);
        return CLI_ERROR;
    }
    eval_reused(&o->shared, r->reused, r->items + r->skipped);
    if (r->skipped) cli_note("%lld summaries are left out: their documents do not fit", (long long)r->skipped);
    if (r->cut) cli_note("%lld summaries are of documents cut to %lld tokens", (long long)r->cut, (long long)o->input);
    if (o->shared.common.json) {
        json_t *rouge = json_object();
        for (int k = 0; rouge && k < 3; k++)
            json_object_set_new(rouge, name[k],
                                json_pack("{sf sf sf}", "f", r->f[k], "low", r->low[k], "high", r->high[k]));
        return cli_print_json(json_pack(
            "{ss sI sI sI sI sI sI so}", "model", o->shared.common.model, "documents", (json_int_t)r->documents,
            "items", (json_int_t)r->items, "skipped", (json_int_t)r->skipped, "cut", (json_int_t)r->cut, "input_tokens",
            (json_int_t)r->input_tokens, "output_tokens", (json_int_t)r->output_tokens, "rouge", rouge));
    }
    printf("%lld summaries of %lld documents, %lld left out, %lld cut\n", (long long)r->items, (long long)r->documents,
           (long long)r->skipped, (long long)r->cut);
    for (int k = 0; k < 3; k++)
        printf("%s  %6.2f  (%.2f - %.2f)\n", name[k], 100 * r->f[k], 100 * r->low[k], 100 * r->high[k]);
    return cli_finish_output();
}

static int run(const cli_call *call)
{
    const summary_options *o = call->options;
    if (!o->file) return cli_misused(call, "name a file of documents and summaries with -f FILE");
    cli_work w = {0};
    fl_session_options reading;
    fl_summary_options options = FL_SUMMARY_OPTIONS_INIT;
    fl_summary_result result;
    int status = cli_open_tokenizer(&w, call, &o->shared.common);
    if (status == CLI_OK) {
        eval_run(&options.run, &reading, &o->shared);
        options.path = o->file;
        options.items = o->count;
        options.input_tokens = o->input;
        options.length = o->length;
        options.output_tokens = o->predict;
        options.temperature = o->temperature;
        options.top_p = o->top_p;
        fl_status s = fl_eval_summary(&result, w.model, w.tokenizer, &options);
        status = s == FL_OK ? print(o, &result) : cli_failed(s);
    }
    cli_close(&w);
    return status;
}

static const cli_group *const groups[] = {&cli_group_model,   &summary_group,   &cli_group_items,  &cli_group_positions,
                                          &cli_group_reading, &cli_group_cache, &cli_group_output, NULL};
const cli_command cli_eval_summary = {
    "eval summary",
    "summaries of long documents by ROUGE",
    NULL,
    "Lets the model write summaries with the prompt of the Position Interpolation paper and compares them with given "
    "ones: F of ROUGE-1, ROUGE-2 and ROUGE-L, as the Python package rouge_score computes them without stemming.",
    sizeof(summary_options),
    groups,
    run};
