/* furlong eval passkey: how far back a key can be fetched from. */
#include <stdlib.h>
#include <string.h>

#include "cli/eval.h"
#include "eval/figure.h"

typedef struct passkey_options {
    eval_shared shared; /* first */
    int64_t length, distances, trials;
    bool grow;
    const char *filler, *words, *svg;
    int key;
} passkey_options;

#define AT(member) offsetof(passkey_options, member)

static const cli_flag passkey_flags[] = {
    {"length", 0, "N", CLI_INTEGER, AT(length), "0", 0, 0x1p40, NULL,
     "tokens of a prompt with its answer; 0: the model's window"},
    {"distances", 0, "N", CLI_INTEGER, AT(distances), "32", 1, 1 << 20, NULL,
     "how many distances from the key to the end, evenly spread over the length"},
    {"trials", 0, "N", CLI_INTEGER, AT(trials), "10", 1, 1 << 20, NULL, "keys tried at each distance"},
    {"grow", 0, NULL, CLI_SWITCH, AT(grow), NULL, 0, 0, NULL,
     "prompts begin with the key and are as long as the distance asks, instead of all having the full length"},
    {"filler", 0, "FILE", CLI_TEXT, AT(filler), NULL, 0, 0, NULL,
     "hide the key in this text instead of the literal protocol's sentences"},
    {"key", 0, "KIND", CLI_CHOICE, AT(key), "digits", 0, 0, "digits|word", "five digits, or a word"},
    {"words", 0, "FILE", CLI_TEXT, AT(words), NULL, 0, 0, NULL, "with --key word: the words, one on a line"},
    {"svg", 0, "FILE", CLI_TEXT, AT(svg), NULL, 0, 0, NULL, "draw success over distance; a .png becomes a PNG"},
};
static const cli_group passkey_group = CLI_GROUP("Passkey", passkey_flags);

/* ---- keys and filler -------------------------------------------------------------------------------------------- */

/* Short common words that few texts hide by chance beside "pass key". */
static const char *const common_words[] = {
    "apple",   "bridge",  "candle", "desert", "engine", "forest", "garden", "hammer",  "island",
    "jacket",  "kitchen", "ladder", "market", "needle", "orange", "pencil", "quarter", "river",
    "silver",  "table",   "uncle",  "valley", "window", "yellow", "basket", "castle",  "doctor",
    "feather", "guitar",  "honey",  "iron",   "jewel",  "kettle", "lemon",  "mirror",  "night"};

typedef struct inputs {
    char *filler, *words;
    const char **word;
    int64_t word_count;
    size_t filler_bytes;
} inputs;

static int read_words(inputs *in, const char *path)
{
    size_t bytes;
    int status = cli_read_file(path, &in->words, &bytes);
    if (status != CLI_OK) return status;
    in->word = calloc(bytes / 2 + 2, sizeof *in->word);
    if (!in->word) {
        cli_error("out of memory");
        return CLI_ERROR;
    }
    char *rest = in->words;
    for (char *line; (line = strsep(&rest, "\r\n"));)
        if (*line) in->word[in->word_count++] = line;
    return CLI_OK;
}

static int read_inputs(inputs *in, fl_passkey_options *options, const passkey_options *o)
{
    int status = CLI_OK;
    if (o->filler) status = cli_read_file(o->filler, &in->filler, &in->filler_bytes);
    if (status == CLI_OK && o->words) status = read_words(in, o->words);
    options->filler = in->filler;
    options->filler_bytes = in->filler_bytes;
    if (o->key) {
        options->words = o->words ? in->word : common_words;
        options->word_count = o->words ? in->word_count : (int64_t)(sizeof common_words / sizeof *common_words);
    }
    return status;
}

/* ---- what is said ----------------------------------------------------------------------------------------------- */

static int print_json(const passkey_options *o, const fl_passkey_result *r, const fl_passkey_point *point)
{
    json_t *list = json_array();
    for (int i = 0; list && i < o->distances; i++) {
        const fl_passkey_point *p = &point[i];
        json_array_append_new(list, json_pack("{sI sf sI sI sf sf sf}", "distance", (json_int_t)p->distance, "measured",
                                              p->measured, "trials", (json_int_t)p->trials, "hits", (json_int_t)p->hits,
                                              "low", p->low, "high", p->high, "nll", p->nll));
    }
    return cli_print_json(json_pack("{ss sI sI sI so sf}", "model", o->shared.common.model, "length",
                                    (json_int_t)r->length, "k_max", (json_int_t)r->k_max, "k_max_80",
                                    (json_int_t)r->k_max_80, "success", list, "seconds", r->seconds));
}

