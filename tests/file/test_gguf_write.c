/* GGUF files written here: byte by byte, against files of the gguf package, and what is refused. */
#include <math.h>

#include "file/gguf_model.h"
#include "file/gguf_write.h"
#include "gguf_build.h"

#define TINY FL_TEST_DATA "/tiny/"
#define GGUF FL_TEST_DATA "/gguf/"

static fl_checkpoint *opened(const char *path)
{
    fl_checkpoint *c;
    assert_ok(fl_checkpoint_open(&c, path));
    return c;
}

static void test_bytes(void **state)
{
    const char *path = in(*state, "bytes.gguf");
    const float ints[] = {1, -2, 3};
    uint16_t halves[34] = {0x3c00, 0xc000};
    const fl_file_tensor tensor[] = {{"one", FL_F32, 1, {3}, ints}, {"two", FL_F16, 2, {2, 17}, halves}};
    const fl_gguf_text words[] = {{"a", 1}, {"", 0}};
    fl_gguf_keys keys = {0};
    fl_gguf_put_u32(&keys, "u", 7);
    fl_gguf_put_f32(&keys, "f", 0.1);
    fl_gguf_put_bool(&keys, "b", true);
    fl_gguf_put_string(&keys, "t", "text");
    fl_gguf_put_strings(&keys, "ts", words, 2);
    fl_gguf_put_floats(&keys, "fs", ints, 2);
    fl_gguf_put_ints(&keys, "is", (const int32_t[]){-1, 5}, 2);
    assert_ok(fl_gguf_write_file(path, &keys, tensor, 2));

    fl_buffer wanted = {0}, found = content(path);
    build_append(&wanted, "raw:GGUF 4:3 8:2 8:7 u:u=7 f:f=0.1 b:b=1 t:t=text s:ts 4:9 4:8 8:2 s:a s: "
                          "s:fs 4:9 4:6 8:2 4:0x3f800000 4:0xc0000000 s:is 4:9 4:5 8:2 4:0xffffffff 4:5 "
                          "s:one 4:1 8:3 4:0 8:0 s:two 4:2 8:17 8:2 4:1 8:32 pad "
                          "4:0x3f800000 4:0xc0000000 4:0x40400000 pad 2:0x3c00 2:0xc000 zero:64 pad");
    assert_int_equal(found.size, wanted.size);
    assert_memory_equal(found.data, wanted.data, wanted.size);
    fl_buffer_free(&wanted);
    fl_buffer_free(&found);

    /* Verbatim copies of values of another file. */
    fl_gguf *g;
    fl_gguf_keys copied = {0};
    assert_ok(fl_gguf_open(&g, path));
    for (int64_t i = 0; i < fl_gguf_key_count(g); i++)
        fl_gguf_put_value(&copied, fl_gguf_at(g, i));
    assert_int_equal(copied.count, keys.count);
    assert_int_equal(copied.bytes.size, keys.bytes.size);
    assert_memory_equal(copied.bytes.data, keys.bytes.data, keys.bytes.size);
    fl_gguf_close(g);
    fl_gguf_keys_free(&copied);
    fl_gguf_keys_free(&keys);
}

/* Every tensor of the gguf package's file is written with the same name, type, shape and bytes, and every key that both
 * have with the same value; so that its readers see the same model. */
static void same_file(const char *name, const char *wanted_path, const char *found_path)
{
    fl_gguf *wanted, *found;
    assert_ok(fl_gguf_open(&wanted, wanted_path));
    assert_ok(fl_gguf_open(&found, found_path));
    assert_int_equal(fl_gguf_count(wanted), fl_gguf_count(found));
    for (int64_t i = 0; i < fl_gguf_count(wanted); i++) {
        const fl_file_tensor *w = fl_gguf_tensor_at(wanted, i), *f = fl_gguf_tensor(found, w->name);
        size_t bytes;
        if (!f) fail_msg("%s: %s is missing", name, w->name);
        assert_ok(fl_file_tensor_bytes(w, &bytes));
        if (f->type != w->type || f->rank != w->rank || memcmp(f->dim, w->dim, sizeof w->dim))
            fail_msg("%s: %s: type %s, %s or another shape", name, w->name, fl_dtype_get(f->type)->name,
                     fl_dtype_get(w->type)->name);
        if (memcmp(f->data, w->data, bytes)) fail_msg("%s: %s: other values", name, w->name);
    }
    for (int64_t i = 0; i < fl_gguf_key_count(wanted); i++) {
        const fl_gguf_value *w = fl_gguf_at(wanted, i), *f = fl_gguf_find(found, w->key);
        if (!strcmp(w->key, "general.name")) continue; /* no config has one */
        if (!f) fail_msg("%s: %s is missing", name, w->key);
        bool same = f->type == w->type && f->count == w->count && f->end - f->data == w->end - w->data &&
                    !memcmp(f->data, w->data, (size_t)(w->end - w->data));
        if (!same) fail_msg("%s: %s: another value", name, w->key);
    }
    fl_gguf_close(wanted);
    fl_gguf_close(found);
}

