/* furlong doctor: what is right and wrong with a model for long texts. */
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/documents.h"
#include "cli/interrupt.h"
#include "plan/doctor.h"

typedef struct doctor_options {
    cli_common common; /* first: see cli/common.h */
    cli_texts files;
    cli_data reading;
    int64_t score, blocks, longest;
    double margin;
    bool no_text;
} doctor_options;

#define AT(member) offsetof(doctor_options, member)

static const cli_flag flags[] = {
    {"file", 'f', "FILE", CLI_TEXTS, AT(files), NULL, 0, 0, NULL,
     "the text on which the loss is measured, best several windows long; without it, simple stories inside the "
     "program"},
    CLI_DATA_FLAGS(AT(reading)),
    {"no-text", 0, NULL, CLI_SWITCH, AT(no_text), NULL, 0, 0, NULL, "measure no loss: look at the files alone"},
    {"longest", 0, "N", CLI_INTEGER, AT(longest), "16384", 2, 0x1p40, NULL,
     "most tokens of context; up to four times the claimed window is measured"},
    {"score", 0, "N", CLI_INTEGER, AT(score), "64", 1, 0x1p30, NULL, "tokens of a target block"},
    {"blocks", 0, "N", CLI_INTEGER, AT(blocks), "16", 2, 0x1p30, NULL, "target blocks, spread over the text"},
    {"margin", 0, "NATS", CLI_REAL, AT(margin), "0.1", 0, 1e3, NULL, "by how much the loss must rise to count"},
};
static const cli_group group = CLI_GROUP("Examination", flags);

/* The stories, made from a file by the build. */
extern const unsigned char cli_stories[];
extern const size_t cli_stories_size;

static const char *level_name(fl_finding_level level)
{
    static const char *const names[] = {[FL_FINDING_OK] = "ok", [FL_FINDING_WARN] = "warn", [FL_FINDING_BAD] = "bad"};
    return names[level];
}

static fl_finding_level worst(const fl_doctor *d)
{
    fl_finding_level level = FL_FINDING_OK;
    for (int i = 0; i < d->findings; i++)
        level = d->finding[i].level > level ? d->finding[i].level : level;
    return level;
}

static int print_json(const doctor_options *o, const fl_doctor *d)
{
    json_t *findings = json_array(), *losses = json_array();
    for (int i = 0; i < d->findings; i++) {
        const fl_finding *f = &d->finding[i];
        json_array_append_new(findings, json_pack("{ss ss so so}", "level", level_name(f->level), "topic", f->topic,
                                                  "text", cli_json_text(f->text, strlen(f->text)), "advice",
                                                  cli_json_text(f->advice, strlen(f->advice))));
    }
    for (int i = 0; i < d->lengths; i++)
        json_array_append_new(losses, json_pack("{sI sf sf}", "length", (json_int_t)d->length[i], "nll", d->loss[i],
                                                "difference_stderr", d->error[i]));
    return cli_print_json(json_pack("{so ss sI sI sf sI so so}", "model",
                                    cli_json_text(o->common.model, strlen(o->common.model)), "verdict",
                                    level_name(worst(d)), "claimed_window", (json_int_t)d->claimed, "trained_window",
                                    (json_int_t)d->trained, "supported_by_base", d->supported, "loss_rises_at",
                                    (json_int_t)d->rises, "losses", losses, "findings", findings));
}

static int print_text(const fl_doctor *d)
{
    for (int i = 0; i < d->findings; i++) {
        const fl_finding *f = &d->finding[i];
        printf("%-4s  %-9s  %s\n", level_name(f->level), f->topic, f->text);
        if (*f->advice) printf("%15s  -> %s\n", "", f->advice);
    }
    if (d->lengths) printf("\n%10s  %14s  %s\n", "length", "nats per token", "+/- against the least before");
    for (int i = 0; i < d->lengths; i++)
        printf("%10lld  %14.4f  %.4f%s%s\n", (long long)d->length[i], d->loss[i], d->error[i],
               d->length[i] == d->claimed ? "  claimed" : "", d->rises && d->length[i] == d->rises ? "  rises" : "");
    return cli_finish_output();
}

