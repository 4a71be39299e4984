/* furlong eval position, cloze and babble: what is measured on texts. */
#include <stdlib.h>

#include "cli/documents.h"
#include "cli/eval.h"
#include "eval/figure.h"

/* ---- what they share --------------------------------------------------------------------------------------------- */

typedef struct text_options {
    eval_shared shared; /* first */
    cli_texts files;
    cli_data reading;
} text_options;

#define TEXT_FLAGS                                                                                                     \
    {"file", 'f', "FILE", CLI_TEXTS, offsetof(text_options, files),                                                    \
     NULL,   0,   0,      NULL,      "a text, JSON lines, either compressed (.zst), or a folder of such files"},       \
        CLI_DATA_FLAGS(offsetof(text_options, reading))

static int open_texts(cli_work *w, cli_documents *documents, const cli_call *call)
{
    const text_options *o = call->options;
    if (!o->files.count) return cli_misused(call, "name a text with -f FILE");
    int status = cli_open_tokenizer(w, call, &o->shared.common);
    return status == CLI_OK ? cli_read_documents(documents, w->tokenizer, &o->reading, &o->files) : status;
}

/* ---- position ---------------------------------------------------------------------------------------------------- */

typedef struct position_options {
    text_options text; /* first */
    int64_t length, bins, windows;
    const char *svg;
} position_options;

#define AT(member) offsetof(position_options, member)

static const cli_flag position_flags[] = {
    TEXT_FLAGS,
    {"length", 0, "N", CLI_INTEGER, AT(length), "0", 0, 0x1p40, NULL, "tokens of a window; 0: the model's window"},
    {"bins", 0, "N", CLI_INTEGER, AT(bins), "32", 1, 1 << 20, NULL, "equal ranges of positions"},
    {"windows", 0, "N", CLI_INTEGER, AT(windows), "16", 0, 0x1p40, NULL,
     "how many, evenly spread over the texts; 0: as many as do not overlap"},
    {"svg", 0, "FILE", CLI_TEXT, AT(svg), NULL, 0, 0, NULL,
     "draw accuracy and nll over position; a .png becomes a PNG"},
};
#undef AT
static const cli_group position_group = CLI_GROUP("Position", position_flags);

static json_t *position_json(const position_options *o, const fl_position_bin *bin, int64_t windows, int left_out)
{
    json_t *list = json_array();
    for (int b = 0; list && b < o->bins; b++)
        json_array_append_new(list,
                              json_pack("{sI sI sI sf sf sf sf}", "begin", (json_int_t)bin[b].begin, "end",
                                        (json_int_t)bin[b].end, "tokens", (json_int_t)bin[b].tokens, "nll", bin[b].nll,
                                        "accuracy", bin[b].accuracy, "cumulative_nll", bin[b].cumulative_nll,
                                        "cumulative_accuracy", bin[b].cumulative_accuracy));
    return json_pack("{ss sI si so}", "model", o->text.shared.common.model, "windows", (json_int_t)windows,
                     "short_documents", left_out, "positions", list);
}

static int draw_position(const position_options *o, const fl_position_bin *bin, int64_t trained_window)
{
    fl_buffer script = {0};
    fl_buffer_text(&script, "$d << EOD\n");
    for (int b = 0; b < o->bins; b++)
        fl_buffer_format(&script, "%lld %.6g %.6g %.6g\n", (long long)(bin[b].begin + bin[b].end) / 2, bin[b].nll,
                         100 * bin[b].accuracy, 100 * bin[b].cumulative_accuracy);
    fl_buffer_text(&script, "EOD\n");
    fl_figure_begin(&script, o->svg, o->text.shared.common.model);
    fl_buffer_format(&script,
                     "set xlabel \"position, tokens\"\nset ylabel \"next token right, %%\"\nset ytics nomirror\n"
                     "set y2label \"nll, nats\"\nset y2tics\nset key top right\n"
                     "set arrow from %lld, graph 0 to %lld, graph 1 nohead dashtype 2 linecolor rgb \"#777777\"\n"
                     "plot $d using 1:3 with linespoints title \"accuracy\", $d using 1:4 with lines linewidth 2 title "
                     "\"cumulative\", $d using 1:2 axes x1y2 with lines dashtype 3 linewidth 2 title \"nll\"\n",
                     (long long)trained_window, (long long)trained_window);
    return eval_draw(&script);
}