static void test_like_gguf_package(void **state)
{
    static const struct {
        const char *name;
        fl_dtype type;
    } models[] = {{"llama", FL_F16},          {"llama_tied", FL_Q8_0}, {"mistral", FL_Q8_0},
                  {"qwen2", FL_Q8_0},         {"qwen3", FL_Q8_0},      {"phi3", FL_Q8_0},
                  {"phi3_longrope", FL_Q8_0}, {"gpt_neox", FL_Q8_0},   {"gpt2", FL_Q8_0}};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        const char *path = in(*state, "model.gguf");
        char from[512], golden[512];
        snprintf(from, sizeof from, TINY "%s", models[i].name);
        snprintf(golden, sizeof golden, GGUF "%s.gguf", models[i].name);
        fl_checkpoint *c = opened(from);
        assert_ok(fl_gguf_write(path, fl_checkpoint_config(c), NULL, 0, models[i].type, c, NULL));
        same_file(models[i].name, golden, path);
        fl_checkpoint_close(c);

        /* And from the file itself, which a second reading and writing must leave as it is. */
        const char *again = in(*state, "again.gguf");
        c = opened(path);
        assert_ok(fl_gguf_write(again, fl_checkpoint_config(c), NULL, 0, models[i].type, c, NULL));
        fl_checkpoint_close(c);
        fl_buffer a = content(path), b = content(again);
        assert_int_equal(a.size, b.size);
        assert_memory_equal(a.data, b.data, a.size);
        fl_buffer_free(&a);
        fl_buffer_free(&b);
    }
}

/* Q4_0: the head is Q8_0; rows of no whole blocks are F16 (gpt2 has 48 columns), vectors and positions F32. */
static void test_types(void **state)
{
    static const struct {
        const char *model, *tensor;
        fl_dtype type;
    } wanted[] = {{"llama", "output.weight", FL_Q8_0},         {"llama", "token_embd.weight", FL_Q4_0},
                  {"llama", "blk.0.attn_q.weight", FL_Q4_0},   {"llama", "blk.2.attn_norm.weight", FL_F32},
                  {"llama", "blk.1.ffn_down.weight", FL_F16},  {"llama_tied", "token_embd.weight", FL_Q8_0},
                  {"gpt2", "blk.0.attn_qkv.weight", FL_F16},   {"gpt2", "position_embd.weight", FL_F32},
                  {"gpt2", "blk.0.ffn_down.weight", FL_Q4_0},  {"gpt2", "blk.0.ffn_down.bias", FL_F32},
                  {"gpt2", "blk.0.attn_output.weight", FL_F16}};
    const char *path = in(*state, "types.gguf");
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        char from[512];
        fl_gguf *g;
        snprintf(from, sizeof from, TINY "%s", wanted[i].model);
        fl_checkpoint *c = opened(from);
        assert_ok(fl_gguf_write(path, fl_checkpoint_config(c), NULL, 0, FL_Q4_0, c, NULL));
        fl_checkpoint_close(c);
        assert_ok(fl_gguf_open(&g, path));
        const fl_file_tensor *t = fl_gguf_tensor(g, wanted[i].tensor);
        if (!t || t->type != wanted[i].type)
            fail_msg("%s of %s is %s", wanted[i].tensor, wanted[i].model, t ? fl_dtype_get(t->type)->name : "missing");
        fl_gguf_close(g);
    }
}

