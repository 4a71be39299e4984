#include "files.h"

#include <math.h>
#include <sys/stat.h>

#include "file/checkpoint.h"
#include "file/hf_config.h"
#include "file/hf_write.h"
#include "file/safetensors.h"

#define TINY FL_TEST_DATA "/tiny/"

static fl_checkpoint *opened(const char *path)
{
    fl_checkpoint *c;
    assert_ok(fl_checkpoint_open(&c, path));
    return c;
}

static void assert_same_tensor(const fl_file_tensor *a, const fl_file_tensor *b)
{
    size_t bytes;
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal(a->type, b->type);
    assert_int_equal(a->rank, b->rank);
    for (int d = 0; d < a->rank; d++)
        assert_int_equal(a->dim[d], b->dim[d]);
    assert_ok(fl_file_tensor_bytes(a, &bytes));
    assert_memory_equal(a->data, b->data, bytes);
}

static void copy_file(const char *from, const char *to)
{
    fl_buffer b = content(from);
    put_bytes(to, b.data, b.size);
    fl_buffer_free(&b);
}

/* A new folder with the tiny llama's weights and this config.json (NULL: none). */
static const char *model_folder(void **state, const char *name, const char *config)
{
    const char *folder = in(*state, name);
    assert_ok(fl_folder_make(folder));
    copy_file(TINY "llama/model.safetensors", in(folder, "model.safetensors"));
    if (config) put_text(in(folder, "config.json"), config);
    return folder;
}

/* ---- folders that transformers wrote ------------------------------------------------------------------------ */

static void test_llama(void **state)
{
    (void)state;
    fl_checkpoint *c = opened(TINY "llama");
    const fl_config *f = fl_checkpoint_config(c);
    assert_int_equal(fl_checkpoint_format(c), FL_FORMAT_HF);
    assert_string_equal(f->family, "llama");
    assert_int_equal(f->vocab, 320);
    assert_int_equal(f->width, 64);
    assert_int_equal(f->layers, 3);
    assert_int_equal(f->heads, 4);
    assert_int_equal(f->kv_heads, 2);
    assert_int_equal(f->head_dim, 16);
    assert_int_equal(f->ffn, 176);
    assert_int_equal(f->window, 128);
    assert_int_equal(f->activation, FL_ACT_SILU);
    assert_true(f->norm_eps == 1e-5 && f->rope.base == 10000);
    assert_true(f->rotary && !f->rope_interleaved && !f->tied_head);
    assert_int_equal(f->bos, 1);
    assert_int_equal(f->pad, -1);
    assert_int_equal(f->eos_count, 1);
    assert_int_equal(f->eos[0], 2);
    assert_int_equal(f->stored_type, FL_F32);
    assert_int_equal(fl_checkpoint_count(c), 3 + 9 * 3);
    const fl_file_tensor *k = fl_checkpoint_find(c, "model.layers.2.self_attn.k_proj.weight");
    assert_int_equal(k->dim[0], 32);
    assert_int_equal(k->dim[1], 64);
    assert_null(fl_checkpoint_find(c, "model.layers.3.self_attn.k_proj.weight"));
    assert_null(fl_checkpoint_tokenizer(c));
    assert_string_equal(fl_checkpoint_path(c), TINY "llama");
    assert_string_equal(fl_checkpoint_folder(c), TINY "llama");
    fl_checkpoint_close(c);
}

static void test_gpt2(void **state)
{
    (void)state;
    fl_checkpoint *c = opened(TINY "gpt2");
    const fl_config *f = fl_checkpoint_config(c);
    assert_string_equal(f->family, "gpt2");
    assert_int_equal(f->width, 48);
    assert_int_equal(f->ffn, 192);
    assert_int_equal(f->heads, 4);
    assert_int_equal(f->kv_heads, 4);
    assert_int_equal(f->head_dim, 12);
    assert_int_equal(f->window, 128);
    assert_int_equal(f->activation, FL_ACT_GELU_TANH);
    assert_true(f->tied_head && f->attention_bias && f->mlp_bias && !f->rotary && f->norm_eps == 1e-5);
    assert_non_null(fl_checkpoint_find(c, "transformer.h.2.attn.c_attn.weight"));
    fl_checkpoint_close(c);
}

