/* furlong eval position: accuracy and loss by position. */
#include <stdlib.h>

#include "cli/eval.h"
#include "eval/figure.h"

typedef struct position_options {
    eval_texts text; /* first */
    int64_t length, bins, windows;
    const char *svg;
} position_options;

#define AT(member) offsetof(position_options, member)

static const cli_flag position_flags[] = {
    EVAL_TEXT_FLAGS,
    {"length", 0, "N", CLI_INTEGER, AT(length), "0", 0, 0x1p40, NULL, "tokens of a window; 0: the model's window"},
    {"bins", 0, "N", CLI_INTEGER, AT(bins), "32", 1, 1 << 20, NULL, "equal ranges of positions"},
    {"windows", 0, "N", CLI_INTEGER, AT(windows), "16", 0, 0x1p40, NULL,
     "how many, evenly spread over the texts; 0: as many as do not overlap"},
    {"svg", 0, "FILE", CLI_TEXT, AT(svg), NULL, 0, 0, NULL,
     "draw accuracy and nll over position; a .png becomes a PNG"},
};
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
    int left_out, status = bin ? eval_open_texts(&w, &documents, call) : CLI_ERROR;
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
