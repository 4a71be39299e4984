/* Adapters merged at open: logits against those of weights merged in double precision by tools/oracle/lora.py, for
 * plain, fused, transposed and interleaved matrices; and every kind of adapter that is not such a sum refused by name.
 *
 * Bound: as for models without one, 1e-4 of the largest logit of a row; merging in fp32 adds a rounding per weight. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "file/safetensors.h"
#include "golden.h"
#include "model/model.h"

#define BOUND 1e-4
#define TINY FL_TEST_DATA "/tiny/"
#define LORA FL_TEST_DATA "/lora/"
#define STORIES FL_SOURCE_DIR "/models/stories260K/stories260K.bin"

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

static fl_status open_with(fl_model **m, const char *path, const char *lora, double scale)
{
    fl_model_options options = FL_MODEL_OPTIONS_INIT;
    options.lora = lora;
    options.lora_scale = scale;
    return fl_model_open(m, engine, path, &options);
}

/* Logits after the first `rows` of the ids that all tiny records share, [vocab]; fl_free. */
static float *logits_of(const fl_model *m, int64_t rows)
{
    fl_buffer ids = golden_file(FL_TEST_DATA "/golden/tiny/ids.i32.bin");
    fl_run *run;
    must(fl_run_create(&run, engine, 0, false));
    float *out = fl_calloc((size_t)m->config.vocab, sizeof *out);
    int64_t last = rows - 1;
    fl_batch_seq seq = {.rows = rows};
    fl_batch batch = {.sequences = 1, .seq = &seq, .rows = rows, .tokens = (const int32_t *)(const void *)ids.data};
    fl_head_spec spec = {.n = 1, .row = &last, .logits = out};
    must(fl_model_pass(m, run, &batch, NULL, false, &spec));
    fl_run_destroy(run);
    fl_buffer_free(&ids);
    return out;
}

static const int64_t lengths[] = {7, 64}; /* rows of the golden files */

static void compare(const fl_model *m, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, FL_TEST_DATA "/golden/lora/%s.f64.bin", name);
    fl_buffer golden = golden_file(path);
    int64_t vocab = m->config.vocab;
    assert_int_equal(golden.size, 2 * (size_t)vocab * sizeof(double));
    for (int i = 0; i < 2; i++) {
        float *found = logits_of(m, lengths[i]);
        double error = 0, largest = 0;
        for (int64_t v = 0; v < vocab; v++) {
            double expected = ((const double *)(const void *)golden.data)[i * vocab + v];
            error = fmax(error, fabs(expected - (double)found[v]));
            largest = fmax(largest, fabs(expected));
        }
        if (!(error < BOUND * largest)) fail_msg("%s, %d: relative error %g", name, i, error / largest);
        fl_free(found);
    }
    fl_buffer_free(&golden);
}

static void check(const char *name, const char *model)
{
    char lora[512];
    snprintf(lora, sizeof lora, LORA "%s", name);
    fl_model *m;
    must(open_with(&m, model, lora, 1));
    compare(m, name);
    fl_model_close(m);
}

static void test_golden(void **state)
{
    (void)state;
    check("llama", TINY "llama");
    check("gpt2", TINY "gpt2");
    check("phi3", TINY "phi3");
    check("gpt_neox", TINY "gpt_neox");
    check("stories260K", STORIES);
}

static void assert_same_logits(const fl_model *a, const fl_model *b)
{
    float *x = logits_of(a, 64), *y = logits_of(b, 64);
    assert_memory_equal(x, y, (size_t)a->config.vocab * sizeof *x);
    fl_free(x);
    fl_free(y);
}

/* Scale 0 leaves the weights' bits; a half and a half of the effect are on the two sides of the whole. */
static void test_scale(void **state)
{
    (void)state;
    fl_model *plain, *none, *whole, *half;
    must(open_with(&plain, TINY "llama", NULL, 1));
    must(open_with(&none, TINY "llama", LORA "llama", 0));
    assert_same_logits(plain, none);
    must(open_with(&whole, TINY "llama", LORA "llama", 1));
    must(open_with(&half, TINY "llama", LORA "llama", 0.5));
    const float *p = plain->lora.count ? NULL : plain->source[2]->data, *w = whole->source[2]->data,
                *h = half->source[2]->data;
    assert_non_null(p);
    for (int i = 0; i < 64; i++) /* two roundings of values below 2 */
        assert_true(fabsf(p[i] + w[i] - 2 * h[i]) < 1e-6f);
    fl_model_close(plain);
    fl_model_close(none);
    fl_model_close(whole);
    fl_model_close(half);
    fl_model *m;
    assert_int_equal(open_with(&m, TINY "llama", LORA "llama", NAN), FL_ERR_ARGUMENT);
}

