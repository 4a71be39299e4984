#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/kernel.h"

/* Whether the kernel lists all of these words for the first processor; it leaves out what it does not enable. */
static bool machine_has(const char *const *features, int n)
{
    static char flags[16384];
    FILE *file = fopen("/proc/cpuinfo", "r");
    if (!file) skip();
    flags[0] = 0;
    while (strncmp(flags, "flags", 5) != 0)
        if (!fgets(flags, sizeof flags - 1, file)) break;
    fclose(file);
    flags[strcspn(flags, "\n")] = 0;
    strcat(flags, " ");
    for (int i = 0; i < n; i++) {
        char word[32];
        snprintf(word, sizeof word, " %s ", features[i]);
        if (!strstr(flags, word)) return false;
    }
    return true;
}

#if defined(__x86_64__)
static const char *const avx2_features[] = {"avx2", "fma", "f16c"};
static const char *const avx512_features[] = {"avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl"};

static void test_levels_agree_with_the_operating_system(void **state)
{
    (void)state;
    const fl_kernels *kernels;
    bool avx2 = machine_has(avx2_features, 3), avx512 = machine_has(avx512_features, 7);
    assert_int_equal(fl_kernels_select(&kernels, "avx2"), avx2 ? FL_OK : FL_ERR_UNSUPPORTED);
    static const char *const avx_vnni[] = {"avx_vnni"};
    const fl_kernels *narrow = machine_has(avx_vnni, 1) ? &fl_kernels_avx2_vnni : &fl_kernels_avx2;
    if (avx2) assert_ptr_equal(kernels, narrow);
    assert_int_equal(fl_kernels_select(&kernels, "avx512"), avx512 ? FL_OK : FL_ERR_UNSUPPORTED);
    static const char *const vnni[] = {"avx512_vnni"};
    const fl_kernels *widest = machine_has(vnni, 1) ? &fl_kernels_avx512_vnni : &fl_kernels_avx512;
    if (avx512) assert_ptr_equal(kernels, widest);
    assert_int_equal(fl_kernels_select(&kernels, "auto"), FL_OK);
    assert_ptr_equal(kernels, avx512 ? widest : avx2 ? narrow : &fl_kernels_generic);
}
#else
static void test_levels_agree_with_the_operating_system(void **state)
{
    (void)state;
    (void)machine_has;
    const fl_kernels *kernels;
    assert_int_equal(fl_kernels_select(&kernels, "avx2"), FL_ERR_UNSUPPORTED);
    assert_int_equal(fl_kernels_select(&kernels, "auto"), FL_OK);
    assert_ptr_equal(kernels, &fl_kernels_generic);
}
#endif

static void test_generic_is_everywhere(void **state)
{
    (void)state;
    const fl_kernels *kernels = NULL;
    assert_int_equal(fl_kernels_select(&kernels, "generic"), FL_OK);
    assert_ptr_equal(kernels, &fl_kernels_generic);
    assert_string_equal(kernels->name, "generic");
}

static void test_no_name_is_auto(void **state)
{
    (void)state;
    const fl_kernels *a, *b;
    assert_int_equal(fl_kernels_select(&a, NULL), FL_OK);
    assert_int_equal(fl_kernels_select(&b, "auto"), FL_OK);
    assert_ptr_equal(a, b);
}

static void test_unknown_names_are_refused(void **state)
{
    (void)state;
    const fl_kernels *kernels = NULL;
    assert_int_equal(fl_kernels_select(&kernels, "sse9"), FL_ERR_ARGUMENT);
    assert_non_null(strstr(fl_error_message(), "sse9"));
    assert_int_equal(fl_kernels_select(&kernels, ""), FL_ERR_ARGUMENT);
    assert_null(kernels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels_agree_with_the_operating_system),
        cmocka_unit_test(test_generic_is_everywhere),
        cmocka_unit_test(test_no_name_is_auto),
        cmocka_unit_test(test_unknown_names_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
