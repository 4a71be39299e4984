/* Stop strings: however a text is cut into pieces, what is handed on is the text before the first stop string that
 * becomes complete, and nothing is held back longer than it could still begin one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "session/stop.h"

static void must(fl_status s)
{
    if (s != FL_OK) fail_msg("%s: %s", fl_status_name(s), fl_error_message());
}

/* Feed text cut after each of the sizes, over and over; out receives what is handed on. */
static bool feed(const char *const *stop, int count, const char *text, size_t length, const size_t *sizes, int n,
                 fl_buffer *out)
{
    fl_stop s;
    must(fl_stop_init(&s, stop, count));
    bool stopped = false;
    for (size_t at = 0, i = 0; at < length && !stopped; i++) {
        size_t step = sizes[i % (size_t)n], ready;
        if (step > length - at) step = length - at;
        stopped = fl_stop_push(&s, text + at, step, &ready);
        assert_true(ready <= s.held.size);
        fl_buffer_append(out, s.held.data, ready);
        fl_stop_take(&s, ready);
        at += step;
    }
    if (!stopped) fl_buffer_append(out, s.held.data ? s.held.data : "", s.held.size);
    fl_stop_free(&s);
    return stopped;
}

/* The text before the stop string that is complete first (of those, the one that begins first). */
static size_t cut_at(const char *const *stop, int count, const char *text, size_t length)
{
    for (size_t end = 1; end <= length; end++)
        for (size_t at = 0; at < end; at++)
            for (int i = 0; i < count; i++)
                if (at + strlen(stop[i]) == end && !memcmp(text + at, stop[i], strlen(stop[i]))) return at;
    return length;
}

static void test_byte_by_byte(void **state)
{
    (void)state;
    static const char *const sets[][3] = {
        {"aab", NULL}, {"aba", "bb", NULL},    {"abab", "b\n", NULL},
        {"a", NULL},   {"aaaa", "aaab", NULL}, {"abcabd", "cab", NULL},
    };
    fl_rng rng;
    fl_rng_seed(&rng, 2);
    for (int round = 0; round < 3000; round++) {
        const char *const *stop = sets[fl_rng_below(&rng, 6)];
        int count = 0;
        while (count < 3 && stop[count])
            count++;
        char text[64];
        size_t length = fl_rng_below(&rng, sizeof text);
        for (size_t i = 0; i < length; i++)
            text[i] = "aabbabc\nd"[fl_rng_below(&rng, 9)];
        fl_buffer out = {0};
        size_t expected = cut_at(stop, count, text, length);
        bool stopped = feed(stop, count, text, length, (const size_t[]){1}, 1, &out);
        assert_int_equal(stopped, expected < length);
        assert_int_equal(out.size, expected);
        if (expected) assert_memory_equal(out.data, text, expected);
        fl_buffer_free(&out);
    }
}

/* With one stop string the cut does not depend on the pieces at all. */
static void test_pieces(void **state)
{
    (void)state;
    static const char *const stop[] = {"\nUser:"};
    static const char text[] = "one\nUse two\n\nUser: three";
    static const size_t sizes[][3] = {{1, 1, 1}, {3, 1, 2}, {100, 1, 1}, {7, 5, 3}, {14, 2, 9}};
    for (int i = 0; i < 5; i++) {
        fl_buffer out = {0};
        assert_true(feed(stop, 1, text, strlen(text), sizes[i], 3, &out));
        assert_string_equal(out.data, "one\nUse two\n");
        fl_buffer_free(&out);
    }
}

static void test_nothing_is_held_longer_than_needed(void **state)
{
    (void)state;
    static const char *const stop[] = {"<end>", "END"};
    fl_stop s;
    must(fl_stop_init(&s, stop, 2));
    size_t ready;
    assert_false(fl_stop_push(&s, "abc", 3, &ready));
    assert_int_equal(ready, 3);
    fl_stop_take(&s, ready);
    assert_false(fl_stop_push(&s, "x<en", 4, &ready));
    assert_int_equal(ready, 1);
    fl_stop_take(&s, ready);
    assert_false(fl_stop_push(&s, "EN", 2, &ready)); /* "<en" cannot be a stop string any more, "EN" may */
    assert_int_equal(ready, 3);
    fl_stop_take(&s, ready);
    assert_true(fl_stop_push(&s, "Dx", 2, &ready));
    assert_int_equal(ready, 0);
    fl_stop_free(&s);
}

static void test_arguments(void **state)
{
    (void)state;
    fl_stop s;
    must(fl_stop_init(&s, NULL, 0));
    assert_int_equal(fl_stop_init(&s, NULL, 1), FL_ERR_ARGUMENT);
    assert_int_equal(fl_stop_init(&s, NULL, -1), FL_ERR_ARGUMENT);
    assert_int_equal(fl_stop_init(&s, (const char *const[]){"a", ""}, 2), FL_ERR_ARGUMENT);
    assert_non_null(strstr(fl_error_message(), "2"));
    assert_int_equal(fl_stop_init(&s, (const char *const[]){NULL}, 1), FL_ERR_ARGUMENT);
    assert_int_equal(fl_stop_init(&s, (const char *const[]){"\x80z"}, 1), FL_ERR_ARGUMENT);
    must(fl_stop_init(&s, (const char *const[]){"\xc3\xa9"}, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_byte_by_byte),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_nothing_is_held_longer_than_needed),
        cmocka_unit_test(test_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