/* The merged model is written as a model of its own: the same bits where rows keep their order. */
static void test_export(void **state)
{
    (void)state;
    static const char *const names[][2] = {{"llama", TINY "llama"}, {"gpt2", TINY "gpt2"}, {"stories260K", STORIES}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char folder[] = "/tmp/furlong-lora-XXXXXX", command[64], lora[512];
        assert_non_null(mkdtemp(folder));
        snprintf(lora, sizeof lora, LORA "%s", names[i][0]);
        fl_model *m, *back;
        must(open_with(&m, names[i][1], lora, 1));
        must(fl_model_export(m, folder, "f32"));
        must(open_with(&back, folder, NULL, 1));
        if (!m->config.rope_interleaved) assert_same_logits(m, back);
        compare(back, names[i][0]);
        fl_model_close(back);
        fl_model_close(m);
        snprintf(command, sizeof command, "rm -r '%s'", folder);
        assert_int_equal(system(command), 0);
    }
}

/* ---- refusals --------------------------------------------------------------------------------------------------- */

static char folder[] = "/tmp/furlong-lora-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : 1;
}

static int drop_folder(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command);
}

static const char *inside(const char *name)
{
    static char path[2][128];
    static int turn;
    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

static void put_config(const char *text)
{
    FILE *f = fopen(inside("adapter_config.json"), "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void put_tensors(const fl_file_tensor *t, int64_t count)
{
    must(fl_safetensors_write(inside("adapter_model.safetensors"), t, count, NULL, 0));
}

static void assert_refused(const char *what, const char *model, fl_status status, const char *said)
{
    fl_model *m;
    fl_status found = open_with(&m, model, folder, 1);
    if (found != status || !strstr(fl_error_message(), said) || !strstr(fl_error_message(), folder))
        fail_msg("%s: %s \"%s\"; wanted %s with \"%s\"", what, fl_status_name(found), fl_error_message(),
                 fl_status_name(status), said);
}

#define PLAIN "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":4"
#define Q "base_model.model.model.layers.0.self_attn.q_proj"

static const float numbers[512];

static void test_configs(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        fl_status status;
        const char *said;
    } list[] = {
        {"{\"r\":2}", FL_ERR_FORMAT, "peft_type"},
        {"{\"peft_type\":\"IA3\",\"r\":2}", FL_ERR_UNSUPPORTED, "peft_type = 'IA3'"},
        {"{\"peft_type\":\"LORA\"}", FL_ERR_FORMAT, "r: is required"},
        {"{\"peft_type\":\"LORA\",\"r\":0}", FL_ERR_FORMAT, "r = 0"},
        {"{\"peft_type\":\"LORA\",\"r\":3}", FL_ERR_SHAPE, "r = 3"},
        {"{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":\"4\"}", FL_ERR_FORMAT, "lora_alpha"},
        {PLAIN ",\"use_dora\":true}", FL_ERR_UNSUPPORTED, "use_dora = true"},
        {PLAIN ",\"bias\":\"all\"}", FL_ERR_UNSUPPORTED, "bias = 'all'"},
        {PLAIN ",\"bias\":\"lora_only\"}", FL_ERR_UNSUPPORTED, "bias = 'lora_only'"},
        {PLAIN ",\"lora_bias\":true}", FL_ERR_UNSUPPORTED, "lora_bias = true"},
        {PLAIN ",\"alpha_pattern\":{\"q_proj\":8}}", FL_ERR_UNSUPPORTED, "alpha_pattern"},
        {PLAIN ",\"fan_in_fan_out\":true}", FL_ERR_UNSUPPORTED, "fan_in_fan_out = true"},
        {PLAIN ",\"use_rslora\":1}", FL_ERR_FORMAT, "use_rslora = 1"},
        {PLAIN ",\"init_lora_weights\":\"pissa\"}", FL_ERR_UNSUPPORTED, "init_lora_weights = 'pissa'"},
        {PLAIN ",\"init_lora_weights\":\"loftq\"}", FL_ERR_UNSUPPORTED, "init_lora_weights = 'loftq'"},
        {PLAIN ",\"trainable_token_indices\":[1]}", FL_ERR_UNSUPPORTED, "trainable_token_indices"},
        {PLAIN ",\"target_parameters\":[\"experts\"]}", FL_ERR_UNSUPPORTED, "target_parameters"},
        {PLAIN ",\"layer_replication\":[[0,1]]}", FL_ERR_UNSUPPORTED, "layer_replication"},
        {PLAIN ",\"use_qalora\":true}", FL_ERR_UNSUPPORTED, "use_qalora = true"},
        {PLAIN ",\"something_new\":0.5}", FL_ERR_UNSUPPORTED, "something_new = 0.5"},
        {"[]", FL_ERR_FORMAT, "adapter_config.json"},
    };
    const fl_file_tensor good[] = {{Q ".lora_A.weight", FL_F32, 2, {2, 64}, numbers},
                                   {Q ".lora_B.weight", FL_F32, 2, {64, 2}, numbers}};
    put_tensors(good, 2);
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        put_config(list[i].text);
        assert_refused(list[i].text, TINY "llama", list[i].status, list[i].said);
    }
    put_config(PLAIN "}");
    assert_refused("gpt2", TINY "gpt2", FL_ERR_UNSUPPORTED, "fan_in_fan_out");
    fl_model *m;
    must(open_with(&m, TINY "llama", folder, 1));
    fl_model_close(m);
    unlink(inside("adapter_config.json"));
    assert_refused("no config", TINY "llama", FL_ERR_IO, "adapter_config.json");
}

static void test_tensors(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        fl_file_tensor tensor[2];
        int count;
        fl_status status;
        const char *said;
    } list[] = {
        {TINY "llama", {{Q ".lora_A.weight", FL_F32, 2, {2, 64}, numbers}}, 1, FL_ERR_FORMAT, "no partner .lora_B"},
        {TINY "llama", {{Q ".lora_B.weight", FL_F32, 2, {64, 2}, numbers}}, 1, FL_ERR_FORMAT, "no partner .lora_A"},
        {TINY "llama",
         {{Q ".lora_A.weight", FL_F32, 2, {2, 60}, numbers}, {Q ".lora_B.weight", FL_F32, 2, {64, 2}, numbers}},
         2,
         FL_ERR_SHAPE,
         "q_proj.lora_A.weight is [2, 60]"},
        {TINY "llama",
         {{Q ".lora_A.weight", FL_F32, 2, {2, 64}, numbers}, {Q ".lora_B.weight", FL_F32, 2, {64, 3}, numbers}},
         2,
         FL_ERR_SHAPE,
         "[64, 3]"},
        {TINY "llama",
         {{Q ".lora_A.weight", FL_F32, 1, {128}, numbers}, {Q ".lora_B.weight", FL_F32, 2, {64, 2}, numbers}},
         2,
         FL_ERR_SHAPE,
         "lora_A"},
        {TINY "llama",
         {{Q ".lora_A.weight", FL_I32, 2, {2, 64}, numbers}, {Q ".lora_B.weight", FL_F32, 2, {64, 2}, numbers}},
         2,
         FL_ERR_UNSUPPORTED,
         "type I32"},
        {TINY "llama",
         {{"base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight", FL_F32, 2, {2, 64}, numbers}},
         1,
         FL_ERR_FORMAT,
         "layers.7.self_attn.q_proj.lora_A.weight changes no matrix"},
        {TINY "llama",
         {{"model.layers.0.mlp.up_proj.lora_A.weight", FL_F32, 2, {2, 64}, numbers}},
         1,
         FL_ERR_UNSUPPORTED,
         "tensor model.layers.0.mlp.up_proj.lora_A.weight"},
        {TINY "llama",
         {{Q ".lora_magnitude_vector", FL_F32, 1, {64}, numbers}},
         1,
         FL_ERR_UNSUPPORTED,
         "lora_magnitude_vector"},
        {TINY "llama",
         {{"base_model.model.model.embed_tokens.lora_embedding_A", FL_F32, 2, {2, 64}, numbers}},
         1,
         FL_ERR_UNSUPPORTED,
         "lora_embedding_A"},
        {TINY "llama",
         {{"base_model.model.model.embed_tokens.lora_A.weight", FL_F32, 2, {2, 64}, numbers}},
         1,
         FL_ERR_FORMAT,
         "embed_tokens"},
        {TINY "llama",
         {{"base_model.model.lm_head.weight", FL_F32, 2, {2, 64}, numbers}},
         1,
         FL_ERR_UNSUPPORTED,
         "lm_head.weight"},
        {TINY "qwen2_tied",
         {{"base_model.model.lm_head.lora_A.weight", FL_F32, 2, {2, 48}, numbers}},
         1,
         FL_ERR_FORMAT,
         "lm_head"},
        {TINY "llama", {{"x", FL_F32, 1, {1}, numbers}}, 0, FL_ERR_FORMAT, "holds no adapter"},
    };
    put_config(PLAIN "}");
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        put_tensors(list[i].tensor, list[i].count);
        assert_refused(list[i].said, list[i].model, list[i].status, list[i].said);
    }
    unlink(inside("adapter_model.safetensors"));
    assert_refused("no tensors", TINY "llama", FL_ERR_IO, "adapter_model.safetensors");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden), cmocka_unit_test(test_scale),
                                       cmocka_unit_test(test_export), cmocka_unit_test_setup(test_configs, make_folder),
                                       cmocka_unit_test_teardown(test_tensors, drop_folder)};
    return cmocka_run_group_tests(tests, open_engine, close_engine);
}
