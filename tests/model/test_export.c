/* A model of each family written as a Hugging Face folder and opened again computes the same logits, bit for bit: fp32
 * weights are copied and the config says the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "file/json.h"
#include "golden.h"
#include "json_alike.h"
#include "model/model.h"

#define TINY FL_TEST_DATA "/tiny/"
#define ROWS 150 /* beyond the trained window of 128: scaled positions matter, and both sets of longrope's factors */

static fl_engine *engine;

static void must(fl_status s)
{
    if (s != FL_OK) fail_msg("%s: %s", fl_status_name(s), fl_error_message());
}

static int open_engine(void **state)
{
    (void)state;
    fl_engine_options options = FL_ENGINE_OPTIONS_INIT;
    return fl_engine_create(&engine, &options);
}

static int close_engine(void **state)
{
    (void)state;
    fl_engine_destroy(engine);
    return 0;
}

/* Logits of the last row of `rows` tokens, [vocab]; fl_free. */
static float *logits_for(const fl_model *m, const int32_t *ids, int64_t rows)
{
    fl_run *run;
    must(fl_run_create(&run, engine, 0, false));
    float *out = fl_calloc((size_t)m->config.vocab, sizeof *out);
    int64_t last = rows - 1;
    fl_batch_seq seq = {.rows = rows};
    fl_batch batch = {.sequences = 1, .seq = &seq, .rows = rows, .tokens = ids};
    fl_head_spec spec = {.n = 1, .row = &last, .logits = out};
    must(fl_model_pass(m, run, &batch, NULL, false, &spec));
    fl_run_destroy(run);
    return out;
}

static float *logits_of(const fl_model *m, int64_t rows)
{
    int32_t ids[ROWS];
    for (int64_t i = 0; i < rows; i++)
        ids[i] = (int32_t)(i * 89 % m->config.vocab);
    return logits_for(m, ids, rows);
}

static void remove_folder(const char *folder)
{
    static const char *const names[] = {"config.json", "generation_config.json", "model.safetensors"};
    char path[300];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(folder), 0);
}

static void check(const char *path, int64_t rows, const fl_model_options *options)
{
    char folder[] = "/tmp/furlong-export-XXXXXX";
    assert_non_null(mkdtemp(folder));
    fl_model *m, *back;
    must(fl_model_open(&m, engine, path, options));
    must(fl_model_export(m, folder, "f32"));
    fl_model_options plain = FL_MODEL_OPTIONS_INIT;
    must(fl_model_open(&back, engine, folder, &plain));
    assert_int_equal(m->parameters, back->parameters);
    assert_int_equal(fl_model_window(m), fl_model_window(back));
    const int64_t lengths[] = {40, rows};
    for (int i = 0; i < 2; i++) {
        float *expected = logits_of(m, lengths[i]), *found = logits_of(back, lengths[i]);
        if (memcmp(expected, found, (size_t)m->config.vocab * sizeof *found))
            fail_msg("%s: the exported model computes something else at length %lld", path, (long long)lengths[i]);
        fl_free(expected);
        fl_free(found);
    }
    fl_model_close(back);
    fl_model_close(m);
    remove_folder(folder);
}

static void test_families(void **state)
{
    (void)state;
    static const char *const names[] = {"llama",   "llama_bias",    "llama_tied", "llama_bf16",
                                        "mistral", "qwen2",         "qwen2_tied", "qwen3",
                                        "phi3",    "phi3_longrope", "gpt_neox",   "gpt_neox_serial"};
    fl_model_options options = FL_MODEL_OPTIONS_INIT;
    char path[512];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, TINY "%s", names[i]);
        check(path, ROWS, &options);
    }
    check(TINY "gpt2", 128, &options); /* learned positions end there */
}

/* Stretched positions are written too, in the family's own spelling. */
static void test_stretched(void **state)
{
    (void)state;
    static const char *const names[] = {"mistral", "qwen2", "qwen3", "gpt_neox", "llama_bias"};
    static const char *const scalings[] = {"linear", "yarn",       "dynamic",     "ntk",      "ntk-parts",
                                           "power",  "ntk-linear", "mixed-radix", "truncated"};
    char path[512];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (size_t k = 0; k < sizeof scalings / sizeof *scalings; k++) {
            fl_model_options options = FL_MODEL_OPTIONS_INIT;
            options.rope.scaling = scalings[k];
            options.rope.scale = 2;
            snprintf(path, sizeof path, TINY "%s", names[i]);
            check(path, ROWS, &options);
        }
}

static json_t *json_of(const char *folder, const char *name)
{
    char path[512];
    json_t *root;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    must(fl_json_read(&root, path, fl_json_config_limits));
    return root;
}

/* The folder that is written for a stretched model is the one that Transformers was given (tools/oracle/extended.py),
 * and its logits are those of the model here, also beyond the trained window: within 1e-4 of the largest of a row, as
 * for models that are read (test_golden.c). */
static void check_extended(const char *method, const fl_model_options *options)
{
    char folder[] = "/tmp/furlong-export-XXXXXX", name[64], path[512];
    assert_non_null(mkdtemp(folder));
    fl_model *m;
    must(fl_model_open(&m, engine, TINY "llama", options));
    must(fl_model_export(m, folder, "f32"));
    snprintf(name, sizeof name, "extend_%s.json", method);
    json_t *known = json_of(TINY, name), *written = json_of(folder, "config.json");
    if (!json_alike(known, written)) fail_msg("%s: config.json is not the one that Transformers read", method);
    json_decref(known);
    json_decref(written);
    remove_folder(folder);

    snprintf(path, sizeof path, FL_TEST_DATA "/golden/tiny/extend_%s.f64.bin", method);
    fl_buffer golden = golden_file(path), ids = golden_file(FL_TEST_DATA "/golden/tiny/ids.i32.bin");
    const int64_t lengths[] = {64, 300};
    int64_t vocab = m->config.vocab;
    assert_int_equal(golden.size, 2 * (size_t)vocab * sizeof(double));
    for (int i = 0; i < 2; i++) {
        const double *expected = (const double *)(const void *)golden.data + i * vocab;
        float *found = logits_for(m, (const int32_t *)(const void *)ids.data, lengths[i]);
        double error = 0, largest = 0;
        for (int64_t j = 0; j < vocab; j++) {
            error = fmax(error, fabs(expected[j] - (double)found[j]));
            largest = fmax(largest, fabs(expected[j]));
        }
        if (!(error < 1e-4 * largest))
            fail_msg("%s at %lld: relative error %g", method, (long long)lengths[i], error / largest);
        fl_free(found);
    }
    fl_buffer_free(&golden);
    fl_buffer_free(&ids);
    fl_model_close(m);
}

static void test_transformers(void **state)
{
    (void)state;
    static const char *const methods[] = {"linear", "ntk",    "ntk-parts",   "ntk-linear", "dynamic",
                                          "yarn",   "llama3", "mixed-radix", "power",      "truncated"};
    fl_model_options options = FL_MODEL_OPTIONS_INIT;
    options.rope.scale = 4;
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        options.rope.scaling = methods[i];
        check_extended(methods[i], &options);
    }
    options.rope = (fl_rope_options){.freq_base = 160000};
    check_extended("base", &options);
    options.rope = (fl_rope_options){.longrope_factors = TINY "longrope_factors.json"};
    check_extended("longrope", &options);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_families), cmocka_unit_test(test_stretched),
                                       cmocka_unit_test(test_transformers)};
    return cmocka_run_group_tests(tests, open_engine, close_engine);
}
