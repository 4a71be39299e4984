#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/status.h"

static void test_every_status_has_its_name(void **state)
{
    (void)state;
    assert_string_equal(fl_status_name(FL_OK), "FL_OK");
    assert_string_equal(fl_status_name(FL_ERR_FORMAT), "FL_ERR_FORMAT");
    assert_string_equal(fl_status_name(FL_ERR_NUMERIC), "FL_ERR_NUMERIC");
    assert_string_equal(fl_status_name((fl_status)999), "FL_ERR_UNKNOWN");
    for (int a = FL_OK; a <= FL_ERR_NUMERIC; a++)
        for (int b = FL_OK; b < a; b++)
            assert_string_not_equal(fl_status_name((fl_status)a), fl_status_name((fl_status)b));
}

static void test_version_agrees_with_its_numbers(void **state)
{
    (void)state;
    char text[64];
    snprintf(text, sizeof text, "%d.%d.%d", FL_VERSION_MAJOR, FL_VERSION_MINOR, FL_VERSION_PATCH);
    assert_string_equal(fl_version(), text);
}

static void test_messages_nest(void **state)
{
    (void)state;
    assert_int_equal(fl_fail(FL_ERR_FORMAT, "key = %d: too large", 7), FL_ERR_FORMAT);
    assert_string_equal(fl_error_message(), "key = 7: too large");
    assert_int_equal(fl_fail_within(FL_ERR_IO, "%s.json", "config"), FL_ERR_IO);
    assert_string_equal(fl_error_message(), "config.json: key = 7: too large");
    fl_fail(FL_ERR_FORMAT, "again: %s", fl_error_message()); /* the old message as an argument */
    assert_string_equal(fl_error_message(), "again: config.json: key = 7: too large");
}

static void test_long_messages_are_cut(void **state)
{
    (void)state;
    char text[3 * FL_ERROR_CAPACITY];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    for (size_t length = FL_ERROR_CAPACITY - 4; length < FL_ERROR_CAPACITY + 4; length++) {
        fl_fail(FL_ERR_FORMAT, "inner");
        fl_fail_within(FL_ERR_FORMAT, "%.*s", (int)length, text);
        size_t expected = length + strlen(": inner");
        if (expected > FL_ERROR_CAPACITY - 1) expected = FL_ERROR_CAPACITY - 1;
        assert_int_equal(strlen(fl_error_message()), expected);
    }
    fl_fail(FL_ERR_FORMAT, "%s", text);
    assert_int_equal(strlen(fl_error_message()), FL_ERROR_CAPACITY - 1);
    fl_fail_within(FL_ERR_FORMAT, "a");
    assert_int_equal(strlen(fl_error_message()), FL_ERROR_CAPACITY - 1);
    assert_memory_equal(fl_error_message(), "a: xxx", 6);
}

static void *other_thread(void *seen)
{
    snprintf(seen, 64, "%s", fl_error_message());
    fl_fail(FL_ERR_IO, "theirs");
    return NULL;
}

static void test_each_thread_has_its_own_message(void **state)
{
    (void)state;
    char seen[64] = "unset";
    pthread_t thread;
    fl_fail(FL_ERR_IO, "mine");
    assert_int_equal(pthread_create(&thread, NULL, other_thread, seen), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_string_equal(seen, "");
    assert_string_equal(fl_error_message(), "mine");
}

static void collect(fl_log_level level, const char *text, void *user)
{
    char *out = user;
    snprintf(out + strlen(out), 128 - strlen(out), "[%d %s]", (int)level, text);
}

static void test_log_drops_what_is_above_its_level(void **state)
{
    (void)state;
    char lines[128] = "";
    fl_log log = {.fn = collect, .user = lines, .level = FL_LOG_INFO};
    fl_log_write(&log, FL_LOG_WARN, "a %d", 1);
    fl_log_write(&log, FL_LOG_INFO, "b");
    fl_log_write(&log, FL_LOG_DEBUG, "c");
    assert_string_equal(lines, "[1 a 1][2 b]");
    fl_log_write(NULL, FL_LOG_ERROR, "nobody listens");
    fl_log_write(&(fl_log){0}, FL_LOG_ERROR, "nobody listens");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_status_has_its_name),
        cmocka_unit_test(test_version_agrees_with_its_numbers),
        cmocka_unit_test(test_messages_nest),
        cmocka_unit_test(test_long_messages_are_cut),
        cmocka_unit_test(test_each_thread_has_its_own_message),
        cmocka_unit_test(test_log_drops_what_is_above_its_level),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
