#include "base/progress.h"

#include "base/clock.h"

#define REPORT_SECONDS 0.1

void fl_progress_start(fl_progress *p, fl_progress_fn fn, void *user, const char *stage, int64_t total)
{
    double now = fl_clock_seconds();
    *p =
        (fl_progress){.fn = fn, .user = user, .stage = stage, .total = total, .first = -1, .started = now, .last = now};
}

fl_status fl_progress_update(fl_progress *p, int64_t done)
{
    if (!p->fn) return FL_OK;
    double now = fl_clock_seconds();
    if (p->first < 0) {
        p->first = done;
        p->started = now;
    }
    if (now - p->last < REPORT_SECONDS && done != p->total) return FL_OK;
    p->last = now;
    double left = -1;
    if (done > p->first && p->total >= done)
        left = (now - p->started) / (double)(done - p->first) * (double)(p->total - done);
    if (p->fn(p->stage, done, p->total, left, p->user))
        return fl_fail(FL_ERR_CANCELLED, "%s: cancelled at %lld of %lld", p->stage, (long long)done,
                       (long long)p->total);
    return FL_OK;
}
