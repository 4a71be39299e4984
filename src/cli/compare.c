/* furlong compare: methods by lengths on one model and one text, untuned and tuned, claims against measurements. */
#include "cli/compare.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "cli/commands.h"
#include "cli/documents.h"
#include "cli/interrupt.h"
#include "eval/blocks.h"
#include "position/rope.h"

typedef struct compare_options {
    cli_common common; /* first: see cli/common.h */
    cli_texts files;
    cli_data reading;
    const char *methods, *tuned, *out;
    cli_integers lengths;
    int64_t score, blocks, trials;
    double margin;
    bool skip_short;
} compare_options;

#define AT(member) offsetof(compare_options, member)
#define DISTANCES 16 /* of passkeys */

static const cli_flag flags[] = {
    {"file", 'f', "FILE", CLI_TEXTS, AT(files), NULL, 0, 0, NULL,
     "a text, JSON lines, either compressed (.zst), or a folder of such files, which no arm was tuned on"},
    CLI_DATA_FLAGS(AT(reading)),
    {"skip-short", 0, NULL, CLI_SWITCH, AT(skip_short), NULL, 0, 0, NULL,
     "leave out documents that are too short for the longest length, and say how many; without it they are errors"},
    {"methods", 0, "NAME,...", CLI_TEXT, AT(methods), "all", 0, 0, NULL,
     "as furlong plan names them; all: every one that it knows for this model"},
    {"tuned", 0, "NAME=FOLDER,...", CLI_TEXT, AT(tuned), NULL, 0, 0, NULL, "models tuned for a method, as they are"},
    {"lengths", 0, "N,N,...", CLI_INTEGERS, AT(lengths), NULL, 2, 0x1p40, NULL,
     "tokens read, targets included; without it 2, 4 and 8 trained windows. The longest is the methods' target"},
    {"score", 0, "N", CLI_INTEGER, AT(score), "64", 1, 0x1p30, NULL, "tokens of a target block"},
    {"blocks", 0, "N", CLI_INTEGER, AT(blocks), "32", 2, 0x1p30, NULL,
     "target blocks of each document, spread over it"},
    {"margin", 0, "NATS", CLI_REAL, AT(margin), "0.1", 0, 1e3, NULL,
     "loss that the second reading of a window forgives"},
    {"passkey", 0, "TRIALS", CLI_INTEGER, AT(trials), "0", 0, 1 << 20, NULL,
     "find how far back each method fetches a key, at 16 distances of the target with so many trials; 0: not at all"},
    {"out", 'o', "REPORT", CLI_TEXT, AT(out), NULL, 0, 0, NULL,
     "folder for results.jsonl, report.md and picture.svg; what it holds of this comparison is not measured again"},
};
static const cli_group group = CLI_GROUP("Comparison", flags);

typedef struct comparison {
    const cli_call *call;
    const compare_options *o;
    cli_work work;
    cli_documents documents;
    fl_blocks blocks;
    fl_buffer text; /* names of the files */
    fl_plan plan;
    compare_arm *arm;
    int arms;
    int64_t *length; /* [lengths] ascending, first the trained window */
    int lengths;
    fl_compare rows;
    char *results;       /* path */
    int64_t total, done; /* tokens of all readings still to be made */
} comparison;

/* ---- what is compared -------------------------------------------------------------------------------------------- */

static int add_arm(comparison *c, const char *method, const char *folder, size_t folder_length)
{
    fl_rope_kind kind;
    const char *name = method; /* spellings such as pi and linear are one method */
    if (strcmp(name, "base") != 0 && fl_rope_kind_parse(&kind, name) == FL_OK) name = fl_rope_kind_name(kind);
    const fl_plan_method *m = NULL;
    for (int i = 0; i < c->plan.methods; i++)
        if (!strcmp(c->plan.method[i].name, name)) m = &c->plan.method[i];
    if (m && !folder && c->arms && !strcmp(m->name, "none")) return CLI_OK;
    if (!m) return cli_misused(c->call, "--methods %s: furlong plan knows no such method for this model", method);
    compare_arm *arms = realloc(c->arm, (size_t)(c->arms + 1) * sizeof *arms);
    if (!arms) {
        cli_error("out of memory");
        return CLI_ERROR;
    }
    c->arm = arms;
    compare_arm *a = &arms[c->arms++];
    *a = (compare_arm){.method = m->name, .claimed = (int64_t)m->window, .k_max = -1};
    snprintf(a->label, sizeof a->label, "%s%s", m->name, folder ? " tuned" : "");
    a->stream = m->stream && !folder;
    a->rope = (fl_rope_options){.freq_base = m->base, .scale = m->scale};
    if (strcmp(m->name, "base") != 0 && !m->stream) a->rope.scaling = m->name;
    if (folder) a->folder = fl_strndup(folder, folder_length);
    return folder && !a->folder ? CLI_ERROR : CLI_OK;
}

