/* Summaries: the sets' forms, the prompt, what is cut and what is left out, and a run that goes on. */
#include "eval_case.h"

static const char set[] =
    "{\"report\":\"Tom had a red ball. He lost it in the park. Lily found the ball.\",\"summary\":\"Lily found Tom's "
    "ball.\"}\n"
    "{\"input\":\"The bird sat in a tree. It was very happy in the sun.\",\"outputs\":[\"A happy bird.\"]}\n"
    "{\"meeting_transcripts\":[{\"speaker\":\"Mom\",\"content\":\"We go to the park.\"},{\"speaker\":\"Tim\","
    "\"content\":\"Yay!\"}],\"general_query_list\":[{\"query\":\"Summarize.\",\"answer\":\"They go to the park.\"}],"
    "\"specific_query_list\":[]}\n";

static char path[80];

static fl_summary_options options_of(const char *content)
{
    fl_summary_options o = FL_SUMMARY_OPTIONS_INIT;
    snprintf(path, sizeof path, "%s.jsonl", scratch);
    FILE *f = fopen(path, "wb");
    fputs(content, f);
    assert_int_equal(fclose(f), 0);
    o.path = path;
    o.length = 400;
    o.output_tokens = 40;
    return o;
}

static void test_summaries(void **state)
{
    (void)state;
    fl_summary_options o = options_of(set);
    fl_summary_result r, again;
    o.run.items = scratch;
    o.run.seed = 1;
    must(fl_eval_summary(&r, model, tokenizer, &o));
    assert_int_equal(r.items, 3);
    assert_int_equal(r.skipped + r.cut, 0);
    /* What items keep scores as they say. */
    static const char *const summary[] = {"Lily found Tom's ball.", "A happy bird.", "They go to the park."};
    FILE *f = fopen(scratch, "rb");
    char line[4096];
    double sum[3] = {0};
    for (int i = 0; i < 3; i++) {
        assert_non_null(fgets(line, sizeof line, f));
        json_t *item = json_loads(line, 0, NULL);
        fl_rouge rouge[3];
        must(fl_eval_rouge(rouge, summary[i], json_string_value(json_object_get(item, "text"))));
        for (size_t k = 0; k < 3; k++) {
            assert_true(rouge[k].f == json_number_value(json_array_get(json_object_get(item, "rouge"), k)));
            sum[k] += rouge[k].f;
        }
        assert_in_range(json_integer_value(json_object_get(item, "written")), 1, 40);
        json_decref(item);
    }
    fclose(f);
    for (int k = 0; k < 3; k++)
        assert_true(fabs(r.f[k] - sum[k] / 3) < 1e-12 && r.low[k] <= r.f[k] && r.high[k] >= r.f[k]);
    cut_scratch(1, 9);
    must(fl_eval_summary(&again, model, tokenizer, &o));
    assert_int_equal(again.reused, 1);
    assert_true(!memcmp(again.f, r.f, sizeof r.f) && !memcmp(again.low, r.low, sizeof r.low));
    unlink(scratch);
    unlink(path);
}

