/* furlong eval ppl: perplexity by length under a named protocol. */
#include "cli/eval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/documents.h"
#include "eval/report.h"

typedef struct eval_options {
    eval_shared shared; /* first */
    cli_texts files;
    cli_data reading;
    cli_integers lengths;
    int protocol, far;
    int64_t stride, score, blocks, max_tokens, near;
    bool skip_short, documents, kl_cache;
    const char *out, *label, *svg, *kl;
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
    {"far", 0, "CONTROL", CLI_CHOICE, AT(far), "keep", 0, 0, "keep|other|shuffle|drop",
     "matched: put text of another document, or the same tokens in random order, or nothing in place of context that "
     "is "
     "farther than --near"},
    {"near", 0, "N", CLI_INTEGER, AT(near), "0", 0, 0x1p40, NULL,
     "with --far: tokens at the end of a window that stay; 0: the trained window"},
    {"skip-short", 0, NULL, CLI_SWITCH, AT(skip_short), NULL, 0, 0, NULL,
     "leave out documents that are too short for the longest length, and say how many; without it they are errors"},
    {"documents", 0, NULL, CLI_SWITCH, AT(documents), NULL, 0, 0, NULL, "list every document"},
    {"kl", 0, "MODEL", CLI_TEXT, AT(kl), NULL, 0, 0, NULL,
     "judge predictions by this model's, its keys and values in f32: mean divergence, and how often both find the same "
     "token most likely"},
    {"kl-cache", 0, NULL, CLI_SWITCH, AT(kl_cache), NULL, 0, 0, NULL,
     "the same by the model itself: what -ctk and -ctv cost"},
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

static json_t *document_list(const fl_ppl_document *document, int count)
{
    json_t *list = json_array();
    for (int i = 0; list && i < count; i++) {
        const fl_ppl_document *d = &document[i];
        json_t *item = json_pack("{si sI sf}", "document", i + 1, "tokens", (json_int_t)d->tokens, "nll", d->nll);
        if (item && d->bytes)
            json_object_set_new(item, "bits_per_byte",
                                json_real(d->nll * (double)d->tokens / M_LN2 / (double)d->bytes));
        json_array_append_new(list, item);
    }
    return list;
}

/* What a result has beyond the numbers of every protocol. */
static void add_details(json_t *item, const eval_options *o, const fl_ppl_result *r, const fl_ppl_document *document,
                        int documents)
{
    if (o->protocol == FL_PPL_POSITION) json_object_set_new(item, "positions", bucket_list(r));
    if (documents > 1) {
        json_object_set_new(item, "interval", json_pack("[ff]", r->low, r->high));
        json_object_set_new(item, "per_document", document_list(document, documents));
    }
    if (o->protocol == FL_PPL_MATCHED) {
        json_object_set_new(item, "gain", json_real(r->gain));
        if (documents > 1) {
            json_object_set_new(item, "gain_interval", json_pack("[ff]", r->gain_low, r->gain_high));
            json_object_set_new(item, "gain_documents", json_integer(r->gain_documents));
        }
    }
    if (o->kl || o->kl_cache)
        json_object_set_new(item, "divergence",
                            json_pack("{sf sf sf sf sf}", "kl", r->kl, "stderr", r->kl_stderr, "max", r->kl_max, "top1",
                                      r->top1, "reference_nll", r->reference_nll));
}

static int print_json(const eval_options *o, const fl_ppl_result *result, int count, const fl_ppl_document *document,
                      int documents)
{
    json_t *list = json_array();
    for (int i = 0; list && i < count; i++) {
        const fl_ppl_result *r = &result[i];
        json_t *item =
            json_pack("{sI sI sf sf sf sf sf sf sI si si}", "length", (json_int_t)r->length, "tokens",
                      (json_int_t)r->tokens, "nll", r->nll, "ppl", r->ppl, "stderr", r->stderr_nll, "bits_per_byte",
                      r->bits_per_byte, "seconds", r->seconds, "tokens_per_second", r->tokens_per_second, "peak_bytes",
                      (json_int_t)r->peak_bytes, "documents", r->documents, "skipped", r->skipped);
        if (item) add_details(item, o, r, document + (ptrdiff_t)i * documents, documents);
        json_array_append_new(list, item);
    }
    return cli_print_json(json_pack("{ss ss so}", "model", o->shared.common.model, "protocol",
                                    protocol_names[o->protocol], "results", list));
}

static void print_documents(const fl_ppl_result *result, int count, const fl_ppl_document *document, int documents)
{
    printf("\nnll by document and length\n%10s", "document");
    for (int i = 0; i < count; i++)
        printf("  %10lld", (long long)result[i].length);
    putchar('\n');
    for (int d = 0; d < documents; d++) {
        printf("%10d", d + 1);
        for (int i = 0; i < count; i++) {
            const fl_ppl_document *at = &document[(ptrdiff_t)i * documents + d];
            if (at->tokens)
                printf("  %10.5f", at->nll);
            else
                printf("  %10s", "skipped");
        }
        putchar('\n');
    }
}

static void print_gain(const fl_ppl_result *result, int count, int documents)
{
    printf("\n%10s  %10s  %21s  %10s   less nll than at %lld\n", "length", "gain", documents > 1 ? "95 %" : "",
           documents > 1 ? "documents" : "", (long long)result[0].length);
    for (int i = 1; i < count; i++) {
        const fl_ppl_result *r = &result[i];
        printf("%10lld  %10.5f", (long long)r->length, r->gain);
        if (documents > 1)
            printf("  %9.5f - %9.5f  %6d/%d", r->gain_low, r->gain_high, r->gain_documents, r->documents);
        putchar('\n');
    }
}

static void print_divergence(const fl_ppl_result *result, int count)
{
    printf("\n%10s  %12s  %12s  %10s  %9s  %14s\n", "length", "KL, nats", "+/-", "largest", "same top",
           "reference nll");
    for (int i = 0; i < count; i++) {
        const fl_ppl_result *r = &result[i];
        printf("%10lld  %12.4e  %12.1e  %10.1e  %7.3f %%  %14.5f\n", (long long)r->length, r->kl, r->kl_stderr,
               r->kl_max, 100 * r->top1, r->reference_nll);
    }
}

static int print_text(const eval_options *o, const fl_ppl_result *result, int count, const fl_ppl_document *document,
                      int documents)
{
    printf("%10s  %10s  %10s  %12s  %10s  %10s  %10s  %10s\n", "length", "tokens", "nll", "perplexity", "+/- nll",
           "bits/byte", "seconds", "tokens/s");
    for (int i = 0; i < count; i++) {
        const fl_ppl_result *r = &result[i];
        printf("%10lld  %10lld  %10.5f  %12.4f  %10.5f  %10.4f  %10.2f  %10.0f\n", (long long)r->length,
               (long long)r->tokens, r->nll, r->ppl, r->stderr_nll, r->bits_per_byte, r->seconds, r->tokens_per_second);
    }
    if (o->protocol == FL_PPL_MATCHED && count > 1) print_gain(result, count, result[0].documents);
    if (o->kl || o->kl_cache) print_divergence(result, count);
    if (o->documents) print_documents(result, count, document, documents);
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
        snprintf(row.label, sizeof row.label, "%s", o->label ? o->label : cli_method_name(&o->shared.common, info));
        snprintf(row.protocol, sizeof row.protocol, "%s", protocol_names[o->protocol]);
        fl_status s = fl_report_add(report, &row);
        if (s != FL_OK) return s;
    }
    return o->out ? fl_report_append(report, o->out) : FL_OK;
}