/* One method of a list separated by commas, or NAME=FOLDER. */
static int add_item(comparison *c, const char *item, size_t length, bool tuned)
{
    char name[64];
    const char *equals = tuned ? memchr(item, '=', length) : NULL;
    size_t n = equals ? (size_t)(equals - item) : length;
    if (tuned && (!equals || n + 1 == length))
        return cli_misused(c->call, "--tuned %.*s: give NAME=FOLDER, as in pi=models/pi-tuned", (int)length, item);
    if (n >= sizeof name) return cli_misused(c->call, "--methods %.*s: no method has so long a name", (int)n, item);
    snprintf(name, sizeof name, "%.*s", (int)n, item);
    return add_arm(c, name, equals ? equals + 1 : NULL, equals ? length - n - 1 : 0);
}

static int add_list(comparison *c, const char *list, bool tuned)
{
    int status = CLI_OK;
    while (list && *list && status == CLI_OK) {
        size_t n = strcspn(list, ",");
        if (n) status = add_item(c, list, n, tuned);
        list += n + (list[n] == ',');
    }
    return status;
}

/* The untouched model always comes first: what a method costs is said against it. */
static int choose_arms(comparison *c)
{
    int status = add_arm(c, "none", NULL, 0);
    if (!strcmp(c->o->methods, "all"))
        for (int i = 0; i < c->plan.methods && status == CLI_OK; i++)
            status = add_arm(c, c->plan.method[i].name, NULL, 0);
    else
        status = add_list(c, c->o->methods, false);
    if (status == CLI_OK) status = add_list(c, c->o->tuned, true);
    for (int i = 0; i < c->arms && status == CLI_OK; i++)
        for (int j = 0; j < i; j++)
            if (!strcmp(c->arm[i].label, c->arm[j].label))
                return cli_misused(c->call, "%s is named twice", c->arm[i].label);
    return status;
}