/* The same weights in four files, in one, and by the name of the one file. */
static void test_shards(void **state)
{
    (void)state;
    fl_checkpoint *whole = opened(TINY "llama"), *sharded = opened(TINY "llama_sharded");
    fl_checkpoint *by_name = opened(TINY "llama/model.safetensors");
    fl_checkpoint *first = opened(TINY "llama_sharded/model-00001-of-00004.safetensors");
    assert_int_equal(fl_checkpoint_count(whole), fl_checkpoint_count(sharded));
    assert_int_equal(fl_checkpoint_count(whole), fl_checkpoint_count(by_name));
    assert_in_range(fl_checkpoint_count(first), 1, fl_checkpoint_count(whole) - 1);
    for (int64_t i = 0; i < fl_checkpoint_count(whole); i++) {
        const fl_file_tensor *t = fl_checkpoint_at(whole, i);
        assert_same_tensor(t, fl_checkpoint_find(sharded, t->name));
        assert_same_tensor(t, fl_checkpoint_find(by_name, t->name));
    }
    assert_string_equal(fl_checkpoint_folder(by_name), TINY "llama");
    fl_checkpoint_close(first);
    fl_checkpoint_close(by_name);
    fl_checkpoint_close(sharded);
    fl_checkpoint_close(whole);
}

static void test_bf16(void **state)
{
    (void)state;
    fl_checkpoint *c = opened(TINY "llama_bf16");
    assert_int_equal(fl_checkpoint_config(c)->stored_type, FL_BF16);
    assert_int_equal(fl_checkpoint_find(c, "model.norm.weight")->type, FL_BF16);
    fl_checkpoint_close(c);
}

/* Files of the bare GPT-2 model carry no prefix. */
static void test_bare_gpt2(void **state)
{
    const char *folder = in(*state, "bare");
    assert_ok(fl_folder_make(folder));
    copy_file(TINY "gpt2/config.json", in(folder, "config.json"));
    fl_checkpoint *c = opened(TINY "gpt2");
    int64_t count = fl_checkpoint_count(c);
    fl_file_tensor *t = calloc((size_t)count, sizeof *t);
    for (int64_t i = 0; i < count; i++) {
        t[i] = *fl_checkpoint_at(c, i);
        t[i].name += strlen("transformer.");
    }
    assert_ok(fl_safetensors_write(in(folder, "model.safetensors"), t, count, NULL, 0));
    fl_checkpoint *bare = opened(folder);
    for (int64_t i = 0; i < count; i++)
        assert_same_tensor(fl_checkpoint_at(c, i), fl_checkpoint_find(bare, fl_checkpoint_at(c, i)->name));
    free(t);
    fl_checkpoint_close(bare);
    fl_checkpoint_close(c);
}

/* ---- config.json -------------------------------------------------------------------------------------------- */

static fl_status read_text(fl_config *out, const char *text)
{
    json_t *root;
    FL_TRY(fl_json_parse(&root, "config.json", text, strlen(text), fl_json_config_limits));
    fl_status status = fl_hf_config_read(out, root, "config.json");
    json_decref(root);
    return status;
}

#define LLAMA                                                                                                          \
    "\"model_type\":\"llama\",\"vocab_size\":100,\"hidden_size\":48,\"intermediate_size\":96,"                         \
    "\"num_hidden_layers\":2,\"num_attention_heads\":6"
#define GPT2 "\"model_type\":\"gpt2\",\"vocab_size\":100,\"n_embd\":48,\"n_layer\":2,\"n_head\":6"

/* What transformers' LlamaConfig and GPT2Config take for keys that are absent. */
static void test_defaults(void **state)
{
    (void)state;
    fl_config f;
    assert_ok(read_text(&f, "{" LLAMA "}"));
    assert_int_equal(f.kv_heads, 6);
    assert_int_equal(f.head_dim, 8);
    assert_int_equal(f.window, 2048);
    assert_true(f.norm_eps == 1e-6 && f.rope.base == 10000 && f.rope.kind == FL_ROPE_PLAIN);
    assert_true(!f.tied_head && !f.attention_bias && !f.mlp_bias);
    assert_int_equal(f.bos, 1);
    assert_int_equal(f.eos[0], 2);
    assert_int_equal(f.pad, -1);

    assert_ok(read_text(&f, "{" GPT2 ",\"n_inner\":null}"));
    assert_int_equal(f.ffn, 192);
    assert_int_equal(f.window, 1024);
    assert_true(f.norm_eps == 1e-5 && f.tied_head);
    assert_int_equal(f.bos, -1); /* 50256 is not in this vocabulary */
    assert_int_equal(f.eos_count, 0);
}