static int keep(const eval_options *o, const fl_model *m, const fl_ppl_result *result, int count)
{
    if (!o->out && !o->svg) return CLI_OK;
    fl_model_info info = {.size = sizeof info};
    fl_report report = {0};
    fl_status s = fl_model_get_info(m, &info);
    if (s == FL_OK) s = report_of(&report, o, &info, result, count);
    int status = s == FL_OK ? CLI_OK : cli_failed(s);
    if (status == CLI_OK && o->svg) {
        fl_buffer script = {0};
        fl_report_script(&report, o->shared.common.model, o->svg, info.trained_window, &script);
        status = eval_draw(&script);
    }
    fl_report_free(&report);
    return status;
}

static int print_result(const eval_options *o, const fl_ppl_result *result, int count, const fl_ppl_document *document,
                        int documents)
{
    int64_t reused = 0;
    for (int i = 0; i < count; i++)
        reused += result[i].reused;
    if (reused) cli_note("%lld windows were in %s already", (long long)reused, o->shared.items);
    if (result[0].skipped)
        cli_note("%d of %d documents are too short for the longest length and left out", result[0].skipped, documents);
    return o->shared.common.json ? print_json(o, result, count, document, documents)
                                 : print_text(o, result, count, document, documents);
}

static int evaluate(const cli_call *call, cli_work *w, const fl_model *reference, const cli_documents *documents,
                    fl_ppl_result *result, fl_ppl_document *document)
{
    const eval_options *o = call->options;
    fl_model_info info = {.size = sizeof info};
    fl_ppl_options options = FL_PPL_OPTIONS_INIT;
    fl_status s = fl_model_get_info(w->model, &info);
    fl_session_options reading;
    cli_session_options(&reading, &o->shared.common);
    options.session = &reading;
    options.protocol = (fl_ppl_protocol)o->protocol;
    options.lengths = o->lengths.count ? o->lengths.item : &info.window;
    options.length_count = o->lengths.count ? o->lengths.count : 1;
    options.stride = o->stride;
    options.score = o->score;
    options.blocks = o->blocks;
    options.seed = (uint64_t)o->shared.common.seed;
    options.max_tokens = o->max_tokens;
    options.far = (fl_far)o->far;
    options.near = o->near;
    options.skip_short = o->skip_short;
    options.tokenizer = w->tokenizer;
    options.reference = reference;
    options.documents = document;
    options.items = o->shared.items;
    options.progress = cli_progress;
    if (s == FL_OK) s = fl_eval_ppl(result, w->model, documents->item, documents->count, cli_bos(w->model), &options);
    if (s != FL_OK) return cli_failed(s);
    int status = print_result(o, result, options.length_count, document, documents->count);
    return status == CLI_OK ? keep(o, w->model, result, options.length_count) : status;
}

