/* The evaluations on the command line: what scripts read of their JSON, their tables and pictures, wrong usage. */
#define _GNU_SOURCE /* pipe2 */
#include "run.h"

#define TEXT "-f", FL_TEST_DATA "/text/stories.txt"
#define MODEL "-m", STORIES

static char scratch[64];

static size_t count_of(const json_t *o, const char *key)
{
    assert_true(json_is_array(json_object_get(o, key)));
    return json_array_size(json_object_get(o, key));
}

static void test_ppl(void **state)
{
    (void)state;
    json_t *r =
        expect_json(RUN("eval", "ppl", MODEL, TEXT, "-f", FL_SOURCE_DIR "/models/stories260K/sample-stories.txt",
                        "--protocol", "matched", "--lengths", "96,200", "--score", "32", "--blocks", "4", "--near",
                        "96", "--far", "other", "--kl-cache", "-ctk", "bf16", "--json"));
    assert_int_equal(count_of(r, "results"), 2);
    const json_t *second = json_array_get(json_object_get(r, "results"), 1);
    static const char *const members[] = {
        "length",     "tokens",        "nll",  "ppl",           "stderr", "seconds", "tokens_per_second",
        "peak_bytes", "bits_per_byte", "gain", "gain_documents"};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        number(second, members[i]);
    assert_int_equal(count_of(second, "gain_interval"), 2);
    assert_int_equal(count_of(second, "per_document"), 2);
    assert_true(number(json_object_get(second, "divergence"), "kl") > 0);
    assert_true(number(json_object_get(second, "divergence"), "top1") > 0.9);
    json_decref(r);
    expect_error(RUN("eval", "ppl", MODEL, TEXT, "--kl", STORIES, "--kl-cache"), 2, "--kl", NULL);
    expect_error(RUN("eval", "ppl", MODEL, TEXT, "--far", "other"), 1, "matched", NULL);
    expect_error(RUN("eval", "ppl", MODEL), 2, "-f FILE", NULL);
}

static void test_passkey(void **state)
{
    (void)state;
    char svg[80];
    snprintf(svg, sizeof svg, "%s.svg", scratch);
    json_t *r = expect_json(RUN("eval", "passkey", MODEL, "--length", "300", "--distances", "4", "--trials", "2",
                                "--items", scratch, "--json"));
    number(r, "k_max");
    assert_int_equal(count_of(r, "success"), 4);
    const json_t *last = json_array_get(json_object_get(r, "success"), 3);
    assert_true(number(last, "distance") == 300 && number(last, "trials") == 2 && number(last, "hits") == 0);
    json_decref(r);
    outcome o = RUN("eval", "passkey", MODEL, "--length", "300", "--distances", "4", "--trials", "2", "--items",
                    scratch, "--svg", svg);
    if (o.status && strstr(err_of(&o), "gnuplot cannot be run")) skip();
    assert_int_equal(o.status, 0);
    assert_non_null(strstr(err_of(&o), "8 of 8 items were in"));
    assert_non_null(strstr(out_of(&o), "k_max 0, at 80 %: 0"));
    outcome_free(&o);
    assert_int_equal(unlink(svg), 0);
    expect_error(RUN("eval", "passkey", MODEL, "--words", "x"), 2, "--key word", NULL);
    unlink(scratch);
}

static void test_texts(void **state)
{
    (void)state;
    json_t *r =
        expect_json(RUN("eval", "position", MODEL, TEXT, "--length", "128", "--bins", "4", "--windows", "2", "--json"));
    assert_int_equal(count_of(r, "positions"), 4);
    number(json_array_get(json_object_get(r, "positions"), 3), "cumulative_accuracy");
    json_decref(r);
    r = expect_json(RUN("eval", "cloze", MODEL, TEXT, "--length", "96", "--count", "5", "--json"));
    assert_true(number(r, "items") == 5 && number(r, "nll_true") > 0);
    json_decref(r);
    r = expect_json(RUN("eval", "babble", MODEL, TEXT, "--prompt-tokens", "64", "-n", "32", "--count", "2", "--json"));
    assert_int_equal(count_of(r, "distinct"), 4);
    json_decref(r);
    r = expect_json(RUN("eval", "needle", MODEL, TEXT, "--lengths", "200,300", "--depths", "2", "--json"));
    assert_int_equal(count_of(r, "cells"), 4);
    json_decref(r);
    outcome o = RUN("eval", "needle", MODEL, TEXT, "--lengths", "200,300", "--depths", "3");
    assert_non_null(strstr(out_of(&o), "\n   50 %"));
    outcome_free(&o);
    expect_error(RUN("eval", "needle", MODEL, TEXT, "--needle", "x"), 2, "--question", NULL);
}

static void test_sets(void **state)
{
    (void)state;
    json_t *r = expect_json(RUN("eval", "choice", MODEL, "--task", "piqa", "-f", FL_TEST_DATA "/eval/piqa.jsonl",
                                "--labels", FL_TEST_DATA "/eval/piqa-labels.txt", "--json"));
    assert_true(number(r, "items") == 3 && number(r, "skipped") == 0);
    number(json_object_get(r, "accuracy_normalised"), "share");
    json_decref(r);
    FILE *f = fopen(scratch, "wb");
    fputs("a\tOnce upon a\ttime\n", f);
    fclose(f);
    r = expect_json(RUN("eval", "recall", MODEL, "-f", scratch, "--json"));
    assert_int_equal(count_of(r, "groups"), 1);
    assert_true(number(json_array_get(json_object_get(r, "groups"), 0), "hits") == 1);
    json_decref(r);
    f = fopen(scratch, "wb");
    fputs("{\"report\":\"Tom had a ball.\",\"summary\":\"Tom's ball.\"}\n", f);
    fclose(f);
    r = expect_json(RUN("eval", "summary", MODEL, "-f", scratch, "-n", "20", "--json"));
    number(json_object_get(json_object_get(r, "rouge"), "ROUGE-L"), "f");
    json_decref(r);
    expect_error(RUN("eval", "summary", MODEL, "-f", scratch, "-n", "20", "--length", "40"), 1,
                 "none of its 1 documents", "--input-tokens");
    unlink(scratch);
    expect_error(RUN("eval", "choice", MODEL, "--task", "arc", "-f", FL_TEST_DATA "/eval/arc.jsonl", "--length", "10"),
                 1, "none of its 2 questions", NULL);
    expect_error(RUN("eval", "choice", MODEL, "--task", "race", "-f", scratch), 2, "boolq|piqa|arc", NULL);
    expect_error(RUN("eval", "choice", MODEL, "--task", "arc", "-f", "/nonexistent"), 1, "/nonexistent", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ppl), cmocka_unit_test(test_passkey),
                                       cmocka_unit_test(test_texts), cmocka_unit_test(test_sets)};
    snprintf(scratch, sizeof scratch, "/tmp/furlong-eval-cli-%ld", (long)getpid());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
