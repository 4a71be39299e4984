/* The doctor on a model whose limits are known, on files with one trap each, and on nothing at all. Known numbers: the
 * first negative similarity of heads of 8 at base 10000 is at 91 tokens, of heads of 16 too (Men et al. 2024,
 * recomputed in double precision). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <jansson.h>

#include "base/file.h"
#include "plan/doctor.h"

static fl_engine *engine;
static char folder[] = "/tmp/furlong-doctor-XXXXXX";

static void must(fl_status s)
{
    if (s != FL_OK) fail_msg("%s: %s", fl_status_name(s), fl_error_message());
}

static int setup(void **state)
{
    (void)state;
    fl_engine_options o = FL_ENGINE_OPTIONS_INIT;
    must(fl_engine_create(&engine, &o));
    return mkdtemp(folder) ? 0 : 1;
}

static int teardown(void **state)
{
    (void)state;
    char command[64];
    fl_engine_destroy(engine);
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command);
}

static fl_doctor *examine(const char *path, const fl_rope_options *rope, const fl_document *text)
{
    static fl_doctor d;
    fl_model_options options = FL_MODEL_OPTIONS_INIT;
    if (rope) options.rope = *rope;
    fl_model *m;
    must(fl_model_open(&m, engine, path, &options));
    fl_doctor_options o = {.text = text, .bos = 1, .score = 32, .blocks = 8, .longest = 1024, .margin = 0.1};
    must(fl_doctor_examine(&d, m, &o));
    fl_model_close(m);
    return &d;
}

/* The finding on a topic whose text holds `words`. */
static const fl_finding *finding(const fl_doctor *d, const char *topic, const char *words)
{
    for (int i = 0; i < d->findings; i++)
        if (!strcmp(d->finding[i].topic, topic) && strstr(d->finding[i].text, words)) return &d->finding[i];
    for (int i = 0; i < d->findings; i++)
        print_message("%d %s: %s\n", (int)d->finding[i].level, d->finding[i].topic, d->finding[i].text);
    fail_msg("nothing about %s says %s", topic, words);
    return NULL;
}

#define STORIES FL_SOURCE_DIR "/models/stories260K/"

static void test_known_model(void **state)
{
    (void)state;
    fl_buffer text = {0};
    fl_model_options options = FL_MODEL_OPTIONS_INIT;
    fl_model *m;
    fl_tokenizer *t;
    int64_t count;
    static int32_t ids[100100];
    must(fl_file_read(&text, STORIES "sample-stories.txt", (size_t)1 << 20));
    must(fl_model_open(&m, engine, STORIES "stories260K.bin", &options));
    must(fl_tokenizer_load(&t, NULL, m));
    must(fl_tokenize(t, text.data, text.size, false, false, ids, sizeof ids / sizeof *ids, &count));
    fl_tokenizer_close(t);
    fl_model_close(m);
    fl_buffer_free(&text);
    fl_document document = {ids, count};
    const fl_doctor *d = examine(STORIES "stories260K.bin", NULL, &document);
    assert_true(d->claimed == 512 && d->trained == 512 && d->supported == 91);
    assert_int_equal(finding(d, "base", "91")->level, FL_FINDING_WARN);
    assert_int_equal(finding(d, "tokenizer", "512 ids for 512")->level, FL_FINDING_OK);
    assert_int_equal(finding(d, "dimension", "critical dimension 4 of 8")->level, FL_FINDING_OK);
    /* Trained on 512 and told so: the loss holds there and rises soon after, before twice the window. */
    assert_true(d->rises > 512 && d->rises <= 1024 && d->length[d->lengths - 1] == 1024);
    assert_int_equal(finding(d, "loss", "holds the claimed 512")->level, FL_FINDING_OK);

    /* The same weights claiming 2048 without any scaling: the claim is false and found so. */
    char path[128], command[512];
    snprintf(path, sizeof path, "%s/liar", folder);
    fl_convert_options convert = FL_CONVERT_OPTIONS_INIT;
    must(fl_convert(STORIES "stories260K.bin", path, &convert));
    snprintf(command, sizeof command,
             "sed -i 's/\"max_position_embeddings\": *512/\"max_position_embeddings\": 2048/' %s/config.json", path);
    assert_int_equal(system(command), 0);
    d = examine(path, NULL, &document);
    assert_true(d->claimed == 2048 && d->rises > 0 && d->rises <= 2048);
    assert_int_equal(finding(d, "loss", "inside the claimed 2048")->level, FL_FINDING_BAD);
    document.count = 700; /* a short text says what it can */
    d = examine(path, NULL, &document);
    assert_int_equal(finding(d, "loss", "were not reached")->level, FL_FINDING_WARN);
    document.count = 50;
    fl_doctor_options o = {.text = &document, .bos = 1, .score = 32, .blocks = 8, .margin = 0.1};
    fl_doctor few;
    must(fl_model_open(&m, engine, path, &options));
    assert_int_equal(fl_doctor_examine(&few, m, &o), FL_ERR_ARGUMENT);
    fl_model_close(m);
}

