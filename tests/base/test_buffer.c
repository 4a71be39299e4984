#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buffer.h"

static void test_empty(void **state)
{
    (void)state;
    fl_buffer b = {0};
    assert_null(b.data);
    fl_buffer_clear(&b);
    fl_buffer_free(&b);
    fl_buffer_append(&b, NULL, 0);
    assert_string_equal(b.data, "");
    assert_int_equal(b.size, 0);
    fl_buffer_free(&b);
}

static void test_grows_and_stays_terminated(void **state)
{
    (void)state;
    fl_buffer b = {0};
    for (int i = 0; i < 100000; i++) {
        char byte = (char)('a' + i % 26);
        fl_buffer_append(&b, &byte, 1);
        assert_int_equal(b.data[b.size], 0);
    }
    assert_int_equal(b.size, 100000);
    for (int i = 0; i < 100000; i++)
        assert_int_equal(b.data[i], 'a' + i % 26);
    fl_buffer_free(&b);
}

static void test_zero_bytes_are_kept(void **state)
{
    (void)state;
    fl_buffer b = {0};
    fl_buffer_append(&b, "a\0b", 3);
    fl_buffer_text(&b, "c");
    assert_int_equal(b.size, 4);
    assert_memory_equal(b.data, "a\0bc", 5);
    fl_buffer_free(&b);
}

static void test_format(void **state)
{
    (void)state;
    fl_buffer b = {0};
    fl_buffer_format(&b, "%d %s", 12, "xy");
    fl_buffer_format(&b, "%s", "");
    fl_buffer_format(&b, "%*d", 300, 5); /* longer than the first allocation */
    assert_int_equal(b.size, 305);
    assert_memory_equal(b.data, "12 xy   ", 8);
    assert_int_equal(b.data[304], '5');
    fl_buffer_clear(&b);
    assert_string_equal(b.data, "");
    fl_buffer_text(&b, "again");
    assert_string_equal(b.data, "again");
    fl_buffer_free(&b);
    assert_null(b.data);
}

static void test_failure_is_sticky(void **state)
{
    (void)state;
    fl_buffer b = {0};
    fl_buffer_text(&b, "kept");
    fl_buffer_append(&b, "", SIZE_MAX - 2);
    assert_true(b.failed);
    fl_buffer_text(&b, " lost");
    assert_string_equal(b.data, "kept");
    fl_buffer_clear(&b);
    assert_false(b.failed);
    fl_buffer_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_grows_and_stays_terminated),
        cmocka_unit_test(test_zero_bytes_are_kept),
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_failure_is_sticky),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
