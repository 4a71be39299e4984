/* furlong eval ppl: perplexity by length under a named protocol. */
#include "cli/eval.h"

#include <stdlib.h>
#include <string.h>

#include "cli/documents.h"
#include "eval/report.h"

typedef struct eval_options {
    eval_shared shared; /* first */
    cli_texts files;
    cli_data reading;
    cli_integers lengths;
    int protocol;
    int64_t stride, score, blocks, max_tokens;
    const char *out, *label, *svg;
} eval_options;

#define AT(member) offsetof(eval_options, member)
#define PROTOCOLS "single|sliding|disjoint|position|matched"

static const char *const protocol_names[] = {"single", "sliding", "disjoint", "position", "matched"};

static const cli_flag eval_flags[] = {
    {"file", 'f', "FILE", CLI_TEXTS, AT(files), NULL, 0, 0, NULL,
     "a text, JSON lines, either compressed (.zst), or a folder of such files"},
    CLI_DATA_FLAGS(AT(reading)),
    {"lengths", 0, "N,N,...", CLI_INTEGERS, AT(lengths), NULL, 2, 0x1p40, NULL,
     "context lengths in tokens; without it, the model's window"},
    {"protocol", 0, "NAME", CLI_CHOICE, AT(protocol), "single", 0, 0, PROTOCOLS,
     "what is scored with which context (docs/evaluation.md)"},
    {"stride", 0, "N", CLI_INTEGER, AT(stride), "256", 1, 0x1p40, NULL, "sliding: tokens between windows"},
    {"score", 0, "N", CLI_INTEGER, AT(score), "128", 1, 0x1p30, NULL, "matched: tokens of a target block"},
    {"blocks", 0, "N", CLI_INTEGER, AT(blocks), "16", 1, 0x1p30, NULL, "matched: blocks of each document"},
    {"seed", 's', "N", CLI_INTEGER, AT(shared.common.seed), "0", 0, 0x1p62, NULL, "matched: which blocks"},
    {"max-tokens", 0, "N", CLI_INTEGER, AT(max_tokens), "0", 0, 0x1p40, NULL,
     "use the first N tokens of each document; 0: all"},
    {"out", 'o', "FILE", CLI_TEXT, AT(out), NULL, 0, 0, NULL, "append the results as JSON lines"},
    {"label", 0, "NAME", CLI_TEXT, AT(label), NULL, 0, 0, NULL, "with --out: what to call them; the scaling if absent"},
    {"svg", 0, "FILE", CLI_TEXT, AT(svg), NULL, 0, 0, NULL, "draw perplexity over length"},
};
static const cli_group eval_group = CLI_GROUP("Evaluation", eval_flags);

static json_t *bucket_list(const fl_ppl_result *r)
{
    json_t *list = json_array();
    for (int b = 0; list && b < FL_PPL_BUCKETS; b++)
        json_array_append_new(list, json_pack("{sI sI sI sf}", "begin", (json_int_t)(b * r->length / FL_PPL_BUCKETS),
                                              "end", (json_int_t)((b + 1) * r->length / FL_PPL_BUCKETS), "tokens",
                                              (json_int_t)r->bucket_tokens[b], "nll", r->bucket[b]));
    return list;
}

static int print_json(const eval_options *o, const fl_ppl_result *result, int count)
{
    json_t *list = json_array();
    for (int i = 0; list && i < count; i++) {
        const fl_ppl_result *r = &result[i];
        json_t *item =
            json_pack("{sI sI sf sf sf sf sf sI}", "length", (json_int_t)r->length, "tokens", (json_int_t)r->tokens,
                      "nll", r->nll, "ppl", r->ppl, "stderr", r->stderr_nll, "seconds", r->seconds, "tokens_per_second",
                      r->tokens_per_second, "peak_bytes", (json_int_t)r->peak_bytes);
        if (item && o->protocol == FL_PPL_POSITION) json_object_set_new(item, "positions", bucket_list(r));
        json_array_append_new(list, item);
    }
    return cli_print_json(json_pack("{ss ss so}", "model", o->shared.common.model, "protocol",
                                    protocol_names[o->protocol], "results", list));
}

static int print_text(const eval_options *o, const fl_ppl_result *result, int count)
{
    printf("%10s  %10s  %10s  %12s  %10s  %10s  %10s\n", "length", "tokens", "nll", "perplexity", "+/- nll", "seconds",
           "tokens/s");
    for (int i = 0; i < count; i++) {
        const fl_ppl_result *r = &result[i];
        printf("%10lld  %10lld  %10.5f  %12.4f  %10.5f  %10.2f  %10.0f\n", (long long)r->length, (long long)r->tokens,
               r->nll, r->ppl, r->stderr_nll, r->seconds, r->tokens_per_second);
    }
    if (o->protocol == FL_PPL_POSITION)
        for (int i = 0; i < count; i++) {
            printf("\nlength %lld: nll by position\n", (long long)result[i].length);
            for (int b = 0; b < FL_PPL_BUCKETS; b++)
                printf("%10lld ..  %10.5f\n", (long long)(b * result[i].length / FL_PPL_BUCKETS), result[i].bucket[b]);
        }
    return cli_finish_output();
}

