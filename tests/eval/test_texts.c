/* Accuracy by position (golden values from Transformers in float64, tools/oracle/evaluation.py), the cloze choice and
 * babble on one text, each also stopped and gone on with. */
#include "eval_case.h"

#include "eval/scorer.h"

/* fp32 log-probabilities are off by about 1e-5, sums of 25 x 3 of them by less than 1e-3. */
static void test_position(void **state)
{
    (void)state;
    json_t *golden = golden_json(FL_TEST_DATA "/golden/eval/stories.json"), *g = json_object_get(golden, "position");
    fl_document document[] = {{ids + 1, 599}, {ids, 50}};
    fl_position_options o = FL_POSITION_OPTIONS_INIT;
    fl_position_bin bin[8], resumed[8];
    int64_t windows;
    int left_out;
    double nll = 0, right = 0, tokens = 0;
    o.length = 200;
    o.bins = 8;
    o.windows = 0;
    o.run.items = scratch;
    must(fl_eval_position(bin, &windows, &left_out, model, document, 2, 1, &o));
    assert_int_equal(windows, 3);
    assert_int_equal(left_out, 1);
    for (size_t b = 0; b < 8; b++) {
        double n = (double)bin[b].tokens, golden_nll = json_number_value(json_array_get(json_object_get(g, "nll"), b));
        double golden_right = json_number_value(json_array_get(json_object_get(g, "right"), b));
        assert_int_equal(bin[b].begin, 25 * b);
        assert_int_equal(bin[b].tokens, b ? 75 : 72);
        assert_true(fabs(bin[b].nll * n - golden_nll) < 1e-3);
        assert_true(fabs(bin[b].accuracy * n - golden_right) < 1e-9);
        nll += golden_nll;
        right += golden_right;
        tokens += n;
        assert_true(fabs(bin[b].cumulative_nll - nll / tokens) < 1e-5);
        assert_true(fabs(bin[b].cumulative_accuracy - right / tokens) < 1e-9);
    }
    cut_scratch(1, 30);
    must(fl_eval_position(resumed, &windows, &left_out, model, document, 2, 1, &o));
    assert_memory_equal(bin, resumed, sizeof bin);
    o.windows = 2;
    must(fl_eval_position(resumed, &windows, &left_out, model, document, 2, 1, &o));
    assert_int_equal(windows, 2);
    o.length = 1000;
    assert_int_equal(fl_eval_position(bin, &windows, &left_out, model, document, 2, 1, &o), FL_ERR_ARGUMENT);
    unlink(scratch);
    json_decref(golden);
}

/* The true continuation is that of the text; what items keep is what a pass over each choice finds. */
static void test_cloze(void **state)
{
    (void)state;
    fl_buffer stories =
        golden_file(FL_SOURCE_DIR "/models/stories260K/sample-stories.txt"); /* of the model's own kind */
    static int32_t text_ids[8000];
    int64_t count;
    must(fl_tokenize(tokenizer, stories.data, 8000, false, false, text_ids + 1, 7999, &count));
    assert_true(count > 3000);
    fl_document document[] = {{text_ids + 1, 3000}, {text_ids + 1, 100}};
    fl_cloze_options o = FL_CLOZE_OPTIONS_INIT;
    fl_cloze_result r, again;
    o.length = 160;
    o.items = 30;
    o.run.items = scratch;
    o.run.seed = 2;
    must(fl_eval_cloze(&r, model, document, 2, 1, &o));
    assert_int_equal(r.right.items, 30);
    assert_int_equal(r.skipped, 1);
    assert_true(r.nll_true < r.nll_false);
    assert_true(r.right.hits > 15); /* chance is 7.5, and 15 are three standard deviations above */
    FILE *f = fopen(scratch, "rb");
    char line[1024];
    fl_scorer scorer;
    must(fl_scorer_create(&scorer, model, NULL, 160));
    for (int i = 0; i < 3; i++) {
        assert_non_null(fgets(line, sizeof line, f));
        json_t *item = json_loads(line, 0, NULL);
        int64_t place = json_integer_value(json_object_get(item, "place"));
        int32_t text[160];
        float nll[32];
        double sum = 0;
        text[0] = 1;
        memcpy(text + 1, text_ids + 1 + place - 127, 159 * sizeof *text);
        must(fl_scorer_text(&scorer, text, 160, 128, nll, NULL));
        for (int j = 0; j < 32; j++)
            sum += nll[j];
        assert_true(sum == json_number_value(json_array_get(json_object_get(item, "nll"), 0)));
        json_decref(item);
    }
    fclose(f);
    fl_scorer_destroy(&scorer);
    cut_scratch(11, 3);
    must(fl_eval_cloze(&again, model, document, 2, 1, &o));
    assert_int_equal(again.reused, 11);
    assert_true(again.right.hits == r.right.hits && again.nll_true == r.nll_true && again.nll_false == r.nll_false);
    o.length = 4000;
    assert_int_equal(fl_eval_cloze(&r, model, document, 2, 1, &o), FL_ERR_ARGUMENT);
    o.length = 32;
    assert_int_equal(fl_eval_cloze(&r, model, document, 2, 1, &o), FL_ERR_ARGUMENT);
    fl_buffer_free(&stories);
    unlink(scratch);
}

/* Greedy writing repeats itself more than its model text does, and the model finds it likelier. */
static void test_babble(void **state)
{
    (void)state;
    fl_document document = {ids + 1, 3000};
    fl_babble_options o = FL_BABBLE_OPTIONS_INIT;
    fl_babble_result r, again;
    o.prompt = 100;
    o.tokens = 120;
    o.items = 3;
    o.window = 128;
    o.run.items = scratch;
    must(fl_eval_babble(&r, model, &document, 1, 1, &o));
    assert_int_equal(r.items, 3);
    assert_true(r.nll < r.text_nll && r.nll > 0);
    for (int n = 0; n < 4; n++) {
        assert_true(r.distinct[n] > 0 && r.distinct[n] <= 1 && r.text_distinct[n] <= 1);
        assert_true(r.distinct[n] <= r.text_distinct[n]);
        if (n) assert_true(r.distinct[n] >= r.distinct[n - 1]);
    }
    cut_scratch(2, 0);
    must(fl_eval_babble(&again, model, &document, 1, 1, &o));
    assert_int_equal(again.reused, 2);
    assert_true(again.nll == r.nll && !memcmp(again.distinct, r.distinct, sizeof r.distinct));
    o.prompt = 2990;
    assert_int_equal(fl_eval_babble(&r, model, &document, 1, 1, &o), FL_ERR_ARGUMENT);
    unlink(scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_position), cmocka_unit_test(test_cloze),
                                       cmocka_unit_test(test_babble)};
    return cmocka_run_group_tests(tests, start, end);
}
