#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/map.h"

typedef struct place {
    char folder[256], file[300], other[300];
} place;

static void put(const char *path, const char *text)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void assert_content(const char *path, const char *text)
{
    fl_buffer b;
    assert_int_equal(fl_file_read(&b, path, 1 << 20), FL_OK);
    assert_string_equal(b.data, text);
    fl_buffer_free(&b);
}

static int entries(const char *folder)
{
    int n = 0;
    DIR *stream = opendir(folder);
    assert_non_null(stream);
    while (readdir(stream))
        n++;
    closedir(stream);
    return n - 2; /* . and .. */
}

static int make_place(void **state)
{
    place *p = calloc(1, sizeof *p);
    const char *root = getenv("TMPDIR");
    snprintf(p->folder, sizeof p->folder, "%s/furlong-test-XXXXXX", root ? root : P_tmpdir);
    if (!mkdtemp(p->folder)) return 1;
    snprintf(p->file, sizeof p->file, "%s/file", p->folder);
    snprintf(p->other, sizeof p->other, "%s/other", p->folder);
    *state = p;
    return 0;
}

static int remove_place(void **state)
{
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", ((place *)*state)->folder);
    free(*state);
    return system(command);
}

static void test_read(void **state)
{
    place *p = *state;
    fl_buffer b = {0};
    assert_int_equal(fl_file_read(&b, p->file, 100), FL_ERR_IO);
    assert_non_null(strstr(fl_error_message(), p->file));
    assert_null(b.data); /* untouched */
    put(p->file, "0123456789");
    assert_int_equal(fl_file_read(&b, p->file, 9), FL_ERR_FORMAT);
    assert_int_equal(fl_file_read(&b, p->folder, 100), FL_ERR_IO);
    assert_null(b.data);
    assert_int_equal(fl_file_read(&b, p->file, 10), FL_OK);
    assert_int_equal(b.size, 10);
    assert_string_equal(b.data, "0123456789");
    fl_buffer_free(&b);
    put(p->file, "");
    assert_int_equal(fl_file_read(&b, p->file, 0), FL_OK);
    assert_int_equal(b.size, 0);
    fl_buffer_free(&b);

    FILE *file = fopen(p->file, "wb"); /* several steps of reading */
    for (int i = 0; i < 50000; i++)
        fprintf(file, "%05d", i);
    fclose(file);
    assert_int_equal(fl_file_read(&b, p->file, 250000), FL_OK);
    assert_int_equal(b.size, 250000);
    assert_memory_equal(b.data + 5 * 31234, "31234", 5);
    fl_buffer_free(&b);
    assert_int_equal(fl_file_read(&b, p->file, 249999), FL_ERR_FORMAT);
}

static void test_folders(void **state)
{
    place *p = *state;
    char *deep = fl_path_join(p->folder, "a/b//c");
    assert_int_equal(fl_folder_make(deep), FL_OK);
    assert_int_equal(fl_folder_make(deep), FL_OK);
    assert_true(fl_file_is_folder(deep));
    assert_true(fl_file_exists(deep));
    put(p->file, "");
    assert_true(fl_file_exists(p->file));
    assert_false(fl_file_is_folder(p->file));
    assert_false(fl_file_exists(p->other));
    char *below = fl_path_join(p->file, "x");
    assert_int_equal(fl_folder_make(below), FL_ERR_IO);
    assert_int_equal(fl_folder_make(p->file), FL_ERR_IO);
    fl_free(below);
    fl_free(deep);
    char *slash = fl_path_join("a/", "b"), *none = fl_path_join("", "b");
    assert_string_equal(slash, "a/b");
    assert_string_equal(none, "b");
    fl_free(slash);
    fl_free(none);
}

