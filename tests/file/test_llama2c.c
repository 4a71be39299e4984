#include "files.h"

#include <math.h>

#include "file/checkpoint.h"
#include "file/hf_write.h"
#include "file/llama2c.h"
#include "file/permute.h"

#define STORIES FL_SOURCE_DIR "/models/stories260K/stories260K.bin"
#define STORIES_V1 FL_TEST_DATA "/models/stories260K_v1.bin"
#define STORIES_Q8 FL_TEST_DATA "/models/stories260K-q8.bin"
#define AIDREAMS FL_TEST_DATA "/models/aidreams260K/aidreams260K.bin"

static fl_checkpoint *opened(const char *path)
{
    fl_checkpoint *c;
    assert_ok(fl_checkpoint_open(&c, path));
    return c;
}

static size_t values_of(const fl_file_tensor *t)
{
    size_t n;
    assert_ok(fl_file_tensor_values(t, &n));
    return n;
}

/* Same names, shapes and values; only the order may differ. */
static void assert_same_tensors(const fl_checkpoint *a, const fl_checkpoint *b)
{
    assert_int_equal(fl_checkpoint_count(a), fl_checkpoint_count(b));
    for (int64_t i = 0; i < fl_checkpoint_count(a); i++) {
        const fl_file_tensor *t = fl_checkpoint_at(a, i), *u = fl_checkpoint_find(b, t->name);
        assert_non_null(u);
        assert_int_equal(t->type, u->type);
        assert_int_equal(t->rank, u->rank);
        for (int d = 0; d < t->rank; d++)
            assert_int_equal(t->dim[d], u->dim[d]);
        size_t bytes;
        assert_ok(fl_file_tensor_bytes(t, &bytes));
        assert_memory_equal(t->data, u->data, bytes);
    }
}

/* The sizes that both projects publish for these files. */
static void test_stories(void **state)
{
    (void)state;
    fl_checkpoint *c = opened(STORIES);
    const fl_config *f = fl_checkpoint_config(c);
    assert_int_equal(fl_checkpoint_format(c), FL_FORMAT_LLAMA2C);
    assert_string_equal(f->family, "llama");
    assert_int_equal(f->width, 64);
    assert_int_equal(f->ffn, 172);
    assert_int_equal(f->layers, 5);
    assert_int_equal(f->heads, 8);
    assert_int_equal(f->kv_heads, 4);
    assert_int_equal(f->head_dim, 8);
    assert_int_equal(f->vocab, 512);
    assert_int_equal(f->window, 512);
    assert_true(f->tied_head && f->rotary && f->rope_interleaved && !f->attention_bias && !f->mlp_bias);
    assert_true(f->norm_eps == 1e-5 && f->rope.base == 10000 && f->rope.kind == FL_ROPE_PLAIN);
    assert_int_equal(f->rope.window, 512);
    assert_int_equal(f->rope.dim, 8);
    assert_int_equal(f->bos, 1);
    assert_int_equal(f->eos_count, 2);
    assert_int_equal(f->eos[0], 2);
    assert_int_equal(f->stored_type, FL_F32);
    assert_int_equal(fl_checkpoint_count(c), 2 + 9 * 5);
    const fl_file_tensor *k = fl_checkpoint_find(c, "model.layers.4.self_attn.k_proj.weight");
    assert_int_equal(k->dim[0], 32);
    assert_int_equal(k->dim[1], 64);
    const fl_file_tensor *down = fl_checkpoint_find(c, "model.layers.0.mlp.down_proj.weight");
    assert_int_equal(down->dim[0], 64);
    assert_int_equal(down->dim[1], 172);
    const fl_file_tensor *norm = fl_checkpoint_find(c, "model.norm.weight");
    assert_int_equal(norm->rank, 1);
    assert_null(fl_checkpoint_find(c, "lm_head.weight"));
    assert_string_equal(fl_checkpoint_tokenizer(c), FL_SOURCE_DIR "/models/stories260K/tok512.bin");
    fl_checkpoint_close(c);

    c = opened(AIDREAMS);
    assert_int_equal(fl_checkpoint_config(c)->layers, 4);
    assert_int_equal(fl_checkpoint_config(c)->window, 128);
    assert_string_equal(fl_checkpoint_tokenizer(c), FL_TEST_DATA "/models/aidreams260K/tok512.bin");
    fl_checkpoint_close(c);
}

