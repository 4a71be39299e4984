#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/pool.h"

#define MOST_TASKS 2000
#define MOST_THREADS 8

typedef struct job {
    int threads;
    int runs[MOST_TASKS]; /* plain memory: the pool's own order must make it safe */
    int64_t value[MOST_TASKS];
    atomic_int busy[MOST_THREADS]; /* threads inside a task with that number */
    atomic_int wrong;
    int64_t salt;
    double seconds; /* what each task lasts */
} job;

static void spend(double seconds)
{
    double end = fl_clock_seconds() + seconds;
    while (fl_clock_seconds() < end) {
    }
}

static void run_task(void *context, int64_t task, int thread)
{
    job *j = context;
    if (thread < 0 || thread >= j->threads || task < 0 || task >= MOST_TASKS) {
        atomic_fetch_add(&j->wrong, 1);
        return;
    }
    if (atomic_fetch_add(&j->busy[thread], 1) != 0) atomic_fetch_add(&j->wrong, 1);
    j->runs[task]++;
    j->value[task] = task * 3 + j->salt;
    if (j->seconds > 0) spend(j->seconds * (double)(task % 3));
    atomic_fetch_sub(&j->busy[thread], 1);
}

static void run_and_check(fl_pool *p, job *j, int64_t tasks, int64_t salt)
{
    memset(j->runs, 0, sizeof j->runs);
    j->salt = salt;
    fl_pool_run(p, tasks, run_task, j);
    assert_int_equal(atomic_load(&j->wrong), 0);
    for (int64_t i = 0; i < tasks; i++) {
        assert_int_equal(j->runs[i], 1);
        assert_int_equal(j->value[i], i * 3 + salt);
    }
    for (int64_t i = tasks; i < MOST_TASKS; i++)
        assert_int_equal(j->runs[i], 0);
}

static void nap(long microseconds)
{
    nanosleep(&(struct timespec){.tv_nsec = microseconds * 1000}, NULL);
}

static void test_every_task_runs_exactly_once(void **state)
{
    (void)state;
    static const int64_t counts[] = {0, 1, 2, 3, 7, 8, 9, 100, MOST_TASKS};
    job *j = calloc(1, sizeof *j);
    for (int threads = 1; threads <= MOST_THREADS; threads++) {
        fl_pool *p;
        assert_int_equal(fl_pool_create(&p, threads), FL_OK);
        assert_int_equal(fl_pool_threads(p), threads);
        j->threads = threads;
        for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
            run_and_check(p, j, counts[i], (int64_t)i);
        fl_pool_destroy(p);
    }
    free(j);
}

/* Jobs straight after each other, and with pauses around the length of the spin: the hand-over to sleep and back. */
static void test_many_short_jobs(void **state)
{
    (void)state;
    job *j = calloc(1, sizeof *j);
    for (int threads = 2; threads <= 4; threads++) {
        fl_pool *p;
        assert_int_equal(fl_pool_create(&p, threads), FL_OK);
        j->threads = threads;
        for (int i = 0; i < 3000; i++) {
            run_and_check(p, j, 1 + i % 9, i);
            if (i % 7 == 0) spend((double)(i % 60) * 1e-6);
            if (i % 100 == 0) nap(200);
        }
        fl_pool_destroy(p);
    }
    free(j);
}

static void test_tasks_of_uneven_length(void **state)
{
    (void)state;
    job *j = calloc(1, sizeof *j);
    fl_pool *p;
    assert_int_equal(fl_pool_create(&p, 4), FL_OK);
    j->threads = 4;
    j->seconds = 50e-6; /* longer than the spin: the caller sleeps and is woken */
    for (int i = 0; i < 100; i++)
        run_and_check(p, j, 2 + i % 7, i);
    fl_pool_destroy(p);
    free(j);
}

typedef struct sum {
    int64_t *from, *to;
} sum;

static void add_one(void *context, int64_t task, int thread)
{
    (void)thread;
    sum *s = context;
    s->to[task] = s->from[(task * 7 + 3) % 1000] + 1;
}

/* Each job reads what other threads wrote in the one before. */
static void test_a_job_sees_the_results_of_the_last(void **state)
{
    (void)state;
    fl_pool *p;
    assert_int_equal(fl_pool_create(&p, 3), FL_OK);
    int64_t a[1000] = {0}, b[1000];
    for (int i = 0; i < 200; i++)
        fl_pool_run(p, 1000, add_one, i % 2 ? &(sum){b, a} : &(sum){a, b});
    for (int i = 0; i < 1000; i++)
        assert_int_equal(a[i], 200);
    fl_pool_destroy(p);
}

static void test_destroyed_while_idle(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        fl_pool *p;
        assert_int_equal(fl_pool_create(&p, 1 + i % MOST_THREADS), FL_OK);
        if (i % 3) nap(300); /* asleep; otherwise still starting or spinning */
        fl_pool_destroy(p);
    }
    fl_pool_destroy(NULL);
}

static void test_a_single_task_stays_on_the_caller(void **state)
{
    (void)state;
    job *j = calloc(1, sizeof *j);
    j->threads = 1; /* another thread's number would be counted as wrong */
    fl_pool *p;
    assert_int_equal(fl_pool_create(&p, 4), FL_OK);
    for (int i = 0; i < 100; i++)
        run_and_check(p, j, 1, i);
    fl_pool_destroy(p);
    free(j);
}

static void test_numbers_of_threads(void **state)
{
    (void)state;
    fl_pool *p = NULL;
    assert_int_equal(fl_pool_create(&p, -1), FL_ERR_ARGUMENT);
    assert_int_equal(fl_pool_create(&p, 1000000), FL_ERR_ARGUMENT);
    assert_null(p);
    assert_int_equal(fl_pool_create(&p, 0), FL_OK);
    assert_true(fl_pool_threads(p) >= 1);
    fl_pool_destroy(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_task_runs_exactly_once), cmocka_unit_test(test_many_short_jobs),
        cmocka_unit_test(test_tasks_of_uneven_length),       cmocka_unit_test(test_a_job_sees_the_results_of_the_last),
        cmocka_unit_test(test_destroyed_while_idle),         cmocka_unit_test(test_a_single_task_stays_on_the_caller),
        cmocka_unit_test(test_numbers_of_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
