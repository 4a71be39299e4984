/* Where the needle stands and what stands around it, how long prompts are, and that a map goes on where it was stopped.
 */
#include "eval_case.h"

#include "eval/needle.h"

static void expect(double depth, size_t bytes, const char *expected)
{
    static const char haystack[] = "One two. Three four!\nFive six seven. Eight nine.";
    fl_needle_text t = {.haystack = haystack,
                        .haystack_bytes = sizeof haystack - 1,
                        .bytes = bytes,
                        .depth = depth,
                        .needle = "NEEDLE.",
                        .question = "Where?",
                        .answer = "here"};
    fl_buffer out = {0};
    size_t prompt;
    fl_needle_write(&out, &t, &prompt);
    assert_string_equal(out.data, expected);
    assert_string_equal(out.data + prompt, " here");
    fl_buffer_free(&out);
}

static void test_text(void **state)
{
    (void)state;
    expect(0, 38, "NEEDLE. One two. Three four! Five six seven.\n\nWhere? here");
    expect(0.5, 38, "One two. NEEDLE. Three four! Five six seven.\n\nWhere? here"); /* back to the sentence before */
    expect(0.7, 38, "One two. Three four! NEEDLE. Five six seven.\n\nWhere? here");
    expect(1, 38, "One two. Three four! Five six seven. NEEDLE.\n\nWhere? here");
    expect(1, 60, "One two. Three four! Five six seven. Eight nine.One two. NEEDLE.\n\nWhere? here"); /* around again */
    expect(0.5, 0, "NEEDLE.\n\nWhere? here");
}

static void test_map(void **state)
{
    (void)state;
    static const int64_t lengths[] = {200, 330};
    fl_buffer book = golden_file(FL_TEST_DATA "/text/stories.txt");
    fl_needle_options o = FL_NEEDLE_OPTIONS_INIT;
    fl_needle_cell whole[3][2], resumed[3][2];
    int64_t reused;
    o.lengths = lengths;
    o.length_count = 2;
    o.depths = 3;
    o.trials = 2;
    o.haystack = book.data;
    o.haystack_bytes = book.size;
    o.needle = "The cat has {} toys.";
    o.question = "How many toys has the cat? The cat has";
    o.answer = "{} toys.";
    must(fl_eval_needle((fl_needle_cell *)whole, &reused, model, tokenizer, &o));
    assert_int_equal(reused, 0);
    o.run.items = scratch;
    must(fl_eval_needle((fl_needle_cell *)resumed, &reused, model, tokenizer, &o));
    FILE *f = fopen(scratch, "rb");
    char line[512];
    int count = 0;
    for (; fgets(line, sizeof line, f); count++) {
        json_t *item = json_loads(line, 0, NULL);
        int64_t tokens = json_integer_value(json_object_get(item, "tokens"));
        int64_t length = atoi(json_string_value(json_object_get(item, "item")));
        assert_true(tokens <= length && tokens > length - 40);
        json_decref(item);
    }
    fclose(f);
    assert_int_equal(count, 12);
    cut_scratch(7, 5);
    must(fl_eval_needle((fl_needle_cell *)resumed, &reused, model, tokenizer, &o));
    assert_int_equal(reused, 7);
    for (int d = 0; d < 3; d++)
        for (int i = 0; i < 2; i++) {
            assert_int_equal(whole[d][i].length, lengths[i]);
            assert_true(whole[d][i].depth == d * 0.5);
            assert_int_equal(whole[d][i].trials, 2);
            assert_true(whole[d][i].nll > 0 && whole[d][i].nll == resumed[d][i].nll);
            assert_true(whole[d][i].right == resumed[d][i].right);
        }
    static const int64_t small[] = {20};
    o.lengths = small;
    o.length_count = 1;
    assert_int_equal(fl_eval_needle((fl_needle_cell *)whole, NULL, model, tokenizer, &o), FL_ERR_ARGUMENT);
    assert_non_null(strstr(fl_error_message(), "alone have"));
    unlink(scratch);
    fl_buffer_free(&book);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_text), cmocka_unit_test(test_map)};
    return cmocka_run_group_tests(tests, start, end);
}