static void test_given(void **state)
{
    (void)state;
    fl_config f;
    assert_ok(read_text(&f, "{" LLAMA ",\"head_dim\":16,\"num_key_value_heads\":2,\"attention_bias\":true,"
                            "\"mlp_bias\":true,\"tie_word_embeddings\":true,\"rms_norm_eps\":1e-5,"
                            "\"max_position_embeddings\":4096,\"rope_theta\":500000,\"bos_token_id\":null,"
                            "\"eos_token_id\":[7,8,9],\"pad_token_id\":3,\"sliding_window\":null,"
                            "\"architectures\":[\"LlamaForCausalLM\"]}"));
    assert_int_equal(f.head_dim, 16); /* not 48 / 6 */
    assert_int_equal(f.kv_heads, 2);
    assert_int_equal(f.rope.dim, 16);
    assert_int_equal(f.window, 4096);
    assert_true(f.rope.base == 500000 && f.rope.window == 4096);
    assert_true(f.attention_bias && f.mlp_bias && f.tied_head);
    assert_int_equal(f.bos, -1);
    assert_int_equal(f.pad, 3);
    assert_int_equal(f.eos_count, 3);
    assert_int_equal(f.eos[2], 9);
    assert_ok(read_text(&f, "{" LLAMA ",\"pad_token_id\":-1,\"eos_token_id\":null,\"head_dim\":null}"));
    assert_int_equal(f.pad, -1);
    assert_int_equal(f.eos_count, 0);
    assert_int_equal(f.head_dim, 8);
    assert_ok(read_text(&f, "{" GPT2 ",\"activation_function\":\"gelu\",\"n_inner\":100}"));
    assert_int_equal(f.activation, FL_ACT_GELU_ERF);
    assert_int_equal(f.ffn, 100);
}

