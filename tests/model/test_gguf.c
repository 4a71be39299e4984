/* Models in GGUF files against Transformers in double precision with the same rounded weights: files written by the
 * gguf package in F16 and Q8_0, in the layouts of llama.cpp's converter, for every family.
 *
 * Bound: as tests/model/test_golden.c has it, and for the same reason: weights are exact, what is left is fp32. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "golden.h"
#include "model/model.h"

#define BOUND 1e-4

static fl_engine *engine;

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

static void must(fl_status s)
{
    if (s != FL_OK) fail_msg("%s: %s", fl_status_name(s), fl_error_message());
}

/* The logits of row `row` of the first `length` ids. */
static void logits_of(const fl_model *m, fl_run *run, const int32_t *ids, int64_t length, int64_t row, float *out)
{
    fl_batch_seq seq = {.rows = length};
    fl_batch batch = {.sequences = 1, .seq = &seq, .rows = length, .tokens = ids};
    fl_head_spec spec = {.n = 1, .row = &row, .logits = out};
    must(fl_model_pass(m, run, &batch, NULL, false, &spec));
}

static void compare_row(const char *name, const double *expected, const float *found, int64_t vocab, long long row)
{
    double error = 0, largest = 0;
    for (int64_t i = 0; i < vocab; i++) {
        error = fmax(error, fabs(expected[i] - (double)found[i]));
        largest = fmax(largest, fabs(expected[i]));
    }
    if (!(error < BOUND * largest)) fail_msg("%s, row %lld: relative error %g", name, row, error / largest);
}

/* The record beside a file: NAME.gguf, NAME.txt, NAME.f64.bin. */
static void check_model(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, FL_TEST_DATA "/gguf/%s.txt", name);
    fl_buffer record = golden_file(path), ids = golden_file(FL_TEST_DATA "/golden/tiny/ids.i32.bin");
    long long rows = golden_integer(&record, "rows"), vocab = golden_integer(&record, "vocab");
    long long length[32], position[32];
    assert_in_range(rows, 1, 32);
    golden_integers(&record, "row_length", length, rows);
    golden_integers(&record, "row_position", position, rows);
    snprintf(path, sizeof path, FL_TEST_DATA "/gguf/%s.f64.bin", name);
    fl_buffer logits = golden_file(path);
    assert_int_equal(logits.size, (size_t)(rows * vocab) * sizeof(double));

    snprintf(path, sizeof path, FL_TEST_DATA "/gguf/%s.gguf", name);
    fl_model_options options = FL_MODEL_OPTIONS_INIT;
    fl_model *model;
    must(fl_model_open(&model, engine, path, &options));
    assert_int_equal(model->config.vocab, vocab);
    fl_run *run;
    must(fl_run_create(&run, engine, 0, false));
    float *found = fl_calloc((size_t)vocab, sizeof *found);
    for (long long i = 0; i < rows; i++) {
        logits_of(model, run, (const int32_t *)(const void *)ids.data, length[i], position[i], found);
        compare_row(name, (const double *)(const void *)logits.data + i * vocab, found, vocab, i);
    }
    fl_free(found);
    fl_run_destroy(run);
    fl_model_close(model);
    fl_buffer_free(&record);
    fl_buffer_free(&ids);
    fl_buffer_free(&logits);
}

static void test_families(void **state)
{
    (void)state;
    static const char *const names[] = {"llama", "llama_tied",    "mistral",  "qwen2",           "qwen3",
                                        "phi3",  "phi3_longrope", "gpt_neox", "gpt_neox_serial", "gpt2"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        check_model(names[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families),
    };
    return cmocka_run_group_tests(tests, open_engine, close_engine);
}