/* A tokenizer's keys go along from a GGUF file, or are those the caller gives. */
static void test_tokenizer_keys(void **state)
{
    const char *first = in(*state, "first.gguf"), *second = in(*state, "second.gguf");
    fl_checkpoint *c = opened(TINY "llama");
    const fl_gguf_text words[] = {{"<s>", 3}, {"\xff\0x", 3}};
    fl_gguf_keys keys = {0};
    fl_gguf_put_string(&keys, "general.name", "a name");
    fl_gguf_put_string(&keys, "tokenizer.ggml.model", "gpt2");
    fl_gguf_put_strings(&keys, "tokenizer.ggml.tokens", words, 2);
    fl_gguf_put_u32(&keys, "tokenizer.ggml.eot_token_id", 9);
    assert_ok(fl_gguf_write(first, fl_checkpoint_config(c), NULL, 0, FL_F16, c, &keys));
    fl_gguf_keys_free(&keys);
    fl_checkpoint_close(c);

    c = opened(first);
    assert_null(fl_checkpoint_tokenizer(c));
    assert_ok(fl_gguf_write(second, fl_checkpoint_config(c), NULL, 0, FL_F16, c, NULL));
    fl_checkpoint_close(c);
    c = opened(second);
    const fl_gguf *g = fl_checkpoint_gguf(c);
    const fl_gguf_value *v;
    fl_gguf_text text;
    assert_ok(fl_gguf_strings(g, "tokenizer.ggml.tokens", &v));
    assert_int_equal(v->count, 2);
    text = fl_gguf_text_at(v, 1);
    assert_int_equal(text.length, 3);
    assert_memory_equal(text.bytes, "\xff\0x", 3);
    assert_ok(fl_gguf_string(g, "general.name", &text));
    assert_true(fl_gguf_text_is(text, "a name"));
    /* The ids of the config are not put beside a tokenizer that has none. */
    assert_null(fl_gguf_find(g, "tokenizer.ggml.bos_token_id"));
    assert_int_equal(fl_checkpoint_config(c)->eos[0], 9);
    fl_checkpoint_close(c);
}

static double key_real(const char *path, const char *key)
{
    fl_gguf *g;
    double value = NAN;
    assert_ok(fl_gguf_open(&g, path));
    assert_ok(fl_gguf_real(g, key, &value));
    fl_gguf_close(g);
    return value;
}

/* Readers of yarn multiply attn_factor by 0.1 ln factor + 1: it must hold only the rest. */
static void test_yarn_magnitude(void **state)
{
    const char *path = in(*state, "yarn.gguf");
    fl_checkpoint *c = opened(TINY "llama");
    fl_config config = *fl_checkpoint_config(c);
    config.rope.kind = FL_ROPE_YARN;
    config.rope.factor = 4;
    config.window = config.rope.window = 512;
    assert_ok(fl_gguf_write(path, &config, NULL, 0, FL_F16, c, NULL));
    assert_true(isnan(key_real(path, "llama.rope.scaling.attn_factor")));
    config.rope.attention_factor = 1;
    config.rope.beta_fast = 16;
    config.rope.extrapolation_factor = 0.5;
    assert_ok(fl_gguf_write(path, &config, NULL, 0, FL_F16, c, NULL));
    assert_true(fabs(key_real(path, "llama.rope.scaling.attn_factor") * (0.1 * log(4) + 1) - 1) < 1e-6);
    fl_checkpoint *back = opened(path);
    double x[FL_ROPE_MAX_PAIRS], y[FL_ROPE_MAX_PAIRS], mx, my;
    assert_ok(fl_rope_frequencies(&config.rope, 1, x, &mx));
    assert_ok(fl_rope_frequencies(&fl_checkpoint_config(back)->rope, 1, y, &my));
    assert_true(fabs(mx / my - 1) < 1e-6);
    for (int i = 0; i < config.rope.dim / 2; i++)
        assert_true(fabs(x[i] / y[i] - 1) < 1e-6);
    fl_checkpoint_close(back);
    fl_checkpoint_close(c);
}

/* Schedules without a key of their own come back as the same frequencies: by yarn's keys, or as divisors in float32. */
static void test_nameless_schedules(void **state)
{
    const char *path = in(*state, "nameless.gguf");
    fl_checkpoint *c = opened(TINY "llama");
    fl_config config = *fl_checkpoint_config(c);
    config.rope.factor = 4;
    config.window = config.rope.window = 512;
    static const fl_rope_kind kinds[] = {FL_ROPE_NTK_PARTS, FL_ROPE_NTK_LINEAR, FL_ROPE_MIXED_RADIX, FL_ROPE_POWER,
                                         FL_ROPE_TRUNCATED};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        config.rope.kind = kinds[k];
        assert_ok(fl_gguf_write(path, &config, NULL, 0, FL_F16, c, NULL));
        fl_checkpoint *back = opened(path);
        double x[FL_ROPE_MAX_PAIRS], y[FL_ROPE_MAX_PAIRS], mx, my;
        assert_ok(fl_rope_frequencies(&config.rope, 1, x, &mx));
        assert_ok(fl_rope_frequencies(&fl_checkpoint_config(back)->rope, 1, y, &my));
        assert_true(fabs(mx / my - 1) < 1e-6);
        for (int i = 0; i < config.rope.dim / 2; i++) /* a pair that stands still turns by 1e-18 */
            assert_true(fabs(x[i] - y[i]) < 1e-6 * x[i] + 2e-18);
        fl_checkpoint_close(back);
    }
    fl_checkpoint_close(c);
}

