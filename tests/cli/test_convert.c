/* furlong convert, models that stand alone in a GGUF file, and chats in their own form. */
#define _GNU_SOURCE /* pipe2 */
#include "run.h"

#include <math.h>

#include "base/alloc.h"
#include "base/file.h"

static char scratch[] = "/tmp/furlong-cli-convert-XXXXXX";
static char gguf[64], folder[64], small[64];

static int convert_stories(void **state)
{
    (void)state;
    if (!mkdtemp(scratch)) return -1;
    snprintf(gguf, sizeof gguf, "%s/a.gguf", scratch);
    snprintf(small, sizeof small, "%s/q.gguf", scratch);
    snprintf(folder, sizeof folder, "%s/hf", scratch);
    expect_output(RUN("convert", "-m", STORIES, "-o", gguf), "");
    expect_output(RUN("convert", "-m", STORIES, "-o", small, "--type", "q8_0"), "");
    expect_output(RUN("convert", "-m", gguf, "-o", folder), "");
    return 0;
}

static int remove_all(void **state)
{
    static const char *const names[] = {"a.gguf",
                                        "q.gguf",
                                        "chat.gguf",
                                        "adapter.gguf",
                                        "hf/config.json",
                                        "hf/generation_config.json",
                                        "hf/model.safetensors",
                                        "hf/tokenizer.model",
                                        "hf/tokenizer_config.json",
                                        "hf"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[96];
        snprintf(path, sizeof path, "%s/%s", scratch, names[i]);
        remove(path);
    }
    return remove(scratch);
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
        expect_output(RUN("generate", "-m", gguf, "--temp", "0", "-p", prompt, "-n", count), text);
        expect_output(RUN("generate", "-m", folder, "--temp", "0", "-p", prompt, "-n", count), text);
    }
    json_decref(root);
}

static double perplexity(const char *model)
{
    outcome o = RUN("eval", "ppl", "--protocol", "disjoint", "-m", model, "-f", FL_TEST_DATA "/text/stories.txt");
    assert_int_equal(o.status, 0);
    const char *last = strrchr(out_of(&o), '\n');
    assert_non_null(last);
    double nll = 0;
    /* length, tokens, nll, perplexity, ... below the heading */
    assert_int_equal(sscanf(strchr(out_of(&o), '\n') + 1, "%*d %*d %lf", &nll), 1);
    outcome_free(&o);
    return exp(nll);
}

/* F32 in GGUF is the same model; Q8_0 keeps 8 bits of each weight, which costs less than 0.3 %. */
static void test_perplexity(void **state)
{
    (void)state;
    double original = perplexity(STORIES), same = perplexity(gguf), rounded = perplexity(small);
    assert_true(original > 20 && original < 40);
    assert_true(fabs(same / original - 1) < 1e-5);
    assert_true(fabs(rounded / original - 1) < 3e-3);
}

static void test_usage(void **state)
{
    (void)state;
    expect_error(RUN("convert", "-o", gguf), 2, "-m MODEL", "convert --help");
    expect_error(RUN("convert", "-m", STORIES), 2, "-o FILE", "convert --help");
    expect_error(RUN("convert", "-m", STORIES, "-o", gguf, "--type", "q3"), 2, "--type q3", "bf16");
    expect_error(RUN("convert", "-m", STORIES, "-o", gguf, "--tokenizer", "x", "--no-tokenizer"), 2, "--no-tokenizer",
                 "convert --help");
    expect_error(RUN("convert", "-m", STORIES, "-o", folder, "--type", "q8_0"), 1, "--type q8_0", "hf is written as");
}

