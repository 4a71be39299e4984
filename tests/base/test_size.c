#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/size.h"
#include "base/status.h"

static void test_add(void **state)
{
    (void)state;
    size_t r = 7;
    assert_true(fl_size_add(SIZE_MAX - 5, 5, &r));
    assert_true(r == SIZE_MAX);
    r = 7;
    assert_false(fl_size_add(SIZE_MAX - 5, 6, &r));
    assert_false(fl_size_add(SIZE_MAX, SIZE_MAX, &r));
    assert_true(r == 7); /* left alone */
}

static void test_multiply(void **state)
{
    (void)state;
    size_t r = 7;
    assert_false(fl_size_mul((size_t)1 << 32, (size_t)1 << 32, &r));
    assert_false(fl_size_mul(SIZE_MAX / 2 + 1, 2, &r));
    assert_true(r == 7);
    assert_true(fl_size_mul(SIZE_MAX / 2, 2, &r));
    assert_true(r == SIZE_MAX - 1);
    assert_true(fl_size_mul(0, SIZE_MAX, &r));
    assert_true(r == 0);
}

static void test_align(void **state)
{
    (void)state;
    size_t r = 7;
    assert_true(fl_size_align(0, 64, &r) && r == 0);
    assert_true(fl_size_align(1, 64, &r) && r == 64);
    assert_true(fl_size_align(64, 64, &r) && r == 64);
    assert_true(fl_size_align(65, 1, &r) && r == 65);
    assert_true(fl_size_align(SIZE_MAX - 63, 64, &r) && r == SIZE_MAX - 63);
    r = 7;
    assert_false(fl_size_align(SIZE_MAX - 62, 64, &r));
    assert_false(fl_size_align(10, 0, &r));
    assert_false(fl_size_align(10, 48, &r)); /* not a power of two */
    assert_true(r == 7);
}

static void test_product(void **state)
{
    (void)state;
    size_t r = 7;
    assert_true(fl_size_product((const int64_t[]){2, 3, 5}, 3, &r) && r == 30);
    assert_true(fl_size_product(NULL, 0, &r) && r == 1);
    r = 7;
    assert_false(fl_size_product((const int64_t[]){2, -1}, 2, &r));
    assert_false(fl_size_product((const int64_t[]){INT64_MAX, 3}, 2, &r));
    /* A zero does not excuse the overflow before it: the partial product was already wrong. */
    assert_false(fl_size_product((const int64_t[]){INT64_MAX, 3, 0}, 3, &r));
    assert_true(r == 7);
    assert_true(fl_size_product((const int64_t[]){0, INT64_MAX, INT64_MAX}, 3, &r) && r == 0);
}

static void test_allocations(void **state)
{
    (void)state;
    assert_null(fl_calloc(SIZE_MAX / 4, 8));
    assert_non_null(strstr(fl_error_message(), "memory"));
    void *old = fl_realloc(NULL, 4, 4);
    memcpy(old, "abcdefg", 8);
    assert_null(fl_realloc(old, SIZE_MAX / 2, 3));
    assert_string_equal(old, "abcdefg"); /* the old block stays */
    fl_free(old);
    assert_null(fl_alloc_aligned(SIZE_MAX));
    assert_null(fl_alloc_aligned(SIZE_MAX - 64));
    fl_free(NULL);
    fl_free_aligned(NULL);

    void *zero = fl_calloc(0, 8); /* NULL means failure and nothing else */
    assert_non_null(zero);
    fl_free(zero);
    char *zeroed = fl_calloc(100, 3);
    for (int i = 0; i < 300; i++)
        assert_int_equal(zeroed[i], 0);
    fl_free(zeroed);

    const size_t sizes[] = {0, 1, 63, 64, 65, 100000, (size_t)4 << 20, ((size_t)9 << 20) + 5};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char *p = fl_alloc_aligned(sizes[i]);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % FL_ALIGNMENT, 0);
        memset(p, 1, sizes[i]);
        fl_free_aligned(p);
    }
}

static void test_strings(void **state)
{
    (void)state;
    char *a = fl_strdup("furlong"), *b = fl_strndup("furlong", 3), *c = fl_strndup("ab", 100);
    assert_string_equal(a, "furlong");
    assert_string_equal(b, "fur");
    assert_string_equal(c, "ab");
    fl_free(a);
    fl_free(b);
    fl_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add),     cmocka_unit_test(test_multiply),    cmocka_unit_test(test_align),
        cmocka_unit_test(test_product), cmocka_unit_test(test_allocations), cmocka_unit_test(test_strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
