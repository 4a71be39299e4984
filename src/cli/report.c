/* furlong report: results of several evaluations as one table and picture. */
#include <stdio.h>
#include <string.h>

#include "cli/eval.h"
#include "eval/report.h"

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
    if (status == CLI_OK && o->svg) {
        fl_buffer script = {0};
        fl_report_script(&report, o->title, o->svg, o->window, &script);
        status = eval_draw(&script);
    }
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
