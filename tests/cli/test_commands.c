/* What the commands print: exactly the result on stdout, and on stderr only what is asked for or wrong. */
#define _GNU_SOURCE /* pipe2 */
#include "run.h"

#include <math.h>

#define MODEL "-m", STORIES
#define GREEDY MODEL, "--temp", "0"
/* tests/data/golden/stories260K/greedy.json */
#define START "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."

static void test_generate(void **state)
{
    (void)state;
    expect_output(RUN("generate", GREEDY, "-p", "Once upon a time", "-n", "27"), START);
    expect_output(RUN("generate", GREEDY, "-p", "Once upon a time", "-n", "100", "--stop", " She", "--stop", "xyz"),
                  "Once upon a time, there was a little girl named Lily.");
    expect_output(RUN("generate", GREEDY, "-p", "Once upon a time", "-n", "0"), "Once upon a time");
    expect_output(RUN("generate", GREEDY, "-p", "", "-n", "4"), "Once upon a time");
    expect_output(RUN("generate", GREEDY, "-p", "Once upon a time", "-n", "27", "-t", "1", "-b", "1"), START);
    /* A prompt from a file or stdin loses its last line end and no more. */
    expect_output(RUN_INPUT("Once upon a time\n", "generate", GREEDY, "-f", "-", "-n", "27"), START);
    expect_output(RUN_INPUT("Once upon a time", "generate", GREEDY, "-f", "-", "-n", "27"), START);
    outcome o = RUN_INPUT("Once\n\n", "generate", GREEDY, "-f", "-", "-n", "1");
    assert_true(!strncmp(out_of(&o), "Once\n", 5));
    outcome_free(&o);
    /* A story that ends by itself: 198 tokens after a prompt of 15, as recorded. */
    o = RUN("generate", GREEDY, "-p", "Tom had a big red ball. He wanted to", "-n", "-1", "-v");
    assert_int_equal(o.status, 0);
    assert_non_null(strstr(err_of(&o), "198 tokens"));
    assert_non_null(strstr(err_of(&o), "end of text"));
    assert_string_equal(out_of(&o) + o.out.size - strlen("a lot of fun."), "a lot of fun.");
    assert_null(strstr(out_of(&o), "furlong"));
    outcome_free(&o);
}

static void test_seeds(void **state)
{
    (void)state;
    outcome a = RUN("generate", MODEL, "-p", "One day", "-n", "40", "-s", "7");
    outcome b = RUN("generate", MODEL, "-p", "One day", "-n", "40", "--seed", "7", "-t", "1");
    outcome c = RUN("generate", MODEL, "-p", "One day", "-n", "40", "--seed", "8");
    assert_int_equal(a.status, 0);
    assert_string_equal(out_of(&a), out_of(&b));
    assert_string_not_equal(out_of(&a), out_of(&c));
    outcome_free(&a);
    outcome_free(&b);
    outcome_free(&c);
}

static void test_generate_json(void **state)
{
    (void)state;
    json_t *r = expect_json(RUN("generate", GREEDY, "-p", "Once upon a time", "-n", "27", "--json"));
    assert_string_equal(text(r, "prompt"), "Once upon a time");
    assert_string_equal(text(r, "text"), &START[strlen("Once upon a time")]);
    assert_string_equal(text(r, "finish"), "length");
    assert_true(number(r, "prompt_tokens") == 5 && number(r, "tokens") == 27);
    assert_int_equal(json_array_size(json_object_get(r, "ids")), 27);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(r, "ids"), 0)), 432);
    assert_true(number(r, "tokens_per_second") > 0 && number(r, "prefill_tokens_per_second") > 0);
    assert_true(number(r, "memory_bytes") == 256 * 1280);
    json_decref(r);
    /* Bytes that are no UTF-8 do not break the JSON. */
    r = expect_json(RUN("generate", GREEDY, "-p", "a\xff\xc3", "-n", "1", "--json"));
    assert_string_equal(text(r, "prompt"), "a\xef\xbf\xbd\xef\xbf\xbd");
    json_decref(r);
}