/* One model, exported by llama2.c as version 0 and as version 1. */
static void test_versions_agree(void **state)
{
    (void)state;
    fl_checkpoint *first = opened(STORIES), *second = opened(STORIES_V1);
    assert_same_tensors(first, second);
    assert_memory_equal(fl_checkpoint_config(first), fl_checkpoint_config(second), sizeof(fl_config));
    fl_checkpoint_close(first);
    fl_checkpoint_close(second);
}

/* And as version 2: each value is within half a step of its group, and a step is 1/127 of the group's largest. */
static void test_int8(void **state)
{
    (void)state;
    fl_checkpoint *exact = opened(STORIES), *rounded = opened(STORIES_Q8);
    assert_int_equal(fl_checkpoint_count(exact), fl_checkpoint_count(rounded));
    for (int64_t i = 0; i < fl_checkpoint_count(exact); i++) {
        const fl_file_tensor *t = fl_checkpoint_at(exact, i), *u = fl_checkpoint_find(rounded, t->name);
        const float *x = t->data, *y = u->data;
        size_t n = values_of(t);
        assert_int_equal(n, values_of(u));
        for (size_t g = 0; g < n; g += 8) {
            double largest = 0;
            for (size_t k = 0; k < 8; k++)
                largest = fmax(largest, fabs((double)x[g + k]));
            double bound = t->rank == 1 ? 0 : largest / 127 * 0.5001;
            for (size_t k = 0; k < 8; k++)
                assert_true(fabs((double)x[g + k] - (double)y[g + k]) <= bound);
        }
    }
    fl_checkpoint_close(exact);
    fl_checkpoint_close(rounded);
}

/* ---- writing ------------------------------------------------------------------------------------------------ */

static fl_status write_again(const char *path, int version, const fl_checkpoint *source)
{
    return fl_llama2c_write(path, version, fl_checkpoint_config(source), NULL, 0, source);
}

/* llama2.c's own exporter made both files. Its rotary tables come from float32 arithmetic: angles up to 511 carry an
 * error of 2^-15 or so; nobody reads them. */
static void test_write_same_bytes(void **state)
{
    const char *v0 = in(*state, "v0.bin"), *v1 = in(*state, "v1.bin");
    fl_checkpoint *c = opened(STORIES);
    assert_ok(write_again(v0, 0, c));
    assert_ok(write_again(v1, 1, c));
    fl_checkpoint_close(c);
    fl_buffer ours = content(v1), theirs = content(STORIES_V1);
    assert_int_equal(ours.size, theirs.size);
    assert_memory_equal(ours.data, theirs.data, ours.size);
    fl_buffer_free(&ours);
    fl_buffer_free(&theirs);

    ours = content(v0);
    theirs = content(STORIES);
    assert_int_equal(ours.size, theirs.size);
    size_t tables = 2 * 512 * 4 * sizeof(float);
    assert_memory_equal(ours.data, theirs.data, ours.size - tables);
    for (size_t i = ours.size - tables; i < ours.size; i += 4) {
        float a, b;
        memcpy(&a, ours.data + i, 4);
        memcpy(&b, theirs.data + i, 4);
        assert_true(fabsf(a - b) < 1e-4f);
    }
    fl_buffer_free(&ours);
    fl_buffer_free(&theirs);
}