static void test_cannot_say(void **state)
{
    const char *path = in(*state, "refused.gguf");
    fl_checkpoint *llama = opened(TINY "llama"), *qwen = opened(TINY "qwen2"), *neox = opened(TINY "gpt_neox");
#define REFUSED(source, status, key, change)                                                                           \
    do {                                                                                                               \
        fl_config c = *fl_checkpoint_config(source);                                                                   \
        fl_dtype type = FL_F16;                                                                                        \
        change;                                                                                                        \
        assert_refused(#change, fl_gguf_write(path, &c, NULL, 0, type, source, NULL), status, path, key);              \
        assert_false(fl_file_exists(path));                                                                            \
    } while (0)
    REFUSED(llama, FL_ERR_ARGUMENT, "Q6_K", type = FL_Q6_K);
    REFUSED(llama, FL_ERR_ARGUMENT, "I32", type = FL_I32);
    REFUSED(llama, FL_ERR_UNSUPPORTED, "family = mamba", strcpy(c.family, "mamba"));
    REFUSED(llama, FL_ERR_UNSUPPORTED, "use ntk or yarn", (c.rope.kind = FL_ROPE_DYNAMIC, c.rope.factor = 2));
    REFUSED(llama, FL_ERR_UNSUPPORTED, "use yarn", (c.rope.kind = FL_ROPE_DYNAMIC_YARN, c.rope.factor = 2));
    REFUSED(llama, FL_ERR_UNSUPPORTED, "use linear", (c.rope.kind = FL_ROPE_DYNAMIC_LINEAR, c.rope.factor = 2));
    REFUSED(qwen, FL_ERR_UNSUPPORTED, "rope_type = power", (c.rope.kind = FL_ROPE_POWER, c.rope.factor = 2));
    REFUSED(llama, FL_ERR_UNSUPPORTED, "truncate",
            (c.rope.kind = FL_ROPE_YARN, c.rope.factor = 2, c.rope.truncate = false));
    REFUSED(llama, FL_ERR_UNSUPPORTED, "partial_rotary_factor", c.rope.dim = 8);
    REFUSED(qwen, FL_ERR_UNSUPPORTED, "rope_type = llama3", (c.rope.kind = FL_ROPE_LLAMA3, c.rope.factor = 8));
    REFUSED(neox, FL_ERR_UNSUPPORTED, "hidden_act", c.activation = FL_ACT_GELU_TANH);
    REFUSED(llama, FL_ERR_UNSUPPORTED, "eos_token_id", c.eos_count = 4);
    REFUSED(llama, FL_ERR_SHAPE, "model.layers.3", c.layers = 4);
    REFUSED(llama, FL_ERR_ARGUMENT, "rope_theta", c.rope.base = 0);
    fl_config c = *fl_checkpoint_config(llama);
    assert_refused("folder", fl_gguf_write(*state, &c, NULL, 0, FL_F16, llama, NULL), FL_ERR_IO, *state, "");
    fl_checkpoint_close(llama);
    fl_checkpoint_close(qwen);
    fl_checkpoint_close(neox);
}

/* ---- split files ---------------------------------------------------------------------------------------------- */

#define KEYS                                                                                                           \
    "t:general.architecture=llama u:llama.context_length=64 u:llama.embedding_length=8 u:llama.block_count=1 "         \
    "u:llama.feed_forward_length=16 u:llama.attention.head_count=2 f:llama.attention.layer_norm_rms_epsilon=1e-5 "
#define PART(no, count, tensors)                                                                                       \
    "+ s:split.no 4:2 2:" #no " ; + s:split.count 4:2 2:" #count " ; i:split.tensors.count=" #tensors " "

static void put_part(const char *path, const char *keys, const char *tensors)
{
    fl_buffer b = {0};
    build_model(&b, keys, tensors);
    put_bytes(path, b.data, b.size);
    fl_buffer_free(&b);
}

static void test_split(void **state)
{
    const char *part[] = {in(*state, "m-00001-of-00003.gguf"), in(*state, "m-00002-of-00003.gguf"),
                          in(*state, "m-00003-of-00003.gguf")};
    const char *embed = "T:token_embd.weight=8x10/1", *norm = "T:output_norm.weight=8/2",
               *q = "T:blk.0.attn_q.weight=8x8/3 T:rope_freqs.weight=2/2";
    put_part(part[0], KEYS PART(0, 3, 4), embed);
    put_part(part[1], PART(1, 3, 4), norm);
    put_part(part[2], PART(2, 3, 4), q);
    for (int i = 0; i < 3; i++) { /* from any of them */
        fl_checkpoint *c = opened(part[i]);
        assert_int_equal(fl_checkpoint_count(c), 3);
        assert_int_equal(fl_checkpoint_config(c)->rope.kind, FL_ROPE_DIVISORS);
        assert_true(*(const float *)fl_checkpoint_find(c, "model.norm.weight")->data == 2);
        assert_true(*(const float *)fl_checkpoint_find(c, "model.layers.0.self_attn.q_proj.weight")->data == 3);
        assert_non_null(fl_gguf_find(fl_checkpoint_gguf(c), "general.architecture"));
        fl_checkpoint_close(c);
    }

    fl_checkpoint *c = NULL;
#define SPLIT_REFUSED(what, opens, status, file, key)                                                                  \
    assert_refused(what, fl_checkpoint_open(&c, part[opens]), status, file, key)
    put_part(part[1], PART(2, 3, 4), norm);
    SPLIT_REFUSED("a part twice", 0, FL_ERR_FORMAT, part[1], "split.no");
    SPLIT_REFUSED("a name of another part", 1, FL_ERR_FORMAT, part[1], "split.no");
    put_part(part[1], PART(1, 4, 4), norm);
    SPLIT_REFUSED("another count", 0, FL_ERR_FORMAT, part[1], "split.count");
    put_part(part[1], PART(1, 3, 5), norm);
    SPLIT_REFUSED("another number of tensors", 0, FL_ERR_FORMAT, part[1], "split.tensors.count");
    put_part(part[1], "", norm);
    SPLIT_REFUSED("a whole file among parts", 0, FL_ERR_FORMAT, part[1], "split.count");
    put_part(part[1], PART(1, 3, 4), "");
    SPLIT_REFUSED("a tensor missing", 2, FL_ERR_FORMAT, part[0], "split.tensors.count");
    put_part(part[1], PART(1, 3, 4), embed);
    SPLIT_REFUSED("a tensor twice", 0, FL_ERR_FORMAT, part[0], "model.embed_tokens.weight");
    put_part(part[1], PART(3, 3, 4), norm);
    SPLIT_REFUSED("a part beyond the count", 1, FL_ERR_FORMAT, part[1], "split.no");
    put_part(part[1], "+ s:split.count 4:2 2:3 ;", norm);
    SPLIT_REFUSED("a part without a number", 1, FL_ERR_FORMAT, part[1], "split.no");
    put_part(part[1], "t:split.count=3", norm);
    SPLIT_REFUSED("a count that is text", 1, FL_ERR_FORMAT, part[1], "split.count");
    unlink(part[1]);
    SPLIT_REFUSED("a part missing", 0, FL_ERR_IO, part[1], "");
    const char *named = in(*state, "model.gguf");
    put_part(named, KEYS PART(0, 3, 4), embed);
    assert_refused("no number", fl_checkpoint_open(&c, named), FL_ERR_FORMAT, named, "-00001-of-00003.gguf");
    named = in(*state, "0.gguf");
    put_part(named, KEYS PART(0, 3, 4), embed);
    assert_refused("short name", fl_checkpoint_open(&c, named), FL_ERR_FORMAT, named, "-00001-of-00003.gguf");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),          cmocka_unit_test(test_like_gguf_package),
        cmocka_unit_test(test_types),          cmocka_unit_test(test_tokenizer_keys),
        cmocka_unit_test(test_yarn_magnitude), cmocka_unit_test(test_nameless_schedules),
        cmocka_unit_test(test_cannot_say),     cmocka_unit_test(test_split),
    };
    return cmocka_run_group_tests(tests, files_make, files_drop);
}
