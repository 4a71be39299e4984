/* Keys and values stored in other types than fp32: with each, what was read is the same to the bit however it was read,
 * forked, saved and restored, and the bytes are those of the type. The model is made here, with heads of 32 that blocks
 * fill; its weights are large enough that attention tells tokens apart. */
#include "session/session_case.h"

#include <math.h>
#include <stdlib.h>

#define COUNT 300

static fl_engine *engine;
static char folder[] = "/tmp/furlong-kv-XXXXXX";
static int32_t ids[COUNT];

static const char *const types[][2] = {{"f32", "f32"},   {"f16", "f16"},  {"bf16", "bf16"}, {"q8_0", "q8_0"},
                                       {"q4_0", "q4_0"}, {"q8_0", "f16"}, {"bf16", "q4_0"}};
/* Bytes of a token: 2 layers of 2 kv heads of 32 keys and 32 values. */
static const int64_t bytes_per_token[] = {4 * (128 + 128), 4 * (64 + 64), 4 * (64 + 64), 4 * (34 + 34),
                                          4 * (18 + 18),   4 * (34 + 64), 4 * (64 + 18)};
#define TYPES (sizeof types / sizeof *types)

static void path_in(char out[128], const char *name)
{
    snprintf(out, 128, "%s/%s", folder, name);
}

static int open_all(void **state)
{
    (void)state;
    char config[128];
    assert_non_null(mkdtemp(folder));
    path_in(config, "made.json");
    FILE *f = fopen(config, "wb");
    assert_non_null(f);
    fputs("{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_size\":128,\"head_dim\":32,"
          "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"num_hidden_layers\":2,\"intermediate_size\":96,"
          "\"vocab_size\":320,\"max_position_embeddings\":128,\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,"
          "\"hidden_act\":\"silu\",\"initializer_range\":0.15,\"bos_token_id\":1,\"eos_token_id\":2,"
          "\"tie_word_embeddings\":false}",
          f);
    assert_int_equal(fclose(f), 0);
    must(fl_model_init(config, folder, 5));
    engine = engine_of(2, NULL, NULL);
    random_ids(ids, COUNT, 320, 11);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    static const char *const names[] = {"made.json", "config.json", "model.safetensors", "generation_config.json",
                                        "snapshot"};
    char path[128];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        path_in(path, names[i]);
        unlink(path);
    }
    fl_engine_destroy(engine);
    return rmdir(folder);
}

static fl_model *model_scaled(fl_engine *by, const char *scaling)
{
    fl_model_options options = FL_MODEL_OPTIONS_INIT;
    options.rope.scaling = scaling;
    options.rope.scale = scaling ? 4 : 0;
    fl_model *model;
    must(fl_model_open(&model, by, folder, &options));
    return model;
}

static fl_session *open_session(const fl_model *model, size_t type, int64_t chunk)
{
    fl_session_options options = FL_SESSION_OPTIONS_INIT;
    options.context = 512;
    options.chunk = chunk;
    char k[8], v[8]; /* the session must not keep the caller's text */
    strcpy(k, types[type][0]);
    strcpy(v, types[type][1]);
    options.type_k = k;
    options.type_v = v;
    fl_session *s;
    must(fl_session_create(&s, model, &options));
    memset(k, 0, sizeof k);
    memset(v, 0, sizeof v);
    return s;
}