/* To the half-split order of Hugging Face and back: the same bytes. */
static void test_through_hf(void **state)
{
    const char *folder = in(*state, "hf"), *back = in(*state, "back.bin");
    fl_checkpoint *c = opened(STORIES_V1);
    assert_ok(fl_hf_write(folder, fl_checkpoint_config(c), NULL, 0, FL_F32, c));
    fl_checkpoint *hf = opened(folder);
    const fl_config *f = fl_checkpoint_config(hf);
    assert_int_equal(fl_checkpoint_format(hf), FL_FORMAT_HF);
    assert_false(f->rope_interleaved);
    assert_int_equal(f->eos_count, 2);
    assert_int_equal(f->eos[1], 1);
    assert_true(f->tied_head && f->norm_eps == 1e-5);

    /* Row 1 of a head of 8 is row 2 of the other order (tests/file/test_permute.c has the whole map). */
    const fl_file_tensor *q = fl_checkpoint_find(c, "model.layers.1.self_attn.q_proj.weight");
    const fl_file_tensor *r = fl_checkpoint_find(hf, q->name);
    assert_memory_equal((const float *)r->data + 64, (const float *)q->data + 2 * 64, 64 * sizeof(float));
    const fl_file_tensor *v = fl_checkpoint_find(c, "model.layers.1.self_attn.v_proj.weight");
    assert_memory_equal(fl_checkpoint_find(hf, v->name)->data, v->data, values_of(v) * sizeof(float));

    assert_ok(write_again(back, 1, hf));
    fl_buffer ours = content(back), theirs = content(STORIES_V1);
    assert_int_equal(ours.size, theirs.size);
    assert_memory_equal(ours.data, theirs.data, ours.size);
    fl_buffer_free(&ours);
    fl_buffer_free(&theirs);
    fl_checkpoint_close(hf);
    fl_checkpoint_close(c);
}

/* A head of its own is the negative vocabulary of version 0 and the zero byte of version 1. */
static void test_untied(void **state)
{
    const char *names[] = {in(*state, "untied0.bin"), in(*state, "untied1.bin")};
    fl_checkpoint *c = opened(STORIES);
    fl_config f = *fl_checkpoint_config(c);
    fl_file_tensor head = *fl_checkpoint_find(c, "model.embed_tokens.weight");
    float *values = malloc(values_of(&head) * sizeof *values);
    for (size_t i = 0; i < values_of(&head); i++)
        values[i] = (float)i;
    head.name = "lm_head.weight";
    head.data = values;
    f.tied_head = false;
    for (int version = 0; version < 2; version++) {
        assert_ok(fl_llama2c_write(names[version], version, &f, &head, 1, c));
        fl_checkpoint *back = opened(names[version]);
        assert_false(fl_checkpoint_config(back)->tied_head);
        assert_int_equal(fl_checkpoint_config(back)->vocab, 512);
        assert_memory_equal(fl_checkpoint_find(back, "lm_head.weight")->data, values,
                            values_of(&head) * sizeof *values);
        const fl_file_tensor *norm = fl_checkpoint_find(c, "model.norm.weight");
        assert_memory_equal(fl_checkpoint_find(back, norm->name)->data, norm->data, 64 * sizeof(float));
        fl_checkpoint_close(back);
    }
    free(values);
    fl_checkpoint_close(c);
}

