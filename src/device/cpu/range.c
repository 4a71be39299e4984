#include "device/cpu/range.h"

#include "base/size.h"

/* Several tasks per thread, so that a thread that lost its core for a while does not hold up the others. */
#define TASKS_PER_THREAD 4

typedef struct range_job {
    fl_range_fn fn;
    void *context;
    int64_t count, step;
} range_job;

static void run_range(void *context, int64_t task, int thread)
{
    const range_job *job = context;
    (void)thread;
    int64_t first = task * job->step;
    job->fn(job->context, first, fl_min64(first + job->step, job->count));
}

void fl_cpu_ranges(fl_device *d, int64_t count, int64_t elements, fl_range_fn fn, void *context)
{
    int threads = d->pool ? fl_pool_threads(d->pool) : 1;
    if (count <= 0) return;
    if (threads == 1 || count * elements < FL_CPU_DISPATCH_ELEMENTS) {
        fn(context, 0, count);
        return;
    }
    int64_t tasks = fl_min64(count, (int64_t)threads * TASKS_PER_THREAD);
    range_job job = {fn, context, count, (count + tasks - 1) / tasks};
    fl_pool_run(d->pool, (count + job.step - 1) / job.step, run_range, &job);
}
