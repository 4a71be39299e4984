/* Models whose positions come with pre-training, read in any way: bits, stored types, texts beyond the window, and what
 * cannot be switched. Their logits and training are compared with PyTorch in tests/model and tests/train. */
#include "session_case.h"

#include <stdlib.h>

#define LENGTH 200 /* the window is 128 */
#define WIDE 20000 /* where xPos's scales have long left fp32 if they are not kept around the queries */

static const char *const kinds[] = {"alibi", "xpos", "sinusoidal", "none"};
#define KINDS (sizeof kinds / sizeof *kinds)

static void config_of(const char *kind, char path[512])
{
    snprintf(path, 512, TINY "positions_%s.json", kind);
}

static void open_kind(const char *kind, fl_engine *engine, const fl_model_options *options, fl_model **model)
{
    char config[512], folder[64];
    config_of(kind, config);
    tiny_folder(folder, config);
    must(fl_model_open(model, engine, folder, options));
    remove_folder(folder); /* files stay mapped */
}

/* One token at a time, seven, or all at once; one thread or two: the same logits to the bit, also across xPos's blocks.
 */
static void test_bits(void **state)
{
    (void)state;
    int32_t ids[LENGTH];
    for (size_t k = 0; k < KINDS; k++) {
        fl_engine *engine[2] = {engine_of(1, NULL, NULL), engine_of(2, NULL, NULL)};
        fl_model_options options = FL_MODEL_OPTIONS_INIT;
        fl_model *model[2];
        float *whole = NULL;
        for (int t = 0; t < 2; t++) {
            open_kind(kinds[k], engine[t], &options, &model[t]);
            random_ids(ids, LENGTH, model[t]->config.vocab, 3);
            const int64_t chunks[] = {512, 7, 1};
            for (int c = 0; c < 3; c++) {
                fl_session *session = session_of(model[t], LENGTH, chunks[c]);
                must(fl_session_read(session, ids, LENGTH));
                if (!whole) whole = logits_after(model[t], ids, LENGTH);
                assert_same_bits(fl_session_logits(session), whole, model[t]->config.vocab);
                fl_session_destroy(session);
            }
        }
        free(whole);
        for (int t = 0; t < 2; t++) {
            fl_model_close(model[t]);
            fl_engine_destroy(engine[t]);
        }
    }
}

/* Types of keys and values: q8_0 needs heads of 32, so f16; its 11 bits move logits of size 6 by less than 0.1. */
static void test_stored_types(void **state)
{
    (void)state;
    int32_t ids[LENGTH];
    fl_engine *engine = engine_of(2, NULL, NULL);
    for (size_t k = 0; k < KINDS; k++) {
        fl_model_options options = FL_MODEL_OPTIONS_INIT;
        fl_model *model;
        open_kind(kinds[k], engine, &options, &model);
        random_ids(ids, LENGTH, model->config.vocab, 4);
        float *exact = logits_after(model, ids, LENGTH);
        fl_session_options session_options = FL_SESSION_OPTIONS_INIT;
        session_options.context = LENGTH;
        session_options.type_k = session_options.type_v = "f16";
        fl_session *session;
        must(fl_session_create(&session, model, &session_options));
        must(fl_session_read(session, ids, LENGTH));
        for (int64_t i = 0; i < model->config.vocab; i++)
            assert_true(fabsf(fl_session_logits(session)[i] - exact[i]) < 0.1f);
        free(exact);
        fl_session_destroy(session);
        fl_model_close(model);
    }
    fl_engine_destroy(engine);
}

/* Blockwise causal attention is a cut of what is seen: in blocks of half of L, tokens up to L see everything, later
 * ones do not. A saved session is one of its blocks. */
static void test_blockwise(void **state)
{
    (void)state;
    int32_t ids[LENGTH];
    fl_engine *engine = engine_of(2, NULL, NULL);
    fl_model_options options = FL_MODEL_OPTIONS_INIT;
    fl_model *model[3]; /* as the model says (128), off, 64 */
    const int64_t blockwise[] = {0, -1, 64};
    for (int i = 0; i < 3; i++) {
        options.blockwise = blockwise[i];
        open_kind("xpos", engine, &options, &model[i]);
    }
    int64_t vocab = model[0]->config.vocab;
    random_ids(ids, LENGTH, vocab, 5);
    for (int64_t count = 64; count <= LENGTH; count += 68) { /* 64, 132, 200 */
        float *as_model = logits_after(model[0], ids, count), *off = logits_after(model[1], ids, count),
              *narrow = logits_after(model[2], ids, count);
        size_t bytes = (size_t)vocab * sizeof *off;
        assert_int_equal(memcmp(as_model, off, bytes) == 0, count <= 128);
        assert_int_equal(memcmp(narrow, off, bytes) == 0, count <= 64);
        free(as_model), free(off), free(narrow);
    }
    fl_session *a = session_of(model[0], LENGTH, 0), *b = session_of(model[2], LENGTH, 0);
    char path[] = "/tmp/furlong-blocks-XXXXXX";
    assert_true(close(mkstemp(path)) == 0);
    must(fl_session_read(a, ids, 32));
    must(fl_session_save(a, path));
    assert_int_equal(fl_session_restore(b, path), FL_ERR_STATE);
    unlink(path);
    fl_session_destroy(a), fl_session_destroy(b);
    for (int i = 0; i < 3; i++)
        fl_model_close(model[i]);
    options.blockwise = 1;
    char config[512], folder[64];
    config_of("xpos", config);
    tiny_folder(folder, config);
    assert_int_equal(fl_model_open(&model[0], engine, folder, &options), FL_ERR_ARGUMENT);
    remove_folder(folder);
    fl_engine_destroy(engine);
}

