#include "eval/compare.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "eval/blocks.h"
#include "file/json.h"

#define FILE_LIMIT ((size_t)256 << 20)

fl_status fl_compare_create(fl_compare *c, const char *settings)
{
    *c = (fl_compare){.settings = fl_strdup(settings)};
    return c->settings ? FL_OK : FL_ERR_MEMORY;
}

void fl_compare_free(fl_compare *c)
{
    for (int64_t i = 0; i < c->count; i++)
        fl_free(c->row[i].block);
    fl_free(c->row);
    fl_free(c->settings);
    *c = (fl_compare){0};
}

static fl_status keep(fl_compare *c, const fl_compare_row *row)
{
    if (c->count == c->capacity) {
        int64_t capacity = c->capacity ? 2 * c->capacity : 32;
        fl_compare_row *rows = fl_realloc(c->row, (size_t)capacity, sizeof *rows);
        if (!rows) return FL_ERR_MEMORY;
        c->row = rows;
        c->capacity = capacity;
    }
    double *block = fl_calloc((size_t)row->blocks, sizeof *block);
    if (!block) return FL_ERR_MEMORY;
    memcpy(block, row->block, (size_t)row->blocks * sizeof *block);
    c->row[c->count] = *row;
    c->row[c->count++].block = block;
    return FL_OK;
}

/* ---- the file ---------------------------------------------------------------------------------------------------- */

fl_status fl_compare_add(fl_compare *c, const fl_compare_row *row, const char *path)
{
    json_t *blocks = json_array();
    for (int64_t i = 0; i < row->blocks; i++)
        json_array_append_new(blocks, json_real(row->block[i]));
    json_t *o =
        json_pack("{ss ss sI sI sf sf sf sf so ss}", "label", row->label, "protocol", "matched", "length",
                  (json_int_t)row->length, "tokens", (json_int_t)row->tokens, "nll", row->nll, "ppl", exp(row->nll),
                  "stderr", row->error, "seconds", row->seconds, "blocks", blocks, "settings", c->settings);
    fl_appender file;
    fl_status s = fl_appender_open(&file, path, true);
    if (s == FL_OK)
        s = fl_appender_close(&file, fl_json_append(&file, o));
    else
        json_decref(o);
    FL_TRY(s);
    return keep(c, row);
}

static fl_status blocks_of(fl_compare_row *row, const json_t *list, const char *path, int number)
{
    row->blocks = (int64_t)json_array_size(list);
    row->block = row->blocks > 1 ? fl_calloc((size_t)row->blocks, sizeof *row->block) : NULL;
    if (row->blocks < 2) return fl_fail(FL_ERR_FORMAT, "%s:%d: blocks: fewer than two numbers", path, number);
    if (!row->block) return FL_ERR_MEMORY;
    for (int64_t i = 0; i < row->blocks; i++) {
        const json_t *value = json_array_get(list, (size_t)i);
        row->block[i] = json_number_value(value);
        if (!json_is_number(value) || !isfinite(row->block[i]))
            return fl_fail(FL_ERR_FORMAT, "%s:%d: blocks: value %lld is no number", path, number, (long long)i);
    }
    fl_paired(row->block, NULL, row->blocks, &row->nll, &row->error);
    return FL_OK;
}

static fl_status read_line(fl_compare *c, const char *line, size_t length, const char *path, int number)
{
    json_error_t error;
    json_t *o = json_loadb(line, length, JSON_REJECT_DUPLICATES, &error), *blocks = NULL;
    const char *label = NULL, *settings = NULL;
    json_int_t size = 0, tokens = 0;
    fl_compare_row row = {0};
    fl_status s = FL_OK;
    if (!o)
        s = fl_fail(FL_ERR_FORMAT, "%s:%d: %s", path, number, error.text);
    else if (json_unpack_ex(o, &error, 0, "{ss sI sI sF so ss}", "label", &label, "length", &size, "tokens", &tokens,
                            "seconds", &row.seconds, "blocks", &blocks, "settings", &settings))
        s = fl_fail(FL_ERR_FORMAT, "%s:%d: not a result of a comparison: %s", path, number, error.text);
    else if (strlen(label) >= sizeof row.label || size < 1 || tokens < 1)
        s = fl_fail(FL_ERR_FORMAT, "%s:%d: label, length or tokens are out of range", path, number);
    else if (strcmp(settings, c->settings) != 0)
        s = fl_fail(FL_ERR_STATE,
                    "%s:%d: holds results of other settings (%.200s, now %.200s): name another folder, or remove it",
                    path, number, settings, c->settings);
    if (s == FL_OK) {
        strcpy(row.label, label);
        row.length = size;
        row.tokens = tokens;
        s = blocks_of(&row, blocks, path, number);
        if (s == FL_OK) s = keep(c, &row);
        fl_free(row.block);
    }
    json_decref(o);
    return s;
}

/* What a killed run left of its last line is cut off the file, so that the next one begins a line of its own. */
static fl_status cut(const char *path, const fl_buffer *text, size_t whole)
{
    fl_writer w;
    FL_TRY(fl_writer_open(&w, path));
    if (whole) fl_writer_write(&w, text->data, whole);
    return fl_writer_finish(&w);
}

fl_status fl_compare_read(fl_compare *c, const char *path)
{
    if (!fl_file_exists(path)) return FL_OK;
    fl_buffer text = {0};
    FL_TRY(fl_file_read(&text, path, FILE_LIMIT));
    fl_status s = FL_OK;
    size_t at = 0;
    for (int number = 1; s == FL_OK && at < text.size; number++) {
        const char *line = text.data + at, *end = memchr(line, '\n', text.size - at);
        if (!end) {
            s = cut(path, &text, at);
            break;
        }
        if (end > line) s = read_line(c, line, (size_t)(end - line), path, number);
        at += (size_t)(end - line) + 1;
    }
    fl_buffer_free(&text);
    return s;
}

/* ---- verdicts ---------------------------------------------------------------------------------------------------- */

const fl_compare_row *fl_compare_find(const fl_compare *c, const char *label, int64_t length)
{
    for (int64_t i = c->count - 1; i >= 0; i--)
        if (c->row[i].length == length && !strcmp(c->row[i].label, label)) return &c->row[i];
    return NULL;
}

/* The next longer length of the label; 0: none. */
static int64_t next_length(const fl_compare *c, const char *label, int64_t length)
{
    int64_t next = 0;
    for (int64_t i = 0; i < c->count; i++)
        if (!strcmp(c->row[i].label, label) && c->row[i].length > length && (!next || c->row[i].length < next))
            next = c->row[i].length;
    return next;
}

fl_compare_verdict fl_compare_judge(const fl_compare *c, const char *label, int64_t reference, double margin)
{
    fl_compare_verdict v = {.effective = reference, .effective_margin = reference};
    const fl_compare_row *base = fl_compare_find(c, label, reference);
    if (!base) return (fl_compare_verdict){0};
    bool by_error = true, by_margin = true;
    v.longest = reference;
    for (int64_t at = next_length(c, label, reference); at; at = next_length(c, label, at)) {
        const fl_compare_row *row = fl_compare_find(c, label, at);
        double mean, error;
        if (row->blocks != base->blocks) break;
        fl_paired(row->block, base->block, row->blocks, &mean, &error);
        by_error = by_error && mean <= FL_COMPARE_ERRORS * error;
        by_margin = by_margin && mean <= margin;
        if (by_error) v.effective = at;
        if (by_margin) v.effective_margin = at;
        v.longest = at;
    }
    return v;
}
