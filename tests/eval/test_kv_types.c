/* What storing keys and values in fewer bits costs: the loss of a trained model on a real text in the 16-bit types, and
 * of a made one, whose heads of 32 hold blocks, in all of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "golden.h"
#include "model/model.h"

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

static fl_model *model_at(const char *path)
{
    fl_model_options options = FL_MODEL_OPTIONS_INIT;
    fl_model *m;
    must(fl_model_open(&m, engine, path, &options));
    return m;
}

static double loss(const fl_model *m, const fl_document *d, const char *type_k, const char *type_v)
{
    static const int64_t length = 512;
    fl_ppl_options options = FL_PPL_OPTIONS_INIT;
    options.protocol = FL_PPL_SLIDING;
    options.lengths = &length;
    options.length_count = 1;
    fl_session_options reading = FL_SESSION_OPTIONS_INIT;
    reading.type_k = type_k;
    reading.type_v = type_v;
    options.session = &reading;
    fl_ppl_result r;
    must(fl_eval_ppl(&r, m, d, 1, 1, &options));
    return r.nll;
}

/* Stored values are off by at most 2^-12 (f16) and 2^-9 (bf16) of themselves. Logits of size 10 move by as many tens of
 * it, 0.002 and 0.02, less what cancels in a sum over the head: bounds of 0.001 and 8 times that. */
static void test_trained_model(void **state)
{
    (void)state;
    fl_model *m = model_at(FL_SOURCE_DIR "/models/stories260K/stories260K.bin");
    fl_buffer ids = golden_file(FL_TEST_DATA "/golden/stories260K/text.i32.bin");
    fl_document d = {(const int32_t *)(const void *)ids.data + 1, 1500};
    assert_true(ids.size >= 1501 * sizeof(int32_t));
    double f32 = loss(m, &d, NULL, NULL);
    assert_true(loss(m, &d, "f32", "f32") == f32);
    double f16 = loss(m, &d, "f16", "f16"), bf16 = loss(m, &d, "bf16", "bf16");
    print_message("stories260K, nats: f32 %.6f, f16 %+.6f, bf16 %+.6f\n", f32, f16 - f32, bf16 - f32);
    assert_true(f16 != f32 && fabs(f16 - f32) < 1e-3);
    assert_true(bf16 != f32 && fabs(bf16 - f32) < 8e-3);
    fl_ppl_options options = FL_PPL_OPTIONS_INIT;
    int64_t length = 512;
    options.lengths = &length;
    options.length_count = 1;
    fl_session_options reading = FL_SESSION_OPTIONS_INIT;
    reading.type_v = "q8_0";
    options.session = &reading;
    fl_ppl_result r;
    assert_int_equal(fl_eval_ppl(&r, m, &d, 1, 1, &options), FL_ERR_UNSUPPORTED);
    fl_model_close(m);
    fl_buffer_free(&ids);
}

/* Steps of Q8_0 are 1/127, of Q4_0 1/8 of the largest of 32 values. The model is random: its loss moves by the noise of
 * the logits, which the bounds hold to a few times what was measured when they were set. */
static void test_made_model(void **state)
{
    (void)state;
    char folder[] = "/tmp/furlong-kv-ppl-XXXXXX", path[4][64];
    assert_non_null(mkdtemp(folder));
    static const char *const names[] = {"made.json", "config.json", "model.safetensors", "generation_config.json"};
    for (int i = 0; i < 4; i++)
        snprintf(path[i], sizeof path[i], "%s/%s", folder, names[i]);
    FILE *f = fopen(path[0], "wb");
    assert_non_null(f);
    fputs("{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_size\":128,\"head_dim\":32,"
          "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"num_hidden_layers\":2,\"intermediate_size\":96,"
          "\"vocab_size\":512,\"max_position_embeddings\":512,\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,"
          "\"hidden_act\":\"silu\",\"initializer_range\":0.1,\"bos_token_id\":1,\"eos_token_id\":2,"
          "\"tie_word_embeddings\":false}",
          f);
    assert_int_equal(fclose(f), 0);
    must(fl_model_init(path[0], folder, 3));
    fl_model *m = model_at(folder);
    fl_buffer ids = golden_file(FL_TEST_DATA "/golden/stories260K/text.i32.bin");
    fl_document d = {(const int32_t *)(const void *)ids.data + 1, 1000};
    static const struct {
        const char *k, *v;
        double bound;
    } types[] = {{"f16", "f16", 1e-4},
                 {"bf16", "bf16", 1e-3},
                 {"q8_0", "q8_0", 2e-3},
                 {"q8_0", "f16", 2e-3},
                 {"q4_0", "q4_0", 3e-2}};
    double f32 = loss(m, &d, NULL, NULL);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        double moved = loss(m, &d, types[i].k, types[i].v) - f32;
        print_message("made model, nats: f32 %.6f, %s/%s %+.6f\n", f32, types[i].k, types[i].v, moved);
        assert_true(moved != 0 && fabs(moved) < types[i].bound);
    }
    fl_model_close(m);
    fl_buffer_free(&ids);
    for (int i = 0; i < 4; i++)
        unlink(path[i]);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_trained_model), cmocka_unit_test(test_made_model)};
    return cmocka_run_group_tests(tests, open_engine, close_engine);
}
