/* Adapters in GGUF files: the weights merged from tests/data/lora/NAME.gguf, which the gguf package wrote with
 * llama.cpp's names and orders of rows, are to the bit those merged from PEFT's form of the same adapter, on models in
 * Hugging Face folders, in GGUF files and in a llama2.c file; and each file that is not such a sum is refused by name.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "file/gguf_write.h"
#include "golden.h"
#include "model/model.h"

#define TINY FL_TEST_DATA "/tiny/"
#define GGUF FL_TEST_DATA "/gguf/"
#define LORA FL_TEST_DATA "/lora/"

static fl_engine *engine;
static char folder[] = "/tmp/furlong-lora-gguf-XXXXXX", path[64];

static void must(fl_status s)
{
    if (s != FL_OK) fail_msg("%s: %s", fl_status_name(s), fl_error_message());
}

static int open_engine(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) return 1;
    snprintf(path, sizeof path, "%s/adapter.gguf", folder);
    fl_engine_options options = FL_ENGINE_OPTIONS_INIT;
    return fl_engine_create(&engine, &options);
}

static int close_engine(void **state)
{
    (void)state;
    char command[64];
    fl_engine_destroy(engine);
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command);
}

static fl_status open_with(fl_model **m, const char *model, const char *lora, double scale)
{
    fl_model_options options = FL_MODEL_OPTIONS_INIT;
    options.lora = lora;
    options.lora_scale = scale;
    return fl_model_open(m, engine, model, &options);
}

/* ---- the sums --------------------------------------------------------------------------------------------------- */

static const fl_file_tensor *merged_of(const fl_model *m, const char *name)
{
    for (int64_t i = 0; i < m->lora.count; i++)
        if (!strcmp(m->lora.tensor[i].name, name)) return &m->lora.tensor[i];
    fail_msg("%s is not merged", name);
    return NULL;
}

static void check_file(const char *model, const char *name, const char *gguf, double scale)
{
    char peft[256];
    snprintf(peft, sizeof peft, LORA "%s", name);
    fl_model *a, *b;
    must(open_with(&a, model, peft, scale));
    must(open_with(&b, model, gguf, scale));
    assert_true(a->lora.count > 0);
    assert_int_equal(a->lora.count, b->lora.count);
    for (int64_t i = 0; i < a->lora.count; i++) {
        const fl_file_tensor *x = &a->lora.tensor[i], *y = merged_of(b, x->name);
        size_t bytes;
        must(fl_file_tensor_bytes(x, &bytes));
        assert_int_equal(x->dim[0], y->dim[0]);
        assert_int_equal(x->dim[1], y->dim[1]);
        if (memcmp(x->data, y->data, bytes)) fail_msg("%s with %s: %s differs", model, name, x->name);
    }
    fl_model_close(a);
    fl_model_close(b);
}

static void check(const char *model, const char *name, double scale)
{
    char gguf[256];
    snprintf(gguf, sizeof gguf, LORA "%s.gguf", name);
    check_file(model, name, gguf, scale);
}

/* test_lora.c holds the PEFT form on Hugging Face folders and the llama2.c file to golden logits. */
static void test_same_weights(void **state)
{
    (void)state;
    static const char *const names[] = {"llama", "gpt2", "phi3", "gpt_neox"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char model[256];
        snprintf(model, sizeof model, TINY "%s", names[i]);
        check(model, names[i], 1);
        check(model, names[i], -0.5);
        snprintf(model, sizeof model, GGUF "%s.gguf", names[i]);
        check(model, names[i], 1);
    }
    check(FL_SOURCE_DIR "/models/stories260K/stories260K.bin", "stories260K", 1);
}

/* ---- writing ---------------------------------------------------------------------------------------------------- */

