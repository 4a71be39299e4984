/* furlong plan: what a longer window will take and reach, before anything is trained. */
#include "cli/commands.h"

#include "cli/calibrate.h"
#include "cli/documents.h"
#include "cli/interrupt.h"
#include "cli/plan_output.h"

typedef struct plan_options {
    cli_common common; /* first: see cli/common.h */
    int64_t to, head_dim, trained, tune_length, sequences;
    double base;
    const char *calibration, *svg;
    bool no_time, measure;
    cli_texts files;
    cli_data reading;
    int64_t score, blocks;
} plan_options;

#define AT(member) offsetof(plan_options, member)

static const cli_flag plan_flags[] = {
    {"to", 0, "N", CLI_INTEGER, AT(to), "0", 0, 0x1p40, NULL, "the window wanted, in tokens"},
    {"tune-length", 0, "N", CLI_INTEGER, AT(tune_length), "0", 0, 0x1p40, NULL,
     "tokens per sequence of the fine-tune; 0: the trained window"},
    {"batch", 0, "N", CLI_INTEGER, AT(sequences), "1", 1, 1 << 20, NULL, "sequences of a training pass"},
    {"batch-size", 'b', "N", CLI_INTEGER, AT(common.batch), "512", 1, 1 << 20, NULL,
     "tokens computed at once while reading"},
    {"calibration", 0, "FILE", CLI_TEXT, AT(calibration), NULL, 0, 0, NULL,
     "read what this machine does per second from the file, or measure it and write the file"},
    {"no-time", 0, NULL, CLI_SWITCH, AT(no_time), NULL, 0, 0, NULL, "measure nothing, predict no times"},
    {"head-dim", 0, "D", CLI_INTEGER, AT(head_dim), "0", 0, 512, NULL, "without a model: rotated components of a head"},
    {"window", 0, "T", CLI_INTEGER, AT(trained), "0", 0, 0x1p40, NULL, "without a model: the trained window, tokens"},
    {"base", 0, "B", CLI_REAL, AT(base), "10000", 1, 1e15, NULL, "without a model: the rotary base"},
};
static const cli_flag measure_flags[] = {
    {"measure", 0, NULL, CLI_SWITCH, AT(measure), NULL, 0, 0, NULL,
     "find the critical pair by experiment, without training: hold pairs i .. end to the angles of the trained window"},
    {"file", 'f', "FILE", CLI_TEXTS, AT(files), NULL, 0, 0, NULL, "the text to read, at least four windows long"},
    CLI_DATA_FLAGS(AT(reading)),
    {"score", 0, "N", CLI_INTEGER, AT(score), "64", 1, 0x1p30, NULL, "tokens of a target block"},
    {"blocks", 0, "N", CLI_INTEGER, AT(blocks), "32", 2, 0x1p30, NULL, "target blocks, spread over the text"},
    {"svg", 0, "FILE", CLI_TEXT, AT(svg), NULL, 0, 0, NULL, "draw the loss over the first held pair"},
};
static const cli_group measure_group = CLI_GROUP("Measurement", measure_flags);

static const cli_group plan_group = CLI_GROUP("Plan", plan_flags);

static int plan(const plan_options *o, const fl_model *m)
{
    fl_plan_options options = FL_PLAN_OPTIONS_INIT;
    options.model = m;
    options.head_dim = (int)o->head_dim;
    options.window = o->trained;
    options.base = o->base;
    options.to = o->to;
    options.tune_length = o->tune_length;
    options.chunk = o->common.batch;
    options.batch = o->sequences;
    options.type_k = o->common.type_k;
    options.type_v = o->common.type_v;
    fl_rates rates = {.size = sizeof rates};
    fl_plan p = {.size = sizeof p};
    fl_status s = m && !o->no_time ? cli_calibrate(&rates, o->calibration, m) : FL_OK;
    if (m && !o->no_time) options.rates = &rates;
    if (s == FL_OK) s = fl_plan_make(&p, &options);
    if (s != FL_OK) return cli_failed(s);
    return o->common.json ? cli_plan_json(&p, o->common.model) : cli_plan_text(&p, o->common.model);
}

static int measure_on(const plan_options *o, const fl_model *m, const fl_document *text)
{
    fl_plan_options options = FL_PLAN_OPTIONS_INIT;
    fl_model_info info = {.size = sizeof info};
    fl_plan p = {.size = sizeof p};
    fl_measure measured = {0};
    fl_session_options reading;
    cli_session_options(&reading, &o->common);
    fl_measure_options measure = {
        .score = o->score, .blocks = o->blocks, .session = &reading, .progress = cli_progress};
    fl_status s = fl_model_get_info(m, &info);
    options.model = m;
    options.to = 4 * info.trained_window;
    if (s == FL_OK) s = fl_plan_make(&p, &options);
    cli_interrupt_arm(NULL);
    if (s == FL_OK) s = fl_measure_critical_pair(&measured, m, text, cli_bos(m), &measure);
    cli_interrupt_disarm();
    int status = s == FL_OK ? cli_measure_show(&measured, &p, o->common.json, o->svg) : cli_failed(s);
    fl_measure_free(&measured);
    return status;
}

static int measure(const cli_call *call)
{
    const plan_options *o = call->options;
    cli_work w = {0};
    cli_documents documents = {0};
    if (!o->common.model || o->files.count != 1)
        return cli_misused(call, "--measure needs a model and one text: -m MODEL -f FILE");
    int status = cli_open_tokenizer(&w, call, &o->common);
    if (status == CLI_OK) status = cli_read_documents(&documents, w.tokenizer, &o->reading, &o->files);
    if (status == CLI_OK && documents.count != 1)
        status = cli_misused(call, "%s holds %d documents: one is measured on", o->files.item[0], documents.count);
    if (status == CLI_OK) status = measure_on(o, w.model, documents.item);
    cli_documents_free(&documents);
    cli_close(&w);
    return status;
}

static int run(const cli_call *call)
{
    const plan_options *o = call->options;
    if (o->measure) return measure(call);
    if (!o->to) return cli_misused(call, "say which window is wanted with --to N");
    if (!o->common.model && (!o->head_dim || !o->trained))
        return cli_misused(call, "name a model with -m MODEL, or give --head-dim D --window T --base B");
    cli_work w = {0};
    int status = o->common.model ? cli_open_model(&w, call, &o->common) : CLI_OK;
    if (status == CLI_OK) status = plan(o, w.model);
    cli_close(&w);
    return status;
}

static const cli_group *const plan_groups[] = {&cli_group_model, &plan_group,       &measure_group,
                                               &cli_group_cache, &cli_group_output, NULL};
const cli_command cli_plan = {"plan",
                              "predict which window each method reaches, and the memory and time it takes",
                              NULL,
                              "The windows follow from the scaling laws of RoPE extrapolation and from how each method "
                              "moves positions; each says what it rests on. Memory and work are counted by running the "
                              "model's own code with shapes only; times follow from a measurement of about a second.",
                              sizeof(plan_options),
                              plan_groups,
                              run};
