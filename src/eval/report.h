/* Evaluation results as JSON lines, as an aligned table (one line per label, one column per length), and as a gnuplot
 * script. A results file is appended to by every run, so methods made by different commands meet in one picture. */
#ifndef FL_EVAL_REPORT_H
#define FL_EVAL_REPORT_H

#include "base/buffer.h"

typedef struct fl_report_row {
    char label[64], protocol[16];
    int64_t length, tokens;
    double nll, ppl, stderr_nll;
} fl_report_row;

typedef struct fl_report {
    fl_report_row *row;
    int64_t count, capacity;
} fl_report;

fl_status fl_report_add(fl_report *r, const fl_report_row *row);
void fl_report_free(fl_report *r);

/* Append the rows to a JSONL file; read every row of one. Lines that are no results are errors naming file and line. */
fl_status fl_report_append(const fl_report *r, const char *path);
fl_status fl_report_read(fl_report *r, const char *path);

/* Perplexity by label and length; "-" where a label was not measured. */
void fl_report_table(const fl_report *r, fl_buffer *out);
/* A script that draws perplexity with error bars of one standard error over length, both axes logarithmic, to an SVG,
 * or a PNG if its name ends so. trained_window > 0 is marked by a line. */
void fl_report_script(const fl_report *r, const char *title, const char *svg, int64_t trained_window, fl_buffer *out);

#endif