/* LLAMA or GPT2, then the keys: a later key replaces an earlier one of the same name. */
static const struct {
    bool gpt2;
    const char *key, *value; /* value NULL: the key is left out */
    fl_status status;
    const char *said;
} refused[] = {
    {false, "model_type", NULL, FL_ERR_FORMAT, "model_type"},
    {false, "model_type", "7", FL_ERR_FORMAT, "model_type = 7"},
    {false, "model_type", "\"mamba\"", FL_ERR_UNSUPPORTED, "model_type = 'mamba': unknown family; supported are the causal models of llama"},
    {false, "architectures", "[\"LlamaForSequenceClassification\"]", FL_ERR_UNSUPPORTED, "architectures"},
    {false, "architectures", "3", FL_ERR_UNSUPPORTED, "architectures = 3"},
    {false, "quantization_config", "{\"bits\":4}", FL_ERR_UNSUPPORTED, "quantization_config"},
    {false, "vocab_size", NULL, FL_ERR_FORMAT, "vocab_size"},
    {false, "vocab_size", "0", FL_ERR_FORMAT, "vocab_size = 0"},
    {false, "vocab_size", "-1", FL_ERR_FORMAT, "vocab_size = -1"},
    {false, "vocab_size", "99999999999", FL_ERR_FORMAT, "vocab_size = 99999999999"},
    {false, "vocab_size", "\"100\"", FL_ERR_FORMAT, "vocab_size = '100'"},
    {false, "vocab_size", "100.5", FL_ERR_FORMAT, "vocab_size = 100.5"},
    {false, "vocab_size", "true", FL_ERR_FORMAT, "vocab_size = true"},
    {false, "hidden_size", NULL, FL_ERR_FORMAT, "hidden_size"},
    {false, "hidden_size", "0", FL_ERR_FORMAT, "hidden_size = 0"},
    {false, "hidden_size", "50", FL_ERR_FORMAT, "num_attention_heads = 6"},
    {false, "hidden_size", "1e300", FL_ERR_FORMAT, "hidden_size"},
    {false, "intermediate_size", "-4", FL_ERR_FORMAT, "intermediate_size = -4"},
    {false, "num_hidden_layers", "100000", FL_ERR_FORMAT, "num_hidden_layers = 100000"},
    {false, "num_attention_heads", "0", FL_ERR_FORMAT, "num_attention_heads = 0"},
    {false, "num_key_value_heads", "4", FL_ERR_FORMAT, "num_key_value_heads = 4"},
    {false, "num_key_value_heads", "12", FL_ERR_FORMAT, "num_key_value_heads = 12"},
    {false, "num_key_value_heads", "0", FL_ERR_FORMAT, "num_key_value_heads = 0"},
    {false, "head_dim", "0", FL_ERR_FORMAT, "head_dim = 0"},
    {false, "head_dim", "7", FL_ERR_FORMAT, "head_dim = 7"},
    {false, "head_dim", "4096", FL_ERR_UNSUPPORTED, "head_dim = 4096"},
    {false, "max_position_embeddings", "0", FL_ERR_FORMAT, "max_position_embeddings = 0"},
    {false, "max_position_embeddings", "1e30", FL_ERR_FORMAT, "max_position_embeddings"},
    {false, "rms_norm_eps", "0", FL_ERR_FORMAT, "rms_norm_eps = 0"},
    {false, "rms_norm_eps", "-1e-6", FL_ERR_FORMAT, "rms_norm_eps = -1e-6"},
    {false, "rms_norm_eps", "\"small\"", FL_ERR_FORMAT, "rms_norm_eps = 'small'"},
    {false, "rms_norm_eps", "1e999", FL_ERR_FORMAT, "line 1"},
    {false, "rms_norm_eps", "NaN", FL_ERR_FORMAT, "line 1"},
    {false, "hidden_act", "\"gelu\"", FL_ERR_UNSUPPORTED, "hidden_act = 'gelu'"},
    {false, "hidden_act", "[]", FL_ERR_FORMAT, "hidden_act = []"},
    {false, "tie_word_embeddings", "1", FL_ERR_FORMAT, "tie_word_embeddings = 1"},
    {false, "attention_bias", "\"no\"", FL_ERR_FORMAT, "attention_bias = 'no'"},
    {false, "mlp_bias", "{}", FL_ERR_FORMAT, "mlp_bias = {}"},
    {false, "sliding_window", "4096", FL_ERR_UNSUPPORTED, "sliding_window = 4096"},
    {false, "bos_token_id", "100", FL_ERR_FORMAT, "bos_token_id = 100"},
    {false, "bos_token_id", "-2", FL_ERR_FORMAT, "bos_token_id = -2"},
    {false, "eos_token_id", "100", FL_ERR_FORMAT, "eos_token_id = 100"},
    {false, "eos_token_id", "[2,100]", FL_ERR_FORMAT, "eos_token_id = [2,100]"},
    {false, "eos_token_id", "[2,\"3\"]", FL_ERR_FORMAT, "eos_token_id"},
    {false, "eos_token_id", "[1,2,3,4,5,6,7,8,9]", FL_ERR_UNSUPPORTED, "eos_token_id"},
    {false, "eos_token_id", "{}", FL_ERR_FORMAT, "eos_token_id = {}"},
    {false, "pad_token_id", "\"x\"", FL_ERR_FORMAT, "pad_token_id = 'x'"},
    {false, "rope_scaling", "{\"type\":\"magic\"}", FL_ERR_UNSUPPORTED, "rope_scaling.type = 'magic'"},
    {true, "n_embd", "50", FL_ERR_FORMAT, "n_head = 6"},
    {true, "n_embd", NULL, FL_ERR_FORMAT, "n_embd"},
    {true, "n_layer", "0", FL_ERR_FORMAT, "n_layer = 0"},
    {true, "n_head", "-6", FL_ERR_FORMAT, "n_head = -6"},
    {true, "n_inner", "0", FL_ERR_FORMAT, "n_inner = 0"},
    {true, "n_positions", "0", FL_ERR_FORMAT, "n_positions = 0"},
    {true, "layer_norm_epsilon", "2", FL_ERR_FORMAT, "layer_norm_epsilon = 2"},
    {true, "activation_function", "\"relu\"", FL_ERR_UNSUPPORTED, "activation_function = 'relu'"},
    {true, "scale_attn_weights", "false", FL_ERR_UNSUPPORTED, "scale_attn_weights = false"},
    {true, "scale_attn_by_inverse_layer_idx", "true", FL_ERR_UNSUPPORTED, "scale_attn_by_inverse_layer_idx = true"},
    {true, "add_cross_attention", "true", FL_ERR_UNSUPPORTED, "add_cross_attention = true"},
    {true, "add_cross_attention", "0", FL_ERR_FORMAT, "add_cross_attention = 0"},
};

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const char *base = refused[i].gpt2 ? "{" GPT2 "}" : "{" LLAMA "}";
        fl_config f;
        char text[1024];
        json_t *root;
        assert_ok(fl_json_parse(&root, "x", base, strlen(base), fl_json_config_limits));
        json_object_del(root, refused[i].key);
        char *rest = json_dumps(root, JSON_COMPACT);
        json_decref(root);
        if (refused[i].value)
            snprintf(text, sizeof text, "{\"%s\":%s,%s", refused[i].key, refused[i].value, rest + 1);
        else
            snprintf(text, sizeof text, "%s", rest);
        free(rest);
        assert_refused(text, read_text(&f, text), refused[i].status, "config.json: ", refused[i].said);
    }
}

