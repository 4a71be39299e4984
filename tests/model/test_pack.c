/* Packed models: the logits of every family, layout and storage type to the bit those of the model that was packed, at
 * every CPU level; and files whose panels do not fit the config refused by name and offset. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/rng.h"
#include "file/gguf_config_write.h"
#include "file/gguf_family.h"
#include "golden.h"
#include "kernel/quant_k.h"
#include "kernel/quant_legacy.h"
#include "model/model.h"

#define ROWS 40 /* more than a tile of products, and past the windows of the models that have one */

static const char *const levels[] = {"generic", "avx2", "avx512"};
static fl_engine *engine[3];
static char folder[128], packed[160], other[160];

static int open_engines(void **state)
{
    (void)state;
    const char *root = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%.90s/furlong-pack-XXXXXX", root ? root : P_tmpdir);
    if (!mkdtemp(folder)) return 1;
    snprintf(packed, sizeof packed, "%s/model.flpack", folder);
    snprintf(other, sizeof other, "%s/other", folder);
    for (int l = 0; l < 3; l++) { /* a level that this CPU lacks stays NULL */
        fl_engine_options options = FL_ENGINE_OPTIONS_INIT;
        options.cpu = levels[l];
        if (fl_engine_create(&engine[l], &options) != FL_OK) engine[l] = NULL;
    }
    return !engine[0];
}