static void test_cannot_write(void **state)
{
    const char *path = in(*state, "no.bin");
    fl_checkpoint *c = opened(STORIES);
    const fl_config f = *fl_checkpoint_config(c);
    static const struct {
        const char *what, *key;
    } wrong[] = {{"base", "rope_theta = 20000"}, {"scaled", "rope_type = linear"}, {"eps", "rms_norm_eps = 1e-06"},
                 {"bias", "attention_bias"},     {"head_dim", "head_dim = 16"},    {"window", "sliding window"},
                 {"family", "family = gpt2"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        fl_config changed = f;
        if (i == 0) changed.rope.base = 20000;
        if (i == 1) changed.rope.kind = FL_ROPE_LINEAR;
        if (i == 2) changed.norm_eps = 1e-6;
        if (i == 3) changed.attention_bias = true;
        if (i == 4) changed.head_dim = changed.rope.dim = 16;
        if (i == 5) changed.sliding_window = 64;
        if (i == 6) strcpy(changed.family, "gpt2");
        assert_refused(wrong[i].what, fl_llama2c_write(path, 1, &changed, NULL, 0, c), FL_ERR_UNSUPPORTED,
                       "llama2.c files", wrong[i].key);
    }
    assert_refused("version", write_again(path, 2, c), FL_ERR_ARGUMENT, "llama2.c files", "version = 2");
    assert_refused("nothing", fl_llama2c_write(path, 1, &f, NULL, 0, NULL), FL_ERR_SHAPE, path, "input_layernorm");
    fl_file_tensor norm = *fl_checkpoint_find(c, "model.norm.weight");
    norm.dim[0] = 63;
    assert_refused("shape", fl_llama2c_write(path, 1, &f, &norm, 1, c), FL_ERR_SHAPE, path, "model.norm.weight");
    assert_refused("folder", write_again(in(*state, "none/no.bin"), 1, c), FL_ERR_IO, "none/no.bin", "No such file");
    assert_false(fl_file_exists(path));
    fl_checkpoint_close(c);
}

/* ---- what is refused ---------------------------------------------------------------------------------------- */

static const struct {
    int version;
    size_t offset;
    int32_t value;
    fl_status status;
    const char *key;
} refused[] = {
    {0, 0, 0, FL_ERR_FORMAT, "offset 0: dim = 0"},
    {0, 0, -64, FL_ERR_FORMAT, "offset 0: dim = -64"},
    {0, 0, INT32_MAX, FL_ERR_FORMAT, "offset 0: dim = 2147483647"},
    {0, 0, 72, FL_ERR_FORMAT, "offset"},
    {0, 0, 60, FL_ERR_FORMAT, "offset 12: n_heads = 8"},
    {0, 4, 0, FL_ERR_FORMAT, "offset 4: hidden_dim = 0"},
    {0, 4, -1, FL_ERR_FORMAT, "offset 4: hidden_dim = -1"},
    {0, 4, 173, FL_ERR_FORMAT, "offset"},
    {0, 4, 171, FL_ERR_FORMAT, "after the last tensor"},
    {0, 8, 0, FL_ERR_FORMAT, "offset 8: n_layers = 0"},
    {0, 8, INT32_MIN, FL_ERR_FORMAT, "offset 8: n_layers = -2147483648"},
    {0, 8, 65536, FL_ERR_FORMAT, "sizes of the header"},
    {0, 8, 1000, FL_ERR_FORMAT, "sizes of the header"},
    {0, 8, 6, FL_ERR_FORMAT, "offset"},
    {0, 12, 0, FL_ERR_FORMAT, "offset 12: n_heads = 0"},
    {0, 12, 7, FL_ERR_FORMAT, "offset 12: n_heads = 7"},
    {0, 12, 64, FL_ERR_FORMAT, "offset 12: n_heads = 64"},
    {0, 16, 0, FL_ERR_FORMAT, "offset 16: n_kv_heads = 0"},
    {0, 16, 3, FL_ERR_FORMAT, "offset 16: n_kv_heads = 3"},
    {0, 16, 16, FL_ERR_FORMAT, "offset 16: n_kv_heads = 16"},
    {0, 20, 0, FL_ERR_FORMAT, "offset 20: vocab_size = 0"},
    {0, 20, INT32_MIN, FL_ERR_FORMAT, "offset 20: vocab_size = -2147483648"},
    {0, 20, -512, FL_ERR_FORMAT, "lm_head.weight"},
    {0, 20, 513, FL_ERR_FORMAT, "offset"},
    {0, 24, 0, FL_ERR_FORMAT, "offset 24: max_seq_len = 0"},
    {0, 24, -512, FL_ERR_FORMAT, "offset 24: max_seq_len = -512"},
    {0, 24, 1 << 28, FL_ERR_FORMAT, "sizes of the header"},
    {0, 24, 511, FL_ERR_FORMAT, "after the last tensor"},
    {1, 4, 0, FL_ERR_UNSUPPORTED, "offset 4: version = 0"},
    {1, 4, 3, FL_ERR_UNSUPPORTED, "offset 4: version = 3"},
    {1, 4, -1, FL_ERR_UNSUPPORTED, "offset 4: version = -1"},
    {1, 4, 2, FL_ERR_FORMAT, "offset 37: group_size = 0"},
    {1, 8, 0, FL_ERR_FORMAT, "offset 8: dim = 0"},
    {1, 28, -512, FL_ERR_FORMAT, "offset 28: vocab_size = -512"},
    {1, 36, 2, FL_ERR_FORMAT, "offset 36: shared_classifier = 2"},
    {1, 36, 0, FL_ERR_FORMAT, "lm_head.weight"},
    {1, 40, 1, FL_ERR_FORMAT, "offset 40: padding = 1"},
    {1, 252, 1 << 24, FL_ERR_FORMAT, "offset 255: padding = 1"},
    {2, 37, 0, FL_ERR_FORMAT, "offset 37: group_size = 0"},
    {2, 37, -8, FL_ERR_FORMAT, "offset 37: group_size = -8"},
    {2, 37, 7, FL_ERR_FORMAT, "offset 37: group_size = 7"},
    {2, 37, 4, FL_ERR_FORMAT, "needs"},
    {2, 37, 16, FL_ERR_FORMAT, "after the last tensor"},
    {2, 37, INT32_MAX, FL_ERR_FORMAT, "offset 37: group_size = 2147483647"},
};

/* Bytes of exactly that size, aligned as a mapped file is. */
static uint8_t *file_copy(const fl_buffer *b, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    memcpy(copy, b->data, size);
    return copy;
}

static void test_refused(void **state)
{
    (void)state;
    const char *paths[] = {STORIES, STORIES_V1, STORIES_Q8};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        fl_buffer b = content(paths[refused[i].version]);
        uint8_t *bytes = file_copy(&b, b.size);
        for (int k = 0; k < 4; k++)
            bytes[refused[i].offset + (size_t)k] = (uint8_t)((uint32_t)refused[i].value >> (8 * k));
        fl_llama2c m;
        char what[64];
        snprintf(what, sizeof what, "version %d, offset %zu = %d", refused[i].version, refused[i].offset,
                 refused[i].value);
        assert_refused(what, fl_llama2c_parse(&m, "x.bin", bytes, b.size), refused[i].status,
                       "x.bin: ", refused[i].key);
        free(bytes);
        fl_buffer_free(&b);
    }
}

