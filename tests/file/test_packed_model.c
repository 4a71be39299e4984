/* Packed files: what is written is read back; every key of the description wrong in turn, and tensors that do not fit
 * it, are refused with file, key and, where there is one, offset. */
#include "files.h"

#include <jansson.h>

#include "file/checkpoint.h"
#include "file/packed_config.h"

#define ROWS 40
#define COLS 3
#define PANELS (2 * 32 * COLS * 4)

static _Alignas(64) char panels[PANELS];
static float vector[2] = {1, 2};
static uint8_t blocks[2 * 34];

static fl_config a_config(void)
{
    fl_config c = {.family = "llama",
                   .vocab = 40,
                   .width = 64,
                   .layers = 2,
                   .heads = 4,
                   .kv_heads = 2,
                   .head_dim = 16,
                   .ffn = 96,
                   .window = 128,
                   .sliding_window = 7,
                   .norm_eps = 1e-5,
                   .activation = FL_ACT_GELU_TANH,
                   .attention_bias = true,
                   .parallel_residual = true,
                   .by_output = true,
                   .rotary = true,
                   .bos = 1,
                   .pad = -1,
                   .eos_count = 2,
                   .eos = {2, 39},
                   .stored_type = FL_Q4_K};
    fl_rope_spec_init(&c.rope, 12345.678901234567, 8, 64);
    c.rope.kind = FL_ROPE_LONGROPE;
    c.rope.window = 128;
    c.rope.factor = 2;
    c.rope.factors = 4;
    for (int i = 0; i < 4; i++) {
        c.rope.short_factor[i] = 1 + i / 3.0;
        c.rope.long_factor[i] = 2 + i / 7.0;
    }
    return c;
}

static void write_valid(const char *path)
{
    fl_config config = a_config();
    const fl_packed_entry entry = {"w[0:40]", {"dense32/1", FL_F32, ROWS, COLS, panels, PANELS}};
    const fl_file_tensor tensor[] = {{"e", FL_Q8_0, 2, {2, 32}, blocks}, {"v", FL_F32, 1, {2}, vector}};
    assert_ok(fl_packed_model_write(path, &(fl_packed_parts){.config = &config,
                                                             .weights = 0x0123456789abcdef,
                                                             .panels = &entry,
                                                             .panels_count = 1,
                                                             .tensor = tensor,
                                                             .count = 2,
                                                             .tokenizer = {"abc", 3},
                                                             .chat_template = {"{{x}}", 5}}));
}

static void test_round_trip(void **state)
{
    const char *path = in(*state, "valid.flpack");
    for (int i = 0; i < PANELS; i++)
        panels[i] = (char)i;
    write_valid(path);
    fl_checkpoint *c;
    assert_ok(fl_checkpoint_open(&c, path));
    assert_int_equal(fl_checkpoint_format(c), FL_FORMAT_PACKED);
    const fl_packed_model *m = fl_checkpoint_packed(c);
    fl_config config = a_config();
    const fl_config *found = fl_checkpoint_config(c);
    assert_true(found->rope.base == config.rope.base && found->norm_eps == config.norm_eps); /* to the bit */
    assert_memory_equal(found->rope.short_factor, config.rope.short_factor, sizeof config.rope.short_factor);
    assert_memory_equal(found->rope.long_factor, config.rope.long_factor, sizeof config.rope.long_factor);
    json_t *a, *b; /* all members, also those named nowhere here */
    assert_ok(fl_packed_config_write(&a, &config));
    assert_ok(fl_packed_config_write(&b, found));
    assert_true(json_equal(a, b));
    json_decref(a);
    json_decref(b);
    assert_true(m->weights == 0x0123456789abcdef);

    int64_t place = fl_packed_model_find(m, "w[0:40]");
    assert_in_range(place, 0, m->places - 1);
    const fl_panels *p = &m->panels[place];
    assert_string_equal(p->layout, "dense32/1");
    assert_int_equal(p->type, FL_F32);
    assert_int_equal(p->rows, ROWS);
    assert_int_equal(p->cols, COLS);
    assert_int_equal(p->bytes, PANELS);
    assert_int_equal((uintptr_t)p->data % 64, 0);
    assert_memory_equal(p->data, panels, PANELS);
    size_t offset;
    assert_string_equal(fl_packed_model_entry(m, place, &offset), "w[0:40]");
    assert_int_equal(offset % 64, 0);
    assert_true(fl_packed_model_find(m, "v") < 0 && fl_packed_model_find(m, "w") < 0);

    assert_int_equal(fl_checkpoint_count(c), 2);
    const fl_file_tensor *t = fl_checkpoint_find(c, "e");
    assert_true(t && t->type == FL_Q8_0 && t->rank == 2 && t->dim[0] == 2 && t->dim[1] == 32);
    assert_memory_equal(t->data, blocks, sizeof blocks);
    t = fl_checkpoint_find(c, "v");
    assert_true(t && t->type == FL_F32 && t->rank == 1 && t->dim[0] == 2);
    assert_memory_equal(t->data, vector, sizeof vector);
    assert_int_equal(m->tokenizer.size, 3);
    assert_memory_equal(m->tokenizer.data, "abc", 3);
    assert_null(m->tokenizer_config.data);
    assert_memory_equal(m->chat_template.data, "{{x}}", 5);
    assert_refused("need", fl_checkpoint_need_rows(c, "converted"), FL_ERR_UNSUPPORTED, path, "cannot be converted");
    fl_checkpoint_close(c);
}