static void check_type(const char *scaling, size_t type)
{
    char snapshot[128];
    path_in(snapshot, "snapshot");
    fl_model *model = model_scaled(engine, scaling);
    fl_session *whole = open_session(model, type, 512), *chunks = open_session(model, type, 7);
    must(fl_session_read(whole, ids, COUNT - 20));
    must(fl_session_read(chunks, ids, COUNT - 20));
    assert_same_bits(fl_session_logits(whole), fl_session_logits(chunks), 320);
    assert_int_equal(fl_session_bytes(whole), 2 * FL_PAGE_TOKENS * bytes_per_token[type]);
    int64_t bytes;
    must(fl_model_kv_bytes(model, types[type][0], types[type][1], &bytes));
    assert_int_equal(bytes, bytes_per_token[type]);

    fl_session *fork, *restored = open_session(model, type, 64);
    must(fl_session_fork(&fork, chunks));
    must(fl_session_save(whole, snapshot));
    must(fl_session_restore(restored, snapshot));
    assert_same_bits(fl_session_logits(whole), fl_session_logits(restored), 320);
    fl_session *all[] = {whole, chunks, fork, restored};
    for (int i = 0; i < 4; i++) {
        must(fl_session_read(all[i], ids + COUNT - 20, 20));
        assert_same_bits(fl_session_logits(whole), fl_session_logits(all[i]), 320);
    }
    for (size_t other = 0; other < TYPES; other++) {
        if (other == type) continue;
        fl_session *s = open_session(model, other, 0);
        assert_int_equal(fl_session_restore(s, snapshot), FL_ERR_STATE);
        assert_non_null(strstr(fl_error_message(), "_type"));
        fl_session_destroy(s);
    }

    static const int threads[] = {1, 3};
    for (int i = 0; i < 2; i++) {
        fl_engine *own = engine_of(threads[i], NULL, NULL);
        fl_model *same = model_scaled(own, scaling);
        fl_session *s = open_session(same, type, 100);
        must(fl_session_read(s, ids, COUNT - 20));
        must(fl_session_read(s, ids + COUNT - 20, 20));
        assert_same_bits(fl_session_logits(whole), fl_session_logits(s), 320);
        fl_session_destroy(s);
        fl_model_close(same);
        fl_engine_destroy(own);
    }
    for (int i = 0; i < 4; i++)
        fl_session_destroy(all[i]);
    fl_model_close(model);
}

static void test_bits(void **state)
{
    (void)state;
    for (size_t type = 0; type < TYPES; type++)
        check_type(NULL, type);
}

/* Keys are stored before their rotation, which the length decides. */
static void test_bits_of_unrotated_keys(void **state)
{
    (void)state;
    for (size_t type = 1; type < TYPES; type++)
        check_type("dynamic", type);
}

/* Logits after all ids, with keys and values of a type, read in a way; 320 of them. */
static void logits_of(float *out, const char *scaling, bool stream, const char *type)
{
    fl_session_options options = FL_SESSION_OPTIONS_INIT;
    options.context = stream ? 0 : 512;
    options.overflow = stream ? FL_OVERFLOW_STREAM : FL_OVERFLOW_ERROR;
    options.type_k = options.type_v = type;
    fl_model *model = model_scaled(engine, scaling);
    fl_session *s;
    must(fl_session_create(&s, model, &options));
    must(fl_session_read(s, ids, COUNT));
    memcpy(out, fl_session_logits(s), 320 * sizeof *out);
    fl_session_destroy(s);
    fl_model_close(model);
}

/* Root mean square of the difference over that of the logits. */
static double distance(const float *a, const float *b)
{
    double sum = 0, all = 0;
    for (int i = 0; i < 320; i++) {
        sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        all += (double)b[i] * (double)b[i];
    }
    return sqrt(sum / all);
}

/* Blocks of keys and values under ways of reading that turn stored keys once more, or read them at clipped distances.
 * Turning keeps lengths, so no way makes more of a block's rounding than the plain one does: with q8_0 some 3 percent
 * of the logits' size through this model's large weights, three times that being the bound. The steps of q4_0 are 16
 * times as large, and 40 times the error of q8_0 is the bound for it. A way taken wrongly would be off by 80 percent
 * and more, which is how far the ways are apart here. */