/* A first turn is the text of the template; BOS comes before it as before any text. */
static void test_chat(void **state)
{
    (void)state;
    outcome plain = RUN("generate", "-m", gguf, "--temp", "0", "-n", "12", "-p", "[INST] Tell me [/INST]");
    assert_int_equal(plain.status, 0);
    fl_buffer answer = {0};
    fl_buffer_text(&answer, out_of(&plain) + strlen("[INST] Tell me [/INST]"));
    fl_buffer_text(&answer, "\n");
    expect_output(RUN_INPUT("Tell me\n", "chat", "-m", gguf, "--temp", "0", "-n", "12", "--chat-template", "llama2"),
                  answer.data);
    outcome_free(&plain);
    fl_buffer_free(&answer);
    expect_error(RUN("chat", "-m", gguf, "--chat-template", "llama"), 2, "--chat-template llama", "llama2-sys");
}

/* The form is told from the model's own template. What is typed names no special token: the second turn of the two
 * conversations differs by one "</s>" as text, three tokens, and not by the token that ends texts. */
static void test_chat_template(void **state)
{
    (void)state;
    char config[96], chat[64];
    snprintf(config, sizeof config, "%s/tokenizer_config.json", folder);
    snprintf(chat, sizeof chat, "%s/chat.gguf", scratch);
    fl_writer w;
    const char *text =
        "{\"chat_template\": \"{{ '[INST] <<SYS>>' }}\", \"bos_token\": \"<s>\", \"add_bos_token\": true}";
    assert_int_equal(fl_writer_open(&w, config), FL_OK);
    fl_writer_write(&w, text, strlen(text));
    assert_int_equal(fl_writer_finish(&w), FL_OK);
    expect_output(RUN("convert", "-m", folder, "-o", chat), "");
    outcome o = RUN_INPUT("a b\n", "chat", "-m", chat, "--temp", "0", "-n", "0", "-v");
    assert_int_equal(o.status, 0);
    assert_non_null(strstr(err_of(&o), "chat template: llama2-sys"));
    int tokens = 0, more = 0;
    assert_int_equal(sscanf(strstr(err_of(&o), "context: "), "context: %d", &tokens), 1);
    outcome_free(&o);
    o = RUN_INPUT("a </s>b\n", "chat", "-m", chat, "--temp", "0", "-n", "0", "-v");
    assert_int_equal(sscanf(strstr(err_of(&o), "context: "), "context: %d", &more), 1);
    assert_true(more > tokens + 2);
    outcome_free(&o);
}

/* An adapter that is left out changes the text: with it the story goes as with PEFT's folder. */
static void test_adapter(void **state)
{
    (void)state;
    static const char peft[] = FL_TEST_DATA "/lora/stories260K";
    char path[96];
    snprintf(path, sizeof path, "%s/adapter.gguf", scratch);
    expect_error(RUN("convert", "-m", STORIES, "--adapter", peft, "-o", path, "--type", "f16"), 2, "--adapter", "-o");
    expect_error(RUN("convert", "-m", FL_TEST_DATA "/tiny/gpt_neox", "--adapter", peft, "-o", path), 1, "lora_",
                 "changes no matrix");
    expect_output(RUN("convert", "-m", STORIES, "--adapter", peft, "-o", path), "");
    outcome plain = RUN("generate", "-m", gguf, "--temp", "0", "-p", "One day", "-n", "30");
    outcome folder_form = RUN("generate", "-m", gguf, "--temp", "0", "-p", "One day", "-n", "30", "--lora", peft);
    outcome file_form = RUN("generate", "-m", gguf, "--temp", "0", "-p", "One day", "-n", "30", "--lora", path);
    assert_int_equal(file_form.status, 0);
    assert_string_equal(out_of(&file_form), out_of(&folder_form));
    assert_string_not_equal(out_of(&file_form), out_of(&plain));
    outcome_free(&plain);
    outcome_free(&folder_form);
    outcome_free(&file_form);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy), cmocka_unit_test(test_perplexity),    cmocka_unit_test(test_usage),
        cmocka_unit_test(test_chat),   cmocka_unit_test(test_chat_template), cmocka_unit_test(test_adapter),
    };
    return cmocka_run_group_tests(tests, convert_stories, remove_all);
}