static fl_status report_of(fl_report *report, const eval_options *o, const fl_model_info *info,
                           const fl_ppl_result *result, int count)
{
    for (int i = 0; i < count; i++) {
        const fl_ppl_result *r = &result[i];
        fl_report_row row = {
            .length = r->length, .tokens = r->tokens, .nll = r->nll, .ppl = r->ppl, .stderr_nll = r->stderr_nll};
        snprintf(row.label, sizeof row.label, "%s", o->label ? o->label : info->rope_scaling);
        snprintf(row.protocol, sizeof row.protocol, "%s", protocol_names[o->protocol]);
        fl_status s = fl_report_add(report, &row);
        if (s != FL_OK) return s;
    }
    return o->out ? fl_report_append(report, o->out) : FL_OK;
}

static int draw(const fl_report *report, const char *title, const char *svg, int64_t trained_window)
{
    fl_buffer script = {0};
    fl_report_script(report, title, svg, trained_window, &script);
    return eval_draw(&script);
}

static int keep(const eval_options *o, const fl_model *m, const fl_ppl_result *result, int count)
{
    if (!o->out && !o->svg) return CLI_OK;
    fl_model_info info = {.size = sizeof info};
    fl_report report = {0};
    fl_status s = fl_model_get_info(m, &info);
    if (s == FL_OK) s = report_of(&report, o, &info, result, count);
    int status = s == FL_OK ? CLI_OK : cli_failed(s);
    if (status == CLI_OK && o->svg) status = draw(&report, o->shared.common.model, o->svg, info.trained_window);
    fl_report_free(&report);
    return status;
}

static int evaluate(const cli_call *call, cli_work *w, const cli_documents *documents, fl_ppl_result *result)
{
    const eval_options *o = call->options;
    fl_model_info info = {.size = sizeof info};
    fl_ppl_options options = FL_PPL_OPTIONS_INIT;
    fl_status s = fl_model_get_info(w->model, &info);
    options.protocol = (fl_ppl_protocol)o->protocol;
    options.lengths = o->lengths.count ? o->lengths.item : &info.window;
    options.length_count = o->lengths.count ? o->lengths.count : 1;
    options.stride = o->stride;
    options.score = o->score;
    options.blocks = o->blocks;
    options.seed = (uint64_t)o->shared.common.seed;
    options.max_tokens = o->max_tokens;
    fl_session_options reading;
    cli_session_options(&reading, &o->shared.common);
    options.session = &reading;
    options.progress = cli_progress;
    if (s == FL_OK) s = fl_eval_ppl(result, w->model, documents->item, documents->count, cli_bos(w->model), &options);
    if (s != FL_OK) return cli_failed(s);
    int status = o->shared.common.json ? print_json(o, result, options.length_count)
                                       : print_text(o, result, options.length_count);
    return status == CLI_OK ? keep(o, w->model, result, options.length_count) : status;
}

static int run(const cli_call *call)
{
    const eval_options *o = call->options;
    if (!o->files.count) return cli_misused(call, "name a text with -f FILE");
    cli_work w = {0};
    cli_documents documents = {0};
    fl_ppl_result *result = calloc((size_t)o->lengths.count + 1, sizeof *result);
    int status = cli_open_tokenizer(&w, call, &o->shared.common);
    if (status == CLI_OK) status = cli_read_documents(&documents, w.tokenizer, &o->reading, &o->files);
    if (status == CLI_OK) status = evaluate(call, &w, &documents, result);
    cli_documents_free(&documents);
    free(result);
    cli_close(&w);
    return status;
}

static const cli_group *const eval_groups[] = {
    &cli_group_model, &eval_group, &cli_group_positions, &cli_group_reading, &cli_group_cache, &cli_group_output, NULL};
const cli_command cli_eval_ppl = {
    "eval ppl",
    "perplexity by length",
    NULL,
    "Reads texts with contexts of several lengths, inside and past the trained window, and prints the mean negative "
    "log-likelihood per token (nll, in nats), its exponential and its standard error.",
    sizeof(eval_options),
    eval_groups,
    run};

/* ---- report ------------------------------------------------------------------------------------------------------ */

typedef struct report_options {
    const char *svg, *title;
    int64_t window;
} report_options;

static const cli_flag report_flags[] = {
    {"svg", 0, "FILE", CLI_TEXT, offsetof(report_options, svg), NULL, 0, 0, NULL, "draw perplexity over length"},
    {"title", 0, "TEXT", CLI_TEXT, offsetof(report_options, title), "perplexity by context length", 0, 0, NULL,
     "of the picture"},
    {"window", 0, "N", CLI_INTEGER, offsetof(report_options, window), "0", 0, 0x1p40, NULL,
     "mark the trained window in the picture"},
};
static const cli_group report_group = CLI_GROUP("Report", report_flags);

static int report_run(const cli_call *call)
{
    const report_options *o = call->options;
    if (call->operands < 1) return cli_misused(call, "name result files written by furlong eval --out");
    fl_report report = {0};
    fl_buffer table = {0};
    fl_status s = FL_OK;
    for (int i = 0; i < call->operands && s == FL_OK; i++)
        s = fl_report_read(&report, call->operand[i]);
    int status = s == FL_OK ? CLI_OK : cli_failed(s);
    if (status == CLI_OK) {
        fl_report_table(&report, &table);
        if (table.data) fputs(table.data, stdout);
        status = cli_finish_output();
    }
    if (status == CLI_OK && o->svg) status = draw(&report, o->title, o->svg, o->window);
    fl_buffer_free(&table);
    fl_report_free(&report);
    return status;
}

static const cli_group *const report_groups[] = {&report_group, NULL};
const cli_command cli_report = {
    "report",
    "results of several evaluations as one table and picture",
    "FILE...",
    "Reads the JSON lines that furlong eval --out wrote; one line of the table per label, one column per length.",
    sizeof(report_options),
    report_groups,
    report_run};