/* Every length short of the whole, and one byte more. */
static void test_wrong_sizes(void **state)
{
    (void)state;
    const char *paths[] = {STORIES, STORIES_V1, STORIES_Q8};
    for (int p = 0; p < 3; p++) {
        fl_buffer b = content(paths[p]);
        for (size_t size = 0; size < b.size; size += size < 300 ? 1 : 7919) {
            uint8_t *bytes = file_copy(&b, size);
            fl_llama2c m;
            assert_refused("cut", fl_llama2c_parse(&m, "x.bin", bytes, size), FL_ERR_FORMAT, "x.bin: ", "offset");
            free(bytes);
        }
        fl_llama2c m;
        assert_ok(fl_llama2c_parse(&m, "x.bin", b.data, b.size));
        fl_llama2c_close(&m);
        /* the terminating zero of the buffer is the byte too many */
        assert_refused("long", fl_llama2c_parse(&m, "x.bin", b.data, b.size + 1), FL_ERR_FORMAT, "x.bin: ", "offset");
        fl_buffer_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stories),      cmocka_unit_test(test_versions_agree),
        cmocka_unit_test(test_int8),         cmocka_unit_test(test_write_same_bytes),
        cmocka_unit_test(test_through_hf),   cmocka_unit_test(test_untied),
        cmocka_unit_test(test_cannot_write), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_wrong_sizes),
    };
    return cmocka_run_group_tests(tests, files_make, files_drop);
}