static void test_generation_config(void **state)
{
    const char *folder = model_folder(state, "generation", NULL);
    copy_file(TINY "llama/config.json", in(folder, "config.json"));
    put_text(in(folder, "generation_config.json"), "{\"eos_token_id\": [5, 6], \"temperature\": 0.5}");
    fl_checkpoint *c = opened(folder);
    assert_int_equal(fl_checkpoint_config(c)->eos_count, 2);
    assert_int_equal(fl_checkpoint_config(c)->eos[1], 6);
    fl_checkpoint_close(c);
    put_text(in(folder, "generation_config.json"), "{\"temperature\": 0.5}");
    c = opened(folder);
    assert_int_equal(fl_checkpoint_config(c)->eos_count, 1);
    assert_int_equal(fl_checkpoint_config(c)->eos[0], 2);
    fl_checkpoint_close(c);
    put_text(in(folder, "generation_config.json"), "{\"eos_token_id\": 320}");
    assert_refused("eos", fl_checkpoint_open(&c, folder), FL_ERR_FORMAT, folder,
                   "generation_config.json: eos_token_id = 320");
    put_text(in(folder, "generation_config.json"), "{\"eos_token_id\": 2,}");
    assert_refused("syntax", fl_checkpoint_open(&c, folder), FL_ERR_FORMAT, "generation_config.json", "line 1");
}

/* ---- folders ------------------------------------------------------------------------------------------------ */

static void test_missing_parts(void **state)
{
    fl_checkpoint *c = NULL;
    const char *folder = model_folder(state, "no config", NULL);
    assert_refused("config", fl_checkpoint_open(&c, folder), FL_ERR_FORMAT, folder, "config.json");
    assert_refused("file", fl_checkpoint_open(&c, in(folder, "model.safetensors")), FL_ERR_FORMAT, folder,
                   "config.json");
    assert_refused("path", fl_checkpoint_open(&c, in(folder, "none")), FL_ERR_IO, folder, "no such file");
    put_text(in(folder, "config.json"), "{" LLAMA "}");
    assert_int_equal(unlink(in(folder, "model.safetensors")), 0);
    assert_refused("weights", fl_checkpoint_open(&c, folder), FL_ERR_FORMAT, folder, "model.safetensors");
    put_text(in(folder, "pytorch_model.bin"), "PK\3\4");
    assert_refused("pickle", fl_checkpoint_open(&c, folder), FL_ERR_UNSUPPORTED, folder, "save_pretrained");
    assert_refused("pickle", fl_checkpoint_open(&c, in(folder, "pytorch_model.bin")), FL_ERR_UNSUPPORTED, folder,
                   "pickle");
}

