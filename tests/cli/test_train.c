/* furlong train from outside: recipes, option files and which of them wins, and what the written model says. */
#define _GNU_SOURCE /* pipe2 */
#include "base/file.h"
#include "cli/run.h"

#include <math.h>

#define TEXT FL_TEST_DATA "/text/stories.txt"
#define MODEL "-m", STORIES, "-f", TEXT

static char folder[] = "/tmp/furlong-train-XXXXXX";

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : 1;
}

static int tear_down(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command);
}

static const char *inside(const char *name)
{
    static char path[4][128];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

static const char *put(const char *name, const char *text)
{
    const char *path = inside(name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0 && fclose(f) == 0);
    return path;
}

/* A line of the list on stderr: option, value, who gave it. */
static void expect_setting(const outcome *o, const char *option, const char *value, const char *from)
{
    char name[64];
    snprintf(name, sizeof name, "furlong:   %s ", option);
    const char *line = strstr(err_of(o), name);
    const char *end = line ? strchr(line, '\n') : NULL;
    const char *v = line ? strstr(line, value) : NULL, *f = line ? strstr(line, from) : NULL;
    if (!v || !f || v > end || f > end) {
        show(o);
        fail_msg("no %s = %s from %s", option, value, from);
    }
}

static json_t *config_of(const char *model)
{
    char path[160];
    snprintf(path, sizeof path, "%s/config.json", model);
    json_error_t error;
    json_t *root = json_load_file(path, 0, &error);
    if (!root) fail_msg("%s: %s", path, error.text);
    return root;
}

/* The rate: 2e-5 (0.003239 - 0.0001395 ln 260032) / 3e-4 = 1.0e-4; the base that takes 8-dimensional heads from 512 to
 * 1024 tokens: (1024 / 2 pi)^2 = 26560.7 (the law with 4 of 8 dimensions). */
static void test_recipes(void **state)
{
    (void)state;
    outcome o =
        RUN("train", "--recipe", "pi", MODEL, "--to", "1024", "--steps", "1", "--batch", "1", "-o", inside("pi"));
    assert_int_equal(o.status, 0);
    expect_setting(&o, "rope-scaling", "linear", "recipe");
    expect_setting(&o, "length", "1024", "recipe");
    expect_setting(&o, "lr", "0.0001", "Position Interpolation");
    expect_setting(&o, "warmup", "20", "recipe");
    expect_setting(&o, "steps", "1 ", "command line");
    expect_setting(&o, "clip", "1 ", "default");
    outcome_free(&o);
    json_t *config = config_of(inside("pi")), *scaling = json_object_get(config, "rope_scaling");
    assert_string_equal(text(scaling, "type"), "linear");
    assert_true(number(scaling, "factor") == 2);
    json_decref(config);

    o = RUN("train", "--recipe", "scaling-law", MODEL, "--to", "1024", "--steps", "1", "--batch", "1", "-o",
            inside("law"));
    assert_int_equal(o.status, 0);
    expect_setting(&o, "rope-freq-base", "26561", "recipe");
    expect_setting(&o, "length", "512", "recipe");
    outcome_free(&o);
    config = config_of(inside("law"));
    assert_true(number(config, "rope_theta") == 26561);
    /* The window that was planned, as Code Llama states its own; and the one that the model was trained on. */
    assert_true(number(config, "max_position_embeddings") == 1024);
    assert_true(number(config, "original_max_position_embeddings") == 512);
    json_decref(config);
    json_t *info = expect_json(RUN("info", "-m", inside("law"), "--json"));
    assert_true(number(info, "window") == 1024 && number(info, "trained_window") == 512);
    json_decref(info);

    o = RUN("train", "--recipe", "longlora", MODEL, "--to", "1024", "--length", "128", "--steps", "1", "--batch", "1",
            "-o", inside("longlora"));
    assert_int_equal(o.status, 0);
    expect_setting(&o, "lora-rank", "8", "LongLoRA");
    expect_setting(&o, "trainable", "embed,norm", "LongLoRA");
    outcome_free(&o);
    json_decref(config_of(inside("longlora"))); /* a whole model, merged */
    expect_error(RUN("train", "--recipe", "pi", MODEL, "-o", inside("x")), 2, "--to", NULL);
    expect_error(RUN("train", "--recipe", "pi", MODEL, "--to", "256", "-o", inside("x")), 2, "512 already", NULL);
}

static void test_option_files(void **state)
{
    (void)state;
    const char *lines =
        put("lines", "# options\nrecipe = pi\nto=1024\nlength = 64\n  steps = 3\nbatch = 1\nbeta1 = 0.8\n");
    outcome o = RUN("train", "--config", lines, MODEL, "--steps", "2", "-o", inside("lines-out"), "--json");
    assert_int_equal(o.status, 0);
    expect_setting(&o, "recipe", "pi", "lines, line 2");
    expect_setting(&o, "beta1", "0.8", "lines, line 7"); /* over the recipe's */
    expect_setting(&o, "steps", "2", "command line");    /* over the file's */
    expect_setting(&o, "warmup", "20", "recipe");
    json_error_t error;
    json_t *result = json_loads(out_of(&o), 0, &error);
    assert_true(number(result, "steps") == 2);
    json_decref(result);
    outcome_free(&o);

    const char *json =
        put("json", "{\"data\":[\"" TEXT "\"],\"model\":\"" STORIES "\",\"steps\":1,\"batch\":2,\"lora_rank\":2,"
                    "\"length\":32,\"lr\":1e-3,\"merge\":false}");
    o = RUN("train", "--config", json, "-o", inside("json-out"));
    assert_int_equal(o.status, 0);
    expect_setting(&o, "lora-rank", "2", "file");
    outcome_free(&o);
    assert_int_equal(access(inside("json-out/adapter_config.json"), F_OK), 0);

    expect_error(RUN("train", "--config", put("a", "{\"lrr\":1}"), MODEL), 2, "no option lrr; the nearest is lr", "/a");
    expect_error(RUN("train", "--config", put("b", "steps = many"), MODEL), 2, "--steps many", "line 1");
    expect_error(RUN("train", "--config", put("c", "steps 3"), MODEL), 2, "line 1", "key = value");
    expect_error(RUN("train", "--config", put("d", "{\"merge\":1}"), MODEL), 2, "true or false", NULL);
    expect_error(RUN("train", "--config", put("e", "{\"steps\":{}}"), MODEL), 2, "steps", "/e");
    expect_error(RUN("train", "--config", put("f", "config = f"), MODEL), 2, "no option config", NULL);
    expect_error(RUN("train", "--config", inside("none"), MODEL), 1, "none", NULL);
}

/* Perplexity on the way: shown and logged at steps 0, 2 and 3. */
static void test_evaluation(void **state)
{
    (void)state;
    outcome o = RUN("train", MODEL, "--steps", "3", "--batch", "1", "--length", "64", "-o", inside("evaluated"),
                    "--log", inside("log"), "--eval-file", TEXT, "--eval-every", "2", "--eval-lengths", "64,256",
                    "--eval-score", "32", "--eval-blocks", "4");
    assert_int_equal(o.status, 0);
    assert_non_null(strstr(err_of(&o), "step 0: at 64 tokens nll "));
    assert_non_null(strstr(err_of(&o), "step 2: at 256 tokens nll "));
    assert_non_null(strstr(err_of(&o), "step 3: at 256 tokens nll "));
    assert_non_null(strstr(err_of(&o), "plan: 260032 numbers train; a step is 1 x 64 tokens"));
    outcome_free(&o);
    fl_buffer log = {0};
    assert_int_equal(fl_file_read(&log, inside("log"), 1 << 16), FL_OK);
    assert_non_null(strstr(log.data, "{\"step\":0,\"nll_64\":"));
    assert_non_null(strstr(log.data, ",\"ppl_256\":"));
    fl_buffer_free(&log);
    expect_error(RUN("train", MODEL, "--steps", "1", "-o", inside("x"), "--memory-limit", "41"), 1, "adapters", NULL);
}

#define LORA(...)                                                                                                      \
    RUN("train", MODEL, "--lora-rank", "4", "--lr", "1e-2", "--steps", "3", "--batch", "2", "--length", "96",          \
        "--no-time", __VA_ARGS__)

static double loss_with(const char *model, const char *lora, const char *scaling, const char *scale)
{
    const char *const plain[] = {"eval", "ppl", "-m", model, "-f", TEXT, "--lengths", "640", "--json", NULL};
    const char *words[20];
    int n = 0;
    for (; plain[n]; n++)
        words[n] = plain[n];
    if (lora) words[n++] = "--lora", words[n++] = lora;
    if (scaling) words[n++] = "--rope-scaling", words[n++] = scaling, words[n++] = "--rope-scale", words[n++] = scale;
    words[n] = NULL;
    outcome o = run_with(words, NULL, NULL);
    json_t *root = json_loads(out_of(&o), 0, NULL);
    if (!root) show(&o);
    assert_non_null(root);
    double nll = number(json_array_get(json_object_get(root, "results"), 0), "nll");
    outcome_free(&o);
    json_decref(root);
    return nll;
}

/* Adapters trained at stretched positions: the folder alone brings them back, as the merged model has them; what
 * config.json cannot say is named with its flags, and refused before a training whose model could not be written. */
static void test_adapter_positions(void **state)
{
    (void)state;
    outcome o = LORA("--rope-scaling", "linear", "--to", "1024", "-o", inside("adapter"));
    assert_int_equal(o.status, 0);
    assert_non_null(strstr(err_of(&o), "warning: "));
    assert_non_null(strstr(err_of(&o), "adapter/base_config.json"));
    assert_non_null(strstr(err_of(&o), "--merge"));
    outcome_free(&o);
    o = LORA("--rope-scaling", "linear", "--to", "1024", "--merge", "-o", inside("merged"));
    assert_int_equal(o.status, 0);
    assert_null(strstr(err_of(&o), "warning: "));
    outcome_free(&o);
    double merged = loss_with(inside("merged"), NULL, NULL, NULL);
    double alone = loss_with(STORIES, inside("adapter"), NULL, NULL);
    /* B A is added in fp32 in both, in another order; logits are off by about 1e-5. */
    assert_true(fabs(alone - merged) < 1e-4);
    assert_true(loss_with(STORIES, inside("adapter"), "linear", "2") == alone);
    assert_true(fabs(loss_with(STORIES, inside("adapter"), "none", "0") - merged) > 0.05);
    /* The positions of the file are those of its base: another base is refused. */
    char path[160];
    snprintf(path, sizeof path, "%s/base_config.json", inside("adapter"));
    json_t *config = json_load_file(path, 0, NULL);
    assert_string_equal(text(json_object_get(config, "rope_parameters"), "rope_type"), "linear");
    assert_true(number(config, "max_position_embeddings") == 1024);
    json_object_set_new(config, "head_dim", json_integer(16));
    assert_int_equal(json_dump_file(config, path, 0), 0);
    json_decref(config);
    expect_error(RUN("info", "-m", STORIES, "--lora", inside("adapter")), 1, "base_config.json", "another model");

    /* The same folder again, without a stretch: nothing of the last one stays. */
    o = LORA("-o", inside("adapter"));
    assert_int_equal(o.status, 0);
    assert_null(strstr(err_of(&o), "warning: "));
    outcome_free(&o);
    assert_int_equal(access(path, F_OK), -1);

    o = LORA("--rope-scaling", "dynamic-yarn", "--to", "1024", "-o", inside("adapter"));
    assert_int_equal(o.status, 0);
    assert_non_null(strstr(err_of(&o), "--ctx-size 1024 --rope-scaling dynamic-yarn"));
    outcome_free(&o);
    o = LORA("--rope-scaling", "dynamic-yarn", "--to", "1024", "--merge", "-o", inside("none"));
    assert_int_equal(o.status, 1);
    assert_non_null(strstr(err_of(&o), "dynamic-yarn"));
    assert_null(strstr(err_of(&o), "step 1 of"));
    outcome_free(&o);
}

/* "furlong: plan: about 1.2 ms a step, 0:02:03 for 20 steps" -> seconds of a step and of all. */
static void predicted(const outcome *o, double *step, double *all)
{
    const char *line = strstr(err_of(o), "furlong: plan: about ");
    char unit[8], rest[32];
    int hours, minutes, seconds;
    if (!line || sscanf(line, "furlong: plan: about %lf %7s a step, %31[^f]for", step, unit, rest) != 3) {
        show(o);
        fail_msg("no predicted time");
    }
    *step *= strcmp(unit, "ms") ? 1 : 1e-3;
    if (sscanf(rest, "%d:%d:%d", &hours, &minutes, &seconds) == 3)
        *all = 3600 * hours + 60 * minutes + seconds;
    else if (sscanf(rest, "%lf %7s", all, unit) == 2)
        *all *= strcmp(unit, "ms") ? 1 : 1e-3;
    else
        fail_msg("no time in %s", rest);
}

/* The time that training will take is said before its first step: that of a step times their number, near the least
 * that a step then takes, from the file if one is named, and not at all if that is asked for. */
static void test_time(void **state)
{
    (void)state;
    const char *rates = inside("rates.json"), *log = inside("times");
    double step, all, again, least = 1e9;
    outcome o = RUN("train", MODEL, "--steps", "12", "--batch", "2", "--length", "256", "-o", inside("timed"),
                    "--calibration", rates, "--log", log);
    assert_int_equal(o.status, 0);
    predicted(&o, &step, &all);
    assert_true(strstr(err_of(&o), "plan: about") < strstr(err_of(&o), "step 1 of 12"));
    outcome_free(&o);
    assert_true(step > 0 && all > 0.9 * 12 * step && all < 1.1 * 12 * step); /* both are rounded to three digits */
    FILE *f = fopen(log, "rb");
    char line[1024];
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        json_t *one = json_loads(line, 0, NULL);
        double seconds = number(one, "seconds");
        least = seconds < least ? seconds : least;
        json_decref(one);
    }
    fclose(f);
    /* The prediction is of an idle machine and good to a factor of 1.5 there; the machine of a test is never idle. */
    if (!(least > step / 4 && least < step * 50)) fail_msg("a step took %g s, predicted %g s", least, step);
    o = RUN("train", MODEL, "--steps", "0", "--batch", "2", "--accumulate", "2", "--length", "256", "-o",
            inside("timed2"), "--calibration", rates);
    predicted(&o, &again, &all);
    assert_true(all == 0 && again > 0.8 * step && again < 2 * step);
    outcome_free(&o);
    o = RUN("train", MODEL, "--steps", "0", "--batch", "2", "--length", "256", "-o", inside("timed3"), "--no-time");
    assert_int_equal(o.status, 0);
    assert_null(strstr(err_of(&o), "plan: about"));
    outcome_free(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_recipes), cmocka_unit_test(test_option_files),
                                       cmocka_unit_test(test_evaluation), cmocka_unit_test(test_adapter_positions),
                                       cmocka_unit_test(test_time)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
