#define _GNU_SOURCE /* pipe2 */
/* furlong plan and furlong compare as they are typed. */
#include "cli/run.h"

#include <math.h>

#include "base/file.h"

static const json_t *named(const json_t *list, const char *key, const char *name)
{
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item) if (!strcmp(text(item, key), name)) return item;
    fail_msg("no %s", name);
    return NULL;
}

static void test_geometry(void **state)
{
    (void)state;
    json_t *plan = expect_json(
        RUN("plan", "--head-dim", "128", "--window", "4096", "--to", "129027", "--tune-length", "16384", "--json"));
    assert_true(number(plan, "critical_dimension") == 92);
    assert_true(fabs(number(plan, "beta0") - 71738.4) < 0.05);
    const json_t *base = named(json_object_get(plan, "methods"), "name", "base");
    assert_string_equal(text(base, "basis"), "law");
    assert_true(fabs(number(base, "predicted_window") - 129027) < 1);
    json_decref(plan);
    expect_error(RUN("plan", "--to", "100"), 2, "-m MODEL", NULL);
    expect_error(RUN("plan", "-m", STORIES), 2, "--to N", NULL);
}

/* Every command line of a plan is one that furlong takes: its first word after furlong is a command, and the extend
 * line of the smallest change makes a model that claims the target. */
static void test_model_plan(void **state)
{
    (void)state;
    char folder[] = "/tmp/furlong-plan-XXXXXX", file[64], out[64], line[1024];
    assert_non_null(mkdtemp(folder));
    snprintf(file, sizeof file, "%s/rates.json", folder);
    json_t *plan = expect_json(
        RUN("plan", "-m", STORIES, "--to", "2048", "-ctk", "f16", "-ctv", "f16", "--calibration", file, "--json"));
    const json_t *methods = json_object_get(plan, "methods"), *kv = json_object_get(plan, "kv_bytes_by_type");
    assert_true(number(plan, "kv_bytes") == number(kv, "f16") && number(kv, "f32") == 2 * number(kv, "f16"));
    assert_null(json_object_get(kv, "q8_0")); /* heads of 8 hold no block of 32 */
    assert_true(json_is_true(json_object_get(plan, "degenerate")));
    size_t i;
    json_t *m;
    json_array_foreach(methods, i, m)
    {
        assert_true(number(m, "memory_bytes") > 0 && number(m, "read_seconds") > 0);
        assert_true(number(m, "training_bytes") > number(m, "training_recompute_bytes"));
        if (!strcmp(text(m, "basis"), "law") && json_is_true(json_object_get(m, "tuned")))
            assert_true(json_is_true(json_object_get(m, "degenerate")));
    }
    const json_t *best = named(methods, "name", text(plan, "smallest"));
    assert_true(number(best, "predicted_window") >= 2048);
    const char *extend = json_string_value(json_array_get(json_object_get(best, "commands"), 0));
    assert_non_null(extend);
    snprintf(line, sizeof line, "%s", extend);
    char *word[16];
    int words = 0;
    for (char *w = strtok(line, " "); w && words < 15; w = strtok(NULL, " "))
        word[words++] = w;
    assert_true(words > 6 && !strcmp(word[0], "furlong") && !strcmp(word[1], "extend"));
    snprintf(out, sizeof out, "%s/model", folder);
    word[words - 1] = out;
    word[words] = NULL;
    outcome made = run_with((const char *const *)(void *)(word + 1), NULL, NULL);
    if (made.status) show(&made);
    assert_int_equal(made.status, 0);
    outcome_free(&made);
    json_t *info = expect_json(RUN("info", "-m", out, "--json"));
    assert_true(number(info, "window") == 2048);
    json_decref(info);
    json_decref(plan);

    /* The file is used again: the same times to the last digit. */
    plan = expect_json(RUN("plan", "-m", STORIES, "--to", "2048", "--calibration", file, "--json"));
    json_t *again = expect_json(RUN("plan", "-m", STORIES, "--to", "2048", "--calibration", file, "--json"));
    assert_true(json_equal(plan, again));
    json_decref(plan);
    json_decref(again);
    expect_error(RUN("plan", "-m", STORIES, "--to", "2048", "--calibration", file, "-t", "1"), 1, "measured_with",
                 NULL);
    snprintf(line, sizeof line, "rm -r '%s'", folder);
    assert_int_equal(system(line), 0);
}