/* The same tensors as in the file of the gguf package. */
static void assert_same_file(const char *expected)
{
    fl_gguf *a, *b;
    must(fl_gguf_open(&a, expected));
    must(fl_gguf_open(&b, path));
    assert_int_equal(fl_gguf_count(a), fl_gguf_count(b));
    for (int64_t i = 0; i < fl_gguf_count(a); i++) {
        const fl_file_tensor *x = fl_gguf_tensor_at(a, i), *y = fl_gguf_tensor(b, x->name);
        size_t bytes;
        assert_non_null(y);
        assert_int_equal(y->type, x->type);
        assert_int_equal(x->dim[0], y->dim[0]);
        assert_int_equal(x->dim[1], y->dim[1]);
        must(fl_file_tensor_bytes(x, &bytes));
        assert_memory_equal(x->data, y->data, bytes);
    }
    double alpha[2] = {0};
    must(fl_gguf_real(a, "adapter.lora.alpha", &alpha[0]));
    must(fl_gguf_real(b, "adapter.lora.alpha", &alpha[1]));
    assert_true(alpha[0] == alpha[1]);
    fl_gguf_close(a);
    fl_gguf_close(b);
}

/* From a model in either order of rows. phi3 has use_rslora, for which B is written times sqrt(4), exact. */
static void test_written(void **state)
{
    (void)state;
    static const char *const names[] = {"llama", "gpt2", "phi3", "gpt_neox"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char model[2][256], lora[256], gguf[256];
        snprintf(model[0], sizeof model[0], TINY "%s", names[i]);
        snprintf(model[1], sizeof model[1], GGUF "%s.gguf", names[i]);
        snprintf(lora, sizeof lora, LORA "%s", names[i]);
        snprintf(gguf, sizeof gguf, LORA "%s.gguf", names[i]);
        for (int m = 0; m < 2; m++) {
            must(fl_convert_lora(model[m], lora, path));
            check_file(model[m], names[i], path, 1);
            if (strcmp(names[i], "phi3")) assert_same_file(gguf);
        }
    }
    static const char stories[] = FL_SOURCE_DIR "/models/stories260K/stories260K.bin";
    must(fl_convert_lora(stories, LORA "stories260K", path));
    assert_same_file(LORA "stories260K.gguf");
}

static void test_not_written(void **state)
{
    (void)state;
    unlink(path);
    assert_int_equal(fl_convert_lora(TINY "llama", LORA "llama.gguf", path), FL_ERR_ARGUMENT);
    assert_int_equal(fl_convert_lora(TINY "llama", NULL, path), FL_ERR_ARGUMENT);
    assert_int_equal(fl_convert_lora(TINY "gpt_neox", LORA "llama", path), FL_ERR_FORMAT);
    assert_non_null(strstr(fl_error_message(), "changes no matrix"));
    assert_int_equal(fl_convert_lora(TINY "llama", LORA "none", path), FL_ERR_IO);
    assert_int_not_equal(access(path, F_OK), 0);
}

/* ---- single files ----------------------------------------------------------------------------------------------- */

#define Q "blk.0.attn_q.weight"
#define ABSENT NAN

static float a_values[2 * 64], b_values[64 * 2];
static const fl_file_tensor good[] = {{Q ".lora_a", FL_F32, 2, {2, 64}, a_values},
                                      {Q ".lora_b", FL_F32, 2, {64, 2}, b_values}};

static void put(const char *type, const char *arch, const char *kind, double alpha, const char *further,
                const fl_file_tensor *t, int64_t count)
{
    fl_gguf_keys keys = {0};
    if (arch) fl_gguf_put_string(&keys, "general.architecture", arch);
    if (type) fl_gguf_put_string(&keys, "general.type", type);
    if (kind) fl_gguf_put_string(&keys, "adapter.type", kind);
    if (!isnan(alpha)) fl_gguf_put_f32(&keys, "adapter.lora.alpha", alpha);
    if (further) fl_gguf_put_u32(&keys, further, 1);
    must(fl_gguf_write_file(path, &keys, t, count));
    fl_gguf_keys_free(&keys);
}