static void test_window(void **state)
{
    (void)state;
    expect_error(RUN("generate", GREEDY, "-c", "4", "-p", "Once upon a time"), 1, "5 tokens", "4");
    expect_output(RUN("generate", GREEDY, "-c", "5", "-p", "Once upon a time", "-n", "0"), "Once upon a time");
    outcome o = RUN("generate", GREEDY, "-c", "10", "-p", "Once upon a time", "-n", "50");
    assert_int_equal(o.status, 0); /* the context is full: what there is, and a word about it */
    assert_string_equal(out_of(&o), "Once upon a time, there was a little");
    assert_non_null(strstr(err_of(&o), "context of 10 tokens is full after 5"));
    outcome_free(&o);
    expect_output(RUN("generate", GREEDY, "-c", "10", "-p", "Once upon a time", "-n", "-2"),
                  "Once upon a time, there was a little");
    expect_output(RUN("generate", GREEDY, "-c", "5", "-p", "Once upon a time", "-n", "27", "--overflow", "extend"),
                  START);

    /* Past the trained window: refused, or done with a warning that names both numbers, or scaled without one. */
    fl_buffer prompt = {0};
    for (int i = 0; i < 130; i++)
        fl_buffer_text(&prompt, "She saw a cat. ");
    expect_error(RUN_INPUT(prompt.data, "generate", GREEDY, "-f", "-"), 1, "512", "scaling");
    o = RUN_INPUT(prompt.data, "generate", GREEDY, "-f", "-", "-n", "1", "--overflow", "extend");
    assert_int_equal(o.status, 0);
    assert_true(!strncmp(err_of(&o), "furlong: warning: positions reach ", 34) && strstr(err_of(&o), "512"));
    outcome_free(&o);
    o = RUN_INPUT(prompt.data, "generate", GREEDY, "-f", "-", "-n", "1", "-c", "2048", "--rope-scaling", "linear");
    assert_int_equal(o.status, 0);
    assert_int_equal(o.err.size, 0);
    outcome_free(&o);
    o = RUN_INPUT(prompt.data, "generate", GREEDY, "-f", "-", "-n", "1", "-c", "2048", "--window", "100", "--sinks",
                  "4");
    assert_int_equal(o.status, 0);
    outcome_free(&o);
    fl_buffer_free(&prompt);
    expect_error(RUN("generate", GREEDY, "-p", "x", "--sinks", "4"), 1, "sinks = 4", "window");
}

static void test_environment(void **state)
{
    (void)state;
    static const char *const words[] = {"generate", GREEDY, "-p", "Once upon a time", "-n", "27", NULL};
    expect_output(run_with(words, NULL, "FURLONG_CPU=generic"), START);
    expect_error(run_with(words, NULL, "FURLONG_CPU=pentium"), 1, "pentium", "auto");
    /* getopt would stop at the first operand under this one. */
    expect_output(
        run_with((const char *const[]){"tokenize", MODEL, "--ids", "-p", "One day", NULL}, NULL, "POSIXLY_CORRECT=1"),
        "1 385 328\n");
}

static void test_tokenize(void **state)
{
    (void)state;
    expect_output(RUN("tokenize", MODEL, "-p", "Once upon a time", "--ids"), "1 403 407 261 378\n");
    expect_output(RUN("tokenize", MODEL, "-p", "Once upon a time", "--ids", "--no-bos"), "403 407 261 378\n");
    expect_output(RUN_INPUT("Once upon a time", "tokenize", MODEL, "-f", "-", "--ids"), "1 403 407 261 378\n");
    expect_output(
        RUN("tokenize", "--tokenizer", FL_SOURCE_DIR "/models/stories260K/tok512.bin", "-p", "One day", "--ids"),
        "1 385 328\n");
    expect_output(RUN("tokenize", MODEL, "-p", "", "--ids"), "1\n");
    outcome o = RUN("tokenize", MODEL, "-p", "One day", "--no-bos");
    assert_int_equal(o.status, 0);
    int id;
    assert_int_equal(sscanf(out_of(&o), "%d", &id), 1);
    assert_int_equal(id, 385);
    assert_non_null(strstr(out_of(&o), "One\n"));
    outcome_free(&o);
    json_t *r = expect_json(RUN("tokenize", MODEL, "-p", "One day", "--json"));
    assert_true(number(r, "count") == 3);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(r, "ids"), 1)), 385);
    assert_int_equal(json_array_size(json_object_get(r, "pieces")), 3);
    json_decref(r);
    expect_error(RUN("tokenize", "-m", FL_TEST_DATA "/tiny/llama", "-p", "x"), 1, "no tokenizer", "--tokenizer");
    expect_error(RUN("tokenize", "--tokenizer", STORIES, "-p", "x"), 1, STORIES, NULL);
}

