#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/progress.h"

typedef struct seen {
    int calls, cancel_at; /* cancel at that call, 0: never */
    int64_t done, total;
    double left;
} seen;

static int note(const char *stage, int64_t done, int64_t total, double seconds_left, void *user)
{
    seen *s = user;
    assert_string_equal(stage, "load");
    s->calls++;
    s->done = done;
    s->total = total;
    s->left = seconds_left;
    return s->calls == s->cancel_at;
}

static void nap(double seconds)
{
    nanosleep(&(struct timespec){.tv_nsec = (long)(seconds * 1e9)}, NULL);
}

static void test_reports_are_throttled(void **state)
{
    (void)state;
    seen s = {0};
    fl_progress p;
    double start = fl_clock_seconds();
    fl_progress_start(&p, note, &s, "load", 300000);
    for (int64_t i = 1; i < 300000; i++)
        assert_int_equal(fl_progress_update(&p, i), FL_OK);
    assert_true(s.calls <= (fl_clock_seconds() - start) / 0.1 + 1);
    int before = s.calls;
    assert_int_equal(fl_progress_update(&p, 300000), FL_OK);
    assert_int_equal(s.calls, before + 1); /* the end is always reported */
    assert_int_equal(s.done, 300000);
    assert_int_equal(s.total, 300000);
    assert_true(s.left == 0);
}

static void test_time_left(void **state)
{
    (void)state;
    seen s = {0};
    fl_progress p;
    fl_progress_start(&p, note, &s, "load", 100);
    nap(0.11);
    fl_progress_update(&p, 60); /* a resumed run: the 60 took no time of this one */
    assert_int_equal(s.calls, 1);
    assert_true(s.left < 0); /* unknown yet */
    nap(0.15);
    fl_progress_update(&p, 70);
    /* 10 in 0.15 s or a little more, on a busy machine much more: 30 are left. */
    assert_true(s.left >= 0.44 && s.left < 60);
    fl_progress_start(&p, note, &s, "load", 0); /* total unknown */
    nap(0.11);
    fl_progress_update(&p, 1);
    nap(0.11);
    fl_progress_update(&p, 2);
    assert_true(s.left < 0);
}

static void test_cancel(void **state)
{
    (void)state;
    seen s = {.cancel_at = 2};
    fl_progress p;
    fl_progress_start(&p, note, &s, "load", 4);
    nap(0.11);
    assert_int_equal(fl_progress_update(&p, 1), FL_OK);
    assert_int_equal(fl_progress_update(&p, 2), FL_OK); /* too soon for a call */
    nap(0.11);
    assert_int_equal(fl_progress_update(&p, 3), FL_ERR_CANCELLED);
    assert_string_equal(fl_error_message(), "load: cancelled at 3 of 4");
}

static void test_silent(void **state)
{
    (void)state;
    fl_progress p;
    fl_progress_start(&p, NULL, NULL, "load", 1);
    assert_int_equal(fl_progress_update(&p, 1), FL_OK);
}

static void test_clock_and_memory(void **state)
{
    (void)state;
    double a = fl_clock_seconds();
    nap(0.02);
    double b = fl_clock_seconds();
    assert_true(b - a >= 0.0199 && b - a < 10);

    int64_t physical = fl_physical_bytes();
    assert_true(physical >= 1 << 24);
    assert_true(physical <= (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE));

    int64_t before = fl_peak_resident_bytes();
    assert_true(before > 0 && before <= physical);
    const size_t bytes = (size_t)64 << 20;
    volatile char *p = malloc(bytes);
    for (size_t i = 0; i < bytes; i += 1024)
        p[i] = 1;
    free((void *)p);
    int64_t after = fl_peak_resident_bytes();
    /* A peak does not fall with free. Sanitizers keep up to six bytes of shadow for one. */
    assert_true(after >= (int64_t)bytes && after <= before + 8 * (int64_t)bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reports_are_throttled),
        cmocka_unit_test(test_time_left),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_silent),
        cmocka_unit_test(test_clock_and_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