static int print_text(const passkey_options *o, const fl_passkey_result *r, const fl_passkey_point *point)
{
    printf("%10s  %10s  %7s  %13s  %8s\n", "distance", "measured", "hits", "95 %", "nll");
    for (int i = 0; i < o->distances; i++) {
        const fl_passkey_point *p = &point[i];
        char hits[48];
        snprintf(hits, sizeof hits, "%lld/%lld", (long long)p->hits, (long long)p->trials);
        printf("%10lld  %10.1f  %7s  %5.1f - %5.1f  %8.3f  ", (long long)p->distance, p->measured, hits, 100 * p->low,
               100 * p->high, p->nll);
        for (int64_t b = 0; b < 20 * p->hits / p->trials; b++)
            fputs("#", stdout);
        putchar('\n');
    }
    printf("\nprompts of %lld tokens; every distance up to k_max has at least 20 %% hits: k_max %lld, at 80 %%: %lld\n",
           (long long)r->length, (long long)r->k_max, (long long)r->k_max_80);
    return cli_finish_output();
}

static int draw(const passkey_options *o, const fl_passkey_result *r, const fl_passkey_point *point)
{
    fl_buffer script = {0};
    fl_buffer_text(&script, "$d << EOD\n");
    for (int i = 0; i < o->distances; i++)
        fl_buffer_format(&script, "%lld %.6g %.6g %.6g\n", (long long)point[i].distance,
                         100.0 * (double)point[i].hits / (double)point[i].trials, 100 * point[i].low,
                         100 * point[i].high);
    fl_buffer_text(&script, "EOD\n");
    fl_figure_begin(&script, o->svg, o->shared.common.model);
    fl_buffer_format(&script,
                     "set xlabel \"tokens from the key to the end, of %lld\"\nset ylabel \"keys fetched, %%\"\n"
                     "set xrange [0:%lld]\nset yrange [-2:102]\nset key off\n"
                     "plot $d using 1:2:3:4 with yerrorlines linewidth 2 pointtype 7\n",
                     (long long)r->length, (long long)r->length);
    return eval_draw(&script);
}

static int run(const cli_call *call)
{
    const passkey_options *o = call->options;
    if (o->words && !o->key) return cli_misused(call, "--words goes with --key word");
    cli_work w = {0};
    inputs in = {0};
    fl_session_options reading;
    fl_passkey_options options = FL_PASSKEY_OPTIONS_INIT;
    fl_passkey_result result;
    fl_passkey_point *point = calloc((size_t)o->distances, sizeof *point);
    int status = point ? cli_open_tokenizer(&w, call, &o->shared.common) : CLI_ERROR;
    if (!point) cli_error("out of memory");
    if (status == CLI_OK) status = read_inputs(&in, &options, o);
    if (status == CLI_OK) {
        eval_run(&options.run, &reading, &o->shared);
        options.length = o->length;
        options.distances = (int)o->distances;
        options.trials = (int)o->trials;
        options.grow = o->grow;
        fl_status s = fl_eval_passkey(&result, point, w.model, w.tokenizer, &options);
        status = s == FL_OK ? CLI_OK : cli_failed(s);
    }
    if (status == CLI_OK) {
        eval_reused(&o->shared, result.reused, o->distances * o->trials);
        status = o->shared.common.json ? print_json(o, &result, point) : print_text(o, &result, point);
    }
    if (status == CLI_OK && o->svg) status = draw(o, &result, point);
    free(point);
    free(in.filler);
    free(in.words);
    free(in.word);
    cli_close(&w);
    return status;
}

static const cli_group *const groups[] = {&cli_group_model,   &passkey_group,   &cli_group_items,  &cli_group_positions,
                                          &cli_group_reading, &cli_group_cache, &cli_group_output, NULL};
const cli_command cli_eval_passkey = {
    "eval passkey",
    "how far back a key can be fetched from",
    NULL,
    "Hides a key in a long text at several distances from the end and asks for it. Prints hits with intervals and the "
    "largest distance up to which at least 20 % and 80 % of the keys are fetched.",
    sizeof(passkey_options),
    groups,
    run};