static void test_info(void **state)
{
    (void)state;
    json_t *r = expect_json(RUN("info", MODEL, "--json"));
    assert_string_equal(text(r, "family"), "llama");
    assert_true(number(r, "parameters") == 260032 && number(r, "vocab") == 512 && number(r, "layers") == 5);
    assert_true(number(r, "window") == 512 && number(r, "trained_window") == 512 && number(r, "kv_bytes") == 655360);
    const json_t *rope = json_object_get(r, "rope");
    assert_string_equal(text(rope, "scaling"), "none");
    assert_true(number(rope, "first_frequency") == 1 && fabs(number(rope, "last_frequency") - 1e-3) < 1e-15);
    json_decref(r);

    r = expect_json(RUN("info", MODEL, "--json", "--rope-scaling", "linear", "--rope-scale", "4"));
    rope = json_object_get(r, "rope");
    assert_true(number(r, "window") == 2048 && number(r, "trained_window") == 512);
    assert_true(number(rope, "first_frequency") == 0.25 && fabs(number(rope, "last_frequency") - 0.25e-3) < 1e-15);
    json_decref(r);

    /* YaRN's magnitude is 0.1 ln s + 1 (Peng et al. 2023, equation 22), and the first pair is left as it is. */
    r = expect_json(RUN("info", MODEL, "--json", "--rope-scaling", "yarn", "-c", "8192"));
    rope = json_object_get(r, "rope");
    assert_true(number(r, "window") == 8192 && number(rope, "factor") == 16);
    assert_true(fabs(number(rope, "magnitude") - (0.1 * log(16) + 1)) < 1e-12 && number(rope, "first_frequency") == 1);
    json_decref(r);

    /* Without any extrapolation every pair is divided by s; half of it leaves the first pair half way. */
    r = expect_json(RUN("info", MODEL, "--json", "--rope-scaling", "yarn", "-c", "8192", "--yarn-ext-factor", "0"));
    assert_true(fabs(number(json_object_get(r, "rope"), "first_frequency") - 1 / 16.0) < 1e-15);
    json_decref(r);
    r = expect_json(RUN("info", MODEL, "--json", "--rope-scaling", "yarn", "-c", "8192", "--yarn-ext-factor", "0.5"));
    assert_true(fabs(number(json_object_get(r, "rope"), "first_frequency") - (1 + 1 / 16.0) / 2) < 1e-15);
    json_decref(r);

    r = expect_json(RUN("info", "-m", FL_TEST_DATA "/tiny/gpt2", "--json"));
    assert_true(json_is_null(json_object_get(r, "rope")));
    json_decref(r);
    expect_error(RUN("info", "-m", FL_TEST_DATA "/tiny/gpt2", "--rope-scale", "2"), 1, "no rotary positions", NULL);

    expect_error(RUN("info", MODEL, "--lora-scaled", FL_TEST_DATA "/lora/stories260K"), 2, "--lora-scaled", "PATH:S");
    expect_error(RUN("info", MODEL, "--lora", FL_TEST_DATA "/lora/llama"), 1, "lora_A.weight", "fits no weight");
    r = expect_json(RUN("info", MODEL, "--json", "--lora-scaled", FL_TEST_DATA "/lora/stories260K:0.5"));
    json_decref(r);
    r = expect_json(RUN("info", MODEL, "--json", "--lora-scaled", FL_TEST_DATA "/lora/stories260K.gguf:0.5"));
    json_decref(r);

    outcome o = RUN("info", MODEL);
    assert_int_equal(o.status, 0);
    assert_int_equal(o.err.size, 0);
    assert_non_null(strstr(out_of(&o), "1280 bytes per token, 640.00 KiB for 512 tokens"));
    outcome_free(&o);
}