/* The model to judge by, opened as it is in its file; NULL: none asked for. */
static int open_reference(fl_model **reference, const cli_work *w, const eval_options *o)
{
    fl_model_options options = FL_MODEL_OPTIONS_INIT;
    if (o->kl_cache) *reference = w->model;
    if (!o->kl) return CLI_OK;
    options.rope = cli_rope_options(&o->shared.common);
    options.context = o->shared.common.context;
    options.progress = cli_progress;
    fl_status s = fl_model_open(reference, w->engine, o->kl, &options);
    return s == FL_OK ? CLI_OK : cli_failed(s);
}

static int run(const cli_call *call)
{
    const eval_options *o = call->options;
    if (!o->files.count) return cli_misused(call, "name a text with -f FILE");
    if (o->kl && o->kl_cache) return cli_misused(call, "give --kl MODEL or --kl-cache, not both");
    cli_work w = {0};
    cli_documents documents = {0};
    fl_model *reference = NULL;
    fl_ppl_document *document = NULL;
    fl_ppl_result *result = calloc((size_t)o->lengths.count + 1, sizeof *result);
    int status = cli_open_tokenizer(&w, call, &o->shared.common);
    if (status == CLI_OK) status = open_reference(&reference, &w, o);
    if (status == CLI_OK) status = cli_read_documents(&documents, w.tokenizer, &o->reading, &o->files);
    if (status == CLI_OK) {
        document = calloc((size_t)documents.count * (size_t)(o->lengths.count + 1), sizeof *document);
        status = result && document ? evaluate(call, &w, reference, &documents, result, document) : CLI_ERROR;
        if (!result || !document) cli_error("out of memory");
    }
    cli_documents_free(&documents);
    free(document);
    free(result);
    if (o->kl) fl_model_close(reference);
    cli_close(&w);
    return status;
}

static const cli_group *const eval_groups[] = {
    &cli_group_model,   &eval_group,      &cli_group_items,  &cli_group_positions,
    &cli_group_reading, &cli_group_cache, &cli_group_output, NULL};
const cli_command cli_eval_ppl = {
    "eval ppl",
    "perplexity by length",
    NULL,
    "Reads texts with contexts of several lengths, inside and past the trained window, and prints the mean negative "
    "log-likelihood per token (nll, in nats), its exponential and its standard error.",
    sizeof(eval_options),
    eval_groups,
    run};