static int print_position(const position_options *o, const fl_position_bin *bin, int64_t windows, int left_out)
{
    if (left_out) cli_note("%d documents are shorter than a window and left out", left_out);
    if (o->text.shared.common.json) return cli_print_json(position_json(o, bin, windows, left_out));
    printf("%21s  %10s  %10s  %8s  %14s  %12s\n", "positions", "tokens", "nll", "right", "cumulative nll",
           "cumulative");
    for (int b = 0; b < o->bins; b++)
        printf("%10lld %10lld  %10lld  %10.5f  %6.2f %%  %14.5f  %10.2f %%\n", (long long)bin[b].begin,
               (long long)bin[b].end, (long long)bin[b].tokens, bin[b].nll, 100 * bin[b].accuracy,
               bin[b].cumulative_nll, 100 * bin[b].cumulative_accuracy);
    return cli_finish_output();
}

static int position_run(const cli_call *call)
{
    const position_options *o = call->options;
    cli_work w = {0};
    cli_documents documents = {0};
    fl_session_options reading;
    fl_position_options options = FL_POSITION_OPTIONS_INIT;
    fl_model_info info = {.size = sizeof info};
    fl_position_bin *bin = calloc((size_t)o->bins, sizeof *bin);
    int64_t windows;
    int left_out, status = bin ? open_texts(&w, &documents, call) : CLI_ERROR;
    if (!bin) cli_error("out of memory");
    if (status == CLI_OK) {
        eval_run(&options.run, &reading, &o->text.shared);
        options.length = o->length;
        options.bins = (int)o->bins;
        options.windows = o->windows;
        fl_status s = fl_eval_position(bin, &windows, &left_out, w.model, documents.item, documents.count,
                                       cli_bos(w.model), &options);
        if (s == FL_OK) s = fl_model_get_info(w.model, &info);
        status = s == FL_OK ? print_position(o, bin, windows, left_out) : cli_failed(s);
    }
    if (status == CLI_OK && o->svg) status = draw_position(o, bin, info.trained_window);
    free(bin);
    cli_documents_free(&documents);
    cli_close(&w);
    return status;
}

static const cli_group *const position_groups[] = {
    &cli_group_model,   &position_group,  &cli_group_items,  &cli_group_positions,
    &cli_group_reading, &cli_group_cache, &cli_group_output, NULL};
const cli_command cli_eval_position = {"eval position",
                                       "next-token accuracy and nll by position",
                                       NULL,
                                       "Reads windows that do not overlap and counts, by position, how often the most "
                                       "likely token is the right one: in each "
                                       "range, and cumulatively from the beginning.",
                                       sizeof(position_options),
                                       position_groups,
                                       position_run};

/* ---- cloze ------------------------------------------------------------------------------------------------------- */

typedef struct cloze_options {
    text_options text; /* first */
    int64_t length, target, choices, count;
} cloze_options;

#define AT(member) offsetof(cloze_options, member)

static const cli_flag cloze_flags[] = {
    TEXT_FLAGS,
    {"length", 0, "N", CLI_INTEGER, AT(length), "0", 0, 0x1p40, NULL,
     "tokens of context and continuation; 0: the model's window"},
    {"target", 0, "N", CLI_INTEGER, AT(target), "32", 1, 1 << 20, NULL, "tokens of a continuation"},
    {"choices", 0, "N", CLI_INTEGER, AT(choices), "4", 2, 64, NULL, "continuations to choose from"},
    {"count", 0, "N", CLI_INTEGER, AT(count), "200", 1, 0x1p30, NULL, "items"},
};
#undef AT
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
    int status = open_texts(&w, &documents, call);
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

/* ---- babble ------------------------------------------------------------------------------------------------------ */

typedef struct babble_options {
    text_options text; /* first */
    int64_t prompt, predict, count, near;
} babble_options;

#define AT(member) offsetof(babble_options, member)

static const cli_flag babble_flags[] = {
    TEXT_FLAGS,
    {"prompt-tokens", 0, "N", CLI_INTEGER, AT(prompt), "0", 0, 0x1p40, NULL,
     "tokens read before the model writes; 0: the trained window"},
    {"predict", 'n', "N", CLI_INTEGER, AT(predict), "256", 1, 0x1p30, NULL, "tokens it writes"},
    {"count", 0, "N", CLI_INTEGER, AT(count), "8", 1, 0x1p30, NULL, "places in the texts"},
    {"near", 0, "N", CLI_INTEGER, AT(near), "0", 0, 0x1p40, NULL,
     "judge the writing in windows of N tokens; 0: the trained window"},
};
#undef AT
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
    int status = open_texts(&w, &documents, call);
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