static int show(const doctor_options *o, const fl_doctor *d)
{
    int status = o->common.json ? print_json(o, d) : print_text(d);
    return status == CLI_OK && worst(d) == FL_FINDING_BAD ? CLI_ERROR : status;
}

/* The text named, or the stories -> exit status. */
static int read_text(cli_documents *documents, const cli_call *call, cli_work *w)
{
    const doctor_options *o = call->options;
    int status = cli_open_tokenizer(w, call, &o->common);
    if (status != CLI_OK) return status;
    if (o->files.count) {
        status = cli_read_documents(documents, w->tokenizer, &o->reading, &o->files);
        if (status == CLI_OK && documents->count != 1)
            return cli_misused(call, "-f names %d documents: give one", documents->count);
        return status;
    }
    int32_t *ids;
    int64_t count;
    status = cli_encode(w->tokenizer, (const char *)cli_stories, cli_stories_size, false, false, &ids, &count);
    if (status != CLI_OK) return status;
    documents->item = malloc(sizeof *documents->item);
    if (!documents->item) {
        free(ids);
        cli_error("out of memory");
        return CLI_ERROR;
    }
    *documents->item = (fl_document){ids, count};
    documents->count = 1;
    return CLI_OK;
}

static int examine(const cli_call *call, cli_work *w, const fl_document *text)
{
    const doctor_options *o = call->options;
    static fl_doctor doctor;
    fl_session_options reading;
    cli_session_options(&reading, &o->common);
    fl_doctor_options options = {.text = text,
                                 .bos = cli_bos(w->model),
                                 .score = o->score,
                                 .blocks = o->blocks,
                                 .longest = o->longest,
                                 .margin = o->margin,
                                 .session = &reading,
                                 .progress = cli_progress};
    cli_interrupt_arm(NULL);
    fl_status s = fl_doctor_examine(&doctor, w->model, &options);
    cli_interrupt_disarm();
    return s == FL_OK ? show(o, &doctor) : cli_failed(s);
}

/* A model that does not open is what a doctor is for. */
static int refused(const doctor_options *o)
{
    static fl_doctor doctor;
    fl_doctor_refused(&doctor, fl_error_message());
    return show(o, &doctor);
}

static int run(const cli_call *call)
{
    const doctor_options *o = call->options;
    if (!o->common.model) return cli_misused(call, "name a model with -m MODEL");
    if (o->no_text && o->files.count) return cli_misused(call, "--no-text and -f exclude each other");
    cli_work w = {0};
    cli_documents documents = {0};
    fl_model_options options;
    int status = cli_open_engine(&w, &o->common);
    if (status != CLI_OK) return status;
    cli_model_options(&options, &o->common);
    if (fl_model_open(&w.model, w.engine, o->common.model, &options) != FL_OK) {
        status = refused(o);
    } else {
        fl_tokenizer *found = NULL; /* without one there is a finding, and no text to read */
        bool has_tokenizer = fl_tokenizer_load(&found, o->common.tokenizer, w.model) == FL_OK;
        w.tokenizer = found;
        if (has_tokenizer && !o->no_text) status = read_text(&documents, call, &w);
        if (status == CLI_OK) status = examine(call, &w, documents.count ? documents.item : NULL);
    }
    cli_documents_free(&documents);
    cli_close(&w);
    return status;
}

static const cli_group *const groups[] = {&cli_group_model, &group, &cli_group_cache, &cli_group_output, NULL};
const cli_command cli_doctor = {
    "doctor",
    "examine a model: what it claims, what its base supports, where its loss rises",
    NULL,
    "Every line is ok, warn or bad, with what to do about it. The exit status is 1 if anything is bad. The loss is "
    "measured on the same targets with contexts up to four times the claimed window.",
    sizeof(doctor_options),
    groups,
    run};
