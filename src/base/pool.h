/* Thread pool: one job at a time, cut into tasks that threads take in order. Threads spin briefly, then sleep, so a
 * third program on the same cores costs its share and no more. */
#ifndef FL_BASE_POOL_H
#define FL_BASE_POOL_H

#include "base/status.h"

typedef struct fl_pool fl_pool;

/* task: 0 .. tasks-1; thread: 0 .. threads-1, for per-thread scratch. A task's result must not depend on thread. */
typedef void (*fl_task_fn)(void *context, int64_t task, int thread);

/* threads >= 1, the caller included; 0: as many as the process may run on. */
fl_status fl_pool_create(fl_pool **out, int threads);
void fl_pool_destroy(fl_pool *p);
int fl_pool_threads(const fl_pool *p);

/* Run all tasks and return when every one is done. Called from one thread at a time; not from inside a task.
 * With one task or one thread nothing is woken. */
void fl_pool_run(fl_pool *p, int64_t tasks, fl_task_fn fn, void *context);

#endif