#define INDEX "model.safetensors.index.json"
static const struct {
    const char *index;
    fl_status status;
    const char *key;
} bad_index[] = {
    {"[]", FL_ERR_FORMAT, "line 1"},
    {"{}", FL_ERR_FORMAT, "weight_map"},
    {"{\"weight_map\": []}", FL_ERR_FORMAT, "weight_map"},
    {"{\"weight_map\": {}}", FL_ERR_FORMAT, "weight_map"},
    {"{\"weight_map\": {\"a\": 1}}", FL_ERR_FORMAT, "weight_map.a = 1"},
    {"{\"weight_map\": {\"a\": \"../a.safetensors\"}}", FL_ERR_FORMAT, "weight_map.a = '../a.safetensors'"},
    {"{\"weight_map\": {\"a\": \"/etc/passwd\"}}", FL_ERR_FORMAT, "weight_map.a = '/etc/passwd'"},
    {"{\"weight_map\": {\"a\": \"b/a.safetensors\"}}", FL_ERR_FORMAT, "weight_map.a"},
    {"{\"weight_map\": {\"a\": \"b\\\\a.safetensors\"}}", FL_ERR_FORMAT, "weight_map.a"},
    {"{\"weight_map\": {\"a\": \".safetensors\"}}", FL_ERR_FORMAT, "weight_map.a"},
    {"{\"weight_map\": {\"a\": \"x..safetensors\"}}", FL_ERR_FORMAT, "weight_map.a"},
    {"{\"weight_map\": {\"a\": \"config.json\"}}", FL_ERR_FORMAT, "weight_map.a = 'config.json'"},
    {"{\"weight_map\": {\"a\": \"none.safetensors\"}}", FL_ERR_IO, "none.safetensors"},
    {"{\"weight_map\": {\"a\": \"one.safetensors\"}}", FL_ERR_FORMAT, "weight_map.a = 'one.safetensors'"},
    {"{\"weight_map\": {\"model.norm.weight\": \"one.safetensors\", \"b\": \"one.safetensors\"}}", FL_ERR_FORMAT,
     "weight_map.b"},
    {"{\"weight_map\": {\"model.norm.weight\": \"one.safetensors\", \"model.norm.weight\": \"one.safetensors\"}}",
     FL_ERR_FORMAT, "duplicate"},
    {"{\"weight_map\": {\"a\": {\"b\": {\"c\": {\"d\": 1}}}}}", FL_ERR_FORMAT, "nested"},
};

static void test_bad_index(void **state)
{
    const char *folder = model_folder(state, "index", "{" LLAMA "}");
    assert_int_equal(rename(in(folder, "model.safetensors"), in(folder, "one.safetensors")), 0);
    fl_checkpoint *c = NULL;
    for (size_t i = 0; i < sizeof bad_index / sizeof *bad_index; i++) {
        put_text(in(folder, INDEX), bad_index[i].index);
        assert_refused(bad_index[i].index, fl_checkpoint_open(&c, folder), bad_index[i].status, folder,
                       bad_index[i].key);
    }
    put_text(in(folder, INDEX), "{\"weight_map\": {\"model.norm.weight\": \"one.safetensors\"}}");
    c = opened(folder);
    assert_int_equal(fl_checkpoint_count(c), 1); /* what the index leaves out is left out */
    fl_checkpoint_close(c);
}

static void test_other_formats(void **state)
{
    fl_checkpoint *c = NULL;
    static const struct {
        const char *bytes;
        fl_status status;
        const char *key;
    } other[] = {{"GGUF\3", FL_ERR_FORMAT, "the version"},
                 {"\x80\x02\x8a\nl\xfc\x9c", FL_ERR_UNSUPPORTED, "pickle"},
                 {"", FL_ERR_FORMAT, "offset 0"},
                 {"hello", FL_ERR_FORMAT, "offset 0"},
                 {"a text file that is longer than any header\n", FL_ERR_FORMAT, "dim"}};
    const char *path = in(*state, "other.bin");
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        put_text(path, other[i].bytes);
        assert_refused(other[i].key, fl_checkpoint_open(&c, path), other[i].status, path, other[i].key);
    }
}

static void test_tokenizer(void **state)
{
    const char *folder = model_folder(state, "tokenizer", "{" LLAMA "}");
    static const char *const order[] = {"tok7.bin", "tokenizer.model", "tokenizer.json"};
    for (size_t i = 0; i < 3; i++) {
        put_text(in(folder, order[i]), "x");
        fl_checkpoint *c = opened(folder);
        assert_string_equal(fl_checkpoint_tokenizer(c), in(folder, order[i]));
        fl_checkpoint_close(c);
    }
    const char *model = in(*state, "llama2c.bin");
    copy_file(FL_TEST_DATA "/models/stories260K_v1.bin", model);
    put_text(in(*state, "tok1.bin"), "x");
    fl_checkpoint *c = opened(model);
    assert_string_equal(fl_checkpoint_tokenizer(c), in(*state, "tok1.bin"));
    fl_checkpoint_close(c);
    put_text(in(*state, "tokenizer.bin"), "x"); /* now there are two, and nothing says which */
    c = opened(model);
    assert_null(fl_checkpoint_tokenizer(c));
    fl_checkpoint_close(c);
    unlink(in(*state, "tok1.bin"));
    unlink(in(*state, "tokenizer.bin"));
}

