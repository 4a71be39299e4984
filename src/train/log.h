/* What a training run writes down: one JSON line per step, and the same numbers as TensorBoard curves. */
#ifndef FL_TRAIN_LOG_H
#define FL_TRAIN_LOG_H

#include "base/file.h"

typedef struct fl_train_log {
    fl_appender lines, events; /* closed: not wanted */
} fl_train_log;

#define FL_TRAIN_LOG_CLOSED ((fl_train_log){FL_APPENDER_CLOSED, FL_APPENDER_CLOSED})

typedef struct fl_log_value {
    const char *name;
    double value;
} fl_log_value;

/* lines: a file of JSON lines; events: a folder for TensorBoard; each may be NULL. Lines of steps after `step`, which a
 * killed run wrote after its last save, are dropped, since those steps will be taken again; step 0 begins anew. */
fl_status fl_train_log_open(fl_train_log *l, const char *lines, const char *events, int64_t step);
/* {"step": step, name: value, ...}. Values that are not finite become null. */
fl_status fl_train_log_write(fl_train_log *l, int64_t step, const fl_log_value *value, int count);
fl_status fl_train_log_close(fl_train_log *l, fl_status before); /* as fl_appender_close */

#endif
