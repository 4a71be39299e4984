/* Keys of GGUF models, written by the gguf package as llama.cpp's converter does, against the config.json of the same
 * models. */
#include <math.h>

#include "file/checkpoint.h"
#include "file/gguf_model.h"
#include "gguf_build.h"

#define TINY FL_TEST_DATA "/tiny/"
#define GGUF FL_TEST_DATA "/gguf/"

static void same_config(const char *name, const fl_config *a, const fl_config *b)
{
#define SAME(field)                                                                                                    \
    if (a->field != b->field) fail_msg("%s: " #field " = %lld, %lld", name, (long long)a->field, (long long)b->field)
    assert_string_equal(a->family, b->family);
    SAME(vocab);
    SAME(width);
    SAME(layers);
    SAME(heads);
    SAME(kv_heads);
    SAME(head_dim);
    SAME(ffn);
    SAME(window);
    SAME(sliding_window);
    SAME(activation);
    SAME(tied_head);
    SAME(attention_bias);
    SAME(output_bias);
    SAME(qk_norm);
    SAME(parallel_residual);
    SAME(mlp_bias);
    SAME(rotary);
    SAME(bos);
    SAME(eos_count);
    SAME(eos[0]);
#undef SAME
    assert_true(a->norm_eps == b->norm_eps);
}

static void same_angles(const char *name, const fl_rope_spec *a, const fl_rope_spec *b)
{
    assert_int_equal(a->dim, b->dim);
    assert_int_equal(fl_rope_scaled_window(a), fl_rope_scaled_window(b));
    const int64_t lengths[] = {1, 128, 129, 1000};
    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
        double x[FL_ROPE_MAX_PAIRS], y[FL_ROPE_MAX_PAIRS], mx, my;
        assert_ok(fl_rope_frequencies(a, lengths[l], x, &mx));
        assert_ok(fl_rope_frequencies(b, lengths[l], y, &my));
        /* The file keeps factors, divisors and magnitudes as float32. */
        if (!(fabs(mx / my - 1) < 1e-6)) fail_msg("%s: magnitude %g, %g", name, mx, my);
        for (int i = 0; i < a->dim / 2; i++)
            if (!(fabs(x[i] / y[i] - 1) < 1e-6)) fail_msg("%s: frequency %d: %g, %g", name, i, x[i], y[i]);
    }
}

static void test_configs(void **state)
{
    (void)state;
    static const char *const names[] = {"llama", "llama_tied",    "mistral",  "qwen2",           "qwen3",
                                        "phi3",  "phi3_longrope", "gpt_neox", "gpt_neox_serial", "gpt2"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[512];
        fl_checkpoint *a, *b;
        snprintf(path, sizeof path, GGUF "%s.gguf", names[i]);
        assert_ok(fl_checkpoint_open(&a, path));
        snprintf(path, sizeof path, TINY "%s", names[i]);
        assert_ok(fl_checkpoint_open(&b, path));
        const fl_config *c = fl_checkpoint_config(a);
        assert_int_equal(fl_checkpoint_format(a), FL_FORMAT_GGUF);
        fl_config wanted = *fl_checkpoint_config(b);
        if (!strcmp(names[i], "gpt_neox_serial")) wanted.activation = FL_ACT_GELU_ERF; /* no key says another */
        same_config(names[i], c, &wanted);
        if (c->rotary) same_angles(names[i], &c->rope, &fl_checkpoint_config(b)->rope);
        assert_int_equal(c->rope_interleaved, !strncmp(names[i], "llama", 5) || !strcmp(names[i], "mistral"));
        assert_int_equal(c->by_output, !strcmp(names[i], "gpt2"));
        assert_int_equal(fl_checkpoint_count(a), fl_checkpoint_count(b));
        for (int64_t t = 0; t < fl_checkpoint_count(b); t++)
            if (!fl_checkpoint_find(a, fl_checkpoint_at(b, t)->name))
                fail_msg("%s: %s is missing", names[i], fl_checkpoint_at(b, t)->name);
        fl_checkpoint_close(a);
        fl_checkpoint_close(b);
    }
}

