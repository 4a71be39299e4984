#include "eval/items.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "file/checksum.h"
#include "file/json.h"

#define FILE_LIMIT ((size_t)1 << 30)

void fl_item_digest(char out[17], const void *bytes, size_t n)
{
    fl_checksum sum;
    fl_checksum_start(&sum);
    fl_checksum_add(&sum, bytes, n);
    snprintf(out, 17, "%016llx", (unsigned long long)fl_checksum_value(&sum));
}

void fl_item_rng(fl_rng *rng, uint64_t seed, uint64_t a, uint64_t b)
{
    fl_rng first;
    fl_rng_seed(&first, seed);
    fl_rng_seed(&first, fl_rng_next(&first) ^ a);
    fl_rng_seed(rng, fl_rng_next(&first) ^ b);
}

double fl_item_real(const json_t *item, const char *name)
{
    return json_number_value(json_object_get(item, name));
}

int64_t fl_item_integer(const json_t *item, const char *name)
{
    return json_integer_value(json_object_get(item, name));
}

/* A line that holds a result of this run is kept. */
static fl_status read_line(fl_items *items, const char *line, size_t length, int number)
{
    json_error_t error;
    json_t *o = json_loadb(line, length, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(o)) {
        json_decref(o);
        return fl_fail(FL_ERR_FORMAT, "%s:%d: is not a line of results: %s", items->path, number,
                       o ? "no JSON object" : error.text);
    }
    const char *run = json_string_value(json_object_get(o, "run"));
    const char *key = json_string_value(json_object_get(o, "item"));
    int failed = run && key && !strcmp(run, items->run) ? json_object_set(items->held, key, o) : 0;
    json_decref(o);
    return failed ? FL_ERR_MEMORY : FL_OK;
}

/* *whole: bytes up to the end of the last whole line. */
static fl_status read_file(fl_items *items, size_t *whole, size_t *size)
{
    fl_buffer text = {0};
    *whole = *size = 0;
    if (!fl_file_exists(items->path)) return FL_OK;
    FL_TRY(fl_file_read(&text, items->path, FILE_LIMIT));
    fl_status s = FL_OK;
    int number = 0;
    while (s == FL_OK && *whole < text.size) {
        const char *line = text.data + *whole, *end = memchr(line, '\n', text.size - *whole);
        if (!end) break;
        number++;
        if (end > line) s = read_line(items, line, (size_t)(end - line), number);
        *whole += (size_t)(end - line) + 1;
    }
    *size = text.size;
    fl_buffer_free(&text);
    return s;
}

static fl_status digest(fl_items *items, const fl_session *session, json_t *setting)
{
    char *reading = fl_session_reading(session);
    char *text = json_dumps(setting, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(17));
    fl_buffer all = {0};
    if (text && reading) fl_buffer_format(&all, "%s\n%s\n%s", items->task, reading, text);
    bool made = text && reading && !all.failed;
    if (made) fl_item_digest(items->run, all.data, all.size);
    fl_json_free_text(text);
    fl_free(reading);
    fl_buffer_free(&all);
    return made ? FL_OK : fl_fail(FL_ERR_MEMORY, "no memory for the setting of an evaluation");
}

static fl_status open_file(fl_items *items)
{
    size_t whole, size;
    FL_TRY(read_file(items, &whole, &size));
    items->reused = (int64_t)json_object_size(items->held);
    if (whole < size && truncate(items->path, (off_t)whole))
        return fl_fail(FL_ERR_IO, "%s: cannot be shortened: %s", items->path, strerror(errno));
    return fl_appender_open(&items->file, items->path, true);
}

fl_status fl_items_open(fl_items *items, const char *path, const char *task, const fl_session *session, json_t *setting)
{
    *items = (fl_items){.path = path, .task = task, .held = json_object(), .file = FL_APPENDER_CLOSED};
    fl_status s = items->held ? digest(items, session, setting) : fl_fail(FL_ERR_MEMORY, "no memory for results");
    json_decref(setting);
    return s == FL_OK && path ? open_file(items) : s;
}

fl_status fl_items_close(fl_items *items, fl_status before)
{
    if (!items->task) return before;
    json_decref(items->held);
    items->held = NULL;
    return fl_appender_close(&items->file, before);
}

const json_t *fl_items_find(const fl_items *items, const char *key)
{
    return json_object_get(items->held, key);
}

fl_status fl_items_add(fl_items *items, const char *key, json_t *result)
{
    json_t *line = result ? json_pack("{ss ss ss}", "task", items->task, "run", items->run, "item", key) : NULL;
    bool made = line && !json_object_update(line, result) && !json_object_set(items->held, key, line);
    json_decref(result);
    if (!made) {
        json_decref(line);
        return fl_fail(FL_ERR_MEMORY, "item %s: no memory for its result, or a number that JSON cannot hold", key);
    }
    if (items->path) return fl_json_append(&items->file, line);
    json_decref(line);
    return FL_OK;
}