static void test_bench(void **state)
{
    (void)state;
    json_t *r = expect_json(RUN("bench", MODEL, "--depths", "300,0", "-p", "40", "-n", "4", "-r", "2", "--json"));
    const json_t *results = json_object_get(r, "results");
    assert_int_equal(json_array_size(results), 2);
    for (size_t i = 0; i < 2; i++) {
        const json_t *row = json_array_get(results, i);
        assert_true(number(row, "depth") == (i ? 300 : 0));
        assert_true(number(row, "prefill_tokens_per_second") > 0 && number(row, "decode_tokens_per_second") > 0);
        assert_true(number(row, "prefill_spread") >= 0 && number(row, "decode_spread") >= 0);
        assert_true(number(row, "peak_bytes") > 1e6);
    }
    json_decref(r);
    outcome o = RUN("bench", MODEL, "-p", "8", "-n", "2", "-f", FL_TEST_DATA "/text/stories.txt");
    assert_int_equal(o.status, 0);
    assert_non_null(strstr(out_of(&o), "tok/s"));
    outcome_free(&o);
}

/* Five layers: operators and their work are counted, and take no more time than there was. */
static void test_bench_profile(void **state)
{
    (void)state;
    json_t *r = expect_json(RUN("bench", MODEL, "--profile", "-p", "40", "-n", "4", "-r", "2", "--json"));
    const json_t *row = json_array_get(json_object_get(r, "results"), 0);
    static const char *const kinds[] = {"reading", "generating"};
    for (int i = 0; i < 2; i++) {
        const json_t *profile = json_object_get(row, kinds[i]), *operators = json_object_get(profile, "operators");
        double seconds = 0, calls = i ? 2 * 4 : 2;
        bool attention = false;
        for (size_t j = 0; j < json_array_size(operators); j++) {
            const json_t *o = json_array_get(operators, j);
            seconds += number(o, "seconds");
            if (strcmp(json_string_value(json_object_get(o, "operator")), "attention") != 0) continue;
            attention = true;
            assert_true(number(o, "calls") == 5 * calls);
            /* 4 operations for each pair of positions, of 64 components in a layer. */
            double pairs = i ? 2 * (1 + 2 + 3 + 4) : 2 * 40 * 41 / 2;
            assert_true(number(o, "operations") == 4.0 * 64 * 5 * pairs);
        }
        assert_true(attention && seconds > 0 && seconds < number(profile, "seconds"));
    }
    json_decref(r);
    outcome o = RUN("bench", MODEL, "--profile", "-p", "8", "-n", "2");
    assert_int_equal(o.status, 0);
    assert_non_null(strstr(out_of(&o), "roofline"));
    outcome_free(&o);
}

/* ---- chat ------------------------------------------------------------------------------------------------------- */

static void test_chat(void **state)
{
    (void)state;
    /* Raw, it is a text that grows: the answer to its start is the known story, and the empty line is nothing. */
    outcome o = RUN_INPUT("Once upon a time\n\n", "chat", GREEDY, "--chat-template", "raw", "-n", "27");
    assert_int_equal(o.status, 0);
    assert_string_equal(out_of(&o), ", there was a little girl named Lily. She loved to play outside in the park.\n");
    outcome_free(&o);

    o = RUN_INPUT("Hello\n/help\n/quit\nnot read\n", "chat", GREEDY, "-n", "5");
    assert_int_equal(o.status, 0);
    assert_non_null(strstr(err_of(&o), "chat template"));
    assert_non_null(strstr(err_of(&o), "/save FILE"));
    int lines = 0;
    for (const char *p = out_of(&o); (p = strchr(p, '\n')); p++)
        lines++;
    assert_true(lines >= 1);
    outcome_free(&o);
}

