/* Progress with time left, throttled so that reporting is free. */
#ifndef FL_BASE_PROGRESS_H
#define FL_BASE_PROGRESS_H

#include "base/status.h"

typedef struct fl_progress {
    fl_progress_fn fn; /* NULL: silent, never cancels */
    void *user;
    const char *stage;
    int64_t total;
    double started, last;
} fl_progress;

void fl_progress_start(fl_progress *p, fl_progress_fn fn, void *user, const char *stage, int64_t total);
/* Calls fn at most ten times a second and always when done == total. FL_ERR_CANCELLED if fn asked for it. */
fl_status fl_progress_update(fl_progress *p, int64_t done);

#endif