/* Without rotation there is no rope object. */
static void test_learned_positions(void **state)
{
    (void)state;
    fl_config config = a_config(), found;
    config.rotary = false;
    config.positions = FL_POSITIONS_LEARNED;
    strcpy(config.family, "gpt2");
    json_t *root;
    assert_ok(fl_packed_config_write(&root, &config));
    assert_true(json_is_null(json_object_get(root, "rope")));
    assert_ok(fl_packed_config_read(&found, &(fl_json_at){root, "f", "c."}));
    assert_false(found.rotary);
    json_object_set_new(root, "rope", json_object());
    assert_refused("rope", fl_packed_config_read(&found, &(fl_json_at){root, "f", "c."}), FL_ERR_FORMAT, "f", "c.rope");
    json_decref(root);
}

static void test_unwritable(void **state)
{
    const char *path = in(*state, "none.flpack");
    fl_config config = a_config();
    config.rope.factor = 1.0 / 0.0;
    assert_int_equal(fl_packed_model_write(path, &(fl_packed_parts){.config = &config}), FL_ERR_MEMORY);
    assert_false(fl_file_exists(path));
}

/* ---- what is refused ---------------------------------------------------------------------------------------- */

/* A key of the description and what it is made (NULL: deleted, which the key's own name must then say). */
static const struct {
    const char *path, *value;
    fl_status status;
    const char *says; /* NULL: the path */
} bad[] = {
    {"version", NULL, FL_ERR_FORMAT, NULL},
    {"version", "2", FL_ERR_UNSUPPORTED, "version = 2: written by another version"},
    {"version", "\"1\"", FL_ERR_FORMAT, NULL},
    {"weights", NULL, FL_ERR_FORMAT, NULL},
    {"weights", "7", FL_ERR_FORMAT, NULL},
    {"weights", "\"0123456789abcde\"", FL_ERR_FORMAT, NULL},
    {"weights", "\"0123456789abcdeg\"", FL_ERR_FORMAT, NULL},
    {"more", "1", FL_ERR_UNSUPPORTED, NULL},
    {"config", NULL, FL_ERR_FORMAT, NULL},
    {"config", "[]", FL_ERR_FORMAT, NULL},
    {"panels", NULL, FL_ERR_FORMAT, NULL},
    {"panels", "7", FL_ERR_FORMAT, NULL},
    {"rows", NULL, FL_ERR_FORMAT, NULL},
    {"rows", "7", FL_ERR_FORMAT, NULL},
    {"config.more", "1", FL_ERR_UNSUPPORTED, NULL},
    {"config.family", "\"a_family_of_no_model_that_is_known_to_anyone\"", FL_ERR_UNSUPPORTED, NULL},
    {"config.family", "7", FL_ERR_FORMAT, NULL},
    {"config.vocab", "0", FL_ERR_FORMAT, NULL},
    {"config.vocab", "268435457", FL_ERR_FORMAT, NULL},
    {"config.width", "0", FL_ERR_FORMAT, NULL},
    {"config.width", "9223372036854775807", FL_ERR_FORMAT, NULL},
    {"config.layers", "-1", FL_ERR_FORMAT, NULL},
    {"config.layers", "65537", FL_ERR_FORMAT, NULL},
    {"config.heads", "0", FL_ERR_FORMAT, NULL},
    {"config.kv_heads", "0", FL_ERR_FORMAT, NULL},
    {"config.kv_heads", "3", FL_ERR_FORMAT, "config.kv_heads = 3: does not divide heads"},
    {"config.head_dim", "0", FL_ERR_FORMAT, NULL},
    {"config.head_dim", "6", FL_ERR_FORMAT, "config.rope.dim = 8: is more than head_dim"},
    {"config.ffn", "1.5", FL_ERR_FORMAT, NULL},
    {"config.window", "0", FL_ERR_FORMAT, NULL},
    {"config.sliding_window", "-1", FL_ERR_FORMAT, NULL},
    {"config.norm_eps", "0", FL_ERR_FORMAT, NULL},
    {"config.norm_eps", "1.0", FL_ERR_FORMAT, NULL},
    {"config.norm_eps", "\"x\"", FL_ERR_FORMAT, NULL},
    {"config.activation", "\"relu\"", FL_ERR_UNSUPPORTED, NULL},
    {"config.activation", NULL, FL_ERR_FORMAT, NULL},
    {"config.tied_head", "1", FL_ERR_FORMAT, NULL},
    {"config.attention_bias", "1", FL_ERR_FORMAT, NULL},
    {"config.output_bias", "1", FL_ERR_FORMAT, NULL},
    {"config.qk_norm", "1", FL_ERR_FORMAT, NULL},
    {"config.parallel_residual", "1", FL_ERR_FORMAT, NULL},
    {"config.qkv_by_head", "1", FL_ERR_FORMAT, NULL},
    {"config.by_output", "1", FL_ERR_FORMAT, NULL},
    {"config.mlp_bias", "1", FL_ERR_FORMAT, NULL},
    {"config.rotary", "1", FL_ERR_FORMAT, NULL},
    {"config.rotary", "false", FL_ERR_FORMAT, "config.rope"},
    {"config.positions", "\"absolute\"", FL_ERR_UNSUPPORTED, NULL},
    {"config.positions", "\"learned\"", FL_ERR_FORMAT, NULL},
    {"config.positions", "\"alibi\"", FL_ERR_FORMAT, NULL},
    {"config.rope_interleaved", "1", FL_ERR_FORMAT, NULL},
    {"config.bos", "40", FL_ERR_FORMAT, NULL},
    {"config.bos", "-2", FL_ERR_FORMAT, NULL},
    {"config.pad", "40", FL_ERR_FORMAT, NULL},
    {"config.eos", "2", FL_ERR_FORMAT, NULL},
    {"config.eos", "[40]", FL_ERR_FORMAT, NULL},
    {"config.eos", "[-1]", FL_ERR_FORMAT, NULL},
    {"config.eos", "[1,2,3,4,5,6,7,8,9]", FL_ERR_FORMAT, NULL},
    {"config.stored_type", "\"F12\"", FL_ERR_UNSUPPORTED, NULL},
    {"config.rope", NULL, FL_ERR_FORMAT, NULL},
    {"config.rope", "[]", FL_ERR_FORMAT, NULL},
    {"config.rope.more", "1", FL_ERR_UNSUPPORTED, NULL},
    {"config.rope.kind", "\"spiral\"", FL_ERR_UNSUPPORTED, NULL},
    {"config.rope.kind", NULL, FL_ERR_FORMAT, NULL},
    {"config.rope.base", "-1.0", FL_ERR_FORMAT, "config.rope: rope_theta"},
    {"config.rope.base", "\"x\"", FL_ERR_FORMAT, NULL},
    {"config.rope.dim", "0", FL_ERR_FORMAT, NULL},
    {"config.rope.dim", "7", FL_ERR_FORMAT, "config.rope: head_dim"},
    {"config.rope.dim", "514", FL_ERR_FORMAT, NULL},
    {"config.rope.window", "0", FL_ERR_FORMAT, NULL},
    {"config.rope.original_window", "0", FL_ERR_FORMAT, NULL},
    {"config.rope.factor", "0.5", FL_ERR_FORMAT, "config.rope: factor"},
    {"config.rope.attention_factor", "-1.0", FL_ERR_FORMAT, "config.rope: attention_factor"},
    {"config.rope.truncate", "0", FL_ERR_FORMAT, NULL},
    {"config.rope.short_factor", "7", FL_ERR_FORMAT, NULL},
    {"config.rope.short_factor", "[1,2,3,\"4\"]", FL_ERR_FORMAT, NULL},
    {"config.rope.short_factor", "[1,2,3,0]", FL_ERR_FORMAT, "config.rope: short_factor"},
    {"config.rope.short_factor", "[1,2,3]", FL_ERR_FORMAT, "config.rope.long_factor"},
    {"config.rope.long_factor", "[1,2,3,4,5]", FL_ERR_FORMAT, NULL},
    {"panels.w[0:40]", "7", FL_ERR_FORMAT, NULL},
    {"panels.w[0:40].layout", NULL, FL_ERR_FORMAT, NULL},
    {"panels.w[0:40].layout", "7", FL_ERR_FORMAT, NULL},
    {"panels.w[0:40].more", "7", FL_ERR_UNSUPPORTED, NULL},
    {"panels.w[0:40].type", "\"F31\"", FL_ERR_UNSUPPORTED, NULL},
    {"panels.w[0:40].type", "\"U8\"", FL_ERR_UNSUPPORTED, NULL},
    {"panels.w[0:40].type", NULL, FL_ERR_FORMAT, NULL},
    {"panels.w[0:40].rows", "0", FL_ERR_FORMAT, NULL},
    {"panels.w[0:40].cols", "16777217", FL_ERR_FORMAT, NULL},
    {"panels.x[0:40]", "{}", FL_ERR_FORMAT, "panels.x[0:40]: the file has no tensor"},
    {"panels.v", "{\"layout\":\"dense32/1\",\"type\":\"F32\",\"rows\":1,\"cols\":1}", FL_ERR_FORMAT,
     "v.dtype = \"F32\""},
    {"panels", "{}", FL_ERR_FORMAT, "tensor w[0:40]"},
    {"rows.e", "7", FL_ERR_FORMAT, NULL},
    {"rows.e.layout", "\"dense32/1\"", FL_ERR_UNSUPPORTED, NULL},
    {"rows.e.type", "\"Q9_0\"", FL_ERR_UNSUPPORTED, NULL},
    {"rows.e.type", "\"Q4_0\"", FL_ERR_FORMAT, "rows.e.data: 68 bytes"},
    {"rows.e.type", "\"F32\"", FL_ERR_FORMAT, "rows.e.data"},
    {"rows.e.rows", "3", FL_ERR_FORMAT, "rows.e.data"},
    {"rows.e.rows", "268435457", FL_ERR_FORMAT, NULL},
    {"rows.e.cols", "16", FL_ERR_FORMAT, "rows.e.data"},
    {"rows.w[0:40]", "{\"type\":\"Q8_0\",\"rows\":1,\"cols\":32}", FL_ERR_FORMAT, "rows.w[0:40]"},
    {"rows", "{}", FL_ERR_FORMAT, "tensor e"},
};

