/* What handing a job to the thread pool costs, on quiet cores and beside programs that never sleep. */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/pool.h"

#define RUNS 20000
#define COLD_RUNS 2000
#define TASKS 64
#define TASK_SECONDS 20e-6
#define ROUNDS 30
#define MOST_BUSY 64

static void nothing(void *context, int64_t task, int thread)
{
    (void)context;
    (void)task;
    (void)thread;
}

/* Ends when every thread of the pool has come. */
static void meet(void *context, int64_t task, int thread)
{
    (void)task;
    (void)thread;
    atomic_int *missing = context;
    atomic_fetch_sub(missing, 1);
    while (atomic_load_explicit(missing, memory_order_relaxed) > 0) {
    }
}

static void work(void *context, int64_t task, int thread)
{
    (void)task;
    (void)thread;
    /* A fixed amount of work, so that time spent waiting for a core counts. */
    volatile double x = 1;
    for (int64_t i = *(const int64_t *)context; i > 0; i--)
        x = x * 1.0000001;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Microseconds of one job: median, 99th of 100, mean. idle: microseconds of sleep before each. */
static void latency(fl_pool *p, const char *name, fl_task_fn fn, int runs, int idle)
{
    double *seconds = malloc(sizeof(double) * (size_t)runs), sum = 0;
    if (!seconds) exit(1);
    for (int i = 0; i < runs; i++) {
        atomic_int missing = fl_pool_threads(p);
        if (idle) nanosleep(&(struct timespec){.tv_nsec = idle * 1000L}, NULL);
        double start = fl_clock_seconds();
        fl_pool_run(p, fl_pool_threads(p), fn, &missing);
        seconds[i] = fl_clock_seconds() - start;
        sum += seconds[i];
    }
    qsort(seconds, (size_t)runs, sizeof(double), by_value);
    printf("  %-34s median %8.2f  p99 %8.2f  mean %8.2f us\n", name, 1e6 * seconds[runs / 2],
           1e6 * seconds[runs / 100 * 99], 1e6 * sum / runs);
    free(seconds);
}

static double repeat(fl_pool *p, int64_t steps, int jobs)
{
    double start = fl_clock_seconds();
    for (int i = 0; i < jobs; i++)
        fl_pool_run(p, TASKS, work, &steps);
    return (fl_clock_seconds() - start) / jobs;
}

int main(void)
{
    int processors = (int)sysconf(_SC_NPROCESSORS_ONLN);
    fl_pool *alone;
    if (fl_pool_create(&alone, 1) != FL_OK) return 1;
    double least = 1;
    for (int i = 0; i < 100; i++) {
        double seconds = repeat(alone, 1000, 10);
        if (seconds < least) least = seconds;
    }
    int64_t steps = (int64_t)(TASK_SECONDS * TASKS / least * 1000);

    for (int busy = 0; busy <= processors && busy < MOST_BUSY; busy++) {
        pid_t children[MOST_BUSY];
        fflush(stdout);
        for (int i = 0; i < busy; i++) {
            children[i] = fork();
            if (children[i] == 0) {
                for (volatile unsigned long n = 0;; n++) {
                }
            }
        }
        fl_pool *p;
        if (fl_pool_create(&p, processors) != FL_OK) return 1;
        printf("%d threads on %d processors, %d busy processes beside them\n", processors, processors, busy);
        latency(p, "empty job", nothing, RUNS, 0);
        latency(p, "all threads meet", meet, COLD_RUNS, 0);
        latency(p, "all threads meet after 1 ms of rest", meet, COLD_RUNS / 4, 1000);
        double one = 0, all = 0; /* in turn, so that both meet the same disturbance */
        for (int i = 0; i < ROUNDS; i++) {
            one += repeat(alone, steps, 20);
            all += repeat(p, steps, 20);
        }
        printf("  %-34s %.2f times as fast as one thread (%.0f and %.0f us)\n", "64 tasks of 20 us", one / all,
               1e6 * all / ROUNDS, 1e6 * one / ROUNDS);
        fl_pool_destroy(p);
        for (int i = 0; i < busy; i++) {
            if (children[i] <= 0) continue;
            kill(children[i], SIGKILL);
            waitpid(children[i], NULL, 0);
        }
    }
    fl_pool_destroy(alone);
    return 0;
}
