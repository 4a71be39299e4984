/* Log lines go to the engine's callback; without one they vanish. */
#ifndef FL_BASE_LOG_H
#define FL_BASE_LOG_H

#include "furlong.h"

typedef struct fl_log {
    fl_log_fn fn;
    void *user;
    fl_log_level level; /* lines above this level are dropped */
} fl_log;

void fl_log_write(const fl_log *log, fl_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
