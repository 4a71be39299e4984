#define _GNU_SOURCE /* sched_getaffinity, CPU_COUNT */
#include "base/pool.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cgroup.h"
#include "base/clock.h"
#include "base/size.h"

#define SPIN_SECONDS 30e-6
#define MOST_THREADS 4096
#define CACHE_LINE 64

/* One atomic word holds the number of the job and how many of its tasks nobody has taken. Whoever counts it down from
 * (job, r) owns task tasks - r of that job, and the job cannot end before that task has, so fn and context, read
 * before the count-down, belonged to it. A thread that wakes late finds no task left and touches nothing: the caller
 * waits for tasks, never for threads, and a thread that a third program keeps from running holds nobody up. */
#define TAKEN(job) ((uint64_t)(job) << 32)
#define JOB(ticket) ((uint32_t)((ticket) >> 32))
#define LEFT(ticket) ((uint32_t)(ticket))
#define MOST_TASKS ((int64_t)UINT32_MAX)

typedef struct worker {
    fl_pool *pool;
    pthread_t thread;
    int number;
} worker;

struct fl_pool {
    int threads;
    worker *workers; /* threads - 1 of them */

    _Alignas(CACHE_LINE) _Atomic uint64_t ticket;
    _Atomic(fl_task_fn) fn;
    _Atomic(void *) context;
    _Atomic int64_t first; /* number of the job's first task */
    _Atomic int64_t tasks;

    _Alignas(CACHE_LINE) _Atomic int64_t done; /* tasks of this job that have ended */

    _Alignas(CACHE_LINE) _Atomic int sleepers; /* workers that wait on wake */
    _Atomic bool caller_sleeps;
    _Atomic bool stop;
    pthread_mutex_t mutex;
    pthread_cond_t wake, finished;
};

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Take tasks until none is left. */
static void work(fl_pool *p, int thread)
{
    int64_t ended = 0, tasks = 0;
    uint64_t ticket = atomic_load_explicit(&p->ticket, memory_order_acquire);
    while (LEFT(ticket)) {
        /* Acquire: if one of these already belongs to a later job, the exchange below sees that job and fails. */
        fl_task_fn fn = atomic_load_explicit(&p->fn, memory_order_acquire);
        void *context = atomic_load_explicit(&p->context, memory_order_acquire);
        int64_t first = atomic_load_explicit(&p->first, memory_order_acquire);
        tasks = atomic_load_explicit(&p->tasks, memory_order_acquire);
        if (!atomic_compare_exchange_weak_explicit(&p->ticket, &ticket, ticket - 1, memory_order_acq_rel,
                                                   memory_order_acquire))
            continue;
        fn(context, first + tasks - LEFT(ticket), thread);
        ended++;
        /* The job cannot change before the tasks counted in ended are reported below. */
        ticket = atomic_load_explicit(&p->ticket, memory_order_acquire);
    }
    if (ended && atomic_fetch_add(&p->done, ended) + ended == tasks && atomic_load(&p->caller_sleeps)) {
        pthread_mutex_lock(&p->mutex);
        pthread_cond_signal(&p->finished);
        pthread_mutex_unlock(&p->mutex);
    }
}

/* Wait until the job number differs from seen, or stop; the reading of the clock is the spin's main cost. */
static void wait_for_job(fl_pool *p, uint32_t seen)
{
    double end = fl_clock_seconds() + SPIN_SECONDS;
    do {
        for (int i = 0; i < 16; i++) {
            if (JOB(atomic_load_explicit(&p->ticket, memory_order_acquire)) != seen) return;
            relax();
        }
    } while (fl_clock_seconds() < end);

    pthread_mutex_lock(&p->mutex);
    /* Sequentially consistent on both sides: either this thread sees the new job or the caller sees a sleeper. */
    atomic_fetch_add(&p->sleepers, 1);
    while (JOB(atomic_load(&p->ticket)) == seen && !atomic_load(&p->stop))
        pthread_cond_wait(&p->wake, &p->mutex);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->mutex);
}

static void *run_worker(void *argument)
{
    worker *w = argument;
    fl_pool *p = w->pool;
    uint32_t seen = 0;
    while (!atomic_load_explicit(&p->stop, memory_order_acquire)) {
        uint32_t job = JOB(atomic_load_explicit(&p->ticket, memory_order_acquire));
        if (job == seen) {
            wait_for_job(p, seen);
            continue;
        }
        seen = job;
        work(p, w->number);
    }
    return NULL;
}

