/* Progress with time left, throttled so that reporting is free. */
#ifndef FL_BASE_PROGRESS_H
#define FL_BASE_PROGRESS_H

#include "base/status.h"

typedef struct fl_progress {
    fl_progress_fn fn; /* NULL: silent, never cancels */
    void *user;
    const char *stage;
    int64_t total;
    int64_t first;        /* done at the first update, -1 before it; a resumed run does not begin at 0 */
    double started, last; /* times of the first update and of the last report */
} fl_progress;

void fl_progress_start(fl_progress *p, fl_progress_fn fn, void *user, const char *stage, int64_t total);
/* Calls fn at most ten times a second and always when done == total. FL_ERR_CANCELLED if fn asked for it. */
fl_status fl_progress_update(fl_progress *p, int64_t done);

#endif
