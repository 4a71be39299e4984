/* Models in GGUF files against Transformers in double precision with the same rounded weights: files written by the
 * gguf package in F16 and Q8_0, in the layouts of llama.cpp's converter, for every family; and files written here,
 * whose weights are those of the golden records of tests/data/golden/tiny.
 *
 * Bound: as tests/model/test_golden.c has it, and for the same reason: weights are exact, what is left is fp32. With
 * Q8_0 weights products round their activations to 8 bits: by at most half of 1/127 of the largest of 32, which is 0.4
 * % of it, and sums over independent errors of several layers stay near that. A wrong order of rows or a wrong rotation
 * changes the logits by about their own size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "file/gguf_write.h"
#include "file/hf_write.h"
#include "golden.h"
#include "model/model.h"

#define BOUND 1e-4
#define QUANTISED_BOUND 0.03

static fl_engine *engine;

static int open_engine(void **state)
{
    static char folder[128];
    const char *root = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%.90s/furlong-gguf-XXXXXX", root ? root : P_tmpdir);
    *state = folder;
    if (!mkdtemp(folder)) return 1;
    fl_engine_options options = FL_ENGINE_OPTIONS_INIT;
    return fl_engine_create(&engine, &options) != FL_OK;
}

static int close_engine(void **state)
{
    char command[160];
    fl_engine_destroy(engine);
    snprintf(command, sizeof command, "rm -rf '%s'", (char *)*state);
    return system(command);
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

static void compare_row(const char *name, const double *expected, const float *found, int64_t vocab, long long row,
                        double bound)
{
    double error = 0, largest = 0;
    for (int64_t i = 0; i < vocab; i++) {
        error = fmax(error, fabs(expected[i] - (double)found[i]));
        largest = fmax(largest, fabs(expected[i]));
    }
    if (!(error < bound * largest)) fail_msg("%s, row %lld: relative error %g", name, row, error / largest);
}

/* record: "folder/NAME" of NAME.txt and NAME.f64.bin, below tests/data. */
static void check_record(const char *record_name, const char *model_path, double bound)
{
    char path[512];
    snprintf(path, sizeof path, FL_TEST_DATA "/%s.txt", record_name);
    fl_buffer record = golden_file(path), ids = golden_file(FL_TEST_DATA "/golden/tiny/ids.i32.bin");
    long long rows = golden_integer(&record, "rows"), vocab = golden_integer(&record, "vocab");
    long long length[32], position[32];
    assert_in_range(rows, 1, 32);
    golden_integers(&record, "row_length", length, rows);
    golden_integers(&record, "row_position", position, rows);
    snprintf(path, sizeof path, FL_TEST_DATA "/%s.f64.bin", record_name);
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
        logits_of(model, run, (const int32_t *)(const void *)ids.data, length[i], position[i], found);
        compare_row(record_name, (const double *)(const void *)logits.data + i * vocab, found, vocab, i, bound);
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
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char record[64], path[512];
        snprintf(record, sizeof record, "gguf/%s", names[i]);
        snprintf(path, sizeof path, FL_TEST_DATA "/%s.gguf", record);
        check_record(record, path, strcmp(names[i], "llama") == 0 ? BOUND : QUANTISED_BOUND); /* llama is F16 */
    }
}

static void copy_file(const char *from, const char *folder, const char *name)
{
    fl_buffer b = golden_file(from);
    char to[600];
    snprintf(to, sizeof to, "%s/%s", folder, name);
    FILE *f = fopen(to, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(b.data, 1, b.size, f), b.size);
    assert_int_equal(fclose(f), 0);
    fl_buffer_free(&b);
}

/* ---- written by this library -------------------------------------------------------------------------------- */