static void set(json_t *root, const char *path, const char *value)
{
    char key[128];
    const char *dot;
    while ((dot = strchr(path, '.'))) {
        snprintf(key, sizeof key, "%.*s", (int)(dot - path), path);
        root = json_object_get(root, key);
        assert_true(json_is_object(root));
        path = dot + 1;
    }
    if (!value) {
        assert_int_equal(json_object_del(root, path), 0);
        return;
    }
    json_t *json = json_loads(value, JSON_DECODE_ANY, NULL);
    assert_non_null(json);
    assert_int_equal(json_object_set_new(root, path, json), 0);
}

/* The valid file's tensors under another description. */
static void write_with(const char *path, const char *valid, const char *description)
{
    fl_safetensors *s;
    fl_file_tensor t[8];
    assert_ok(fl_safetensors_open(&s, valid));
    int64_t count = fl_safetensors_count(s);
    for (int64_t i = 0; i < count; i++)
        t[i] = *fl_safetensors_at(s, i);
    assert_ok(fl_safetensors_write(path, t, count, &(fl_metadata){"furlong_packed", description}, 1));
    fl_safetensors_close(s);
}

static json_t *description_of(const char *path)
{
    fl_safetensors *s;
    assert_ok(fl_safetensors_open(&s, path));
    json_t *root = json_loads(fl_safetensors_metadata(s, "furlong_packed"), 0, NULL);
    assert_non_null(root);
    fl_safetensors_close(s);
    return root;
}

