/* A trained model whose weights are converted to 8 bits and multiplied as integers reads a real text as well as the
 * original. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "file/gguf_write.h"
#include "golden.h"
#include "model/model.h"

#define STORIES FL_SOURCE_DIR "/models/stories260K/stories260K.bin"

static void must(fl_status s)
{
    if (s != FL_OK) fail_msg("%s: %s", fl_status_name(s), fl_error_message());
}

static fl_model *open_as(fl_engine *engine, const char *path)
{
    fl_model_options options = FL_MODEL_OPTIONS_INIT;
    fl_model *m;
    must(fl_model_open(&m, engine, path, &options));
    return m;
}

static double perplexity(const fl_model *m)
{
    fl_buffer ids = golden_file(FL_TEST_DATA "/golden/stories260K/text.i32.bin");
    const int32_t *stream = (const int32_t *)(const void *)ids.data;
    fl_document document = {stream + 1, (int64_t)(ids.size / sizeof *stream) - 1};
    int64_t length = 512;
    fl_ppl_options options = FL_PPL_OPTIONS_INIT;
    options.protocol = FL_PPL_DISJOINT;
    options.lengths = &length;
    options.length_count = 1;
    fl_ppl_result r;
    must(fl_eval_ppl(&r, m, &document, 1, stream[0], &options));
    assert_true(r.tokens > 4000);
    fl_buffer_free(&ids);
    return r.ppl;
}

/* The logits of rows first .. of a text of `rows` tokens. */
static float *logits(const fl_engine *engine, const fl_model *m, int64_t first, int64_t rows)
{
    int64_t vocab = m->config.vocab, n = rows - first;
    float *out = fl_calloc((size_t)(n * vocab), sizeof *out);
    int32_t ids[256];
    int64_t row[256];
    for (int i = 0; i < 256; i++)
        ids[i] = (int32_t)(i * 89 % vocab);
    for (int64_t i = 0; i < n; i++)
        row[i] = first + i;
    fl_batch_seq seq = {.rows = rows};
    fl_batch batch = {.sequences = 1, .seq = &seq, .rows = rows, .tokens = ids};
    fl_head_spec spec = {.n = n, .row = row, .logits = out};
    fl_run *run;
    must(fl_run_create(&run, (fl_engine *)(uintptr_t)engine, 0, false));
    must(fl_model_pass(m, run, &batch, NULL, false, &spec));
    fl_run_destroy(run);
    return out;
}

/* What is said of a file's weights holds of the model that reads them: bits do not depend on how many rows there are.
 */
static void check_rows(const fl_engine *engine, const fl_model *m)
{
    float *many = logits(engine, m, 0, 100), *one = logits(engine, m, 0, 1), *some = logits(engine, m, 30, 37);
    size_t row = (size_t)m->config.vocab;
    assert_memory_equal(one, many, row * sizeof *one);
    assert_memory_equal(some, many + 30 * row, 7 * row * sizeof *some);
    fl_free(many), fl_free(one), fl_free(some);
}

/* 8 bits: weights and activations are each within 0.4 % of the largest of 32, independently so, which moves the
 * perplexity by less than 0.3 %. 4 bits cost some percent of so small a model; that they stay below 5 says that blocks
 * are read in the right order. */
static void test_stories(void **state)
{
    (void)state;
    const char *root = getenv("TMPDIR");
    char folder[128], path[160];
    snprintf(folder, sizeof folder, "%.90s/furlong-quantised-XXXXXX", root ? root : P_tmpdir);
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/model.gguf", folder);
    fl_engine_options options = FL_ENGINE_OPTIONS_INIT;
    fl_engine *engine;
    must(fl_engine_create(&engine, &options));

    fl_model *m = open_as(engine, STORIES);
    double exact = perplexity(m);
    fl_model_close(m);
    static const struct {
        fl_dtype type;
        double bound;
    } types[] = {{FL_Q8_0, 0.003}, {FL_Q4_0, 0.05}};
    for (int t = 0; t < 2; t++) {
        fl_checkpoint *c;
        must(fl_checkpoint_open(&c, STORIES));
        must(fl_gguf_write(path, fl_checkpoint_config(c), NULL, 0, types[t].type, c, NULL));
        fl_checkpoint_close(c);
        m = open_as(engine, path);
        double rounded = perplexity(m);
        print_message("%s: perplexity %.5f, exact %.5f\n", fl_dtype_get(types[t].type)->name, rounded, exact);
        assert_true(rounded != exact && fabs(rounded / exact - 1) < types[t].bound);
        check_rows(engine, m);
        fl_model_close(m);
    }
    fl_engine_destroy(engine);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_stories)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
