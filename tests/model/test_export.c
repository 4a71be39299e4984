/* A model of each family written as a Hugging Face folder and opened again computes the same logits, bit for bit: fp32
 * weights are copied and the config says the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "golden.h"
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
static float *logits_of(const fl_model *m, int64_t rows)
{
    fl_run *run;
    must(fl_run_create(&run, engine, 0, false));
    int32_t ids[ROWS];
    for (int64_t i = 0; i < rows; i++)
        ids[i] = (int32_t)(i * 89 % m->config.vocab);
    float *out = fl_calloc((size_t)m->config.vocab, sizeof *out);
    int64_t last = rows - 1;
    fl_batch_seq seq = {.rows = rows};
    fl_batch batch = {.sequences = 1, .seq = &seq, .rows = rows, .tokens = ids};
    fl_head_spec spec = {.n = 1, .row = &last, .logits = out};
    must(fl_model_pass(m, run, &batch, NULL, false, &spec));
    fl_run_destroy(run);
    return out;
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
    static const char *const scalings[] = {"linear", "yarn", "dynamic", "ntk"};
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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_families), cmocka_unit_test(test_stretched)};
    return cmocka_run_group_tests(tests, open_engine, close_engine);
}