static void wait_for_tasks(fl_pool *p, int64_t tasks)
{
    double end = fl_clock_seconds() + SPIN_SECONDS;
    do {
        for (int i = 0; i < 16; i++) {
            if (atomic_load_explicit(&p->done, memory_order_acquire) == tasks) return;
            relax();
        }
    } while (fl_clock_seconds() < end);

    pthread_mutex_lock(&p->mutex);
    atomic_store(&p->caller_sleeps, true);
    while (atomic_load(&p->done) != tasks)
        pthread_cond_wait(&p->finished, &p->mutex);
    atomic_store(&p->caller_sleeps, false);
    pthread_mutex_unlock(&p->mutex);
}

static void run_job(fl_pool *p, int64_t first, int64_t tasks, fl_task_fn fn, void *context)
{
    atomic_store_explicit(&p->done, 0, memory_order_relaxed);
    atomic_store_explicit(&p->fn, fn, memory_order_release);
    atomic_store_explicit(&p->context, context, memory_order_release);
    atomic_store_explicit(&p->first, first, memory_order_release);
    atomic_store_explicit(&p->tasks, tasks, memory_order_release);
    uint32_t job = JOB(atomic_load_explicit(&p->ticket, memory_order_relaxed)) + 1;
    atomic_store(&p->ticket, TAKEN(job) | (uint64_t)tasks);

    int sleepers = atomic_load(&p->sleepers);
    if (sleepers > 0) {
        /* The lock orders the signal after a sleeper's last look at the ticket. */
        pthread_mutex_lock(&p->mutex);
        pthread_mutex_unlock(&p->mutex);
        for (int64_t i = fl_min64(sleepers, tasks - 1); i > 0; i--)
            pthread_cond_signal(&p->wake);
    }
    work(p, 0);
    wait_for_tasks(p, tasks);
}

void fl_pool_run(fl_pool *p, int64_t tasks, fl_task_fn fn, void *context)
{
    if (p->threads == 1 || tasks <= 1) {
        for (int64_t i = 0; i < tasks; i++)
            fn(context, i, 0);
        return;
    }
    for (int64_t first = 0; first < tasks; first += MOST_TASKS)
        run_job(p, first, fl_min64(tasks - first, MOST_TASKS), fn, context);
}

int fl_pool_threads(const fl_pool *p)
{
    return p->threads;
}

/* Processors this process may run on: its affinity mask, or its control group's share of time if that is less. */
static int usable_processors(void)
{
    int n = (int)sysconf(_SC_NPROCESSORS_ONLN);
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) n = CPU_COUNT(&set);
#endif
    double share = fl_cgroup_processors("");
    if (share > 0 && ceil(share) < n) n = (int)ceil(share);
    return n < 1 ? 1 : n > MOST_THREADS ? MOST_THREADS : n;
}

static int start_worker(worker *w)
{
    /* Signals belong to the program's own threads. */
    sigset_t all, before;
    sigfillset(&all);
    int error = pthread_sigmask(SIG_SETMASK, &all, &before);
    if (error) return error;
    error = pthread_create(&w->thread, NULL, run_worker, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

fl_status fl_pool_create(fl_pool **out, int threads)
{
    if (threads < 0 || threads > MOST_THREADS)
        return fl_fail(FL_ERR_ARGUMENT, "threads = %d: must be 1 to %d, or 0 for one per processor", threads,
                       MOST_THREADS);
    if (threads == 0) threads = usable_processors();
    fl_pool *p = fl_alloc_aligned(sizeof *p);
    if (!p) return FL_ERR_MEMORY;
    memset(p, 0, sizeof *p);
    p->workers = fl_calloc((size_t)threads, sizeof *p->workers);
    if (!p->workers) {
        fl_free_aligned(p);
        return FL_ERR_MEMORY;
    }
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->finished, NULL);
    p->threads = 1;
    while (p->threads < threads) {
        worker *w = &p->workers[p->threads - 1];
        *w = (worker){.pool = p, .number = p->threads};
        int error = start_worker(w);
        if (error) {
            fl_pool_destroy(p);
            return fl_fail(FL_ERR_MEMORY, "threads = %d: thread %d could not be started: %s; use fewer", threads,
                           w->number, strerror(error));
        }
        p->threads++;
    }
    *out = p;
    return FL_OK;
}

void fl_pool_destroy(fl_pool *p)
{
    if (!p) return;
    pthread_mutex_lock(&p->mutex);
    atomic_store(&p->stop, true);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->mutex);
    for (int i = 0; i < p->threads - 1; i++)
        pthread_join(p->workers[i].thread, NULL);
    pthread_cond_destroy(&p->finished);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->mutex);
    fl_free(p->workers);
    fl_free_aligned(p);
}