static int close_engines(void **state)
{
    (void)state;
    char command[160];
    for (int l = 0; l < 3; l++)
        fl_engine_destroy(engine[l]);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static void must(fl_status s)
{
    if (s != FL_OK) fail_msg("%s: %s", fl_status_name(s), fl_error_message());
}

static fl_model *model_of(fl_engine *e, const char *path)
{
    fl_model_options options = FL_MODEL_OPTIONS_INIT;
    fl_model *m;
    must(fl_model_open(&m, e, path, &options));
    return m;
}

/* Logits of every row, [rows, vocab]; fl_free. */
static float *logits_of(fl_engine *e, const fl_model *m, int64_t rows)
{
    fl_run *run;
    float *out = fl_calloc((size_t)(rows * m->config.vocab), sizeof *out);
    int32_t *ids = fl_calloc((size_t)rows, sizeof *ids);
    must(fl_run_create(&run, e, 0, false));
    for (int64_t i = 0; i < rows; i++)
        ids[i] = (int32_t)(i * 89 % m->config.vocab);
    fl_batch_seq seq = {.rows = rows};
    fl_batch batch = {.sequences = 1, .seq = &seq, .rows = rows, .tokens = ids};
    fl_head_spec spec = {.n = rows, .logits = out};
    must(fl_model_pass(m, run, &batch, NULL, false, &spec));
    fl_run_destroy(run);
    fl_free(ids);
    return out;
}

static void assert_same_facts(const fl_model *a, const fl_model *b)
{
    fl_model_info x = {.size = sizeof x}, y = {.size = sizeof y};
    must(fl_model_get_info(a, &x));
    must(fl_model_get_info(b, &y));
    assert_string_equal(y.format, "packed");
    assert_string_equal(x.family, y.family);
    assert_string_equal(x.stored_type, y.stored_type);
    assert_int_equal(x.parameters, y.parameters);
    assert_int_equal(x.weight_bytes, y.weight_bytes);
    assert_int_equal(x.mapped_bytes, 0);
    assert_in_range(y.mapped_bytes, y.weight_bytes * 9 / 10, y.weight_bytes);
    assert_int_equal(x.window, y.window);
    assert_int_equal(x.trained_window, y.trained_window);
    assert_true(x.rope_last_frequency == y.rope_last_frequency && x.rope_magnitude == y.rope_magnitude);
    assert_true(x.bos == y.bos && x.eos == y.eos);
    assert_true(fl_model_weights_sum(a) == fl_model_weights_sum(b));
}

/* Packed by one level, the first or the last, for all. */
static void check(const char *path, int packer)
{
    while (!engine[packer])
        packer--;
    fl_model *m = model_of(engine[packer], path);
    fl_pack_options options = FL_PACK_OPTIONS_INIT;
    options.no_tokenizer = true;
    must(fl_model_pack(m, packed, &options));
    int64_t rows = m->config.window < ROWS ? m->config.window : ROWS;
    fl_model_close(m);
    for (int l = 0; l < 3; l++) {
        if (!engine[l]) continue;
        fl_model *a = model_of(engine[l], path), *b = model_of(engine[l], packed);
        assert_same_facts(a, b);
        float *want = logits_of(engine[l], a, rows), *got = logits_of(engine[l], b, rows);
        if (memcmp(want, got, (size_t)(rows * a->config.vocab) * sizeof *want))
            fail_msg("%s: packed at %s, read at %s: other logits", path, levels[packer], levels[l]);
        fl_free(want);
        fl_free(got);
        fl_model_close(a);
        fl_model_close(b);
    }
}

static void test_families(void **state)
{
    (void)state;
    static const char *const paths[] = {"tiny/llama",
                                        "tiny/llama_bf16",
                                        "tiny/llama_bias",
                                        "tiny/llama_sharded",
                                        "tiny/llama_tied",
                                        "tiny/mistral",
                                        "tiny/qwen2",
                                        "tiny/qwen2_tied",
                                        "tiny/qwen3",
                                        "tiny/phi3",
                                        "tiny/phi3_longrope",
                                        "tiny/gpt_neox",
                                        "tiny/gpt_neox_serial",
                                        "tiny/gpt2",
                                        "gguf/llama.gguf",
                                        "gguf/llama_tied.gguf",
                                        "gguf/mistral.gguf",
                                        "gguf/qwen2.gguf",
                                        "gguf/qwen3.gguf",
                                        "gguf/phi3.gguf",
                                        "gguf/phi3_longrope.gguf",
                                        "gguf/gpt_neox.gguf",
                                        "gguf/gpt_neox_serial.gguf",
                                        "gguf/gpt2.gguf",
                                        "models/stories260K-q8.bin",
                                        "../../models/stories260K/stories260K.bin"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        char path[256];
        snprintf(path, sizeof path, FL_TEST_DATA "/%s", paths[i]);
        check(path, i % 2 ? 0 : 2);
    }
}

/* ---- every storage type ----------------------------------------------------------------------------------------- */

static fl_rng rng;

/* Random bits, but for the fp16 factors of blocks, which are small numbers. */
static void *random_values(fl_dtype type, size_t values)
{
    static const struct {
        fl_dtype type;
        size_t at[2]; /* of the factors; twice the same where there is one */
    } factors[] = {{FL_Q8_0, {0, 0}},
                   {FL_Q4_0, {0, 0}},
                   {FL_Q4_1, {0, 2}},
                   {FL_Q5_0, {0, 0}},
                   {FL_Q5_1, {0, 2}},
                   {FL_IQ4_NL, {0, 0}},
                   {FL_Q2_K, {offsetof(fl_block_q2_k, d), offsetof(fl_block_q2_k, m)}},
                   {FL_Q3_K, {offsetof(fl_block_q3_k, d), offsetof(fl_block_q3_k, d)}},
                   {FL_Q4_K, {offsetof(fl_block_q4_k, d), offsetof(fl_block_q4_k, m)}},
                   {FL_Q5_K, {offsetof(fl_block_q5_k, d), offsetof(fl_block_q5_k, m)}},
                   {FL_Q6_K, {offsetof(fl_block_q6_k, d), offsetof(fl_block_q6_k, d)}}};
    size_t bytes, block = fl_dtype_get(type)->block_bytes;
    assert_true(fl_dtype_bytes(type, values, &bytes));
    uint8_t *data = fl_alloc_aligned(bytes);
    assert_non_null(data);
    if (fl_dtype_get(type)->block == 1) {
        for (size_t i = 0; i < values; i++)
            fl_from_f32(type, &(float){0.1f * (float)fl_rng_normal(&rng)}, data + i * block, 1);
        return data;
    }
    for (size_t i = 0; i < bytes; i++)
        data[i] = (uint8_t)fl_rng_below(&rng, 256);
    for (size_t f = 0; f < sizeof factors / sizeof *factors; f++)
        for (size_t b = 0; factors[f].type == type && b < bytes; b += block)
            for (int k = 0; k < 2; k++) {
                uint16_t d = fl_f32_to_f16(2e-4f * (float)fl_rng_normal(&rng));
                memcpy(data + b + factors[f].at[k], &d, sizeof d);
            }
    return data;
}

static void write_gguf(const fl_config *config, fl_tensor_list *list, fl_dtype type)
{
    const fl_gguf_family *family = fl_gguf_family_of_config(config);
    fl_gguf_rope_tensors *rope = fl_calloc(1, sizeof *rope);
    char(*name)[FL_GGUF_HF_NAME] = fl_calloc((size_t)list->count, sizeof *name);
    fl_file_tensor *tensor = fl_calloc((size_t)list->count, sizeof *tensor);
    fl_gguf_keys keys = {0};
    assert_true(rope && name && tensor);
    for (int64_t i = 0; i < list->count; i++) {
        fl_file_tensor *t = &list->tensor[i];
        size_t values;
        t->type = t->rank > 1 ? type : FL_F32;
        must(fl_file_tensor_values(t, &values));
        t->data = random_values(t->type, values);
        assert_true(fl_gguf_name_of_hf(family, t->name, config->layers, name[i]));
        tensor[i] = *t;
        tensor[i].name = name[i];
    }
    must(fl_gguf_config_write(&keys, rope, config, FL_F32));
    must(fl_gguf_tokens_write(&keys, config));
    must(fl_gguf_write_file(other, &keys, tensor, list->count));
    fl_gguf_keys_free(&keys);
    fl_free(tensor);
    fl_free(name);
    fl_free(rope);
}

static void check_type(fl_dtype type, bool tied)
{
    fl_tensor_list list = {0};
    fl_model shape = {.listing = &list, .arch = fl_arch_find("qwen2")};
    shape.config = (fl_config){.family = "qwen2",
                               .vocab = 72,
                               .width = 256,
                               .layers = 1,
                               .heads = 4,
                               .kv_heads = 2,
                               .head_dim = 64,
                               .ffn = 256,
                               .window = 128,
                               .norm_eps = 1e-6,
                               .attention_bias = true,
                               .tied_head = tied,
                               .rotary = true,
                               .bos = -1,
                               .pad = -1};
    fl_rope_spec_init(&shape.config.rope, 10000, 64, 128);
    must(shape.arch->bind(&shape));
    write_gguf(&shape.config, &list, type);
    fl_tensor_list_free(&list);
    fl_free(shape.body);
    check(other, tied ? 0 : 2);
}

static void test_types(void **state)
{
    (void)state;
    static const fl_dtype types[] = {FL_F32,  FL_F16,    FL_BF16, FL_Q8_0, FL_Q4_0, FL_Q4_1, FL_Q5_0,
                                     FL_Q5_1, FL_IQ4_NL, FL_Q2_K, FL_Q3_K, FL_Q4_K, FL_Q5_K, FL_Q6_K};
    fl_rng_seed(&rng, 19);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        check_type(types[i], i % 2);
    check_type(FL_Q8_0, false);
    check_type(FL_Q6_K, true); /* as the most common files have it */
}

/* ---- positions and refusals ------------------------------------------------------------------------------------- */

/* A packed model takes options of positions, and keeps those it was packed with. */
static void test_positions(void **state)
{
    (void)state;
    fl_model_options yarn = FL_MODEL_OPTIONS_INIT;
    yarn.rope.scaling = "yarn";
    yarn.rope.scale = 4;
    fl_model *want, *got, *plain = model_of(engine[0], FL_TEST_DATA "/tiny/llama");
    fl_pack_options options = FL_PACK_OPTIONS_INIT;
    must(fl_model_pack(plain, packed, &options));
    fl_model_close(plain);
    must(fl_model_open(&want, engine[0], FL_TEST_DATA "/tiny/llama", &yarn));
    must(fl_model_open(&got, engine[0], packed, &yarn));
    assert_same_facts(want, got);
    float *a = logits_of(engine[0], want, ROWS), *b = logits_of(engine[0], got, ROWS);
    assert_memory_equal(a, b, (size_t)(ROWS * want->config.vocab) * sizeof *a);
    fl_free(b);
    fl_model_close(got);
    must(fl_model_pack(want, packed, &options));
    got = model_of(engine[0], packed);
    assert_same_facts(want, got);
    b = logits_of(engine[0], got, ROWS);
    assert_memory_equal(a, b, (size_t)(ROWS * want->config.vocab) * sizeof *a);
    fl_free(a);
    fl_free(b);
    fl_model_close(got);
    fl_model_close(want);
}

static void assert_refused(fl_status status, fl_status wanted, const char *first, const char *second)
{
    const char *message = fl_error_message();
    if (status != wanted || !strstr(message, first) || !strstr(message, second))
        fail_msg("%s \"%s\"; wanted %s with \"%s\" and \"%s\"", fl_status_name(status), message, fl_status_name(wanted),
                 first, second);
}

static void test_what_needs_rows(void **state)
{
    (void)state;
    fl_model *m = model_of(engine[0], FL_TEST_DATA "/tiny/llama"), *again = NULL;
    fl_pack_options options = FL_PACK_OPTIONS_INIT;
    must(fl_model_pack(m, packed, &options));
    fl_model_close(m);
    m = model_of(engine[0], packed);
    assert_refused(fl_model_export(m, other, "f32"), FL_ERR_UNSUPPORTED, packed, "cannot be exported");
    assert_refused(fl_model_pack(m, other, &options), FL_ERR_UNSUPPORTED, packed, "cannot be packed again");
    assert_refused(fl_convert(packed, other, NULL), FL_ERR_UNSUPPORTED, packed, "cannot be converted");
    assert_refused(fl_convert_lora(packed, FL_TEST_DATA "/lora", other), FL_ERR_UNSUPPORTED, packed, "packed from");
    fl_model_options lora = FL_MODEL_OPTIONS_INIT;
    lora.lora = FL_TEST_DATA "/lora/llama";
    assert_refused(fl_model_open(&again, engine[0], packed, &lora), FL_ERR_UNSUPPORTED, packed, "adapter");
    assert_null(again);
    options.size--;
    assert_refused(fl_model_pack(m, other, &options), FL_ERR_ARGUMENT, "options.size", "");
    fl_model_close(m);
}

/* Every change keeps the file's length: all places of `from` become `to`. */
static const struct {
    const char *from, *to;
    fl_status status;
    const char *says;
} bad[] = {
    {"dense32/1", "dense32/2", FL_ERR_UNSUPPORTED, "layout = dense32/2"},
    {"dense32/1", "dense64/1", FL_ERR_UNSUPPORTED, "layout = dense64/1"},
    {"q_proj.weight[0:", "q_proj.weight[1:", FL_ERR_FORMAT, "self_attn.q_proj.weight[0:64] are missing"},
    {"layers.1.mlp.up_proj", "layers.1.mlp.xx_proj", FL_ERR_FORMAT, "layers.1.mlp.up_proj.weight[0:"},
    {"model.norm.weight", "model.morn.weight", FL_ERR_FORMAT, "model.norm.weight is missing"},
    {"\\\"layers\\\":3", "\\\"layers\\\":2", FL_ERR_UNSUPPORTED, "not used"},
    {"\\\"layers\\\":3", "\\\"layers\\\":4", FL_ERR_FORMAT, "layers.3."},
    {"\\\"heads\\\":4", "\\\"heads\\\":2", FL_ERR_FORMAT, "q_proj.weight[0:32] are missing"},
    {"\\\"tied_head\\\":false", "\\\"tied_head\\\":true ", FL_ERR_FORMAT, "embed_tokens.weight[0:"},
    {"\\\"rows\\\":64", "\\\"rows\\\":46", FL_ERR_SHAPE, "are [46, 64]"},
    {"\\\"cols\\\":64", "\\\"cols\\\":46", FL_ERR_SHAPE, "46] but the config asks for"},
    {"\\\"type\\\":\\\"F32\\\"", "\\\"type\\\":\\\"F16\\\"", FL_ERR_FORMAT, "of F16 have"},
    {"\\\"type\\\":\\\"F32\\\"", "\\\"type\\\":\\\"F64\\\"", FL_ERR_UNSUPPORTED, "type = F64"},
    {"\\\"family\\\":\\\"llama\\\"", "\\\"family\\\":\\\"lamma\\\"", FL_ERR_UNSUPPORTED, "family lamma"},
};

static void test_bad_files(void **state)
{
    (void)state;
    fl_model *m = model_of(engine[0], FL_TEST_DATA "/tiny/llama");
    fl_pack_options options = FL_PACK_OPTIONS_INIT;
    must(fl_model_pack(m, packed, &options));
    fl_model_close(m);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fl_buffer b = golden_file(packed);
        size_t n = strlen(bad[i].from), found = 0;
        assert_int_equal(n, strlen(bad[i].to));
        for (size_t at = 0; at + n <= b.size; at++)
            if (!memcmp(b.data + at, bad[i].from, n)) {
                memcpy(b.data + at, bad[i].to, n);
                found++;
            }
        if (!found) fail_msg("%s is not in the file", bad[i].from);
        FILE *f = fopen(other, "wb");
        assert_non_null(f);
        assert_int_equal(fwrite(b.data, 1, b.size, f), b.size);
        assert_int_equal(fclose(f), 0);
        fl_buffer_free(&b);
        fl_model_options model_options = FL_MODEL_OPTIONS_INIT;
        fl_status status = fl_model_open(&m, engine[0], other, &model_options);
        assert_refused(status, bad[i].status, other, bad[i].says);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families),        cmocka_unit_test(test_types),     cmocka_unit_test(test_positions),
        cmocka_unit_test(test_what_needs_rows), cmocka_unit_test(test_bad_files),
    };
    return cmocka_run_group_tests(tests, open_engines, close_engines);
}