static void test_write_replaces_at_the_end(void **state)
{
    place *p = *state;
    put(p->file, "old");
    assert_int_equal(chmod(p->file, 0640), 0);
    fl_writer w;
    assert_int_equal(fl_writer_open(&w, p->file), FL_OK);
    fl_writer_write(&w, "new ", 4);
    fl_writer_write(&w, "text", 4);
    fl_writer_write(&w, NULL, 0);
    assert_int_equal(w.written, 8);
    fflush(w.file);
    assert_content(p->file, "old");
    assert_int_equal(entries(p->folder), 2);
    assert_int_equal(fl_writer_finish(&w), FL_OK);
    assert_content(p->file, "new text");
    assert_int_equal(entries(p->folder), 1);
    struct stat info;
    stat(p->file, &info);
    assert_int_equal(info.st_mode & 0777, 0640);
}

static void test_abandon_leaves_the_old_file(void **state)
{
    place *p = *state;
    put(p->file, "old");
    fl_writer w;
    assert_int_equal(fl_writer_open(&w, p->file), FL_OK);
    fl_writer_write(&w, "new", 3);
    fl_writer_abandon(&w);
    fl_writer_abandon(&w); /* the writer is empty */
    assert_content(p->file, "old");
    assert_int_equal(entries(p->folder), 1);
}

