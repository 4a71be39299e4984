#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/cgroup.h"
#include "base/file.h"

/* A folder that looks like the root of a machine. */
static int make_root(void **state)
{
    const char *temporary = getenv("TMPDIR");
    char *root = calloc(1, 300);
    snprintf(root, 300, "%s/furlong-test-XXXXXX", temporary ? temporary : P_tmpdir);
    *state = root;
    return mkdtemp(root) == NULL;
}

static int remove_root(void **state)
{
    char command[400];
    snprintf(command, sizeof command, "rm -rf '%s'", (char *)*state);
    free(*state);
    return system(command);
}

static void put(const char *root, const char *path, const char *text)
{
    char *full = fl_path_join(root, path);
    char *slash = strrchr(full, '/');
    *slash = 0;
    assert_int_equal(fl_folder_make(full), FL_OK);
    *slash = '/';
    FILE *file = fopen(full, "wb");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
    fl_free(full);
}

static void test_no_groups(void **state)
{
    assert_true(fl_cgroup_memory_bytes(*state) == INT64_MAX);
    assert_true(fl_cgroup_processors(*state) == 0);
}

/* As systemd lays it out; the least of all enclosing limits holds. */
static void test_version_2(void **state)
{
    put(*state, "proc/self/cgroup", "0::/user.slice/job.scope\n");
    put(*state, "sys/fs/cgroup/user.slice/job.scope/memory.max", "max\n");
    put(*state, "sys/fs/cgroup/user.slice/job.scope/cpu.max", "max 100000\n");
    assert_true(fl_cgroup_memory_bytes(*state) == INT64_MAX);
    assert_true(fl_cgroup_processors(*state) == 0);
    put(*state, "sys/fs/cgroup/user.slice/memory.max", "4294967296\n");
    put(*state, "sys/fs/cgroup/user.slice/cpu.max", "250000 100000\n");
    assert_true(fl_cgroup_memory_bytes(*state) == 4294967296);
    assert_true(fl_cgroup_processors(*state) == 2.5);
    put(*state, "sys/fs/cgroup/user.slice/job.scope/memory.max", "1048576\n");
    put(*state, "sys/fs/cgroup/user.slice/job.scope/cpu.max", "50000 100000\n");
    assert_true(fl_cgroup_memory_bytes(*state) == 1048576);
    assert_true(fl_cgroup_processors(*state) == 0.5);
}

/* As a container with its own name space sees itself: at the root. */
static void test_version_2_in_a_container(void **state)
{
    put(*state, "proc/self/cgroup", "0::/\n");
    put(*state, "sys/fs/cgroup/memory.max", "536870912\n");
    put(*state, "sys/fs/cgroup/cpu.max", "200000 100000\n");
    assert_true(fl_cgroup_memory_bytes(*state) == 536870912);
    assert_true(fl_cgroup_processors(*state) == 2);
}

/* As Docker lays out version 1: the path is the host's, the files lie at the root of the mount. */
static void test_version_1(void **state)
{
    put(*state, "proc/self/cgroup", "5:memory:/docker/0123\n4:cpu,cpuacct:/docker/0123\n1:name=systemd:/docker\n");
    put(*state, "sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n");
    put(*state, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
    put(*state, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    assert_true(fl_cgroup_memory_bytes(*state) == 1073741824);
    assert_true(fl_cgroup_processors(*state) == 0);
    put(*state, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "150000\n");
    assert_true(fl_cgroup_processors(*state) == 1.5);
}

static void test_malformed_files_are_no_limit(void **state)
{
    put(*state, "proc/self/cgroup", "nonsense\n0:\n::\n0::/a\n");
    put(*state, "sys/fs/cgroup/a/memory.max", "");
    put(*state, "sys/fs/cgroup/a/cpu.max", "0 0\n");
    put(*state, "sys/fs/cgroup/memory.max", "-5\n");
    assert_true(fl_cgroup_memory_bytes(*state) == INT64_MAX);
    assert_true(fl_cgroup_processors(*state) == 0);
}

#define ROOT_TEST(f) cmocka_unit_test_setup_teardown(f, make_root, remove_root)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROOT_TEST(test_no_groups),
        ROOT_TEST(test_version_2),
        ROOT_TEST(test_version_2_in_a_container),
        ROOT_TEST(test_version_1),
        ROOT_TEST(test_malformed_files_are_no_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