/* Every query of QMSum and of L-Eval is answered, general ones first; the file's first document alone when asked. */
static void test_queries(void **state)
{
    (void)state;
    static const char queries[] =
        "{\"meeting_transcripts\":[{\"speaker\":\"Mom\",\"content\":\"We go to the park.\"},{\"speaker\":\"Tim\","
        "\"content\":\"Yay!\"}],\"general_query_list\":[{\"query\":\"Summarize.\",\"answer\":\"They go to the "
        "park.\"}],"
        "\"specific_query_list\":[{\"query\":\"What did Tim say?\",\"answer\":\"Yay.\"},{\"query\":\"What did Mom "
        "say?\","
        "\"answer\":\"To go to the park.\"}]}\n"
        "{\"input\":\"Tom had a red ball.\",\"instructions\":[\"Whose ball?\",\"What color?\"],\"outputs\":[\"Tom's.\","
        "\"Red.\"]}\n";
    static const char *const prompt[] = {"Mom: We go to the park.\nTim: Yay!", "Tom had a red ball."};
    static const char *const query[] = {"Summarize.", "What did Tim say?", "What did Mom say?", "Whose ball?",
                                        "What color?"};
    static const char *const summary[] = {"They go to the park.", "Yay.", "To go to the park.", "Tom's.", "Red."};
    fl_summary_options o = options_of(queries);
    fl_summary_result r;
    o.run.items = scratch;
    must(fl_eval_summary(&r, model, tokenizer, &o));
    assert_true(r.documents == 2 && r.items == 5 && r.skipped == 0);
    FILE *f = fopen(scratch, "rb");
    char line[4096], text[1024];
    for (int i = 0; i < 5; i++) {
        int64_t count;
        int32_t found[400];
        fl_rouge rouge[3];
        snprintf(
            text, sizeof text,
            "You are given a meeting transcript and a query containing a question or instruction. Answer the query "
            "in one or more sentences.\n\nTranscript:\n%s\n\nNow, answer the query based on the above meeting "
            "transcript in one or more sentences.\n\nQuery: %s\nAnswer:",
            prompt[i > 2], query[i]);
        must(fl_tokenize(tokenizer, text, (int64_t)strlen(text), true, false, found, 400, &count));
        assert_non_null(fgets(line, sizeof line, f));
        json_t *item = json_loads(line, 0, NULL);
        assert_int_equal(json_integer_value(json_object_get(item, "tokens")), count);
        must(fl_eval_rouge(rouge, summary[i], json_string_value(json_object_get(item, "text"))));
        assert_true(rouge[2].f == json_number_value(json_array_get(json_object_get(item, "rouge"), 2)));
        json_decref(item);
    }
    fclose(f);
    unlink(scratch);
    o.run.items = NULL;
    o.items = 1;
    must(fl_eval_summary(&r, model, tokenizer, &o));
    assert_true(r.documents == 1 && r.items == 3);
    unlink(path);
}

/* The prompt, byte for byte, by the number of tokens that items say it has. */
static void test_prompt(void **state)
{
    (void)state;
    static const char prompt[] =
        "Read the following article and then summarize it.\n# The bird sat in a tree. It was very "
        "happy in the sun.\nNow summarize the above article.\nSummary:";
    fl_summary_options o = options_of(strchr(set, '\n') + 1);
    fl_summary_result r;
    int64_t count;
    int32_t found[300];
    o.items = 1;
    must(fl_tokenize(tokenizer, prompt, sizeof prompt - 1, true, false, found, 300, &count));
    must(fl_eval_summary(&r, model, tokenizer, &o));
    assert_int_equal(r.items, 1);
    assert_int_equal(r.input_tokens, count);
    /* One token less than is needed: left out and counted; with a cut: counted as cut. */
    o.length = count + 39;
    must(fl_eval_summary(&r, model, tokenizer, &o));
    assert_true(r.items == 0 && r.skipped == 1);
    o.input_tokens = 10;
    must(fl_eval_summary(&r, model, tokenizer, &o));
    assert_true(r.items == 1 && r.skipped == 0 && r.cut == 1);
    assert_true(r.input_tokens < count);
    unlink(path);
}

static void test_refusals(void **state)
{
    (void)state;
    fl_summary_result r;
    static const char *const bad[] = {
        "{\"report\":\"a\"}\n",
        "{\"summary\":\"a\"}\n",
        "{\"meeting_transcripts\":[{\"speaker\":\"a\"}],\"general_query_list\":[{\"answer\":\"b\"}]}\n",
        "{\"meeting_transcripts\":[]}\n",
        "{\"input\":\"a\",\"outputs\":[\"b\",\"c\"],\"instructions\":[\"d\"]}\n",
        "{\"input\":\"a\",\"outputs\":[]}\n",
        "{\"meeting_transcripts\":[{\"speaker\":\"a\",\"content\":\"b\"}],\"specific_query_list\":[{}]}\n"};
    for (int i = 0; i < 7; i++) {
        fl_summary_options o = options_of(bad[i]);
        assert_int_equal(fl_eval_summary(&r, model, tokenizer, &o), FL_ERR_FORMAT);
        assert_non_null(strstr(fl_error_message(), ".jsonl:1: "));
        unlink(path);
    }
    fl_summary_options o = options_of(set);
    o.length = 40;
    assert_int_equal(fl_eval_summary(&r, model, tokenizer, &o), FL_ERR_ARGUMENT);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_summaries), cmocka_unit_test(test_queries),
                                       cmocka_unit_test(test_prompt), cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, start, end);
}