/* The model in `from`, written as GGUF in F32, and that written as a Hugging Face folder again. */
static void check_written(const char *record, const char *from, const char *folder)
{
    char gguf[256], hf[256];
    snprintf(gguf, sizeof gguf, "%s/out.gguf", folder);
    snprintf(hf, sizeof hf, "%s/hf", folder);
    fl_checkpoint *c;
    must(fl_checkpoint_open(&c, from));
    must(fl_gguf_write(gguf, fl_checkpoint_config(c), NULL, 0, FL_F32, c, NULL));
    fl_checkpoint_close(c);
    check_record(record, gguf, BOUND);
    must(fl_checkpoint_open(&c, gguf));
    must(fl_hf_write(hf, fl_checkpoint_config(c), NULL, 0, FL_F32, c));
    fl_checkpoint_close(c);
    check_record(record, hf, BOUND);
}

static void test_written(void **state)
{
    static const char *const names[] = {"llama",      "llama_tied", "llama_bf16", "llama_bias",    "mistral",  "qwen2",
                                        "qwen2_tied", "qwen3",      "phi3",       "phi3_longrope", "gpt_neox", "gpt2"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char record[64], from[512];
        snprintf(record, sizeof record, "golden/tiny/%s", names[i]);
        snprintf(from, sizeof from, FL_TEST_DATA "/tiny/%s", names[i]);
        check_written(record, from, *state);
    }
}

/* The weights of llama under the config of each rotary kind that the format can say. */
static void test_written_rope(void **state)
{
    static const char *const kinds[] = {"linear", "yarn", "llama3", "longrope"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char folder[256], path[512], record[64];
        snprintf(folder, sizeof folder, "%s/%s", (char *)*state, kinds[i]);
        must(fl_folder_make(folder));
        snprintf(path, sizeof path, FL_TEST_DATA "/tiny/rope_%s.json", kinds[i]);
        copy_file(path, folder, "config.json");
        copy_file(FL_TEST_DATA "/tiny/llama/model.safetensors", folder, "model.safetensors");
        snprintf(record, sizeof record, "golden/tiny/rope_%s", kinds[i]);
        check_written(record, folder, *state);
    }
}

/* ---- every block type ----------------------------------------------------------------------------------------- */

enum { WIDTH = 256, VOCAB = 64 };

/* Random blocks with their scales (fp16, at byte `scale`, and a second one after it where minimum) made small. */
typedef struct block_type {
    fl_dtype type;
    int scale;
    bool minimum;
} block_type;

static void *random_blocks(block_type b, int64_t values, fl_rng *rng)
{
    const fl_dtype_info *info = fl_dtype_get(b.type);
    size_t blocks = (size_t)values / (size_t)info->block;
    uint8_t *bytes = fl_calloc(blocks, info->block_bytes);
    for (size_t i = 0; i < blocks * info->block_bytes; i++)
        bytes[i] = (uint8_t)fl_rng_below(rng, 256);
    for (size_t i = 0; i < blocks; i++)
        for (int k = 0; k < (b.minimum ? 2 : 1); k++) {
            uint16_t half = fl_f32_to_f16((float)(1e-3 * (1 + fl_rng_uniform(rng))));
            memcpy(bytes + i * info->block_bytes + b.scale + 2 * k, &half, sizeof half);
        }
    return bytes;
}