static float first_of_q(void)
{
    fl_model *m;
    must(open_with(&m, TINY "llama", path, 1));
    float value = ((const float *)merged_of(m, "model.layers.0.self_attn.q_proj.weight")->data)[0];
    fl_model_close(m);
    return value;
}

/* Row 0 keeps its place in either order: W + alpha / r * (1 * 1 + 2 * 3), and W + 7 without an alpha. */
static void test_alpha(void **state)
{
    (void)state;
    put("adapter", "llama", "lora", 4, NULL, good, 2);
    float before = first_of_q(); /* of zeros */
    a_values[0] = 1, a_values[64] = 2, b_values[0] = 1, b_values[1] = 3;
    static const double alphas[] = {4, 1, 0, ABSENT};
    static const float factors[] = {2, 0.5f, 1, 1};
    for (int i = 0; i < 4; i++) {
        put("adapter", "llama", "lora", alphas[i], NULL, good, 2);
        assert_true(fabsf(first_of_q() - before - 7 * factors[i]) < 1e-5f); /* fp32 roundings of values below 16 */
    }
}

static void assert_refused(const char *model, fl_status status, const char *said)
{
    fl_model *m;
    fl_status found = open_with(&m, model, path, 1);
    if (found != status || !strstr(fl_error_message(), said) || !strstr(fl_error_message(), path))
        fail_msg("%s \"%s\"; wanted %s with \"%s\"", fl_status_name(found), fl_error_message(), fl_status_name(status),
                 said);
}

static void test_keys(void **state)
{
    (void)state;
    static const struct {
        const char *type, *arch, *kind, *further;
        double alpha;
        fl_status status;
        const char *said;
    } list[] = {
        {NULL, "llama", "lora", NULL, 4, FL_ERR_FORMAT, "general.type"},
        {"model", "llama", "lora", NULL, 4, FL_ERR_FORMAT, "general.type"},
        {"adapter", NULL, "lora", NULL, 4, FL_ERR_FORMAT, "general.architecture"},
        {"adapter", "qwen2", "lora", NULL, 4, FL_ERR_FORMAT, "general.architecture"},
        {"adapter", "llama", NULL, NULL, 4, FL_ERR_FORMAT, "adapter.type"},
        {"adapter", "llama", "dora", NULL, 4, FL_ERR_UNSUPPORTED, "adapter.type"},
        {"adapter", "llama", "lora", NULL, 1e30, FL_ERR_FORMAT, "adapter.lora.alpha"},
        {"adapter", "llama", "lora", NULL, INFINITY, FL_ERR_FORMAT, "adapter.lora.alpha"},
        {"adapter", "llama", "lora", "adapter.lora.alpha", ABSENT, FL_ERR_FORMAT, "adapter.lora.alpha"},
        {"adapter", "llama", "lora", "adapter.alora.invocation_tokens", 4, FL_ERR_UNSUPPORTED, "invocation_tokens"},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        put(list[i].type, list[i].arch, list[i].kind, list[i].alpha, list[i].further, good, 2);
        assert_refused(TINY "llama", list[i].status, list[i].said);
    }
}