/* Far beyond the window all of them still compute numbers; in passes of 4096 and of 512, the same. */
static void test_far(void **state)
{
    (void)state;
    int32_t *ids = malloc(WIDE * sizeof *ids);
    fl_engine *engine = engine_of(2, NULL, NULL);
    fl_model_options options = FL_MODEL_OPTIONS_INIT;
    fl_model *model;
    open_kind("xpos", engine, &options, &model);
    random_ids(ids, WIDE, model->config.vocab, 6);
    fl_session *a = session_of(model, WIDE, 4096), *b = session_of(model, WIDE, 512);
    must(fl_session_read(a, ids, WIDE));
    must(fl_session_read(b, ids, WIDE));
    for (int64_t i = 0; i < model->config.vocab; i++)
        assert_true(isfinite(fl_session_logits(a)[i]));
    assert_same_bits(fl_session_logits(a), fl_session_logits(b), model->config.vocab);
    fl_session_destroy(a), fl_session_destroy(b);
    fl_model_close(model);
    fl_engine_destroy(engine);
    free(ids);
}

/* What comes with pre-training is not switched on or off, and formats that cannot say it refuse it by name. */
static void test_not_switched(void **state)
{
    (void)state;
    fl_engine *engine = engine_of(1, NULL, NULL);
    for (size_t k = 0; k < KINDS; k++) {
        fl_model *model;
        fl_model_options options = FL_MODEL_OPTIONS_INIT;
        const char *name = strcmp(kinds[k], "none") ? kinds[k] : "nope";
        options.rope.scaling = name;
        assert_int_equal(fl_model_open(&model, engine, TINY "llama", &options), FL_ERR_UNSUPPORTED);
        assert_non_null(strstr(fl_error_message(), name));
        assert_non_null(strstr(fl_error_message(), "pre-training"));

        char config[512], folder[64], out[] = "/tmp/furlong-out-XXXXXX";
        config_of(kinds[k], config);
        tiny_folder(folder, config);
        options.rope.scaling = "linear";
        options.rope.scale = 2;
        assert_int_equal(fl_model_open(&model, engine, folder, &options), FL_ERR_ARGUMENT);
        assert_non_null(strstr(fl_error_message(), kinds[k]));

        assert_true(close(mkstemp(out)) == 0);
        fl_convert_options convert = FL_CONVERT_OPTIONS_INIT;
        convert.no_tokenizer = true;
        convert.format = "llama2c";
        assert_int_equal(fl_convert(folder, out, &convert), FL_ERR_UNSUPPORTED);
        assert_non_null(strstr(fl_error_message(), kinds[k]));
        convert.format = "gguf";
        if (strcmp(kinds[k], "alibi")) {
            assert_int_equal(fl_convert(folder, out, &convert), FL_ERR_UNSUPPORTED);
            assert_non_null(strstr(fl_error_message(), kinds[k]));
        }
        unlink(out);
        remove_folder(folder);
    }
    fl_engine_destroy(engine);
}

/* A llama with ALiBi is what GGUF calls refact; the same weights in fp32 give the same bits. */
static void test_alibi_in_gguf(void **state)
{
    (void)state;
    int32_t ids[LENGTH];
    fl_engine *engine = engine_of(1, NULL, NULL);
    fl_model_options options = FL_MODEL_OPTIONS_INIT;
    char config[512], folder[64], out[64];
    config_of("alibi", config);
    tiny_folder(folder, config);
    snprintf(out, sizeof out, "%s/snapshot", folder);
    fl_convert_options convert = FL_CONVERT_OPTIONS_INIT;
    convert.no_tokenizer = true;
    convert.format = "gguf";
    must(fl_convert(folder, out, &convert));
    fl_model *from, *to;
    must(fl_model_open(&from, engine, folder, &options));
    must(fl_model_open(&to, engine, out, &options));
    random_ids(ids, LENGTH, from->config.vocab, 7);
    float *a = logits_after(from, ids, LENGTH), *b = logits_after(to, ids, LENGTH);
    assert_same_bits(a, b, from->config.vocab);
    free(a), free(b);
    fl_model_close(from), fl_model_close(to);
    remove_folder(folder);
    fl_engine_destroy(engine);
}

/* A config alone is enough to begin with; what is written says the same and is not taken for a rotary llama. */
static void test_new_models(void **state)
{
    (void)state;
    int32_t ids[40];
    fl_engine *engine = engine_of(1, NULL, NULL);
    for (size_t k = 0; k < KINDS; k++) {
        char config[512], folder[] = "/tmp/furlong-new-XXXXXX", path[128];
        config_of(kinds[k], config);
        assert_non_null(mkdtemp(folder));
        must(fl_model_init(config, folder, 9));
        fl_model *model = model_of(engine, folder);
        fl_model_info info = {.size = sizeof info};
        must(fl_model_get_info(model, &info));
        assert_string_equal(info.positions, kinds[k]);
        assert_string_equal(info.family, "llama");
        snprintf(path, sizeof path, "%s/config.json", folder);
        fl_buffer written = golden_file(path);
        assert_non_null(strstr(written.data, "\"model_type\": \"furlong_llama\""));
        fl_buffer_free(&written);
        random_ids(ids, 40, info.vocab, 8);
        float *logits = logits_after(model, ids, 40);
        assert_true(isfinite(logits[0]));
        free(logits);
        fl_model_close(model);
        snprintf(path, sizeof path, "%s/generation_config.json", folder);
        unlink(path);
        remove_folder(folder);
    }
    fl_engine_destroy(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bits),         cmocka_unit_test(test_stored_types),
                                       cmocka_unit_test(test_blockwise),    cmocka_unit_test(test_far),
                                       cmocka_unit_test(test_not_switched), cmocka_unit_test(test_alibi_in_gguf),
                                       cmocka_unit_test(test_new_models)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