static int by_number(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int choose_lengths(comparison *c, int64_t trained)
{
    const cli_integers *asked = &c->o->lengths;
    int n = asked->count ? asked->count : 3;
    c->length = calloc((size_t)n + 1, sizeof *c->length);
    if (!c->length) {
        cli_error("out of memory");
        return CLI_ERROR;
    }
    for (int i = 0; i < n; i++)
        c->length[i] = asked->count ? asked->item[i] : trained * ((int64_t)2 << i);
    c->length[n++] = trained;
    qsort(c->length, (size_t)n, sizeof *c->length, by_number);
    for (int i = 0; i < n; i++)
        if (!c->lengths || c->length[i] != c->length[c->lengths - 1]) c->length[c->lengths++] = c->length[i];
    if (c->length[0] == trained && c->lengths > 1) return CLI_OK;
    return cli_misused(c->call, "--lengths: give lengths above the trained window of %lld only", (long long)trained);
}

/* ---- measuring --------------------------------------------------------------------------------------------------- */

/* What results of two runs must share to be one comparison. */
static fl_status settings(comparison *c)
{
    const compare_options *o = c->o;
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a of the ids */
    for (int64_t i = 0; i < c->blocks.tokens; i++)
        hash = (hash ^ (uint64_t)(uint32_t)c->blocks.ids[i]) * 0x100000001b3u;
    fl_buffer text = {0};
    fl_buffer_format(&text, "model %s, %lld tokens %016llx, %lld blocks of %lld, longest %lld, cache %s %s",
                     o->common.model, (long long)c->blocks.tokens, (unsigned long long)hash, (long long)o->blocks,
                     (long long)o->score, (long long)c->length[c->lengths - 1], o->common.type_k, o->common.type_v);
    fl_status s = text.failed ? FL_ERR_MEMORY : fl_compare_create(&c->rows, text.data);
    fl_buffer_free(&text);
    return s;
}

static int prepare(comparison *c)
{
    const compare_options *o = c->o;
    fl_model_info info = {.size = sizeof info};
    fl_status s = fl_model_get_info(c->work.model, &info);
    if (s != FL_OK) return cli_failed(s);
    int status = choose_lengths(c, info.trained_window);
    if (status != CLI_OK) return status;
    int64_t longest = c->length[c->lengths - 1];
    fl_plan_options options = FL_PLAN_OPTIONS_INIT;
    options.model = c->work.model;
    options.to = longest;
    c->plan.size = sizeof c->plan;
    s = fl_plan_make(&c->plan, &options);
    if (s == FL_OK)
        s = fl_blocks_create(&c->blocks, c->documents.item, c->documents.count, cli_bos(c->work.model), longest,
                             o->score, o->blocks, o->skip_short);
    if (s == FL_OK) s = settings(c);
    if (s == FL_OK) s = fl_folder_make(o->out);
    if (s == FL_OK && !(c->results = fl_path_join(o->out, "results.jsonl"))) s = FL_ERR_MEMORY;
    if (s == FL_OK) s = fl_compare_read(&c->rows, c->results);
    return s == FL_OK ? choose_arms(c) : cli_failed(s);
}

static bool missing(const comparison *c, const compare_arm *a, int length)
{
    return !fl_compare_find(&c->rows, a->label, c->length[length]);
}

static fl_status measure_length(comparison *c, const compare_arm *a, fl_scorer *scorer, int64_t length, double *nll)
{
    double start = fl_clock_seconds();
    FL_TRY(fl_blocks_judge(&c->blocks, scorer, length, nll));
    fl_compare_row row = {.length = length, .tokens = c->blocks.count * c->blocks.score, .blocks = c->blocks.count};
    snprintf(row.label, sizeof row.label, "%s", a->label);
    row.block = nll;
    row.seconds = fl_clock_seconds() - start;
    fl_paired(nll, NULL, row.blocks, &row.nll, &row.error);
    return fl_compare_add(&c->rows, &row, c->results);
}

static void reading_of(fl_session_options *out, const comparison *c, const compare_arm *a)
{
    cli_session_options(out, &c->o->common);
    if (a->stream) out->overflow = FL_OVERFLOW_STREAM;
}

static fl_status measure_lengths(comparison *c, const compare_arm *a, const fl_model *m)
{
    fl_session_options reading;
    fl_scorer scorer;
    reading_of(&reading, c, a);
    double *nll = fl_calloc((size_t)c->blocks.count, sizeof *nll);
    fl_status s = nll ? fl_scorer_create(&scorer, m, &reading, c->length[c->lengths - 1]) : FL_ERR_MEMORY;
    if (s == FL_OK) {
        fl_progress_start(&scorer.progress, cli_progress, NULL, a->label, c->total);
        scorer.done = c->done;
        for (int i = 0; i < c->lengths && s == FL_OK; i++)
            if (missing(c, a, i)) s = measure_length(c, a, &scorer, c->length[i], nll);
        c->done = scorer.done;
        fl_scorer_destroy(&scorer);
    }
    fl_free(nll);
    return s;
}

/* The largest distance up to which at least a fifth of the keys are found. Trials are kept in the report too. */
static fl_status measure_passkey(comparison *c, compare_arm *a, const fl_model *m)
{
    fl_passkey_options options = FL_PASSKEY_OPTIONS_INIT;
    fl_passkey_point point[DISTANCES];
    fl_passkey_result result;
    fl_session_options reading;
    reading_of(&reading, c, a);
    char *items = fl_path_join(c->o->out, "passkey.jsonl");
    if (!items) return FL_ERR_MEMORY;
    options.run = (fl_eval_run){.session = &reading, .items = items, .progress = cli_progress};
    options.length = c->length[c->lengths - 1];
    options.distances = DISTANCES;
    options.trials = (int)c->o->trials;
    fl_status s = fl_eval_passkey(&result, point, m, c->work.tokenizer, &options);
    if (s == FL_OK) a->k_max = result.k_max;
    fl_free(items);
    return s;
}

static fl_status measure_arm(comparison *c, compare_arm *a)
{
    fl_model_options options;
    fl_model *m;
    cli_model_options(&options, &c->o->common);
    options.rope = a->folder ? (fl_rope_options){0} : a->rope;
    FL_TRY(fl_model_open(&m, c->work.engine, a->folder ? a->folder : c->o->common.model, &options));
    fl_model_info info = {.size = sizeof info};
    fl_status s = fl_model_get_info(m, &info);
    if (s == FL_OK && a->folder && info.window > info.trained_window) a->claimed = info.window;
    bool any = false;
    for (int i = 0; i < c->lengths; i++)
        any = any || missing(c, a, i);
    if (s == FL_OK && any) s = measure_lengths(c, a, m);
    if (s == FL_OK && c->o->trials) s = measure_passkey(c, a, m);
    fl_model_close(m);
    return s;
}

static int measure(comparison *c)
{
    fl_status s = FL_OK;
    for (int i = 0; i < c->arms; i++)
        for (int j = 0; j < c->lengths; j++)
            if (missing(c, &c->arm[i], j)) c->total += c->blocks.count * c->length[j];
    cli_interrupt_arm(NULL);
    for (int i = 0; i < c->arms && s == FL_OK; i++)
        s = measure_arm(c, &c->arm[i]);
    cli_interrupt_disarm();
    return s == FL_OK ? CLI_OK : cli_failed(s);
}

/* The files into c->text, the line that makes the same comparison into command. */
static void name_inputs(comparison *c, fl_buffer *command)
{
    const compare_options *o = c->o;
    fl_buffer_format(command, "furlong compare -m %s", o->common.model);
    for (int i = 0; i < o->files.count; i++) {
        fl_buffer_format(&c->text, "%s%s", i ? " " : "", o->files.item[i]);
        fl_buffer_format(command, " -f %s", o->files.item[i]);
    }
    if (o->skip_short) fl_buffer_text(command, " --skip-short");
    fl_buffer_format(command, " --methods %s", o->methods);
    if (o->tuned) fl_buffer_format(command, " --tuned %s", o->tuned);
    fl_buffer_text(command, " --lengths ");
    for (int i = 1; i < c->lengths; i++)
        fl_buffer_format(command, "%s%lld", i > 1 ? "," : "", (long long)c->length[i]);
    fl_buffer_format(command, " --score %lld --blocks %lld", (long long)o->score, (long long)o->blocks);
    if (o->trials) fl_buffer_format(command, " --passkey %lld", (long long)o->trials);
    fl_buffer_format(command, " -o %s", o->out);
}

static int show(comparison *c, fl_buffer *command)
{
    const compare_options *o = c->o;
    name_inputs(c, command);
    if (c->text.failed || command->failed) return cli_failed(fl_fail(FL_ERR_MEMORY, "out of memory"));
    compare_result r = {.model = o->common.model,
                        .text = c->text.data,
                        .texts = c->blocks.texts,
                        .skipped = c->documents.count - c->blocks.texts,
                        .command = command->data,
                        .trained = c->length[0],
                        .target = c->length[c->lengths - 1],
                        .score = o->score,
                        .blocks = o->blocks,
                        .margin = o->margin,
                        .length = c->length,
                        .lengths = c->lengths,
                        .arm = c->arm,
                        .arms = c->arms,
                        .rows = &c->rows};
    int status = compare_write(&r, o->out);
    if (status != CLI_OK) return status;
    return o->common.json ? compare_json(&r) : compare_text(&r);
}

static int run(const cli_call *call)
{
    const compare_options *o = call->options;
    if (!o->files.count) return cli_misused(call, "name a text with -f FILE");
    if (!o->out) return cli_misused(call, "name the folder of the report with -o REPORT");
    comparison c = {.call = call, .o = o};
    fl_buffer command = {0};
    int status = cli_open_tokenizer(&c.work, call, &o->common);
    if (status == CLI_OK) status = cli_read_documents(&c.documents, c.work.tokenizer, &o->reading, &o->files);
    if (status == CLI_OK) status = prepare(&c);
    if (status == CLI_OK) status = measure(&c);
    if (status == CLI_OK) status = show(&c, &command);
    fl_buffer_free(&command);
    fl_buffer_free(&c.text);
    for (int i = 0; i < c.arms; i++)
        fl_free((void *)(uintptr_t)c.arm[i].folder);
    free(c.arm);
    free(c.length);
    fl_free(c.results);
    fl_compare_free(&c.rows);
    fl_blocks_destroy(&c.blocks);
    cli_documents_free(&c.documents);
    cli_close(&c.work);
    return status;
}

static const cli_group *const groups[] = {&cli_group_model, &group, &cli_group_cache, &cli_group_output, NULL};
const cli_command cli_compare = {
    "compare",
    "methods by lengths on one model and texts: what each claims and how far it reaches",
    NULL,
    "Every method reads the same target blocks with contexts of every length. Its effective window is the longest "
    "length up to which reading everything is no worse than reading the last trained window alone.",
    sizeof(compare_options),
    groups,
    run};