static void test_passes_near_f32(void **state)
{
    (void)state;
    static const char *const ways[] = {"linear", "self-extend", "rerope", "leaky-rerope", "dual-chunk", "stream"};
    float exact[320], logits[320], plain[320];
    for (int w = 0; w < 6; w++) {
        bool stream = !strcmp(ways[w], "stream");
        logits_of(exact, stream ? NULL : ways[w], stream, "f32");
        if (!w) memcpy(plain, exact, sizeof plain);
        assert_true(!w || distance(exact, plain) > 0.5);
        logits_of(logits, stream ? NULL : ways[w], stream, "q8_0");
        double eight = distance(logits, exact);
        logits_of(logits, stream ? NULL : ways[w], stream, "q4_0");
        double four = distance(logits, exact);
        if (!(eight > 0 && eight < 0.1 && four > eight && four < 40 * eight))
            fail_msg("%s: logits off by %.4f with q8_0, %.4f with q4_0", ways[w], eight, four);
    }
}

/* One pass over texts whose memories are of one type each. */
static void test_batch(void **state)
{
    (void)state;
    fl_model *model = model_scaled(engine, NULL);
    fl_run *run;
    must(fl_run_create(&run, engine, 0, false));
    fl_memory *memory[TYPES];
    fl_batch_seq seq[TYPES];
    int64_t last[TYPES];
    float *together = malloc(TYPES * 320 * sizeof *together);
    for (size_t i = 0; i < TYPES; i++) {
        fl_kv_shape shape[2];
        must(fl_model_kv_types(model, types[i][0], types[i][1], &shape[0]));
        shape[1] = shape[0];
        must(fl_memory_create(&memory[i], 2, shape));
        seq[i] = (fl_batch_seq){.memory = memory[i], .first_row = (int64_t)i * 40, .rows = 40};
        last[i] = (int64_t)i * 40 + 39;
    }
    fl_batch batch = {.sequences = TYPES, .seq = seq, .rows = TYPES * 40, .tokens = ids};
    fl_head_spec spec = {.n = TYPES, .row = last, .logits = together};
    must(fl_model_pass(model, run, &batch, NULL, false, &spec));
    for (size_t i = 0; i < TYPES; i++) {
        fl_session *alone = open_session(model, i, 0);
        must(fl_session_read(alone, ids + 40 * i, 40));
        assert_same_bits(fl_session_logits(alone), together + i * 320, 320);
        fl_session_destroy(alone);
        fl_memory_destroy(memory[i]);
    }
    free(together);
    fl_run_destroy(run);
    fl_model_close(model);
}

static void test_refusals(void **state)
{
    (void)state;
    fl_model *model = model_scaled(engine, NULL), *narrow = model_of(engine, STORIES);
    fl_session_options options = FL_SESSION_OPTIONS_INIT;
    fl_session *s = NULL;
    options.type_k = "q5_0";
    assert_int_equal(fl_session_create(&s, model, &options), FL_ERR_ARGUMENT);
    assert_non_null(strstr(fl_error_message(), "type_k = q5_0"));
    options.type_k = "f16";
    options.type_v = "";
    assert_int_equal(fl_session_create(&s, model, &options), FL_ERR_ARGUMENT);
    options.type_v = "q8_0";
    assert_int_equal(fl_session_create(&s, narrow, &options), FL_ERR_UNSUPPORTED);
    assert_non_null(strstr(fl_error_message(), "type_v = q8_0"));
    assert_non_null(strstr(fl_error_message(), "heads of 8; f32, f16 and bf16 fit"));
    int64_t bytes;
    assert_int_equal(fl_model_kv_bytes(NULL, NULL, NULL, &bytes), FL_ERR_ARGUMENT);
    assert_int_equal(fl_model_kv_bytes(narrow, "q4_0", NULL, &bytes), FL_ERR_UNSUPPORTED);
    assert_null(s);
    fl_model_close(narrow);
    fl_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bits),
        cmocka_unit_test(test_bits_of_unrotated_keys),
        cmocka_unit_test(test_passes_near_f32),
        cmocka_unit_test(test_batch),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