#define TEXT FL_SOURCE_DIR "/models/stories260K/sample-stories.txt"

static json_t *compare(const char *folder, const char *methods, const char *tuned)
{
    return expect_json(RUN("compare", "-m", STORIES, "-f", TEXT, "--methods", methods, "--tuned", tuned, "--lengths",
                           "1024,1536", "--score", "32", "--blocks", "8", "-o", folder, "--json"));
}

/* What is known of this model: past 512 tokens it fails, YaRN holds; PI untuned reads worse but no worse with length.
 */
static void test_compare(void **state)
{
    (void)state;
    char folder[] = "/tmp/furlong-compare-XXXXXX", path[160], model[64];
    assert_non_null(mkdtemp(folder));
    snprintf(model, sizeof model, "%s/extended", folder);
    snprintf(path, sizeof path, "linear=%s", model);
    outcome made = RUN("extend", "-m", STORIES, "--rope-scaling", "linear", "--rope-scale", "3", "-o", model);
    assert_int_equal(made.status, 0);
    outcome_free(&made);
    json_t *first = compare(folder, "pi,yarn", path);
    const json_t *verdicts = json_object_get(first, "verdicts");
    assert_int_equal(json_array_size(verdicts), 4); /* the untouched model comes first unasked */
    assert_int_equal(json_array_size(json_object_get(first, "results")), 12);
    assert_true(number(named(verdicts, "label", "none"), "effective") == 512);
    assert_true(number(named(verdicts, "label", "none"), "cost") == 0);
    const json_t *yarn = named(verdicts, "label", "yarn"), *tuned = named(verdicts, "label", "linear tuned");
    assert_true(number(yarn, "effective_margin") == 1536 && number(yarn, "claimed") == 1536);
    assert_true(number(named(verdicts, "label", "linear"), "cost") > 1);
    /* The folder is the same stretch, written and read: the same losses, and the claim of its config. */
    assert_true(number(tuned, "claimed") == 1536 && json_is_true(json_object_get(tuned, "tuned")));
    assert_true(fabs(number(tuned, "cost") - number(named(verdicts, "label", "linear"), "cost")) < 1e-5);
    /* Nothing is measured again, and a method more adds its own lines. */
    json_t *second = compare(folder, "pi,yarn", path);
    assert_true(json_equal(first, second));
    json_decref(second);
    second = compare(folder, "pi,yarn,ntk", path);
    assert_int_equal(json_array_size(json_object_get(second, "results")), 15);
    json_decref(second);
    json_decref(first);
    static const char *const files[] = {"results.jsonl", "report.md", "picture.svg"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        assert_int_equal(access(path, R_OK), 0);
    }
    expect_error(RUN("compare", "-m", STORIES, "-f", TEXT, "--score", "16", "-o", folder), 1, "other settings", NULL);
    expect_error(RUN("compare", "-m", STORIES, "-f", TEXT, "--methods", "magic", "--score", "32", "--blocks", "8",
                     "--lengths", "1536", "-o", folder),
                 2, "magic", NULL);
    expect_error(RUN("compare", "-m", STORIES, "-f", TEXT, "--lengths", "256", "-o", folder), 2, "512", NULL);
    snprintf(path, sizeof path, "rm -r '%s'", folder);
    assert_int_equal(system(path), 0);
}

static double nll_of(const json_t *o, const char *label, double length)
{
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(o, "results"), i, row) if (!strcmp(text(row, "label"), label) &&
                                                                  number(row, "length") == length) return number(row,
                                                                                                                 "nll");
    fail_msg("no %s at %g", label, length);
    return 0;
}

