/* furlong eval needle: a sentence at several depths of texts of several lengths. */
#include <stdlib.h>

#include "cli/eval.h"
#include "eval/figure.h"

typedef struct needle_options {
    eval_shared shared; /* first */
    cli_integers lengths;
    int64_t depths, trials;
    const char *file, *needle, *question, *answer, *svg;
} needle_options;

#define AT(member) offsetof(needle_options, member)

static const cli_flag needle_flags[] = {
    {"file", 'f', "FILE", CLI_TEXT, AT(file), NULL, 0, 0, NULL, "the haystack: a text"},
    {"lengths", 0, "N,N,...", CLI_INTEGERS, AT(lengths), NULL, 2, 0x1p40, NULL,
     "tokens of a prompt with its answer; without it, the model's window"},
    {"depths", 0, "N", CLI_INTEGER, AT(depths), "11", 1, 1000, NULL, "from the beginning to the end, evenly spread"},
    {"trials", 0, "N", CLI_INTEGER, AT(trials), "1", 1, 1 << 20, NULL, "of each, with other pieces of the text"},
    {"needle", 0, "TEXT", CLI_TEXT, AT(needle), NULL, 0, 0, NULL,
     "the sentence; {} becomes a number of five digits, another in each trial"},
    {"question", 0, "TEXT", CLI_TEXT, AT(question), NULL, 0, 0, NULL, "what is asked behind the text"},
    {"answer", 0, "TEXT", CLI_TEXT, AT(answer), NULL, 0, 0, NULL, "what must come"},
    {"svg", 0, "FILE", CLI_TEXT, AT(svg), NULL, 0, 0, NULL, "draw the map; a .png becomes a PNG"},
};
static const cli_group needle_group = CLI_GROUP("Needle", needle_flags);

static json_t *cells_json(const fl_needle_cell *cell, int64_t count)
{
    json_t *list = json_array();
    for (int64_t i = 0; list && i < count; i++)
        json_array_append_new(list, json_pack("{sI sf sI sI sf sf}", "length", (json_int_t)cell[i].length, "depth",
                                              cell[i].depth, "trials", (json_int_t)cell[i].trials, "hits",
                                              (json_int_t)cell[i].hits, "right", cell[i].right, "nll", cell[i].nll));
    return list;
}

/* One row per depth, one column per length: how dark, and the share of right tokens. */
static void print_map(const fl_needle_options *o, const fl_needle_cell *cell)
{
    static const char *const shade[] = {"\xc2\xb7", "\xe2\x96\x91", "\xe2\x96\x92", "\xe2\x96\x93", "\xe2\x96\x88"};
    printf("%7s", "depth");
    for (int i = 0; i < o->length_count; i++)
        printf("  %9lld", (long long)o->lengths[i]);
    putchar('\n');
    for (int d = 0; d < o->depths; d++) {
        printf("%5.0f %%", 100 * cell[d * o->length_count].depth);
        for (int i = 0; i < o->length_count; i++) {
            double right = cell[d * o->length_count + i].right;
            const char *mark = shade[(int)(4 * right + 0.5)];
            printf("  %s%s%s %3.0f %%", mark, mark, mark, 100 * right);
        }
        putchar('\n');
    }
    printf("\nshare of answer tokens that are the most likely ones\n");
}

static int print(const needle_options *o, const fl_needle_options *options, const fl_needle_cell *cell, int64_t reused)
{
    int64_t count = (int64_t)options->depths * options->length_count;
    eval_reused(&o->shared, reused, count * options->trials);
    if (o->shared.common.json)
        return cli_print_json(json_pack("{ss so}", "model", o->shared.common.model, "cells", cells_json(cell, count)));
    print_map(options, cell);
    return cli_finish_output();
}

