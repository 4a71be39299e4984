/* Texts on the command line: kinds of files, packing, the cache, resuming, logs, overlap. */
#define _GNU_SOURCE /* pipe2 */
#include <zstd.h>

#include "base/file.h"
#include "run.h"

#define DATA FL_TEST_DATA "/overlap/"

static char folder[256];

static const char *in(const char *name)
{
    static char path[8][320];
    static int next;
    char *p = path[next++ % 8];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static void put(const char *path, const void *bytes, size_t n)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

static int make_folder(void **state)
{
    (void)state;
    const char *root = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/furlong-data-XXXXXX", root ? root : P_tmpdir);
    return mkdtemp(folder) ? 0 : 1;
}

static int drop_folder(void **state)
{
    (void)state;
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

/* Both texts among other lines on stderr. */
static void expect_told(int status, outcome o, const char *first, const char *second)
{
    if (o.status != status || !strstr(err_of(&o), first) || (second && !strstr(err_of(&o), second))) {
        show(&o);
        fail_msg("expected %s, %s", first, second ? second : "");
    }
    outcome_free(&o);
}

#define TRAIN(...)                                                                                                     \
    RUN("train", "-m", STORIES, "-t", "1", "--length", "32", "--batch", "2", "--steps", "2", "-o", in("out"),          \
        __VA_ARGS__)

static void test_kinds(void **state)
{
    (void)state;
    fl_buffer lines = {0};
    for (int i = 0; i < 20; i++)
        fl_buffer_text(&lines, "{\"body\":\"Once upon a time there was a little cat who sat on a mat.\"}\n");
    put(in("a.jsonl"), lines.data, lines.size);
    char packed[4096];
    size_t n = ZSTD_compress(packed, sizeof packed, lines.data, lines.size, 3);
    assert_false(ZSTD_isError(n));
    put(in("b.jsonl.zst"), packed, n);
    expect_told(0, TRAIN("--data", in("a.jsonl"), "--data", in("b.jsonl.zst"), "--text-field", "body"),
                "40 documents of 2 files", "sequences of 32 tokens");
    expect_told(1, TRAIN("--data", in("a.jsonl")), "a.jsonl: line 1, offset 0: has no string 'text'", "body");
    expect_told(0, TRAIN("--data", in("a.jsonl"), "--text-field", "body", "--packing", "cut", "--eos", "on"),
                "20 documents", "2 of 2: loss");
    expect_told(1, TRAIN("--data", in("a.jsonl"), "--text-field", "body", "--packing", "single"),
                "none of 20 documents has the 33 tokens", "--packing cut");
    fl_buffer_text(&lines, "{\"body\":\n");
    put(in("a.jsonl"), lines.data, lines.size);
    expect_told(0, TRAIN("--data", in("a.jsonl"), "--text-field", "body", "--skip-bad"),
                "warning: data: 1 document left out by --skip-bad, the first: ", "a.jsonl: line 21");
    fl_buffer_free(&lines);
}

static void test_resume(void **state)
{
    (void)state;
    const char *stories = FL_TEST_DATA "/text/stories.txt";
    expect_told(0,
                TRAIN("--data", stories, "--state", in("state"), "--log", in("log.jsonl"), "--tensorboard",
                      in("events"), "--cache", in("cache")),
                "1 document of 1 file, ", NULL);
    expect_told(0, TRAIN("--data", stories, "--state", in("state"), "--resume", "--cache", in("cache")),
                "from the cache", NULL);
    expect_told(1, TRAIN("--data", stories, "--separator", "", "--state", in("state"), "--resume"),
                "was saved while training on other data", "checksum");
    fl_buffer log = {0};
    assert_int_equal(fl_file_read(&log, in("log.jsonl"), 1 << 16), FL_OK);
    assert_non_null(strstr(log.data, "{\"step\":2,\"loss\":"));
    fl_buffer_free(&log);
    assert_true(fl_file_is_folder(in("events")));
}

static void test_overlap(void **state)
{
    (void)state;
    json_t *o = expect_json(
        RUN("overlap", "--train", DATA "train.txt", "--eval", DATA "eval.jsonl", "--separator", "=====", "--json"));
    assert_int_equal((int)number(o, "grams"), 1049); /* golden.txt */
    assert_int_equal((int)number(o, "seen"), 407);
    assert_int_equal((int)number(o, "documents_touched"), 8);
    json_t *documents = json_object_get(o, "documents");
    assert_int_equal(json_array_size(documents), 13);
    assert_int_equal((int)number(json_array_get(documents, 12), "seen"), 328);
    assert_true(number(json_array_get(documents, 12), "share") == 1);
    json_decref(o);
    expect_error(RUN("overlap", "--train", DATA "train.txt"), 2, "--eval FILE", NULL);
    expect_error(RUN("overlap", "--train", DATA "train.txt", "--eval", DATA "absent"), 1, "absent", "cannot open");
}

/* Training that evaluates says first how much of the evaluation text it trains on. */
static void test_overlap_of_training(void **state)
{
    (void)state;
    const char *stories = FL_TEST_DATA "/text/stories.txt";
    expect_told(0, TRAIN("--data", stories, "--eval-file", stories, "--eval-score", "16", "--eval-blocks", "2"),
                "overlap: 100.000 % of the 13-grams", "in 1 of 1 documents");
    outcome o =
        TRAIN("--data", stories, "--eval-file", stories, "--eval-score", "16", "--eval-blocks", "2", "--no-overlap");
    assert_int_equal(o.status, 0);
    assert_null(strstr(err_of(&o), "overlap"));
    outcome_free(&o);
    o = RUN_INPUT("Once upon a time there was a cat. It sat on a mat. Once upon a time there was a dog. It ran.",
                  "train", "-m", STORIES, "-t", "1", "--length", "16", "--batch", "1", "--steps", "1", "-o", in("out"),
                  "--data", "-", "--eval-file", stories, "--eval-score", "8", "--eval-blocks", "2");
    expect_told(0, o, "overlap: not looked for", "standard input");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_overlap),
        cmocka_unit_test(test_overlap_of_training),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
