/* Logits against Transformers in double precision: tiny random models of each family and file layout, every rotary
 * kind also past the old window, and the real llama2.c checkpoints.
 *
 * Bound: relative error below 1e-4, the error being the largest difference in a row over the largest magnitude in it;
 * the recorded float32 error of Transformers itself is about 1e-6. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

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

/* Logits of chosen rows of one sequence of `length` tokens, in one pass without a memory. */
static void logits_of(const fl_model *m, fl_run *run, const int32_t *ids, int64_t length, const int64_t *row, int64_t n,
                      float *out)
{
    fl_batch_seq seq = {.rows = length};
    fl_batch batch = {.sequences = 1, .seq = &seq, .rows = length, .tokens = ids};
    fl_head_spec spec = {.n = n, .row = row, .logits = out};
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

/* folder: of the record, below tests/data/golden. */
static void check_record(const char *record_path, const char *ids_path, const char *model_path)
{
    fl_buffer record = golden_file(record_path), ids = golden_file(ids_path);
    long long rows = golden_integer(&record, "rows"), vocab = golden_integer(&record, "vocab");
    long long length[32], position[32];
    assert_in_range(rows, 1, 32);
    golden_integers(&record, "row_length", length, rows);
    golden_integers(&record, "row_position", position, rows);
    char name[128], path[512];
    golden_word(&record, "logits", name, sizeof name);
    snprintf(path, sizeof path, "%.*s/%s", (int)(strrchr(record_path, '/') - record_path), record_path, name);
    fl_buffer logits = golden_file(path);
    assert_int_equal(logits.size, (size_t)(rows * vocab) * sizeof(double));

    fl_model_options options = FL_MODEL_OPTIONS_INIT;
    fl_model *model;
    must(fl_model_open(&model, engine, model_path, &options));
    assert_int_equal(model->config.vocab, vocab);
    fl_run *run;
    must(fl_run_create(&run, engine, 0, false));
    float *found = fl_calloc((size_t)vocab, sizeof *found);
    for (long long i = 0; i < rows; i++) {
        int64_t row = position[i];
        logits_of(model, run, (const int32_t *)(const void *)ids.data, length[i], &row, 1, found);
        compare_row(record_path, (const double *)(const void *)logits.data + i * vocab, found, vocab, i);
    }
    fl_free(found);
    fl_run_destroy(run);
    fl_model_close(model);
    fl_buffer_free(&record);
    fl_buffer_free(&ids);
    fl_buffer_free(&logits);
}

static void copy_file(const char *from, const char *to)
{
    fl_buffer b = golden_file(from);
    FILE *f = fopen(to, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(b.data, 1, b.size, f), b.size);
    assert_int_equal(fclose(f), 0);
    fl_buffer_free(&b);
}

#define TINY FL_TEST_DATA "/tiny/"
#define GOLDEN FL_TEST_DATA "/golden/"

static void check_tiny(const char *name)
{
    char record[512], model[512];
    snprintf(record, sizeof record, GOLDEN "tiny/%s.txt", name);
    snprintf(model, sizeof model, TINY "%s", name);
    check_record(record, GOLDEN "tiny/ids.i32.bin", model);
}

static void test_families(void **state)
{
    (void)state;
    check_tiny("llama");
    check_tiny("llama_bf16");
    check_tiny("llama_tied");
    check_tiny("gpt2");
    check_record(GOLDEN "tiny/llama.txt", GOLDEN "tiny/ids.i32.bin", TINY "llama_sharded");
    check_record(GOLDEN "tiny/llama.txt", GOLDEN "tiny/ids.i32.bin", TINY "llama/model.safetensors");
}

/* What each family alone does: biases, windows, norms of queries and keys, fused products, partial rotations. */
static void test_relatives(void **state)
{
    (void)state;
    static const char *const names[] = {"llama_bias", "mistral",       "qwen2",    "qwen2_tied",     "qwen3",
                                        "phi3",       "phi3_longrope", "gpt_neox", "gpt_neox_serial"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        check_tiny(names[i]);
}

/* The weights of one folder under another config.json. */
static void check_config(const char *weights, const char *config, const char *record)
{
    char folder[] = "/tmp/furlong-golden-XXXXXX", from[512], path[512], to[600];
    assert_non_null(mkdtemp(folder));
    snprintf(to, sizeof to, "%s/config.json", folder);
    snprintf(from, sizeof from, TINY "%s.json", config);
    copy_file(from, to);
    snprintf(to, sizeof to, "%s/model.safetensors", folder);
    snprintf(from, sizeof from, TINY "%s/model.safetensors", weights);
    copy_file(from, to);
    snprintf(path, sizeof path, GOLDEN "tiny/%s.txt", record);
    check_record(path, GOLDEN "tiny/ids.i32.bin", folder);
    unlink(to);
    snprintf(to, sizeof to, "%s/config.json", folder);
    unlink(to);
    rmdir(folder);
}

/* The same models as version 4 of transformers spells them. */
static void test_old_spellings(void **state)
{
    (void)state;
    static const char *const names[] = {"mistral", "qwen2", "qwen3", "phi3", "phi3_longrope", "gpt_neox"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char config[64];
        snprintf(config, sizeof config, "%s_v4", names[i]);
        check_config(names[i], config, names[i]);
    }
    check_config("phi3_longrope", "phi3_longrope_su", "phi3_longrope");
}

/* The llama folder's weights under the config of each rotary kind, in both spellings. */
static void test_rope_kinds(void **state)
{
    (void)state;
    static const char *const kinds[] = {"linear", "dynamic", "yarn", "llama3", "longrope"};
    for (size_t i = 0; i < 2 * sizeof kinds / sizeof *kinds; i++) {
        char config[64], record[64];
        snprintf(config, sizeof config, "rope_%s%s", kinds[i / 2], i % 2 ? "_v4" : "");
        snprintf(record, sizeof record, "rope_%s", kinds[i / 2]);
        check_config("llama", config, record);
    }
}

/* Positions that come with pre-training, also beyond the window of 128; xPos in blocks of 64 there. */
static void test_positions(void **state)
{
    (void)state;
    static const char *const kinds[] = {"alibi", "xpos", "sinusoidal", "none"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char name[64];
        snprintf(name, sizeof name, "positions_%s", kinds[i]);
        check_config("llama", name, name);
    }
}

static void test_real_checkpoints(void **state)
{
    (void)state;
    check_record(GOLDEN "stories260K/logits.txt", GOLDEN "stories260K/text.i32.bin",
                 FL_SOURCE_DIR "/models/stories260K/stories260K.bin");
    check_record(GOLDEN "stories260K/logits.txt", GOLDEN "stories260K/text.i32.bin",
                 FL_TEST_DATA "/models/stories260K_v1.bin");
    check_record(GOLDEN "aidreams260K/logits.txt", GOLDEN "aidreams260K/text.i32.bin",
                 FL_TEST_DATA "/models/aidreams260K/aidreams260K.bin");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_families),      cmocka_unit_test(test_relatives),
                                       cmocka_unit_test(test_old_spellings), cmocka_unit_test(test_rope_kinds),
                                       cmocka_unit_test(test_positions),     cmocka_unit_test(test_real_checkpoints)};
    return cmocka_run_group_tests(tests, open_engine, close_engine);
}
