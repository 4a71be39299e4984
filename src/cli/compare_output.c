#include "cli/compare.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "cli/picture.h"
#include "eval/blocks.h"
#include "eval/report.h"

static fl_compare_verdict verdict(const compare_result *r, const compare_arm *a)
{
    return fl_compare_judge(r->rows, a->label, r->trained, r->margin);
}

/* Loss inside the trained window that the method costs against the untouched model, whose arm is the first; false:
 * not measured. A window that reaches far is worth little where everything in it is read worse. */
static bool cost(const compare_result *r, const compare_arm *a, double *mean, double *error)
{
    const fl_compare_row *here = fl_compare_find(r->rows, a->label, r->trained);
    const fl_compare_row *plain = fl_compare_find(r->rows, r->arm[0].label, r->trained);
    if (!here || !plain) return false;
    fl_paired(here->block, plain->block, here->blocks, mean, error);
    return true;
}

/* What the measurement says about the claim. Lengths beyond the longest one say nothing. */
static const char *finding(char text[128], const compare_result *r, const compare_arm *a)
{
    fl_compare_verdict v = verdict(r, a);
    const char *window = !v.longest                  ? "not measured"
                         : v.effective > a->claimed  ? "reaches further than claimed"
                         : v.effective >= a->claimed ? "holds"
                         : v.effective == v.longest  ? "holds as far as measured"
                         : v.effective == r->trained ? "fails: reads no further than the trained window"
                                                     : "falls short";
    double mean = 0, error;
    if (a->stream)
        snprintf(text, 128, "%s; sees no more than its cache", window);
    else if (cost(r, a, &mean, &error) && mean > r->margin)
        snprintf(text, 128, "%s, but loses %.2f nats inside the trained window", window, mean);
    else
        snprintf(text, 128, "%s", window);
    return text;
}

static fl_status rows_of(const compare_result *r, fl_report *report)
{
    for (int i = 0; i < r->arms; i++)
        for (int j = 0; j < r->lengths; j++) {
            const fl_compare_row *row = fl_compare_find(r->rows, r->arm[i].label, r->length[j]);
            if (!row) continue;
            fl_report_row out = {.length = row->length,
                                 .tokens = row->tokens,
                                 .nll = row->nll,
                                 .ppl = exp(row->nll),
                                 .stderr_nll = row->error};
            snprintf(out.label, sizeof out.label, "%s", row->label);
            snprintf(out.protocol, sizeof out.protocol, "matched");
            FL_TRY(fl_report_add(report, &out));
        }
    return FL_OK;
}

static int label_width(const compare_result *r)
{
    size_t width = strlen("method");
    for (int i = 0; i < r->arms; i++)
        width = strlen(r->arm[i].label) > width ? strlen(r->arm[i].label) : width;
    return (int)width;
}

/* One line per method: loss gained or lost against the trained window, and how far that holds. */
static void verdict_table(const compare_result *r, fl_buffer *out)
{
    int width = label_width(r);
    bool keys = false;
    for (int i = 0; i < r->arms; i++)
        keys = keys || r->arm[i].k_max >= 0;
    fl_buffer_format(out, "%-*s  %15s", width, "method", "inside");
    for (int j = 1; j < r->lengths; j++)
        fl_buffer_format(out, "  %15lld", (long long)r->length[j]);
    fl_buffer_format(out, "  %8s  %9s  %9s%s  %s\n", "claimed", "effective", "+margin", keys ? "    passkey" : "",
                     "verdict");
    for (int i = 0; i < r->arms; i++) {
        const compare_arm *a = &r->arm[i];
        const fl_compare_row *base = fl_compare_find(r->rows, a->label, r->trained);
        char text[128];
        double mean = 0, error = 0;
        cost(r, a, &mean, &error);
        fl_buffer_format(out, "%-*s  %+7.3f +- %.3f", width, a->label, mean, error);
        for (int j = 1; j < r->lengths; j++) {
            const fl_compare_row *row = fl_compare_find(r->rows, a->label, r->length[j]);
            if (!row || !base) {
                fl_buffer_format(out, "  %15s", "-");
                continue;
            }
            fl_paired(row->block, base->block, row->blocks, &mean, &error);
            fl_buffer_format(out, "  %+7.3f +- %.3f", mean, error);
        }
        fl_compare_verdict v = verdict(r, a);
        fl_buffer_format(out, "  %8lld  %9lld  %9lld", (long long)a->claimed, (long long)v.effective,
                         (long long)v.effective_margin);
        if (keys && a->k_max >= 0) fl_buffer_format(out, "  %9lld", (long long)a->k_max);
        if (keys && a->k_max < 0) fl_buffer_format(out, "  %9s", "-");
        fl_buffer_format(out, "  %s\n", finding(text, r, a));
    }
}

static void legend(const compare_result *r, fl_buffer *out)
{
    fl_buffer_format(
        out,
        "Targets: %lld blocks of %lld tokens of each of %d document%s (%d too short and left out), the same for every "
        "method and length. A length is what is read before and with the targets.\n"
        "Second table, differences of loss (nats per token), mean and standard error over the blocks. inside: of the "
        "method against the untouched model, both with the last %lld tokens; under a length: of the same method, with "
        "that length against those tokens alone.\n"
        "effective: the longest length up to which that is at most %g standard errors above 0; +margin: at "
        "most %g nats.\n",
        (long long)r->blocks, (long long)r->score, r->texts, r->texts == 1 ? "" : "s", r->skipped,
        (long long)r->trained, FL_COMPARE_ERRORS, r->margin);
}

