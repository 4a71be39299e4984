/* Retrieval items of a file: read, judged as a pass over each item alone judges them, gone on with, refused. */
#include "eval_case.h"

static void write_scratch(const char *content)
{
    FILE *f = fopen(scratch, "wb");
    fputs(content, f);
    assert_int_equal(fclose(f), 0);
}

/* Right tokens and nll of one text by a pass without memory. */
static void judge(const char *prompt, const char *answer, int64_t *tokens, int64_t *right, double *nll)
{
    char text[512];
    int32_t found[256];
    int64_t before, all;
    must(fl_tokenize(tokenizer, prompt, strlen(prompt), true, false, found, 256, &before));
    snprintf(text, sizeof text, "%s %s", prompt, answer);
    must(fl_tokenize(tokenizer, text, strlen(text), true, false, found, 256, &all));
    float loss[256];
    int32_t argmax[256];
    fl_run *run;
    fl_batch_seq seq = {.rows = all - 1};
    fl_batch batch = {.sequences = 1, .seq = &seq, .rows = all - 1, .tokens = found};
    fl_head_spec spec = {.n = all - 1, .target = found + 1, .nll = loss, .argmax = argmax};
    must(fl_run_create(&run, engine, 0, false));
    must(fl_model_pass(model, run, &batch, NULL, false, &spec));
    fl_run_destroy(run);
    *tokens = all - before;
    for (int64_t i = before; i < all; i++) {
        *right += argmax[i - 1] == found[i];
        *nll += loss[i - 1];
    }
}

static void test_groups(void **state)
{
    (void)state;
    static const char *const item[][3] = {{"park", "Once upon a time", "there was a little girl"},
                                          {"ball", "Tom had a big red", "ball"},
                                          {"park", "Lily went to the", "park"}};
    char text[512] = "";
    int64_t tokens[2] = {0}, right[2] = {0}, hits[2] = {0};
    double nll[2] = {0};
    for (int i = 0; i < 3; i++) {
        int g = i == 1;
        int64_t n, r = 0;
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s\t%s\t%s\n", item[i][0], item[i][1], item[i][2]);
        judge(item[i][1], item[i][2], &n, &r, &nll[g]);
        tokens[g] += n;
        right[g] += r;
        hits[g] += n == r;
    }
    write_scratch(text);
    fl_recall_group *group;
    int count;
    fl_eval_run run = {0};
    must(fl_eval_recall(&group, &count, model, tokenizer, scratch, &run));
    assert_int_equal(count, 2);
    for (int g = 0; g < 2; g++) {
        assert_string_equal(group[g].name, g ? "ball" : "park");
        assert_int_equal(group[g].right.items, g ? 1 : 2);
        assert_int_equal(group[g].right.hits, hits[g]);
        assert_int_equal(group[g].tokens, tokens[g]);
        assert_int_equal(group[g].right_tokens, right[g]);
        /* The same bits, summed in the same order. */
        assert_true(fabs(group[g].nll - nll[g] / (double)tokens[g]) < 1e-12);
    }
    assert_true(right[0] > 0); /* the model knows how stories begin */
    fl_eval_free(group);
    unlink(scratch);
}

static void refused(const char *content, const char *what)
{
    fl_recall_group *group = NULL;
    int count = 0;
    fl_eval_run run = {0};
    write_scratch(content);
    assert_int_not_equal(fl_eval_recall(&group, &count, model, tokenizer, scratch, &run), FL_OK);
    if (!strstr(fl_error_message(), what)) fail_msg("%s is not about %s", fl_error_message(), what);
    assert_null(group);
    unlink(scratch);
}

static void test_refusals(void **state)
{
    (void)state;
    refused("", "no items");
    refused("a\tb c\td\nline\n", ":2: is not a group");
    refused("a\tb\tc\td\n", ":1: is not a group");
    refused("a\tb\t\n", ":1: the answer is empty");
    refused("0123456789012345678901234567890123456789012345678901234567890123\tb\tc\n", ":1: a group's name of 64");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_groups), cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, start, end);
}
