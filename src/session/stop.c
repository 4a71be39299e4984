#include "session/stop.h"

#include <string.h>

fl_status fl_stop_init(fl_stop *s, const char *const *string, int count)
{
    *s = (fl_stop){.string = string, .count = count};
    if (count < 0 || (count > 0 && !string))
        return fl_fail(FL_ERR_ARGUMENT, "stop_count = %d: give as many stop strings", count);
    for (int i = 0; i < count; i++) {
        if (!string[i] || !string[i][0]) return fl_fail(FL_ERR_ARGUMENT, "stop string %d is empty", i + 1);
        if (((unsigned char)string[i][0] & 0xc0) == 0x80)
            return fl_fail(FL_ERR_ARGUMENT, "stop string %d begins inside a UTF-8 character", i + 1);
    }
    return FL_OK;
}

void fl_stop_free(fl_stop *s)
{
    fl_buffer_free(&s->held);
}

/* Does the text at p begin with the whole stop string, or end before the string does? */
static bool match(const char *p, size_t left, const char *string, bool *whole)
{
    size_t length = strlen(string);
    *whole = left >= length;
    return memcmp(p, string, *whole ? length : left) == 0;
}

bool fl_stop_push(fl_stop *s, const char *text, size_t length, size_t *ready)
{
    fl_buffer_append(&s->held, text, length);
    *ready = 0;
    if (s->held.failed) return false;
    size_t undecided = s->held.size;
    for (size_t at = 0; at < s->held.size; at++)
        for (int i = 0; i < s->count; i++) {
            bool whole;
            if (!match(s->held.data + at, s->held.size - at, s->string[i], &whole)) continue;
            if (whole) {
                *ready = at;
                return true;
            }
            if (at < undecided) undecided = at;
        }
    *ready = undecided;
    return false;
}

void fl_stop_take(fl_stop *s, size_t ready)
{
    if (!ready) return;
    memmove(s->held.data, s->held.data + ready, s->held.size - ready + 1);
    s->held.size -= ready;
}