static void test_a_killed_writer_leaves_the_old_file(void **state)
{
    place *p = *state;
    put(p->file, "old");
    pid_t child = fork();
    if (child == 0) {
        fl_writer w;
        if (fl_writer_open(&w, p->file) != FL_OK) _exit(1);
        for (int i = 0; i < 100000; i++)
            fl_writer_write(&w, "0123456789", 10);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_content(p->file, "old");
    /* What it left does not stand in the way. */
    fl_writer w;
    assert_int_equal(fl_writer_open(&w, p->file), FL_OK);
    fl_writer_write(&w, "new", 3);
    assert_int_equal(fl_writer_finish(&w), FL_OK);
    assert_content(p->file, "new");
}

static void test_two_writers_do_not_meet(void **state)
{
    place *p = *state;
    fl_writer a, b;
    assert_int_equal(fl_writer_open(&a, p->file), FL_OK);
    assert_int_equal(fl_writer_open(&b, p->file), FL_OK);
    fl_writer_write(&a, "a", 1);
    fl_writer_write(&b, "b", 1);
    assert_int_equal(fl_writer_finish(&b), FL_OK);
    assert_content(p->file, "b");
    assert_int_equal(fl_writer_finish(&a), FL_OK);
    assert_content(p->file, "a");
    assert_int_equal(entries(p->folder), 1);
}

static void test_a_link_stays_a_link(void **state)
{
    place *p = *state;
    put(p->other, "old");
    assert_int_equal(symlink("other", p->file), 0);
    fl_writer w;
    assert_int_equal(fl_writer_open(&w, p->file), FL_OK);
    fl_writer_write(&w, "new", 3);
    assert_int_equal(fl_writer_finish(&w), FL_OK);
    assert_content(p->other, "new");
    struct stat info;
    assert_int_equal(lstat(p->file, &info), 0);
    assert_true(S_ISLNK(info.st_mode));
}

static void test_write_errors(void **state)
{
    place *p = *state;
    fl_writer w;
    assert_int_equal(fl_writer_open(&w, p->folder), FL_ERR_IO);
    assert_int_equal(fl_writer_finish(&w), FL_ERR_IO); /* sticky */
    char *missing = fl_path_join(p->folder, "no/file");
    assert_int_equal(fl_writer_open(&w, missing), FL_ERR_IO);
    assert_non_null(strstr(fl_error_message(), "no/file"));
    fl_writer_write(&w, "x", 1);
    assert_int_equal(fl_writer_finish(&w), FL_ERR_IO);
    fl_free(missing);
    w = (fl_writer){0};
    assert_int_equal(fl_writer_finish(&w), FL_ERR_STATE);

    /* A full disk, and a device that must not be replaced by a file. */
    assert_int_equal(fl_writer_open(&w, "/dev/full"), FL_OK);
    for (int i = 0; i < 100000; i++)
        fl_writer_write(&w, "0123456789", 10);
    assert_int_equal(fl_writer_finish(&w), FL_ERR_IO);
    assert_non_null(strstr(fl_error_message(), "/dev/full"));
    struct stat info;
    assert_int_equal(stat("/dev/full", &info), 0);
    assert_true(S_ISCHR(info.st_mode));
}

static void test_map(void **state)
{
    place *p = *state;
    fl_map m = {0};
    assert_int_equal(fl_map_open(&m, p->file), FL_ERR_IO);
    assert_non_null(strstr(fl_error_message(), p->file));
    assert_int_equal(fl_map_open(&m, p->folder), FL_ERR_IO);
    assert_non_null(strstr(fl_error_message(), "folder"));
    assert_int_equal(mkfifo(p->other, 0600), 0);
    assert_int_equal(fl_map_open(&m, p->other), FL_ERR_IO); /* and does not wait for a writer */
    put(p->file, "");
    assert_int_equal(fl_map_open(&m, p->file), FL_OK);
    assert_null(m.data);
    assert_int_equal(m.size, 0);
    fl_map_close(&m);
    put(p->file, "content");
    assert_int_equal(fl_map_open(&m, p->file), FL_OK);
    assert_int_equal(m.size, 7);
    assert_memory_equal(m.data, "content", 7);
    assert_int_equal(unlink(p->file), 0); /* the view outlives the name */
    assert_memory_equal(m.data, "content", 7);
    fl_map_close(&m);
    assert_null(m.data);
}

/* Two writers append in turn; a last line without its end gets one; a full disk leaves whole lines only. */
static void test_appender(void **state)
{
    place *p = *state;
    fl_appender a, b;
    put(p->file, "half a line");
    assert_int_equal(fl_appender_open(&a, p->file, true), FL_OK);
    assert_int_equal(fl_appender_open(&b, p->file, true), FL_OK);
    assert_int_equal(fl_appender_write(&a, "one\n", 4), FL_OK);
    assert_int_equal(fl_appender_write(&b, "two\n", 4), FL_OK);
    assert_int_equal(fl_appender_write(&a, "three\n", 6), FL_OK);
    assert_int_equal(fl_appender_close(&b, FL_OK), FL_OK);
    assert_content(p->file, "half a line\none\ntwo\nthree\n");

    /* 27 bytes are there; the limit cuts the next line after three. */
    struct rlimit before, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 27 + 3;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    fl_status s = fl_appender_write(&a, "four\n", 5);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, handler);
    assert_int_equal(s, FL_ERR_IO);
    assert_non_null(strstr(fl_error_message(), p->file));
    assert_content(p->file, "half a line\none\ntwo\nthree\n");

    /* An earlier failure keeps its status and message. */
    assert_int_equal(fl_appender_close(&a, fl_fail(FL_ERR_CANCELLED, "stopped")), FL_ERR_CANCELLED);
    assert_string_equal(fl_error_message(), "stopped");
    assert_int_equal(fl_appender_close(&a, FL_OK), FL_OK);
    assert_int_equal(fl_appender_write(&a, "x", 1), FL_ERR_STATE);
    assert_int_equal(fl_appender_open(&a, p->folder, true), FL_ERR_IO);
    assert_non_null(strstr(fl_error_message(), p->folder));
}

#define PLACE_TEST(f) cmocka_unit_test_setup_teardown(f, make_place, remove_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE_TEST(test_read),
        PLACE_TEST(test_folders),
        PLACE_TEST(test_write_replaces_at_the_end),
        PLACE_TEST(test_abandon_leaves_the_old_file),
        PLACE_TEST(test_a_killed_writer_leaves_the_old_file),
        PLACE_TEST(test_two_writers_do_not_meet),
        PLACE_TEST(test_a_link_stays_a_link),
        PLACE_TEST(test_write_errors),
        PLACE_TEST(test_map),
        PLACE_TEST(test_appender),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
