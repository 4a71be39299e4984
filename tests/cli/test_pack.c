/* furlong convert --pack, and packed files alone in a folder as the model of every command. */
#define _GNU_SOURCE /* pipe2 */
#include "run.h"

#include "base/file.h"

static char scratch[] = "/tmp/furlong-cli-pack-XXXXXX";
static char packed[64], out[64];

static int pack_stories(void **state)
{
    (void)state;
    if (!mkdtemp(scratch)) return -1;
    snprintf(packed, sizeof packed, "%s/s.flpack", scratch);
    snprintf(out, sizeof out, "%s/out", scratch);
    expect_output(RUN("convert", "--pack", "-m", STORIES, "-o", packed), "");
    return 0;
}

static int remove_all(void **state)
{
    (void)state;
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", scratch);
    return system(command);
}

/* Texts that transformers in double precision wrote with the original (tests/data/golden/stories260K). */
static void test_greedy(void **state)
{
    (void)state;
    json_t *root = json_load_file(FL_TEST_DATA "/golden/stories260K/greedy.json", 0, NULL), *one;
    size_t i;
    assert_non_null(root);
    json_array_foreach(json_object_get(root, "cases"), i, one)
    {
        char count[16];
        snprintf(count, sizeof count, "%zu", json_array_size(json_object_get(one, "ids")));
        const char *prompt = json_string_value(json_object_get(one, "prompt"));
        const char *text = json_string_value(json_object_get(one, "text"));
        expect_output(RUN("generate", "-m", packed, "--temp", "0", "-p", prompt, "-n", count), text);
    }
    json_decref(root);
}

static void test_info(void **state)
{
    (void)state;
    json_t *a = expect_json(RUN("info", "-m", STORIES, "--json")),
           *b = expect_json(RUN("info", "-m", packed, "--json"));
    assert_string_equal(text(b, "format"), "packed");
    assert_string_equal(text(b, "tokenizer"), packed);
    assert_true(number(b, "weight_bytes") == number(a, "weight_bytes"));
    assert_true(number(a, "mapped_bytes") == 0);
    assert_true(number(b, "mapped_bytes") > 0.99 * number(b, "weight_bytes"));
    json_decref(a);
    json_decref(b);
    outcome o = RUN("info", "-m", packed);
    assert_int_equal(o.status, 0);
    assert_non_null(strstr(out_of(&o), "packed, weights F32"));
    assert_non_null(strstr(out_of(&o), "of it mapped"));
    outcome_free(&o);
}

/* From a GGUF file its keys are carried, with the chat template; from elsewhere the file itself and the
 * tokenizer_config.json beside it. Ids are those of the original. */
static void test_tokenizers(void **state)
{
    (void)state;
    static const char sample[] = "Once upon a time, <s> there were 3 \xc3\xa4pples\n\n  in a tr\xe2\x82\xac";
    char gguf[64], again[64];
    snprintf(gguf, sizeof gguf, "%s/a.gguf", scratch);
    snprintf(again, sizeof again, "%s/b.flpack", scratch);
    expect_output(RUN("convert", "-m", STORIES, "-o", gguf), "");
    expect_output(RUN("convert", "--pack", "-m", gguf, "-o", again), "");
    remove(gguf);
    outcome want = RUN("tokenize", "-m", STORIES, "--ids", "-p", sample);
    assert_int_equal(want.status, 0);
    expect_output(RUN("tokenize", "-m", packed, "--ids", "-p", sample), out_of(&want));
    expect_output(RUN("tokenize", "-m", again, "--ids", "-p", sample), out_of(&want));
    outcome_free(&want);

    static const char *const others[] = {"gpt2.json", "unigram_bytes.json", "mistral.model", "bytes_llama3.json"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char path[256];
        snprintf(path, sizeof path, FL_TEST_DATA "/tokenizers/%s", others[i]);
        want = RUN("tokenize", "--tokenizer", path, "--ids", "-p", sample);
        assert_int_equal(want.status, 0);
        expect_output(RUN("convert", "--pack", "-m", STORIES, "-o", again, "--tokenizer", path), "");
        expect_output(RUN("tokenize", "-m", again, "--ids", "-p", sample), out_of(&want));
        outcome_free(&want);
    }

    expect_output(RUN("convert", "--pack", "--no-tokenizer", "-m", STORIES, "-o", again), "");
    expect_error(RUN("tokenize", "-m", again, "-p", "x"), 1, again, "no tokenizer lies beside");
}

static void test_refused(void **state)
{
    (void)state;
    static const char story[] = FL_TEST_DATA "/text/stories.txt";
    expect_error(RUN("convert", "-m", packed, "-o", out), 1, packed, "cannot be converted");
    expect_error(RUN("convert", "--pack", "-m", packed, "-o", out), 1, packed, "cannot be packed again");
    expect_error(RUN("extend", "-m", packed, "-o", out, "--rope-scaling", "pi", "--to", "1024"), 1, packed,
                 "cannot be exported");
    outcome o = RUN("train", "-m", packed, "-o", out, "--data", story, "--steps", "1");
    assert_int_equal(o.status, 1);
    assert_non_null(strstr(err_of(&o), "cannot be trained"));
    outcome_free(&o);
    expect_error(RUN("generate", "-m", packed, "-p", "x", "-n", "1", "--lora", FL_TEST_DATA "/lora/stories260K"), 1,
                 packed, "merged with an adapter");
    expect_error(RUN("convert", "--pack", "-m", STORIES, "-o", out, "--type", "q8_0"), 2, "--type", "then pack");
    expect_error(RUN("convert", "--pack", "-m", STORIES, "-o", out, "--format", "gguf"), 2, "--pack", "convert --help");
    expect_error(RUN("convert", "--pack", "-m", STORIES, "-o", out, "--tokenizer", "/no/such"), 1, "/no/such", NULL);
    expect_error(RUN("convert", "--pack", "-m", STORIES, "-o", "/no/such/folder/x"), 1, "/no/such/folder/x", NULL);
    assert_false(fl_file_exists(out));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_tokenizers),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, pack_stories, remove_all);
}
