/* The same logits at every CPU level. Products keep one order of sums at every level; row reductions (norms, the
 * softmax's sum) run in as many lanes as the level has, which may move the last bits: over 512 tokens and 5 layers that
 * stays below 1e-5 of a row's largest logit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "golden.h"
#include "model/model.h"

#define ROWS 512
#define BOUND 1e-5

static void must(fl_status s)
{
    if (s != FL_OK) fail_msg("%s: %s", fl_status_name(s), fl_error_message());
}

/* Logits of every row, [rows, vocab]; NULL when this CPU lacks the level. */
static float *logits_at(const char *cpu, const char *path, int64_t rows, int64_t *vocab)
{
    fl_engine_options options = FL_ENGINE_OPTIONS_INIT;
    options.cpu = cpu;
    fl_model_options model_options = FL_MODEL_OPTIONS_INIT;
    fl_engine *engine;
    fl_model *m;
    fl_run *run;
    if (fl_engine_create(&engine, &options) != FL_OK) return NULL;
    assert_string_equal(fl_engine_cpu(engine), cpu);
    must(fl_model_open(&m, engine, path, &model_options));
    must(fl_run_create(&run, engine, 0, false));
    *vocab = m->config.vocab;
    float *out = fl_calloc((size_t)(rows * *vocab), sizeof *out);
    int32_t *ids = fl_calloc((size_t)rows, sizeof *ids);
    for (int64_t i = 0; i < rows; i++)
        ids[i] = (int32_t)(i * 89 % *vocab);
    fl_batch_seq seq = {.rows = rows};
    fl_batch batch = {.sequences = 1, .seq = &seq, .rows = rows, .tokens = ids};
    fl_head_spec spec = {.n = rows, .logits = out};
    must(fl_model_pass(m, run, &batch, NULL, false, &spec));
    fl_free(ids);
    fl_run_destroy(run);
    fl_model_close(m);
    fl_engine_destroy(engine);
    return out;
}

static void check(const char *path, int64_t rows)
{
    static const char *const levels[] = {"avx2", "avx512"};
    int64_t vocab;
    float *expected = logits_at("generic", path, rows, &vocab);
    assert_non_null(expected);
    for (size_t l = 0; l < sizeof levels / sizeof *levels; l++) {
        float *found = logits_at(levels[l], path, rows, &vocab);
        for (int64_t r = 0; found && r < rows; r++) {
            double error = 0, largest = 0;
            for (int64_t i = r * vocab; i < (r + 1) * vocab; i++) {
                error = fmax(error, fabs((double)expected[i] - (double)found[i]));
                largest = fmax(largest, fabs((double)expected[i]));
            }
            if (!(error < BOUND * largest))
                fail_msg("%s, %s, row %lld: off by %g of %g", path, levels[l], (long long)r, error, largest);
        }
        fl_free(found);
    }
    fl_free(expected);
}

static void test_llama(void **state)
{
    (void)state;
    check(FL_SOURCE_DIR "/models/stories260K/stories260K.bin", ROWS);
}

static void test_gpt2(void **state)
{
    (void)state;
    check(FL_TEST_DATA "/tiny/gpt2", 128);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_llama), cmocka_unit_test(test_gpt2)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