static void test_tensors(void **state)
{
    (void)state;
    static const struct {
        const char *model, *arch;
        fl_file_tensor tensor[2];
        int count;
        fl_status status;
        const char *said;
    } list[] = {
        {TINY "llama", "llama", {{Q ".lora_a", FL_F32, 2, {2, 64}, a_values}}, 1, FL_ERR_FORMAT, "no partner .lora_b"},
        {TINY "llama", "llama", {{Q ".lora_b", FL_F32, 2, {64, 2}, b_values}}, 1, FL_ERR_FORMAT, "no partner .lora_a"},
        {TINY "llama",
         "llama",
         {{Q ".lora_a", FL_F32, 2, {2, 60}, a_values}, {Q ".lora_b", FL_F32, 2, {64, 2}, b_values}},
         2,
         FL_ERR_SHAPE,
         "[2, 60]"},
        {TINY "llama",
         "llama",
         {{Q ".lora_a", FL_F32, 2, {2, 64}, a_values}, {Q ".lora_b", FL_F32, 2, {64, 1}, b_values}},
         2,
         FL_ERR_SHAPE,
         "[64, 1]"},
        {TINY "llama",
         "llama",
         {{Q ".lora_a", FL_I32, 2, {2, 64}, a_values}, {Q ".lora_b", FL_F32, 2, {64, 2}, b_values}},
         2,
         FL_ERR_UNSUPPORTED,
         "type I32"},
        {TINY "llama",
         "llama",
         {{"blk.7.attn_q.weight.lora_a", FL_F32, 2, {2, 64}, a_values}},
         1,
         FL_ERR_FORMAT,
         "blk.7.attn_q.weight.lora_a changes no matrix"},
        {TINY "llama",
         "llama",
         {{"blk.0.attn_qkv.weight.lora_a", FL_F32, 2, {2, 64}, a_values}},
         1,
         FL_ERR_FORMAT,
         "changes no matrix"},
        {TINY "llama", "llama", {{".lora_a", FL_F32, 2, {2, 64}, a_values}}, 1, FL_ERR_UNSUPPORTED, "tensor .lora_a"},
        {TINY "llama", "llama", {{Q, FL_F32, 2, {2, 64}, a_values}}, 1, FL_ERR_UNSUPPORTED, "NAME.lora_a"},
        {TINY "llama",
         "llama",
         {{"blk.0.attn_norm.weight", FL_F32, 1, {64}, a_values}},
         1,
         FL_ERR_UNSUPPORTED,
         "attn_norm.weight"},
        {TINY "llama",
         "llama",
         {{"token_embd.weight.lora_a", FL_F32, 2, {2, 64}, a_values}},
         1,
         FL_ERR_FORMAT,
         "token_embd.weight.lora_a changes no matrix"},
        {TINY "gpt2",
         "gpt2",
         {{"position_embd.weight.lora_a", FL_F32, 2, {2, 64}, a_values}},
         1,
         FL_ERR_FORMAT,
         "position_embd"},
        {TINY "qwen2_tied",
         "qwen2",
         {{"output.weight.lora_a", FL_F32, 2, {2, 48}, a_values}},
         1,
         FL_ERR_FORMAT,
         "output.weight"},
        {TINY "llama", "llama", {{"x", FL_F32, 1, {1}, a_values}}, 0, FL_ERR_FORMAT, "holds no adapter"},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        put("adapter", list[i].arch, "lora", 4, NULL, list[i].tensor, list[i].count);
        assert_refused(list[i].model, list[i].status, list[i].said);
    }
}

/* Neither a folder nor GGUF, and a file cut off anywhere. */
static void test_files(void **state)
{
    (void)state;
    put("adapter", "llama", "lora", 4, NULL, good, 2);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    static char bytes[4096];
    size_t size = fread(bytes, 1, sizeof bytes, f);
    assert_int_equal(fclose(f), 0);
    assert_in_range(size, 1024, sizeof bytes - 1);
    for (size_t cut = 0; cut < size; cut += 37) {
        f = fopen(path, "wb");
        assert_non_null(f);
        assert_int_equal(fwrite(bytes, 1, cut, f), cut);
        assert_int_equal(fclose(f), 0);
        fl_model *m;
        assert_int_not_equal(open_with(&m, TINY "llama", path, 1), FL_OK);
        assert_non_null(strstr(fl_error_message(), path));
    }
    fl_model *m;
    assert_int_not_equal(open_with(&m, TINY "llama", LORA "llama/adapter_config.json", 1), FL_OK);
    assert_non_null(strstr(fl_error_message(), "adapter_config.json"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_weights), cmocka_unit_test(test_written),
                                       cmocka_unit_test(test_not_written),  cmocka_unit_test(test_alpha),
                                       cmocka_unit_test(test_keys),         cmocka_unit_test(test_tensors),
                                       cmocka_unit_test(test_files)};
    return cmocka_run_group_tests(tests, open_engine, close_engine);
}
