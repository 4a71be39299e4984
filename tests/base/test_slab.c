#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/slab.h"
#include "base/status.h"

/* A failing allocation is part of a test; a sanitizer would end the program instead. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

#define MIB ((size_t)1 << 20)
#define BLOCKS 300

/* Blocks of many sizes, several slabs full, released in any order while others are taken: none touches another. */
static void test_blocks_are_aligned_and_apart(void **state)
{
    (void)state;
    fl_slabs s;
    fl_slabs_init(&s);
    struct {
        unsigned char *at;
        size_t bytes;
        fl_slab *slab;
        int value;
    } block[BLOCKS] = {0};
    fl_rng rng;
    fl_rng_seed(&rng, 1);
    for (int i = 0; i < 500; i++) {
        int n = (int)fl_rng_below(&rng, BLOCKS);
        if (block[n].at) {
            for (size_t k = 0; k < block[n].bytes; k += 4093)
                assert_int_equal(block[n].at[k], block[n].value);
            if (block[n].bytes) assert_int_equal(block[n].at[block[n].bytes - 1], block[n].value);
        }
        fl_slab_release(&s, block[n].slab);
        block[n].slab = NULL;
        block[n].bytes = (size_t)fl_rng_below(&rng, 1 + (MIB << n % 3)) / 2;
        block[n].at = fl_slab_alloc(&s, block[n].bytes, &block[n].slab);
        block[n].value = i & 0xff;
        assert_non_null(block[n].at);
        assert_int_equal((uintptr_t)block[n].at % 64, 0);
        memset(block[n].at, block[n].value, block[n].bytes);
    }
    for (int n = 0; n < BLOCKS; n++)
        fl_slab_release(&s, block[n].slab);
    assert_null(s.newest); /* nothing is kept once the last block is gone */
    fl_slabs_destroy(&s);
}

static void test_blocks_share_a_slab_until_it_is_full(void **state)
{
    (void)state;
    fl_slabs s;
    fl_slabs_init(&s);
    fl_slab *one, *two, *large, *after;
    char *a = fl_slab_alloc(&s, 100, &one), *b = fl_slab_alloc(&s, 0, &two);
    assert_ptr_equal(one, two);
    assert_ptr_equal(b, a + 128);
    char *c = fl_slab_alloc(&s, 200 * MIB, &large); /* larger than slabs are: one of its own */
    assert_non_null(c);
    assert_ptr_not_equal(large, one);
    assert_non_null(fl_slab_alloc(&s, 1, &after));
    assert_ptr_not_equal(after, large);
    fl_slab_release(&s, one);
    memset(a, 1, 100); /* the slab stays for b */
    fl_slab_release(&s, two);
    fl_slab_release(&s, large);
    fl_slab_release(&s, after);
    fl_slab_release(&s, NULL);
    assert_null(s.newest);
    fl_slabs_destroy(&s);
}

static void test_too_much_is_refused(void **state)
{
    (void)state;
    fl_slabs s;
    fl_slabs_init(&s);
    fl_slab *slab = NULL, *kept;
    assert_non_null(fl_slab_alloc(&s, 1, &kept));
    static const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 63, SIZE_MAX - 64, SIZE_MAX / 2};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        assert_null(fl_slab_alloc(&s, sizes[i], &slab));
        assert_null(slab);
        assert_non_null(strstr(fl_error_message(), "could not be allocated"));
    }
    assert_non_null(fl_slab_alloc(&s, 1, &slab)); /* a refusal takes nothing */
    assert_ptr_equal(slab, kept);
    fl_slab_release(&s, slab);
    fl_slab_release(&s, kept);
    fl_slabs_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks_are_aligned_and_apart),
        cmocka_unit_test(test_blocks_share_a_slab_until_it_is_full),
        cmocka_unit_test(test_too_much_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