/* One layer of llama with matrices of that type, and the same with the values they stand for as F32. */
static void write_twins(block_type b, const char *quantised, const char *plain)
{
    static const struct {
        const char *name;
        int64_t rows;
    } parts[] = {{"token_embd.weight", VOCAB},     {"output.weight", VOCAB},       {"blk.0.attn_q.weight", WIDTH},
                 {"blk.0.attn_k.weight", WIDTH},   {"blk.0.attn_v.weight", WIDTH}, {"blk.0.attn_output.weight", WIDTH},
                 {"blk.0.ffn_gate.weight", WIDTH}, {"blk.0.ffn_up.weight", WIDTH}, {"blk.0.ffn_down.weight", WIDTH},
                 {"blk.0.attn_norm.weight", 0},    {"blk.0.ffn_norm.weight", 0},   {"output_norm.weight", 0}};
    enum { COUNT = sizeof parts / sizeof *parts };
    fl_file_tensor tensor[COUNT], twin[COUNT];
    fl_rng rng;
    fl_rng_seed(&rng, 7);
    for (int i = 0; i < COUNT; i++) {
        int64_t rows = parts[i].rows, values = rows ? rows * WIDTH : WIDTH;
        float *wide = fl_calloc((size_t)values, sizeof *wide);
        tensor[i] =
            (fl_file_tensor){parts[i].name, b.type, rows ? 2 : 1, {rows ? rows : WIDTH, rows ? WIDTH : 0}, NULL};
        if (rows) {
            tensor[i].data = random_blocks(b, values, &rng);
            fl_to_f32(b.type, tensor[i].data, wide, values);
        } else {
            tensor[i].type = FL_F32;
            for (int64_t k = 0; k < values; k++)
                wide[k] = (float)(1 + 0.1 * fl_rng_normal(&rng));
        }
        twin[i] = tensor[i];
        twin[i].type = FL_F32;
        twin[i].data = wide;
        if (!rows) tensor[i].data = wide;
    }
    fl_gguf_keys keys = {0};
    fl_gguf_put_string(&keys, "general.architecture", "llama");
    static const struct {
        const char *key;
        uint32_t value;
    } sizes[] = {{"llama.context_length", 64},
                 {"llama.embedding_length", WIDTH},
                 {"llama.block_count", 1},
                 {"llama.feed_forward_length", WIDTH},
                 {"llama.attention.head_count", 4}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        fl_gguf_put_u32(&keys, sizes[i].key, sizes[i].value);
    fl_gguf_put_f32(&keys, "llama.attention.layer_norm_rms_epsilon", 1e-5);
    must(fl_gguf_write_file(quantised, &keys, tensor, COUNT));
    must(fl_gguf_write_file(plain, &keys, twin, COUNT));
    fl_gguf_keys_free(&keys);
    for (int i = 0; i < COUNT; i++) {
        if (parts[i].rows) fl_free((void *)(uintptr_t)tensor[i].data);
        fl_free((void *)(uintptr_t)twin[i].data);
    }
}

static void logits_of_file(const char *path, float *out)
{
    static const int32_t ids[] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 35};
    fl_model_options options = FL_MODEL_OPTIONS_INIT;
    fl_model *model;
    fl_run *run;
    must(fl_model_open(&model, engine, path, &options));
    must(fl_run_create(&run, engine, 0, false));
    logits_of(model, run, ids, 10, 9, out);
    fl_run_destroy(run);
    fl_model_close(model);
}

static void test_block_types(void **state)
{
    static const block_type types[] = {{FL_Q8_0, 0, false}, {FL_Q4_0, 0, false},   {FL_Q4_1, 0, true},
                                       {FL_Q5_0, 0, false}, {FL_Q5_1, 0, true},    {FL_IQ4_NL, 0, false},
                                       {FL_Q2_K, 80, true}, {FL_Q3_K, 108, false}, {FL_Q4_K, 0, true},
                                       {FL_Q5_K, 0, true},  {FL_Q6_K, 208, false}};
    char quantised[256], plain[256];
    snprintf(quantised, sizeof quantised, "%s/quantised.gguf", (char *)*state);
    snprintf(plain, sizeof plain, "%s/plain.gguf", (char *)*state);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        float found[VOCAB], values[VOCAB];
        double expected[VOCAB];
        write_twins(types[i], quantised, plain);
        logits_of_file(quantised, found);
        logits_of_file(plain, values);
        for (int k = 0; k < VOCAB; k++)
            expected[k] = (double)values[k];
        compare_row(fl_dtype_get(types[i].type)->name, expected, found, VOCAB, 9, QUANTISED_BOUND);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families),
        cmocka_unit_test(test_written),
        cmocka_unit_test(test_written_rope),
        cmocka_unit_test(test_block_types),
    };
    return cmocka_run_group_tests(tests, open_engine, close_engine);
}
