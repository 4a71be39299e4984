/* Questions with given answers against log-likelihoods from Transformers in float64 on prompts made as the LM
 * evaluation harness makes them (tools/oracle/evaluation.py), the sets' readers, and what they refuse. */
#include "eval_case.h"

#define DATA FL_TEST_DATA "/eval/"

static fl_choice_options options_of(const char *task)
{
    fl_choice_options o = FL_CHOICE_OPTIONS_INIT;
    o.task = task;
    o.path = !strcmp(task, "boolq") ? DATA "boolq.jsonl" : !strcmp(task, "piqa") ? DATA "piqa.jsonl" : DATA "arc.jsonl";
    o.labels = !strcmp(task, "piqa") ? DATA "piqa-labels.txt" : NULL;
    return o;
}

/* Lines of the scratch file against those of the golden list that belong to the task; fp32 logits are off by about
 * 1e-5, and an answer has up to 40 tokens. */
static int compare(const json_t *golden, const char *task, int64_t *right, int64_t *normalised)
{
    static const int expected[] = {1, 0, 1, 0, 1, 0, 0, 0}; /* what the files say, in the golden list's order */
    FILE *f = fopen(scratch, "rb");
    char line[1024];
    int count = 0;
    assert_non_null(f);
    for (size_t i = 0; i < json_array_size(golden); i++) {
        const json_t *g = json_array_get(golden, i), *list = json_object_get(g, "log_likelihood");
        if (strcmp(json_string_value(json_object_get(g, "task")), task)) continue;
        assert_non_null(fgets(line, sizeof line, f));
        json_t *item = json_loads(line, 0, NULL);
        const json_t *found = json_object_get(item, "log_likelihood");
        assert_int_equal(json_array_size(found), json_array_size(list));
        for (size_t j = 0; j < json_array_size(list); j++)
            assert_true(fabs(json_number_value(json_array_get(found, j)) - json_number_value(json_array_get(list, j))) <
                        1e-3);
        int64_t best = json_integer_value(json_object_get(g, "best"));
        int64_t best_normalised = json_integer_value(json_object_get(g, "best_normalised"));
        assert_int_equal(json_integer_value(json_object_get(item, "answer")), expected[i]);
        assert_int_equal(json_integer_value(json_object_get(item, "best")), best);
        assert_int_equal(json_integer_value(json_object_get(item, "best_normalised")), best_normalised);
        *right += best == expected[i];
        *normalised += best_normalised == expected[i];
        json_decref(item);
        count++;
    }
    fclose(f);
    return count;
}

static void check_golden(const char *key, const fl_tokenizer *by)
{
    static const char *const tasks[] = {"boolq", "piqa", "arc"};
    json_t *golden = golden_json(FL_TEST_DATA "/golden/eval/stories.json"), *list = json_object_get(golden, key);
    assert_int_equal(json_array_size(list), 8);
    for (int t = 0; t < 3; t++) {
        fl_choice_options o = options_of(tasks[t]);
        fl_choice_result r;
        int64_t right = 0, normalised = 0;
        o.run.items = scratch;
        must(fl_eval_choice(&r, model, by, &o));
        int count = compare(list, tasks[t], &right, &normalised);
        assert_int_equal(count, t < 2 ? 3 : 2);
        assert_int_equal(r.right.items, count);
        assert_int_equal(r.right.hits, right);
        assert_int_equal(r.right_normalised.hits, normalised);
        assert_true(r.right.low <= (double)right / count && r.right.high >= (double)right / count);
        unlink(scratch);
    }
    json_decref(golden);
}

static void test_golden(void **state)
{
    (void)state;
    check_golden("choice", tokenizer);
}

/* Where a tokenizer makes one id of the prompt's last letter and the answer's first, that id is the prompt's: the
 * answer begins after as many ids as the prompt alone has. */
static void test_joined(void **state)
{
    (void)state;
    fl_tokenizer *joining;
    must(fl_tokenizer_load(&joining, DATA "joining.bin", model));
    check_golden("choice_joined", joining);
    fl_tokenizer_close(joining);
}

/* Too long ones are counted, not cut; a limit on their number; a run that goes on. */
static void test_counts(void **state)
{
    (void)state;
    fl_choice_options o = options_of("arc");
    fl_choice_result r, again;
    o.length = 38;
    o.run.items = scratch;
    must(fl_eval_choice(&r, model, tokenizer, &o));
    assert_int_equal(r.skipped, 1);
    assert_int_equal(r.right.items, 1);
    cut_scratch(1, 7);
    must(fl_eval_choice(&again, model, tokenizer, &o));
    assert_int_equal(again.reused, 1);
    assert_int_equal(again.right.hits, r.right.hits);
    assert_int_equal(again.skipped, 1);
    unlink(scratch);
    o = options_of("boolq");
    o.items = 2;
    must(fl_eval_choice(&r, model, tokenizer, &o));
    assert_int_equal(r.right.items, 2);
}

static void refused(const char *task, const char *content, const char *what)
{
    fl_choice_options o = options_of(task);
    fl_choice_result r;
    FILE *f = fopen(scratch, "wb");
    fputs(content, f);
    fclose(f);
    o.path = scratch;
    fl_status s = fl_eval_choice(&r, model, tokenizer, &o);
    if (s != FL_ERR_FORMAT || !strstr(fl_error_message(), what) || !strstr(fl_error_message(), ":1:"))
        fail_msg("%s: %s, not about %s", fl_status_name(s), fl_error_message(), what);
    unlink(scratch);
}

static void test_refusals(void **state)
{
    (void)state;
    refused("boolq", "{\"passage\":\"a\",\"label\":true}\n", "question");
    refused("boolq", "{\"passage\":\"a\",\"question\":\"b\",\"label\":2}\n", "label");
    refused("boolq", "{\"passage\":\"a\",\"question\":\"b\",\"label\":\"yes\"}\n", "label");
    refused("piqa", "{\"goal\":\"a\",\"sol1\":\"b\"}\n", "sol2");
    refused("arc", "{\"question\":{\"stem\":\"a\",\"choices\":[]},\"answerKey\":\"A\"}\n", "choices");
    refused("arc",
            "{\"question\":{\"stem\":\"a\",\"choices\":[{\"text\":\"b\",\"label\":\"A\"},{\"text\":\"c\",\"label\":"
            "\"B\"}]},"
            "\"answerKey\":\"C\"}\n",
            "answerKey");
    fl_choice_options o = options_of("piqa");
    fl_choice_result r;
    o.labels = NULL;
    assert_int_equal(fl_eval_choice(&r, model, tokenizer, &o), FL_ERR_FORMAT);
    assert_non_null(strstr(fl_error_message(), "--labels"));
    o.labels = DATA "arc.jsonl";
    assert_int_equal(fl_eval_choice(&r, model, tokenizer, &o), FL_ERR_FORMAT);
    assert_non_null(strstr(fl_error_message(), "no label 0 or 1"));
    o.task = "race";
    assert_int_equal(fl_eval_choice(&r, model, tokenizer, &o), FL_ERR_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden), cmocka_unit_test(test_joined),
                                       cmocka_unit_test(test_counts), cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, start, end);
}