/* Several documents, as files and as JSON lines: the mean of what each gives alone, since all have as many targets; one
 * that is too short is an error, or left out and counted. A stream stays flat, where the model itself fails. */
static void test_compare_documents(void **state)
{
    (void)state;
    char folder[] = "/tmp/furlong-compare-XXXXXX", report[4][64], lines[64], other[64], command[128];
    assert_non_null(mkdtemp(folder));
    for (int i = 0; i < 4; i++)
        snprintf(report[i], sizeof report[i], "%s/%d", folder, i);
    snprintf(lines, sizeof lines, "%s/two.jsonl", folder);
    snprintf(other, sizeof other, "%s/other.txt", folder);
    fl_buffer story = {0};
    assert_int_equal(fl_file_read(&story, TEXT, 1 << 20), FL_OK);
    assert_true(story.size > 50000);
    FILE *f = fopen(other, "wb"), *g = fopen(lines, "wb");
    assert_true(f && g && fwrite(story.data + 40000, 1, 8000, f) == 8000);
    json_t *three[] = {json_pack("{ss%}", "text", story.data, (size_t)story.size),
                       json_pack("{ss%}", "text", story.data + 40000, (size_t)8000),
                       json_pack("{ss}", "text", "Once.")};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(json_dumpf(three[i], g, JSON_COMPACT), 0);
        fputc('\n', g);
        json_decref(three[i]);
    }
    assert_int_equal(fclose(f) | fclose(g), 0);
#define COMPARE(...)                                                                                                   \
    RUN("compare", "-m", STORIES, "--methods", "stream", "--lengths", "1024", "--score", "32", "--blocks", "4",        \
        "--json", __VA_ARGS__)
    json_t *a = expect_json(COMPARE("-f", TEXT, "-o", report[0]));
    json_t *b = expect_json(COMPARE("-f", other, "-o", report[1]));
    json_t *both = expect_json(COMPARE("-f", TEXT, "-f", other, "-o", report[2]));
    outcome o = COMPARE("-f", lines, "--skip-short", "-o", report[3]);
    assert_int_equal(o.status, 0);
    json_t *skipped = json_loads(out_of(&o), 0, NULL);
    outcome_free(&o);
    assert_true(number(both, "documents") == 2 && number(both, "skipped") == 0);
    assert_true(number(skipped, "documents") == 2 && number(skipped, "skipped") == 1);
    static const char *const label[] = {"none", "stream"};
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 2; k++) {
            double length = k ? 1024 : 512, mean = (nll_of(a, label[i], length) + nll_of(b, label[i], length)) / 2;
            /* Sums of the same doubles in another order. */
            assert_true(fabs(nll_of(both, label[i], length) - mean) < 1e-12);
            assert_true(nll_of(skipped, label[i], length) == nll_of(both, label[i], length));
        }
    /* As far as the window the two read alike, but for the sinks' four tokens; beyond it one fails, the other does not.
     */
    assert_true(fabs(nll_of(both, "stream", 512) - nll_of(both, "none", 512)) < 0.02);
    assert_true(nll_of(both, "stream", 1024) < nll_of(both, "stream", 512) + 0.05);
    assert_true(nll_of(both, "none", 1024) > nll_of(both, "none", 512) + 0.1);
    const json_t *stream = named(json_object_get(both, "verdicts"), "label", "stream");
    assert_true(number(stream, "claimed") == 1024 && number(stream, "effective_margin") == 1024);
    assert_non_null(strstr(text(stream, "verdict"), "its cache"));
    json_decref(a);
    json_decref(b);
    json_decref(both);
    json_decref(skipped);
    expect_error(COMPARE("-f", lines, "-o", report[0]), 1, "document 3", "--skip-short");
    expect_error(COMPARE("-f", other, "-o", report[0]), 1, "other settings", NULL);
    fl_buffer_free(&story);
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_geometry), cmocka_unit_test(test_model_plan),
                                       cmocka_unit_test(test_compare), cmocka_unit_test(test_compare_documents)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