/* ---- writing ------------------------------------------------------------------------------------------------ */

static void assert_same_config(const fl_config *a, const fl_config *b)
{
    assert_string_equal(a->family, b->family);
    assert_int_equal(a->vocab, b->vocab);
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->layers, b->layers);
    assert_int_equal(a->heads, b->heads);
    assert_int_equal(a->kv_heads, b->kv_heads);
    assert_int_equal(a->head_dim, b->head_dim);
    assert_int_equal(a->ffn, b->ffn);
    assert_int_equal(a->window, b->window);
    assert_true(a->norm_eps == b->norm_eps);
    assert_int_equal(a->activation, b->activation);
    assert_int_equal(a->tied_head, b->tied_head);
    assert_int_equal(a->attention_bias, b->attention_bias);
    assert_int_equal(a->mlp_bias, b->mlp_bias);
    assert_int_equal(a->rotary, b->rotary);
    assert_memory_equal(&a->rope, &b->rope, sizeof a->rope);
    assert_int_equal(a->bos, b->bos);
    assert_int_equal(a->pad, b->pad);
    assert_int_equal(a->eos_count, b->eos_count);
    assert_memory_equal(a->eos, b->eos, (size_t)a->eos_count * sizeof *a->eos);
}

static void test_write_same(void **state)
{
    static const char *const names[] = {TINY "llama", TINY "llama_sharded", TINY "llama_tied", TINY "gpt2"};
    const char *folder = in(*state, "same/deep/folder");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        fl_checkpoint *c = opened(names[i]);
        assert_ok(fl_hf_write(folder, fl_checkpoint_config(c), NULL, 0, FL_F32, c));
        fl_checkpoint *back = opened(folder);
        assert_same_config(fl_checkpoint_config(c), fl_checkpoint_config(back));
        assert_int_equal(fl_checkpoint_count(c), fl_checkpoint_count(back));
        for (int64_t t = 0; t < fl_checkpoint_count(c); t++)
            assert_same_tensor(fl_checkpoint_at(c, t), fl_checkpoint_find(back, fl_checkpoint_at(c, t)->name));
        fl_checkpoint_close(back);
        fl_checkpoint_close(c);
    }
}

/* bf16 to fp32 is exact; fp32 to bf16 must give the file that PyTorch rounded. */
static void test_write_types(void **state)
{
    const char *folder = in(*state, "types");
    fl_checkpoint *c = opened(TINY "llama"), *rounded = opened(TINY "llama_bf16");
    assert_ok(fl_hf_write(folder, fl_checkpoint_config(c), NULL, 0, FL_BF16, c));
    fl_checkpoint *back = opened(folder);
    assert_int_equal(fl_checkpoint_config(back)->stored_type, FL_BF16);
    for (int64_t t = 0; t < fl_checkpoint_count(rounded); t++)
        assert_same_tensor(fl_checkpoint_at(rounded, t), fl_checkpoint_find(back, fl_checkpoint_at(rounded, t)->name));
    fl_checkpoint_close(back);

    assert_ok(fl_hf_write(folder, fl_checkpoint_config(c), NULL, 0, FL_F16, c));
    back = opened(folder);
    const fl_file_tensor *t = fl_checkpoint_find(c, "model.embed_tokens.weight");
    const fl_file_tensor *half = fl_checkpoint_find(back, t->name);
    assert_int_equal(half->type, FL_F16);
    for (int i = 0; i < 320 * 64; i++) {
        float x = ((const float *)t->data)[i], y = fl_f16_to_f32(((const uint16_t *)half->data)[i]);
        assert_true(fabsf(x - y) <= fabsf(x) * 0x1p-11f + 0x1p-25f); /* half a unit in the last place of fp16 */
    }
    fl_checkpoint_close(back);
    assert_refused("type", fl_hf_write(folder, fl_checkpoint_config(c), NULL, 0, FL_Q8_0, c), FL_ERR_ARGUMENT, folder,
                   "type");
    fl_checkpoint_close(rounded);
    fl_checkpoint_close(c);
}

