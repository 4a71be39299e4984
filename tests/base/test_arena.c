#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/rng.h"

#define MIB ((size_t)1 << 20)

/* Resident bytes of this process now. */
static size_t resident(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    long total, pages;
    assert_int_equal(fscanf(file, "%ld %ld", &total, &pages), 2);
    fclose(file);
    return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void test_allocations_are_aligned_and_apart(void **state)
{
    (void)state;
    fl_arena *a;
    assert_int_equal(fl_arena_create(&a, 64 * MIB, false), FL_OK);
    assert_false(fl_arena_counting(a));
    unsigned char *p[200];
    for (size_t i = 0; i < 200; i++) {
        p[i] = fl_arena_alloc(a, i * 1000 + 1); /* 20 MB in all: past the first commit */
        assert_non_null(p[i]);
        assert_int_equal((uintptr_t)p[i] % 64, 0);
        memset(p[i], (int)i, i * 1000 + 1);
    }
    for (size_t i = 0; i < 200; i++)
        for (size_t k = 0; k < i * 1000 + 1; k += 333)
            assert_int_equal(p[i][k], i);
    fl_arena_destroy(a);
    fl_arena_destroy(NULL);
}

static void test_release_reuses_the_same_memory(void **state)
{
    (void)state;
    fl_arena *a;
    assert_int_equal(fl_arena_create(&a, 64 * MIB, false), FL_OK);
    void *kept = fl_arena_alloc(a, 100);
    size_t mark = fl_arena_mark(a);
    void *first = fl_arena_alloc(a, 5000);
    size_t inner = fl_arena_mark(a);
    fl_arena_alloc(a, 7 * MIB);
    fl_arena_release(a, inner);
    assert_int_equal(fl_arena_mark(a), inner);
    fl_arena_release(a, mark);
    assert_ptr_equal(fl_arena_alloc(a, 1), first);
    fl_arena_release(a, mark);
    fl_arena_release(a, mark + 4096); /* a mark above the top releases nothing */
    assert_int_equal(fl_arena_mark(a), mark);
    memset(kept, 1, 100);
    assert_int_equal(fl_arena_peak(a), mark + 5056 + 7 * MIB); /* 5000 rounded up to 64 */
    fl_arena_reset_peak(a);
    assert_int_equal(fl_arena_peak(a), mark);
    fl_arena_destroy(a);
}

static void test_limit(void **state)
{
    (void)state;
    fl_arena *a;
    assert_int_equal(fl_arena_create(&a, MIB, false), FL_OK);
    assert_null(fl_arena_alloc(a, MIB + 1));
    assert_non_null(strstr(fl_error_message(), "1048577"));
    assert_null(fl_arena_alloc(a, SIZE_MAX));
    assert_null(fl_arena_alloc(a, SIZE_MAX - 63));
    assert_int_equal(fl_arena_mark(a), 0); /* a refusal takes nothing */
    unsigned char *p = fl_arena_alloc(a, MIB);
    assert_non_null(p);
    memset(p, 1, MIB);
    assert_null(fl_arena_alloc(a, 1));
    fl_arena_release(a, 0);
    assert_non_null(fl_arena_alloc(a, 1));
    fl_arena_destroy(a);
    assert_int_equal(fl_arena_create(&a, SIZE_MAX, false), FL_ERR_MEMORY);
    assert_int_equal(fl_arena_create(&a, SIZE_MAX / 2, false), FL_ERR_MEMORY);
}

static void test_without_a_limit_all_of_memory_is_reserved(void **state)
{
    (void)state;
    fl_arena *a;
    assert_int_equal(fl_arena_create(&a, 0, false), FL_OK);
    assert_null(fl_arena_alloc(a, (size_t)fl_physical_bytes() + 64));
    fl_arena_destroy(a);
}

/* The same sequence of calls in a counting arena gives the same marks and the same peak. */
static void test_counting_agrees_with_allocating(void **state)
{
    (void)state;
    fl_arena *real, *counting;
    assert_int_equal(fl_arena_create(&real, 64 * MIB, false), FL_OK);
    assert_int_equal(fl_arena_create(&counting, 64 * MIB, true), FL_OK);
    assert_true(fl_arena_counting(counting));
    fl_rng rng;
    fl_rng_seed(&rng, 1);
    size_t marks[1000];
    int depth = 0;
    for (int i = 0; i < 20000; i++) {
        if (depth > 0 && (depth == 1000 || fl_rng_below(&rng, 3) == 0)) {
            depth -= 1 + (int)fl_rng_below(&rng, (uint64_t)depth);
            fl_arena_release(real, marks[depth]);
            fl_arena_release(counting, marks[depth]);
        } else {
            marks[depth++] = fl_arena_mark(real);
            size_t bytes = fl_rng_below(&rng, 3 * MIB);
            void *p = fl_arena_alloc(real, bytes), *q = fl_arena_alloc(counting, bytes);
            assert_int_equal(p == NULL, q == NULL);
        }
        assert_int_equal(fl_arena_mark(real), fl_arena_mark(counting));
    }
    assert_int_equal(fl_arena_peak(real), fl_arena_peak(counting));
    fl_arena_destroy(real);
    fl_arena_destroy(counting);
}

static void test_counting_touches_nothing_and_has_no_machine_limit(void **state)
{
    (void)state;
    fl_arena *a;
    assert_int_equal(fl_arena_create(&a, 0, true), FL_OK);
    size_t before = resident();
    size_t mark = fl_arena_mark(a);
    for (int i = 0; i < 1000; i++)
        assert_non_null(fl_arena_alloc(a, (size_t)1 << 40)); /* a petabyte: plans may be larger than this machine */
    assert_true(fl_arena_peak(a) == (size_t)1000 << 40);
    fl_arena_trim(a);
    fl_arena_release(a, mark);
    assert_true(fl_arena_mark(a) == 0);
    assert_true(resident() < before + MIB);
    fl_arena_destroy(a);
}

static void test_trim_gives_memory_back(void **state)
{
    (void)state;
    fl_arena *a;
    assert_int_equal(fl_arena_create(&a, 128 * MIB, false), FL_OK);
    unsigned char *kept = fl_arena_alloc(a, MIB);
    memset(kept, 7, MIB);
    size_t mark = fl_arena_mark(a);
    unsigned char *p = fl_arena_alloc(a, 64 * MIB);
    size_t before = resident();
    memset(p, 1, 64 * MIB);
    size_t full = resident();
    fl_arena_release(a, mark);
    fl_arena_trim(a);
    size_t trimmed = resident();
    /* Slack for huge pages and whatever else the process does. */
    assert_true(full > before + 56 * MIB);
    assert_true(trimmed + 56 * MIB < full);
    for (size_t i = 0; i < MIB; i++)
        assert_int_equal(kept[i], 7);
    p = fl_arena_alloc(a, 64 * MIB); /* usable again */
    memset(p, 2, 64 * MIB);
    fl_arena_destroy(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allocations_are_aligned_and_apart),
        cmocka_unit_test(test_release_reuses_the_same_memory),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_without_a_limit_all_of_memory_is_reserved),
        cmocka_unit_test(test_counting_agrees_with_allocating),
        cmocka_unit_test(test_counting_touches_nothing_and_has_no_machine_limit),
        cmocka_unit_test(test_trim_gives_memory_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