/* Saved after one turn and loaded by another process, the conversation goes on as if it had not stopped; /reset
 * begins anew. */
static void test_chat_goes_on(void **state)
{
    (void)state;
    char file[] = "/tmp/furlong-chat-XXXXXX", save[128], resume[128];
    int descriptor = mkstemp(file);
    assert_true(descriptor >= 0);
    close(descriptor);
    snprintf(save, sizeof save, "One day, Tim\n/save %s\n", file);
    snprintf(resume, sizeof resume, "/load %s\n and the dog\n", file);
#define CHAT "chat", GREEDY, "--chat-template", "raw", "-n", "20"
    outcome whole = RUN_INPUT("One day, Tim\n and the dog\n", CHAT);
    outcome first = RUN_INPUT(save, CHAT), second = RUN_INPUT(resume, CHAT);
    outcome again = RUN_INPUT("A cat\n/reset\nOne day, Tim\n", CHAT);
    assert_int_equal(whole.status + first.status + second.status + again.status, 0);
    fl_buffer joined = {0};
    fl_buffer_text(&joined, out_of(&first));
    fl_buffer_text(&joined, out_of(&second));
    assert_string_equal(out_of(&whole), joined.data);
    assert_non_null(strstr(out_of(&again), out_of(&first)));
    fl_buffer_free(&joined);
    outcome_free(&whole);
    outcome_free(&first);
    outcome_free(&second);
    outcome_free(&again);
    unlink(file);
    outcome o = RUN_INPUT(resume, CHAT); /* the file is gone: said, and the conversation goes on */
    assert_int_equal(o.status, 0);
    assert_non_null(strstr(err_of(&o), "furlong: error: "));
    outcome_free(&o);
}

/* ---- interruption ----------------------------------------------------------------------------------------------- */

static void interrupt(const char *const *words, const char *input, int expected)
{
    running r = start(words, input, NULL);
    char bytes[64];
    assert_true(read(r.out, bytes, sizeof bytes) > 0); /* it is generating now */
    kill(r.pid, SIGINT);
    outcome o = finish(r);
    if (o.status != expected) {
        show(&o);
        fail_msg("expected status %d", expected);
    }
    outcome_free(&o);
}

static void test_interrupt(void **state)
{
    (void)state;
    interrupt((const char *const[]){"generate", GREEDY, "-p", "Once", "-n", "-1", "--ignore-eos", "--overflow",
                                    "extend", NULL},
              NULL, 130);
    /* In a conversation it ends the answer only; then stdin ends. */
    interrupt(
        (const char *const[]){"chat", GREEDY, "--chat-template", "raw", "--overflow", "extend", "--ignore-eos", NULL},
        "Once\n", 0);
}

static void test_full_disk(void **state)
{
    (void)state;
    if (access("/dev/full", W_OK)) skip();
    char command[8192];
    snprintf(command, sizeof command, "%s info -m %s 2>&1 >/dev/full; echo status $?", beside("furlong"), STORIES);
    FILE *p = popen(command, "r");
    assert_non_null(p);
    char line[512] = "";
    assert_non_null(fgets(line, sizeof line, p));
    assert_non_null(strstr(line, "furlong: error: stdout: cannot write"));
    assert_non_null(fgets(line, sizeof line, p));
    assert_string_equal(line, "status 1\n");
    pclose(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generate),  cmocka_unit_test(test_seeds),        cmocka_unit_test(test_generate_json),
        cmocka_unit_test(test_window),    cmocka_unit_test(test_environment),  cmocka_unit_test(test_tokenize),
        cmocka_unit_test(test_info),      cmocka_unit_test(test_bench),        cmocka_unit_test(test_bench_profile),
        cmocka_unit_test(test_chat),      cmocka_unit_test(test_chat_goes_on), cmocka_unit_test(test_interrupt),
        cmocka_unit_test(test_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