static int draw(const needle_options *o, const fl_needle_options *options, const fl_needle_cell *cell)
{
    fl_buffer script = {0};
    fl_buffer_text(&script, "$d << EOD\n");
    for (int d = 0; d < options->depths; d++)
        for (int i = 0; i < options->length_count; i++)
            fl_buffer_format(&script, "%d %d %.6g\n", i, d, 100 * cell[d * options->length_count + i].right);
    fl_buffer_text(&script, "EOD\n");
    fl_figure_begin(&script, o->svg, o->shared.common.model);
    fl_buffer_text(&script, "unset grid\nset xlabel \"length, tokens\"\nset ylabel \"depth, %\"\nset cblabel \"right "
                            "tokens, %\"\nset cbrange [0:100]\nset palette defined (0 \"#c0392b\", 50 \"#f4d03f\", 100 "
                            "\"#1e8449\")\nset xtics out nomirror (");
    for (int i = 0; i < options->length_count; i++)
        fl_buffer_format(&script, "%s\"%lld\" %d", i ? ", " : "", (long long)options->lengths[i], i);
    fl_buffer_text(&script, ")\nset ytics out nomirror (");
    for (int d = 0; d < options->depths; d++)
        fl_buffer_format(&script, "%s\"%.0f\" %d", d ? ", " : "", 100 * cell[d * options->length_count].depth, d);
    fl_buffer_format(&script, ")\nset xrange [-0.5:%d.5]\nset yrange [%d.5:-0.5]\nset key off\nplot $d with image\n",
                     options->length_count - 1, options->depths - 1);
    return eval_draw(&script);
}

static int evaluate(const needle_options *o, cli_work *w, const char *text, size_t bytes)
{
    fl_session_options reading;
    fl_needle_options options = FL_NEEDLE_OPTIONS_INIT;
    fl_model_info info = {.size = sizeof info};
    int64_t reused = 0;
    eval_run(&options.run, &reading, &o->shared);
    fl_status s = fl_model_get_info(w->model, &info);
    options.lengths = o->lengths.count ? o->lengths.item : &info.window;
    options.length_count = o->lengths.count ? o->lengths.count : 1;
    options.depths = (int)o->depths;
    options.trials = (int)o->trials;
    options.haystack = text;
    options.haystack_bytes = bytes;
    options.needle = o->needle;
    options.question = o->question;
    options.answer = o->answer;
    fl_needle_cell *cell = calloc((size_t)options.depths * (size_t)options.length_count, sizeof *cell);
    if (!cell) {
        cli_error("out of memory");
        return CLI_ERROR;
    }
    if (s == FL_OK) s = fl_eval_needle(cell, &reused, w->model, w->tokenizer, &options);
    int status = s == FL_OK ? print(o, &options, cell, reused) : cli_failed(s);
    if (status == CLI_OK && o->svg) status = draw(o, &options, cell);
    free(cell);
    return status;
}

static int run(const cli_call *call)
{
    const needle_options *o = call->options;
    if (!o->file) return cli_misused(call, "name a text with -f FILE");
    int given = (o->needle != NULL) + (o->question != NULL) + (o->answer != NULL);
    if (given % 3) return cli_misused(call, "--needle, --question and --answer go together");
    cli_work w = {0};
    char *text = NULL;
    size_t bytes = 0;
    int status = cli_open_tokenizer(&w, call, &o->shared.common);
    if (status == CLI_OK) status = cli_read_file(o->file, &text, &bytes);
    if (status == CLI_OK) status = evaluate(o, &w, text, bytes);
    free(text);
    cli_close(&w);
    return status;
}

static const cli_group *const groups[] = {&cli_group_model,   &needle_group,    &cli_group_items,  &cli_group_positions,
                                          &cli_group_reading, &cli_group_cache, &cli_group_output, NULL};
const cli_command cli_eval_needle = {"eval needle",
                                     "a sentence at several depths of long texts",
                                     NULL,
                                     "Puts a sentence into a long text, asks for it at the end, and prints a map of "
                                     "depth and length. The answer is judged "
                                     "token by token: is it the most likely one after those before it?",
                                     sizeof(needle_options),
                                     groups,
                                     run};