/* A copy of the tiny llama whose config has these members too; its path. */
static const char *variant(const char *name, const char *members)
{
    static char path[128];
    char command[512], config[160];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    snprintf(command, sizeof command, "cp -r '%s/tiny/llama' '%s' && chmod -R u+w '%s'", FL_TEST_DATA, path, path);
    assert_int_equal(system(command), 0);
    snprintf(config, sizeof config, "%s/config.json", path);
    json_t *root = json_load_file(config, 0, NULL), *more = json_loads(members, 0, NULL);
    assert_non_null(root);
    assert_non_null(more);
    json_object_del(root, "rope_parameters");
    json_object_del(root, "rope_scaling");
    json_object_update(root, more);
    assert_int_equal(json_dump_file(root, config, JSON_INDENT(2)), 0);
    json_decref(root);
    json_decref(more);
    return path;
}

static void test_folder_traps(void **state)
{
    (void)state;
    static const struct {
        const char *name, *members, *words;
        fl_finding_level level;
    } cases[] = {
        {"dynamic", "{\"rope_theta\":10000.0,\"rope_scaling\":{\"rope_type\":\"dynamic\",\"factor\":4.0}}",
         "no form in GGUF", FL_FINDING_WARN},
        {"yarn",
         "{\"rope_theta\":10000.0,\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4.0,"
         "\"original_max_position_embeddings\":128},\"max_position_embeddings\":512}",
         "yarn would be dropped", FL_FINDING_WARN},
        {"linear-new", "{\"rope_theta\":10000.0,\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":4.0}}",
         "linear would be dropped", FL_FINDING_WARN},
        {"linear-old", "{\"rope_theta\":10000.0,\"rope_scaling\":{\"type\":\"linear\",\"factor\":4.0}}", "survives",
         FL_FINDING_OK},
        {"llama3",
         "{\"rope_theta\":500000.0,\"max_position_embeddings\":1024,\"rope_scaling\":{\"rope_type\":\"llama3\","
         "\"factor\":8.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,\"original_max_position_embeddings\":128}}",
         "takes 8192", FL_FINDING_WARN},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const fl_doctor *d = examine(variant(cases[i].name, cases[i].members), NULL, NULL);
        assert_int_equal(finding(d, "gguf", cases[i].words)->level, cases[i].level);
        assert_true(d->lengths == 0);
    }
    /* By construction: linear keeps all angles, so the claim of 512 stands on them. */
    fl_rope_options linear = {.scaling = "linear", .scale = 4};
    const fl_doctor *d = examine(FL_TEST_DATA "/tiny/llama", &linear, NULL);
    assert_true(d->claimed == 512 && d->trained == 128);
    assert_int_equal(finding(d, "angles", "up to 512")->level, FL_FINDING_OK);
    /* NTK's middle pairs leave their range before the claim. */
    fl_rope_options ntk = {.scaling = "ntk", .scale = 4};
    d = examine(FL_TEST_DATA "/tiny/llama", &ntk, NULL);
    assert_int_equal(finding(d, "angles", "before the 512")->level, FL_FINDING_WARN);
}

static void test_gguf_traps(void **state)
{
    (void)state;
    char path[128];
    const char *from = variant("llama31", "{\"rope_theta\":500000.0,\"max_position_embeddings\":131072}");
    snprintf(path, sizeof path, "%s/lost.gguf", folder);
    fl_convert_options convert = FL_CONVERT_OPTIONS_INIT;
    convert.no_tokenizer = true;
    must(fl_convert(from, path, &convert));
    const fl_doctor *d = examine(path, NULL, NULL);
    assert_int_equal(finding(d, "gguf", "rope_freqs.weight")->level, FL_FINDING_BAD);
    assert_int_equal(finding(d, "tokenizer", "")->level, FL_FINDING_BAD);

    /* YaRN's magnitude for 4 is 1.138629: a file that says it once more sharpens twice. */
    snprintf(path, sizeof path, "%s/yarn.gguf", folder);
    must(fl_convert(FL_TEST_DATA "/tiny/llama", path, &convert));
    fl_rope_options twice = {.scaling = "yarn", .scale = 4, .yarn_attn_factor = 1.138629};
    d = examine(path, &twice, NULL);
    assert_int_equal(finding(d, "gguf", "once more")->level, FL_FINDING_BAD);
    fl_rope_options once = {.scaling = "yarn", .scale = 4};
    d = examine(path, &once, NULL);
    for (int i = 0; i < d->findings; i++)
        assert_true(strcmp(d->finding[i].topic, "gguf") || d->finding[i].level == FL_FINDING_OK);
}

static void test_refused(void **state)
{
    (void)state;
    fl_doctor d;
    fl_doctor_refused(&d, "config.json: rope_scaling.rope_type = \"magic\": unknown");
    assert_int_equal(d.findings, 1);
    assert_int_equal(finding(&d, "open", "magic")->level, FL_FINDING_BAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_known_model), cmocka_unit_test(test_folder_traps),
                                       cmocka_unit_test(test_gguf_traps), cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
