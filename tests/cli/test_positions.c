/* Position methods from the command line: the schedules, the search for factors, and models pre-trained with other
 * positions, from a config to a trained folder. */
#define _GNU_SOURCE /* pipe2 */
#include "run.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#define MODEL "-m", STORIES
#define TEXT FL_TEST_DATA "/text/stories.txt"
#define TOKENIZER "--tokenizer", FL_SOURCE_DIR "/models/stories260K/tok512.bin"

static char work[64];

static const char *in(const char *name, char path[128])
{
    snprintf(path, 128, "%s/%s", work, name);
    return path;
}

static void test_schedules(void **state)
{
    (void)state;
    json_t *r = expect_json(
        RUN("info", MODEL, "--json", "--rope-scaling", "mixed-radix", "--rope-scale", "4", "--rope-shape", "1"));
    const json_t *rope = json_object_get(r, "rope");
    assert_string_equal(text(r, "positions"), "rotary");
    assert_string_equal(text(rope, "scaling"), "mixed-radix");
    assert_true(fabs(number(rope, "last_frequency") * 4 - 1e-3) < 1e-12); /* heads of 8: 10000^(-6/8) */
    json_decref(r);
    expect_error(RUN("info", MODEL, "--rope-scaling", "yarn", "--rope-scale", "2", "--rope-shape", "1"), 1,
                 "--rope-shape", "yarn");
    expect_error(RUN("info", MODEL, "--rope-scaling", "alibi"), 2, "--rope-scaling alibi", NULL);
    expect_error(RUN("info", MODEL, "--rope-scaling", "longrope", "--rope-scale", "2"), 1, "--longrope-factors",
                 "furlong search");
    expect_error(RUN("info", MODEL, "--blockwise", "1"), 1, "--blockwise 1", NULL);
}

/* What is found is written where it is asked for, is used by eval, and goes out with the model. */
static void test_search(void **state)
{
    (void)state;
    char factors[128], folder[128];
    in("factors.json", factors);
    json_t *r = expect_json(RUN("search", MODEL, "-f", TEXT, "--to", "1024", "--population", "4", "--rounds", "1",
                                "--samples", "1", "-o", factors, "--json"));
    assert_int_equal(json_array_size(json_object_get(r, "long_factor")), 4);
    assert_true(number(r, "evaluated") == 6 && number(r, "ppl") <= number(r, "ppl_yarn"));
    json_decref(r);
    expect_error(RUN("search", MODEL, "-f", TEXT, "--to", "1024"), 2, "-o FILE", NULL);
    expect_error(RUN("search", MODEL, "-f", TEXT, "-o", factors), 2, "--to N", NULL);
    outcome o = RUN("extend", MODEL, "--longrope-factors", factors, "-o", in("longrope", folder));
    assert_int_equal(o.status, 0);
    outcome_free(&o);
    r = expect_json(RUN("info", "-m", folder, "--json"));
    assert_true(number(r, "window") == 1024 && number(r, "trained_window") == 512);
    assert_string_equal(text(json_object_get(r, "rope"), "scaling"), "longrope");
    json_decref(r);
}

/* init, train and generate with positions that are not rotary; rotary switches are refused. */
static void test_pretraining(void **state)
{
    (void)state;
    static const char *const kinds[] = {"alibi", "xpos", "sinusoidal", "none"};
    char config[128], folder[128], trained[128], name[32];
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        FILE *f = fopen(in("config.json", config), "w");
        fprintf(f,
                "{\"model_type\": \"furlong_llama\", \"position_embedding_type\": \"%s\", \"vocab_size\": 512, "
                "\"hidden_size\": 32, \"intermediate_size\": 48, \"num_hidden_layers\": 2, \"num_attention_heads\": 4, "
                "\"num_key_value_heads\": 2, \"max_position_embeddings\": 32}",
                kinds[k]);
        fclose(f);
        snprintf(name, sizeof name, "new-%s", kinds[k]);
        outcome o = RUN("init", "--config", config, "-o", in(name, folder), "-s", "3");
        assert_int_equal(o.status, 0);
        outcome_free(&o);
        snprintf(name, sizeof name, "trained-%s", kinds[k]);
        o = RUN("train", "-m", folder, TOKENIZER, "--data", TEXT, "--length", "32", "--batch", "8", "--steps", "30",
                "--lr", "1e-2", "-o", in(name, trained));
        assert_int_equal(o.status, 0);
        const char *loss = strstr(out_of(&o), "loss ");
        assert_non_null(loss);
        assert_true(atof(loss + 5) < 5.5); /* a uniform guess costs ln 512 = 6.24 nats */
        outcome_free(&o);
        json_t *r = expect_json(RUN("info", "-m", trained, "--json"));
        assert_string_equal(text(r, "positions"), kinds[k]);
        assert_string_equal(text(r, "family"), "llama");
        json_decref(r);
        o = RUN("generate", "-m", trained, TOKENIZER, "-p", "Once", "-n", "60", "-c", "80", "--temp", "0",
                "--ignore-eos");
        assert_int_equal(o.status, 0); /* past the window of 32 */
        outcome_free(&o);
        expect_error(RUN("generate", "-m", trained, TOKENIZER, "-p", "Once", "-n", "1", "--rope-scaling", "linear",
                         "--rope-scale", "2"),
                     1, kinds[k], "pre-training");
    }
}

static void test_drawn_positions(void **state)
{
    (void)state;
    char out[128];
    outcome o = RUN("train", MODEL, "--data", TEXT, "--length", "64", "--batch", "2", "--steps", "2", "--positions",
                    "randomized", "--position-range", "256", "-o", in("drawn", out));
    assert_int_equal(o.status, 0);
    outcome_free(&o);
    expect_error(RUN("train", MODEL, "--data", TEXT, "--length", "64", "--positions", "subsampled", "--position-range",
                     "63", "-o", out),
                 1, "--position-range 63", NULL);
}

static int open_folder(void **state)
{
    (void)state;
    strcpy(work, "/tmp/furlong-positions-XXXXXX");
    return mkdtemp(work) ? 0 : 1;
}

static int remove_all(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", work);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_schedules), cmocka_unit_test(test_search),
                                       cmocka_unit_test(test_pretraining), cmocka_unit_test(test_drawn_positions)};
    return cmocka_run_group_tests(tests, open_folder, remove_all);
}
