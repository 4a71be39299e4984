#include "eval/report.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "eval/figure.h"
#include "file/json.h"

#define FILE_LIMIT ((size_t)64 << 20)

fl_status fl_report_add(fl_report *r, const fl_report_row *row)
{
    if (r->count == r->capacity) {
        int64_t capacity = r->capacity ? 2 * r->capacity : 32;
        fl_report_row *rows = fl_realloc(r->row, (size_t)capacity, sizeof *rows);
        if (!rows) return FL_ERR_MEMORY;
        r->row = rows;
        r->capacity = capacity;
    }
    r->row[r->count++] = *row;
    return FL_OK;
}

void fl_report_free(fl_report *r)
{
    fl_free(r->row);
    *r = (fl_report){0};
}

/* ---- JSON lines ------------------------------------------------------------------------------------------------ */

static fl_status append_row(fl_appender *file, const fl_report_row *row)
{
    return fl_json_append(file, json_pack("{ss ss sI sI sf sf sf}", "label", row->label, "protocol", row->protocol,
                                          "length", (json_int_t)row->length, "tokens", (json_int_t)row->tokens, "nll",
                                          row->nll, "ppl", row->ppl, "stderr", row->stderr_nll));
}

fl_status fl_report_append(const fl_report *r, const char *path)
{
    fl_appender file;
    FL_TRY(fl_appender_open(&file, path, true));
    fl_status s = FL_OK;
    for (int64_t i = 0; i < r->count && s == FL_OK; i++)
        s = append_row(&file, &r->row[i]);
    return fl_appender_close(&file, s);
}

static fl_status read_line(fl_report *r, const char *line, size_t length, const char *path, int number)
{
    json_error_t error;
    json_t *o = json_loadb(line, length, JSON_REJECT_DUPLICATES, &error);
    const char *label, *protocol;
    json_int_t size, tokens;
    fl_report_row row = {0};
    fl_status s = FL_OK;
    if (!o)
        s = fl_fail(FL_ERR_FORMAT, "%s:%d: %s", path, number, error.text);
    else if (json_unpack_ex(o, &error, 0, "{ss ss sI sI sF sF sF}", "label", &label, "protocol", &protocol, "length",
                            &size, "tokens", &tokens, "nll", &row.nll, "ppl", &row.ppl, "stderr", &row.stderr_nll))
        s = fl_fail(FL_ERR_FORMAT, "%s:%d: not a result of an evaluation: %s", path, number, error.text);
    else if (strlen(label) >= sizeof row.label || strlen(protocol) >= sizeof row.protocol)
        s = fl_fail(FL_ERR_FORMAT, "%s:%d: label or protocol is too long", path, number);
    else {
        strcpy(row.label, label);
        strcpy(row.protocol, protocol);
        row.length = size;
        row.tokens = tokens;
        s = fl_report_add(r, &row);
    }
    json_decref(o);
    return s;
}

fl_status fl_report_read(fl_report *r, const char *path)
{
    fl_buffer text = {0};
    FL_TRY(fl_file_read(&text, path, FILE_LIMIT));
    fl_status s = FL_OK;
    int number = 0;
    for (const char *line = text.data; s == FL_OK && line && *line;) {
        size_t length = strcspn(line, "\n");
        number++;
        if (length) s = read_line(r, line, length, path, number);
        line += length + (line[length] == '\n');
    }
    fl_buffer_free(&text);
    return s;
}

/* ---- table and picture ----------------------------------------------------------------------------------------- */

static bool first_of_label(const fl_report *r, int64_t i)
{
    for (int64_t j = 0; j < i; j++)
        if (!strcmp(r->row[j].label, r->row[i].label)) return false;
    return true;
}

/* The lengths that occur, ascending; returns how many. */
static int64_t lengths_of(const fl_report *r, int64_t *out)
{
    int64_t n = 0;
    for (int64_t i = 0; i < r->count; i++) {
        int64_t at = 0;
        while (at < n && out[at] < r->row[i].length)
            at++;
        if (at < n && out[at] == r->row[i].length) continue;
        memmove(out + at + 1, out + at, (size_t)(n - at) * sizeof *out);
        out[at] = r->row[i].length;
        n++;
    }
    return n;
}

/* The newest row of a label at a length: a later run replaces an earlier one. */
static const fl_report_row *find(const fl_report *r, const char *label, int64_t length)
{
    for (int64_t i = r->count - 1; i >= 0; i--)
        if (r->row[i].length == length && !strcmp(r->row[i].label, label)) return &r->row[i];
    return NULL;
}

static void table_number(fl_buffer *out, double ppl)
{
    if (ppl < 1e4)
        fl_buffer_format(out, "  %10.2f", ppl);
    else
        fl_buffer_format(out, "  %10.3g", ppl);
}

