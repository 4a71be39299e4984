#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#undef fl_fail /* see the header */
#undef fl_fail_within

static _Thread_local char last_message[FL_ERROR_CAPACITY];

fl_status fl_fail(fl_status code, const char *format, ...)
{
    /* Formatted aside first: an argument may be the last message itself. */
    char text[FL_ERROR_CAPACITY];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    memcpy(last_message, text, sizeof text);
    return code;
}

fl_status fl_fail_within(fl_status code, const char *format, ...)
{
    char text[FL_ERROR_CAPACITY];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length < 0) return code;
    /* By hand: both parts may fill the message, and what does not fit is cut. */
    size_t room = sizeof text - 1, used = (size_t)length < room ? (size_t)length : room;
    size_t colon = room - used < 2 ? room - used : 2;
    memcpy(text + used, ": ", colon);
    used += colon;
    size_t old = strnlen(last_message, room - used);
    memcpy(text + used, last_message, old);
    text[used + old] = 0;
    memcpy(last_message, text, sizeof text);
    return code;
}

const char *fl_error_message(void)
{
    return last_message;
}

const char *fl_version(void)
{
    return FL_VERSION_STRING;
}

const char *fl_status_name(fl_status status)
{
    switch (status) {
    case FL_OK:
        return "FL_OK";
    case FL_ERR_ARGUMENT:
        return "FL_ERR_ARGUMENT";
    case FL_ERR_MEMORY:
        return "FL_ERR_MEMORY";
    case FL_ERR_IO:
        return "FL_ERR_IO";
    case FL_ERR_FORMAT:
        return "FL_ERR_FORMAT";
    case FL_ERR_UNSUPPORTED:
        return "FL_ERR_UNSUPPORTED";
    case FL_ERR_SHAPE:
        return "FL_ERR_SHAPE";
    case FL_ERR_WINDOW:
        return "FL_ERR_WINDOW";
    case FL_ERR_CANCELLED:
        return "FL_ERR_CANCELLED";
    case FL_ERR_STATE:
        return "FL_ERR_STATE";
    case FL_ERR_NUMERIC:
        return "FL_ERR_NUMERIC";
    }
    return "FL_ERR_UNKNOWN";
}