static void test_descriptions(void **state)
{
    const char *valid = in(*state, "valid.flpack"), *path = in(*state, "bad.flpack");
    json_t *right = description_of(valid);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_t *root = json_deep_copy(right);
        set(root, bad[i].path, bad[i].value);
        char *text = json_dumps(root, JSON_COMPACT | JSON_ENCODE_ANY);
        write_with(path, valid, text);
        free(text);
        json_decref(root);
        fl_checkpoint *c = NULL;
        assert_refused(bad[i].path, fl_checkpoint_open(&c, path), bad[i].status, path,
                       bad[i].says ? bad[i].says : bad[i].path);
        assert_null(c);
    }
    /* Every key of the config and of its rope object deleted, then of a type that it never has. */
    const char *inside[] = {"config", "rope"};
    for (int level = 0; level < 2; level++) {
        json_t *object = json_object_get(right, "config"), *value;
        if (level) object = json_object_get(object, "rope");
        const char *key;
        json_object_foreach(object, key, value)
        {
            char name[96];
            snprintf(name, sizeof name, level ? "config.rope.%s" : "config.%s", key);
            for (int k = 0; k < 2; k++) {
                json_t *root = json_deep_copy(right);
                set(root, name, k ? "{}" : NULL);
                char *text = json_dumps(root, JSON_COMPACT);
                write_with(path, valid, text);
                free(text);
                json_decref(root);
                fl_checkpoint *c = NULL;
                fl_status status = fl_checkpoint_open(&c, path);
                assert_refused(inside[level], status, status, path, name);
                assert_true(status == FL_ERR_FORMAT);
            }
        }
    }
    json_decref(right);
    write_with(path, valid, "{\"version\":1");
    fl_checkpoint *c = NULL;
    assert_refused("syntax", fl_checkpoint_open(&c, path), FL_ERR_FORMAT, path, "furlong_packed: line 1");
    write_with(path, valid, "[]");
    assert_refused("list", fl_checkpoint_open(&c, path), FL_ERR_FORMAT, path, "furlong_packed");
    write_with(path, valid, "{\"version\":1,\"version\":1}");
    assert_refused("twice", fl_checkpoint_open(&c, path), FL_ERR_FORMAT, path, "duplicate");
}