void fl_report_table(const fl_report *r, fl_buffer *out)
{
    int64_t *length = fl_calloc((size_t)r->count + 1, sizeof *length);
    if (!length) {
        out->failed = true;
        return;
    }
    int64_t lengths = lengths_of(r, length);
    int width = (int)strlen("perplexity");
    for (int64_t i = 0; i < r->count; i++)
        width = (int)fmax(width, (double)strlen(r->row[i].label));
    fl_buffer_format(out, "%-*s", width, "perplexity");
    for (int64_t i = 0; i < lengths; i++)
        fl_buffer_format(out, "  %10lld", (long long)length[i]);
    fl_buffer_text(out, "\n");
    for (int64_t i = 0; i < r->count; i++) {
        if (!first_of_label(r, i)) continue;
        fl_buffer_format(out, "%-*s", width, r->row[i].label);
        for (int64_t j = 0; j < lengths; j++) {
            const fl_report_row *row = find(r, r->row[i].label, length[j]);
            if (row)
                table_number(out, row->ppl);
            else
                fl_buffer_format(out, "  %10s", "-");
        }
        fl_buffer_text(out, "\n");
    }
    fl_free(length);
}

/* Axes that end just outside of the data, with round numbers on the logarithmic perplexity axis. */
static void ranges(const fl_report *r, fl_buffer *out)
{
    double low = INFINITY, high = 0;
    int64_t first = INT64_MAX, last = 0;
    for (int64_t i = 0; i < r->count; i++) {
        low = fmin(low, r->row[i].ppl);
        high = fmax(high, r->row[i].ppl);
        first = r->row[i].length < first ? r->row[i].length : first;
        last = r->row[i].length > last ? r->row[i].length : last;
    }
    if (r->count == 0) return;
    fl_buffer_format(out, "set xrange [%g:%g]\nset yrange [%g:%g]\nset ytics (", (double)first / 1.2,
                     (double)last * 1.2, low / 1.25, high * 2);
    for (double decade = pow(10, floor(log10(low))); decade < high * 2; decade *= 10)
        for (int i = 0; i < 4; i++)
            fl_buffer_format(out, "%g, ", decade * (const double[]){1, 2, 3, 5}[i]);
    fl_buffer_format(out, "1e99)\n");
}

void fl_report_script(const fl_report *r, const char *title, const char *svg, int64_t trained_window, fl_buffer *out)
{
    int64_t *length = fl_calloc((size_t)r->count + 1, sizeof *length);
    if (!length) {
        out->failed = true;
        return;
    }
    int64_t lengths = lengths_of(r, length);
    int block = 0;
    for (int64_t i = 0; i < r->count; i++) {
        if (!first_of_label(r, i)) continue;
        fl_buffer_format(out, "$d%d << EOD\n", block++);
        for (int64_t j = 0; j < lengths; j++) {
            const fl_report_row *row = find(r, r->row[i].label, length[j]);
            if (row)
                fl_buffer_format(out, "%lld %.6g %.6g %.6g\n", (long long)row->length, row->ppl,
                                 exp(row->nll - row->stderr_nll), exp(row->nll + row->stderr_nll));
        }
        fl_buffer_text(out, "EOD\n");
    }
    fl_figure_begin(out, svg, title);
    fl_buffer_text(out, "set logscale xy\nset xlabel \"context length, tokens\"\nset ylabel \"perplexity\"\n"
                        "set key top left noenhanced\nset xtics (");
    for (int64_t j = 0; j < lengths; j++)
        fl_buffer_format(out, "%s\"%lld\" %lld", j ? ", " : "", (long long)length[j], (long long)length[j]);
    fl_buffer_text(out, ")\n");
    ranges(r, out);
    if (trained_window > 0)
        fl_buffer_format(
            out,
            "set arrow from %lld, graph 0 to %lld, graph 1 nohead dashtype 2 linewidth 2 linecolor rgb \"#777777\"\n"
            "set label \" trained window\" at %lld, graph 0.03 textcolor rgb \"#777777\"\n",
            (long long)trained_window, (long long)trained_window, (long long)trained_window);
    fl_buffer_text(out, "plot ");
    block = 0;
    for (int64_t i = 0; i < r->count; i++) {
        if (!first_of_label(r, i)) continue;
        fl_buffer_format(out, "%s$d%d using 1:2:3:4 with yerrorlines linewidth 2 pointtype %d title ",
                         block ? ", " : "", block, block + 4);
        fl_figure_quoted(out, r->row[i].label);
        block++;
    }
    fl_buffer_text(out, "\n");
    fl_free(length);
}
