#include "train/log.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "file/event_file.h"

/* The lines of steps up to `step`, in a file that takes the old one's place. */
static fl_status keep_lines(const char *path, int64_t step)
{
    fl_buffer kept = {0}, old = {0};
    fl_status s = FL_OK;
    if (step > 0 && fl_file_exists(path)) {
        s = fl_file_read(&old, path, (size_t)1 << 32);
        for (const char *line = old.data; s == FL_OK && line && *line;) {
            const char *end = strchr(line, '\n');
            long long at;
            if (!end) break;
            if (sscanf(line, "{\"step\":%lld,", &at) == 1 && at <= step)
                fl_buffer_append(&kept, line, (size_t)(end - line) + 1);
            line = end + 1;
        }
    }
    if (kept.failed) s = FL_ERR_MEMORY;
    fl_writer w;
    if (s == FL_OK) s = fl_writer_open(&w, path);
    if (s == FL_OK) {
        fl_writer_write(&w, kept.data, kept.size);
        s = fl_writer_finish(&w);
    }
    fl_buffer_free(&old);
    fl_buffer_free(&kept);
    return s;
}

fl_status fl_train_log_open(fl_train_log *l, const char *lines, const char *events, int64_t step)
{
    *l = FL_TRAIN_LOG_CLOSED;
    fl_status s = lines ? keep_lines(lines, step) : FL_OK;
    if (s == FL_OK && lines) s = fl_appender_open(&l->lines, lines, true);
    if (s == FL_OK && events) s = fl_events_open(&l->events, events, step + 1, fl_clock_wall());
    return s == FL_OK ? s : fl_train_log_close(l, s);
}

static void put_value(fl_buffer *b, const fl_log_value *v)
{
    if (!isfinite(v->value))
        fl_buffer_format(b, ",\"%s\":null", v->name);
    else if (v->value == floor(v->value) && fabs(v->value) < 0x1p53)
        fl_buffer_format(b, ",\"%s\":%.0f", v->name, v->value);
    else
        fl_buffer_format(b, ",\"%s\":%.9g", v->name, v->value);
}

fl_status fl_train_log_write(fl_train_log *l, int64_t step, const fl_log_value *value, int count)
{
    fl_buffer line = {0};
    fl_status s = FL_OK;
    if (l->lines.descriptor >= 0) {
        fl_buffer_format(&line, "{\"step\":%lld", (long long)step);
        for (int i = 0; i < count; i++)
            put_value(&line, &value[i]);
        fl_buffer_text(&line, "}\n");
        s = line.failed ? FL_ERR_MEMORY : fl_appender_write(&l->lines, line.data, line.size);
        fl_buffer_free(&line);
    }
    double wall = fl_clock_wall();
    for (int i = 0; i < count && s == FL_OK && l->events.descriptor >= 0; i++)
        s = fl_events_scalar(&l->events, step, wall, value[i].name, value[i].value);
    return s;
}

fl_status fl_train_log_close(fl_train_log *l, fl_status before)
{
    return fl_appender_close(&l->events, fl_appender_close(&l->lines, before));
}