/* Another program may write the tensors in another order, or begin them elsewhere. */
static void test_misaligned(void **state)
{
    const char *valid = in(*state, "valid.flpack"), *path = in(*state, "moved.flpack");
    fl_buffer b = content(valid);
    uint64_t length = 0;
    for (int i = 7; i >= 0; i--)
        length = length << 8 | (uint8_t)b.data[i];
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    uint64_t longer = length + 8;
    for (int i = 0; i < 8; i++)
        fputc((int)(longer >> (8 * i) & 255), file);
    fwrite(b.data + 8, 1, (size_t)length, file);
    fputs("        ", file);
    fwrite(b.data + 8 + length, 1, b.size - 8 - (size_t)length, file);
    assert_int_equal(fclose(file), 0);
    char offset[64];
    snprintf(offset, sizeof offset, "offset %llu", (unsigned long long)(16 + length));
    fl_checkpoint *c = NULL;
    assert_refused("moved", fl_checkpoint_open(&c, path), FL_ERR_FORMAT, offset, "multiples of 64");
    fl_buffer_free(&b);
}

/* Cut off anywhere the file is refused, and never read beyond its end. */
static void test_cut(void **state)
{
    const char *valid = in(*state, "valid.flpack");
    fl_buffer b = content(valid);
    for (size_t size = 0; size < b.size; size += size < 64 ? 1 : 97) {
        void *bytes = malloc(size ? size : 1);
        memcpy(bytes, b.data, size);
        fl_safetensors *s = NULL;
        assert_refused("cut", fl_safetensors_parse(&s, "cut.flpack", bytes, size), FL_ERR_FORMAT, "cut.flpack", "");
        free(bytes);
    }
    fl_buffer_free(&b);
}

/* A folder with a packed file where weights belong. */
static void test_in_a_folder(void **state)
{
    const char *folder = in(*state, "folder");
    assert_ok(fl_folder_make(folder));
    fl_buffer config = content(FL_TEST_DATA "/tiny/llama/config.json");
    put_text(in(folder, "config.json"), config.data);
    fl_buffer_free(&config);
    write_valid(in(folder, "model.safetensors"));
    fl_checkpoint *c = NULL;
    assert_refused("folder", fl_checkpoint_open(&c, folder), FL_ERR_UNSUPPORTED, folder,
                   "name the file, not its folder");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),  cmocka_unit_test(test_learned_positions),
        cmocka_unit_test(test_unwritable),  cmocka_unit_test(test_descriptions),
        cmocka_unit_test(test_misaligned),  cmocka_unit_test(test_cut),
        cmocka_unit_test(test_in_a_folder),
    };
    return cmocka_run_group_tests(tests, files_make, files_drop);
}
