/* n-gram overlap against Python's strings and sets (tools/oracle/overlap.py), and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "text/overlap.h"

#define DATA FL_TEST_DATA "/overlap/"

static fl_corpus_options options_of(const char *const *path)
{
    fl_corpus_options o = FL_CORPUS_OPTIONS_INIT;
    o.path = path;
    o.paths = 1;
    o.separator = "=====";
    return o;
}

static void check_line(const fl_overlap *o, int64_t *next, long long line, long long words, long long grams,
                       long long seen)
{
    if (line == 0) {
        assert_int_equal(o->distinct, words);
        assert_int_equal(o->grams, grams);
        assert_int_equal(o->seen, seen);
        assert_int_equal(o->documents, *next);
        return;
    }
    const fl_overlap_document *d = &o->document[(*next)++];
    assert_int_equal(d->line, line);
    assert_int_equal(d->words, words);
    assert_int_equal(d->grams, grams);
    assert_int_equal(d->seen, seen);
    assert_non_null(strstr(d->file, "eval.jsonl"));
}

static void test_golden(void **state)
{
    (void)state;
    const char *train[] = {DATA "train.txt"}, *eval[] = {DATA "eval.jsonl"};
    fl_corpus_options training = options_of(train), evaluation = options_of(eval);
    fl_buffer golden = {0};
    assert_int_equal(fl_file_read(&golden, DATA "golden.txt", 1 << 20), FL_OK);
    fl_overlap o = {0};
    int64_t next = 0;
    int lines = 0;
    for (char *rest = golden.data, *line; (line = strsep(&rest, "\n")) && *line; lines++) {
        long long n, at, words, grams, seen;
        assert_int_equal(sscanf(line, "%lld %lld %lld %lld %lld", &n, &at, &words, &grams, &seen), 5);
        if (o.n != n) {
            fl_overlap_free(&o);
            fl_status s = fl_overlap_measure(&o, &training, &evaluation, (int)n, NULL, NULL);
            if (s != FL_OK) fail_msg("%s", fl_error_message());
            assert_int_equal(o.training_documents, 6);
            next = 0;
        }
        check_line(&o, &next, at, words, grams, seen);
    }
    assert_true(lines > 30);
    fl_overlap_free(&o);
    fl_buffer_free(&golden);
}

static int cancel(const char *stage, int64_t done, int64_t total, double left, void *user)
{
    (void)left;
    assert_string_equal(stage, "overlap");
    assert_true(done <= total);
    return ++*(int *)user > 0;
}

static void test_refused(void **state)
{
    (void)state;
    const char *train[] = {DATA "train.txt"}, *input[] = {"-"}, *absent[] = {DATA "absent.txt"};
    fl_corpus_options training = options_of(train), standard = options_of(input), none = options_of(absent);
    fl_overlap o;
    assert_int_equal(fl_overlap_measure(&o, &training, &standard, 13, NULL, NULL), FL_ERR_ARGUMENT);
    fl_overlap_free(&o);
    assert_int_equal(fl_overlap_measure(&o, &training, &training, 0, NULL, NULL), FL_ERR_ARGUMENT);
    fl_overlap_free(&o);
    assert_int_equal(fl_overlap_measure(&o, &none, &training, 13, NULL, NULL), FL_ERR_IO);
    assert_non_null(strstr(fl_error_message(), "absent.txt"));
    fl_overlap_free(&o);
    int calls = 0;
    assert_int_equal(fl_overlap_measure(&o, &training, &training, 13, cancel, &calls), FL_ERR_CANCELLED);
    fl_overlap_free(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden), cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
