#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

void fl_log_write(const fl_log *log, fl_log_level level, const char *format, ...)
{
    if (!log || !log->fn || level > log->level) return;
    char text[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    log->fn(level, text, log->user);
}