/* Onto its own source: the old file stays mapped while the new one takes its name. */
static void test_write_in_place(void **state)
{
    const char *folder = model_folder(state, "place", NULL);
    copy_file(TINY "llama/config.json", in(folder, "config.json"));
    put_text(in(folder, "tokenizer.json"), "{\"tokenizer\": true}");
    put_text(in(folder, "merges.txt"), "");
    float norm[64];
    for (int i = 0; i < 64; i++)
        norm[i] = (float)i;
    const fl_file_tensor replaced[] = {{"model.norm.weight", FL_F32, 1, {64}, norm},
                                       {"model.extra.weight", FL_F32, 2, {8, 8}, norm}};
    fl_checkpoint *c = opened(folder);
    fl_config config = *fl_checkpoint_config(c);
    config.rope.kind = FL_ROPE_YARN;
    config.rope.factor = 4;
    config.rope.window = 512;
    assert_ok(fl_hf_write(folder, &config, replaced, 2, FL_F32, c));
    fl_checkpoint *back = opened(folder);
    assert_int_equal(fl_checkpoint_count(back), fl_checkpoint_count(c) + 1);
    assert_same_tensor(fl_checkpoint_find(back, "model.norm.weight"), &replaced[0]);
    assert_same_tensor(fl_checkpoint_find(back, "model.extra.weight"), &replaced[1]);
    assert_same_tensor(fl_checkpoint_find(back, "lm_head.weight"), fl_checkpoint_find(c, "lm_head.weight"));
    assert_int_equal(fl_checkpoint_config(back)->window, 512);
    assert_int_equal(fl_checkpoint_config(back)->rope.original_window, 128);
    assert_int_equal(fl_checkpoint_config(back)->rope.kind, FL_ROPE_YARN);
    assert_string_equal(fl_checkpoint_tokenizer(back), in(folder, "tokenizer.json"));
    fl_buffer text = content(in(folder, "tokenizer.json"));
    assert_string_equal(text.data, "{\"tokenizer\": true}");
    fl_buffer_free(&text);
    fl_checkpoint_close(back);
    fl_checkpoint_close(c);
}

static void test_cannot_write(void **state)
{
    const char *folder = in(*state, "cannot");
    fl_checkpoint *c = opened(TINY "llama");
    fl_config config = *fl_checkpoint_config(c);
    const fl_file_tensor twice[] = {{"a", FL_F32, 1, {0}, NULL}, {"a", FL_F32, 1, {0}, NULL}};
    assert_refused("twice", fl_hf_write(folder, &config, twice, 2, FL_F32, c), FL_ERR_ARGUMENT, "tensor a", "once");
    strcpy(config.family, "mamba");
    assert_refused("family", fl_hf_write(folder, &config, NULL, 0, FL_F32, c), FL_ERR_UNSUPPORTED, "config.json",
                   "family = mamba");
    config = *fl_checkpoint_config(c);
    config.qk_norm = true;
    assert_refused("norms", fl_hf_write(folder, &config, NULL, 0, FL_F32, c), FL_ERR_UNSUPPORTED, "config.json",
                   "family = llama");
    config = *fl_checkpoint_config(c);
    config.rope.factor = NAN;
    config.rope.kind = FL_ROPE_LINEAR;
    assert_refused("rope", fl_hf_write(folder, &config, NULL, 0, FL_F32, c), FL_ERR_ARGUMENT, "factor", "nan");
    config = *fl_checkpoint_config(c);
    config.rope_interleaved = true;
    config.heads = 2; /* contradicts the tensor it comes with */
    fl_file_tensor q = *fl_checkpoint_find(c, "model.layers.0.self_attn.q_proj.weight");
    assert_refused("heads", fl_hf_write(folder, &config, &q, 1, FL_F32, c), FL_ERR_SHAPE, folder, "q_proj");
    assert_false(fl_file_exists(in(folder, "model.safetensors")));
    assert_refused("place", fl_hf_write(TINY "llama/config.json/x", fl_checkpoint_config(c), NULL, 0, FL_F32, c),
                   FL_ERR_IO, "config.json", "folder");
    fl_checkpoint_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama),
        cmocka_unit_test(test_gpt2),
        cmocka_unit_test(test_shards),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_bare_gpt2),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_given),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_generation_config),
        cmocka_unit_test(test_missing_parts),
        cmocka_unit_test(test_bad_index),
        cmocka_unit_test(test_other_formats),
        cmocka_unit_test(test_tokenizer),
        cmocka_unit_test(test_write_same),
        cmocka_unit_test(test_write_types),
        cmocka_unit_test(test_write_in_place),
        cmocka_unit_test(test_cannot_write),
    };
    return cmocka_run_group_tests(tests, files_make, files_drop);
}