static void test_rope_kinds(void **state)
{
    static const struct {
        const char *name;
        fl_rope_kind kind;
    } kinds[] = {
        {"linear", FL_ROPE_LINEAR}, {"yarn", FL_ROPE_YARN}, {"llama3", FL_ROPE_LLAMA3}, {"longrope", FL_ROPE_LONGROPE}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char path[512];
        fl_checkpoint *b;
        fl_gguf_model m;
        const char *folder = in(*state, kinds[i].name);
        assert_ok(fl_folder_make(folder));
        snprintf(path, sizeof path, TINY "rope_%s.json", kinds[i].name);
        fl_buffer json = content(path), weights = content(TINY "llama/model.safetensors");
        put_bytes(in(folder, "config.json"), json.data, json.size);
        put_bytes(in(folder, "model.safetensors"), weights.data, weights.size);
        fl_buffer_free(&json);
        fl_buffer_free(&weights);
        assert_ok(fl_checkpoint_open(&b, folder));
        snprintf(path, sizeof path, GGUF "rope_%s.gguf", kinds[i].name);
        assert_ok(fl_gguf_model_open(&m, path));
        assert_int_equal(m.config.rope.kind, kinds[i].kind);
        same_angles(kinds[i].name, &m.config.rope, &fl_checkpoint_config(b)->rope);
        assert_int_equal(m.config.rope.original_window, fl_checkpoint_config(b)->rope.original_window);
        fl_gguf_model_close(&m);
        fl_checkpoint_close(b);
    }
}

/* Every key of every model wrong in turn: refused by its name, but for those that say nothing of what is computed, and
 * those of the tokenizer that are read with it. */
static void test_every_key_wrong(void **state)
{
    (void)state;
    static const char *const names[] = {"llama",       "llama_tied",    "mistral",  "qwen2", "qwen3",
                                        "phi3",        "phi3_longrope", "gpt_neox", "gpt2",  "rope_linear",
                                        "rope_llama3", "rope_longrope", "rope_yarn"};
    static const char *const read[] = {"general.architecture",        "general.alignment",
                                       "tokenizer.ggml.model",        "tokenizer.ggml.bos_token_id",
                                       "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id", "tokenizer.ggml.padding_token_id"};
    int wrong = 0;
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        char path[512];
        snprintf(path, sizeof path, GGUF "%s.gguf", names[n]);
        fl_buffer good = content(path);
        fl_gguf *g;
        assert_ok(fl_gguf_parse(&g, "good.gguf", good.data, good.size));
        for (int64_t i = 0; i < fl_gguf_key_count(g); i++) {
            const char *key = fl_gguf_at(g, i)->key;
            bool is_read = strncmp(key, "general.", 8) && strncmp(key, "tokenizer.", 10);
            for (size_t k = 0; k < sizeof read / sizeof *read; k++)
                is_read = is_read || !strcmp(key, read[k]);
            fl_buffer b = {0};
            fl_gguf_model m = {0};
            build_wrong_type(&b, g, good.data, good.size, i);
            void *bytes = build_exact(&b);
            fl_status status = fl_gguf_model_parse(&m, "bad.gguf", bytes, b.size);
            if (is_read) {
                assert_refused(key, status, FL_ERR_FORMAT, "bad.gguf", key);
                wrong++;
            } else {
                assert_ok(status); /* so it was the key alone that was wrong above */
                fl_gguf_model_close(&m);
            }
            free(bytes);
            fl_buffer_free(&b);
        }
        fl_gguf_close(g);
        fl_buffer_free(&good);
    }
    assert_true(wrong > 150);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_configs),
        cmocka_unit_test(test_rope_kinds),
        cmocka_unit_test(test_every_key_wrong),
    };
    return cmocka_run_group_tests(tests, files_make, files_drop);
}