/* Both tables into the buffer -> exit status. */
static int tables(const compare_result *r, fl_buffer *out)
{
    fl_report report = {0};
    fl_status s = rows_of(r, &report);
    if (s == FL_OK) {
        fl_report_table(&report, out);
        fl_buffer_text(out, "\n");
        verdict_table(r, out);
    }
    fl_report_free(&report);
    if (s == FL_OK && out->failed) s = fl_fail(FL_ERR_MEMORY, "out of memory");
    return s == FL_OK ? CLI_OK : cli_failed(s);
}

int compare_text(const compare_result *r)
{
    fl_buffer out = {0};
    int status = tables(r, &out);
    if (status == CLI_OK) {
        fl_buffer_text(&out, "\n");
        legend(r, &out);
        fputs(out.data, stdout);
        status = cli_finish_output();
    }
    fl_buffer_free(&out);
    return status;
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

static json_t *row_json(const compare_result *r, const compare_arm *a, const fl_compare_row *row)
{
    const fl_compare_row *base = fl_compare_find(r->rows, a->label, r->trained);
    double mean = 0, error = 0;
    if (base) fl_paired(row->block, base->block, row->blocks, &mean, &error);
    return json_pack("{ss ss sb sI sI sf sf sf sf sf}", "label", a->label, "method", a->method, "tuned",
                     a->folder != NULL, "length", (json_int_t)row->length, "tokens", (json_int_t)row->tokens, "nll",
                     row->nll, "ppl", exp(row->nll), "stderr", row->error, "difference", mean, "difference_stderr",
                     error);
}

int compare_json(const compare_result *r)
{
    json_t *results = json_array(), *verdicts = json_array();
    for (int i = 0; i < r->arms; i++) {
        const compare_arm *a = &r->arm[i];
        fl_compare_verdict v = verdict(r, a);
        for (int j = 0; j < r->lengths; j++) {
            const fl_compare_row *row = fl_compare_find(r->rows, a->label, r->length[j]);
            if (row) json_array_append_new(results, row_json(r, a, row));
        }
        double mean = 0, error = 0;
        char text[128];
        cost(r, a, &mean, &error);
        json_t *o = json_pack("{ss ss sb sf sf sI sI sI sI ss}", "label", a->label, "method", a->method, "tuned",
                              a->folder != NULL, "cost", mean, "cost_stderr", error, "claimed", (json_int_t)a->claimed,
                              "effective", (json_int_t)v.effective, "effective_margin", (json_int_t)v.effective_margin,
                              "longest", (json_int_t)v.longest, "verdict", finding(text, r, a));
        if (o && a->k_max >= 0) json_object_set_new(o, "passkey_k_max", json_integer(a->k_max));
        json_array_append_new(verdicts, o);
    }
    return cli_print_json(json_pack(
        "{so so si si sI sI sI sI sf so so}", "model", cli_json_text(r->model, strlen(r->model)), "text",
        cli_json_text(r->text, strlen(r->text)), "documents", r->texts, "skipped", r->skipped, "trained_window",
        (json_int_t)r->trained, "target", (json_int_t)r->target, "score", (json_int_t)r->score, "blocks",
        (json_int_t)r->blocks, "margin", r->margin, "results", results, "verdicts", verdicts));
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static fl_status write_text(const char *folder, const char *name, const fl_buffer *text)
{
    char *path = fl_path_join(folder, name);
    fl_writer w;
    fl_status s = path ? fl_writer_open(&w, path) : FL_ERR_MEMORY;
    if (s == FL_OK) {
        fl_writer_write(&w, text->data, text->size);
        s = fl_writer_finish(&w);
    }
    fl_free(path);
    return s;
}

static int write_report(const compare_result *r, const char *folder)
{
    fl_buffer out = {0};
    fl_buffer_format(&out, "# %s on %s\n\n    %s\n\n```\n", r->model, r->text, r->command);
    int status = tables(r, &out);
    fl_buffer_text(&out, "```\n\n");
    legend(r, &out);
    fl_buffer_text(&out, "\n![perplexity by length](picture.svg)\n");
    fl_status s = status != CLI_OK ? FL_OK
                  : out.failed     ? fl_fail(FL_ERR_MEMORY, "out of memory")
                                   : write_text(folder, "report.md", &out);
    fl_buffer_free(&out);
    return s == FL_OK ? status : cli_failed(s);
}

static int draw(const compare_result *r, const char *folder)
{
    fl_report report = {0};
    fl_buffer script = {0};
    char *svg = fl_path_join(folder, "picture.svg");
    fl_status s = svg ? rows_of(r, &report) : FL_ERR_MEMORY;
    if (s == FL_OK) fl_report_script(&report, r->model, svg, r->trained, &script);
    if (s == FL_OK && script.failed) s = fl_fail(FL_ERR_MEMORY, "out of memory");
    int status = s == FL_OK ? cli_draw(script.data) : cli_failed(s);
    fl_buffer_free(&script);
    fl_report_free(&report);
    fl_free(svg);
    return status;
}

int compare_write(const compare_result *r, const char *folder)
{
    int status = write_report(r, folder);
    return status == CLI_OK ? draw(r, folder) : status;
}
