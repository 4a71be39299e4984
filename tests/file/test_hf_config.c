/* config.json of mistral, qwen2, qwen3, phi3 and gpt_neox: defaults and spellings as in their configuration classes in
 * transformers 5, every key that would change the computation honoured or refused by name, and what is written is read
 * back. (llama and gpt2: test_hf.c.) */
#include "files.h"

#include <math.h>

#include "file/hf_config.h"

static fl_status read_text(fl_config *out, const char *text)
{
    json_t *root;
    FL_TRY(fl_json_parse(&root, "config.json", text, strlen(text), fl_json_config_limits));
    fl_status status = fl_hf_config_read(out, root, "config.json");
    json_decref(root);
    return status;
}

#define SIZES                                                                                                          \
    ",\"vocab_size\":100,\"hidden_size\":48,\"intermediate_size\":96,\"num_hidden_layers\":2,"                         \
    "\"num_attention_heads\":6"
#define LLAMA "\"model_type\":\"llama\"" SIZES
#define MISTRAL "\"model_type\":\"mistral\"" SIZES
#define QWEN2 "\"model_type\":\"qwen2\"" SIZES
#define QWEN3 "\"model_type\":\"qwen3\",\"head_dim\":16" SIZES
#define PHI3 "\"model_type\":\"phi3\"" SIZES
#define NEOX "\"model_type\":\"gpt_neox\"" SIZES
#define GPT2 "\"model_type\":\"gpt2\",\"vocab_size\":100,\"n_embd\":48,\"n_layer\":2,\"n_head\":6"
#define FACTORS "\"short_factor\":[1,1,1,1],\"long_factor\":[1,2,3,4]"

static void test_defaults(void **state)
{
    (void)state;
    fl_config f;
    assert_ok(read_text(&f, "{" MISTRAL ",\"num_key_value_heads\":2}"));
    assert_int_equal(f.sliding_window, 4096);
    assert_int_equal(f.window, 131072);
    assert_true(f.norm_eps == 1e-6 && f.rope.base == 10000 && f.rope.kind == FL_ROPE_PLAIN);
    assert_true(!f.attention_bias && !f.output_bias && !f.mlp_bias && !f.qk_norm && !f.tied_head);
    assert_int_equal(f.bos, 1);
    assert_int_equal(f.eos[0], 2);

    assert_ok(read_text(&f, "{" QWEN2 "}"));
    assert_int_equal(f.sliding_window, 0);
    assert_int_equal(f.window, 32768);
    assert_true(f.attention_bias && !f.output_bias && !f.mlp_bias && !f.qk_norm);
    assert_int_equal(f.bos, -1);
    assert_int_equal(f.eos_count, 0);

    assert_ok(read_text(&f, "{" QWEN3 "}"));
    assert_true(!f.attention_bias && !f.output_bias && f.qk_norm);
    assert_int_equal(f.head_dim, 16); /* not 48 / 6 */
    assert_int_equal(f.sliding_window, 0);

    assert_ok(read_text(&f, "{" PHI3 "}"));
    assert_int_equal(f.sliding_window, 0);
    assert_int_equal(f.window, 4096);
    assert_int_equal(f.kv_heads, 6);
    assert_true(f.norm_eps == 1e-5);

    assert_ok(read_text(&f, "{" NEOX "}"));
    assert_int_equal(f.window, 2048);
    assert_int_equal(f.rope.dim, 2); /* 0.25 of 8 */
    assert_true(f.parallel_residual && f.qkv_by_head && f.attention_bias && f.output_bias && f.rope.base == 10000);
    assert_int_equal(f.activation, FL_ACT_GELU_ERF);
    assert_int_equal(f.bos, 0);
    assert_int_equal(f.eos[0], 2);
}

/* Dual chunks as the files of Qwen2.5-7B-Instruct-1M state them; the third number is the window of the length's
 * scaling, which may be left out. */
static void test_dual_chunk(void **state)
{
    (void)state;
    fl_config f;
#define DUAL(more)                                                                                                     \
    "{" QWEN2 ",\"max_position_embeddings\":1010000,\"dual_chunk_attention_config\":{\"chunk_size\":262144,"           \
    "\"local_size\":8192" more "}}"
    assert_ok(read_text(&f, DUAL(",\"original_max_position_embeddings\":262144")));
    assert_true(f.passes.kind == FL_PASSES_DUAL_CHUNK && f.passes.last == 262144 && f.passes.chunk == 262144 - 8192);
    assert_true(f.logn == FL_LOGN_LENGTH && f.logn_window == 262144);
    assert_ok(read_text(&f, DUAL("")));
    assert_true(f.passes.kind == FL_PASSES_DUAL_CHUNK && f.logn == FL_LOGN_OFF);
    assert_int_equal(read_text(&f, DUAL(",\"sparse_attention_enabled\":true")), FL_ERR_UNSUPPORTED);
}

/* Text of a config, then what one number of it must be. */
static void test_given(void **state)
{
    (void)state;
    fl_config f;
    const struct {
        const char *text;
        const int64_t *value;
        int64_t wanted;
    } list[] = {
        {"{" MISTRAL ",\"sliding_window\":null,\"num_key_value_heads\":null}", &f.sliding_window, 0},
        {"{" MISTRAL ",\"num_key_value_heads\":null}", &f.kv_heads, 6},
        {"{" MISTRAL ",\"sliding_window\":24,\"num_key_value_heads\":2}", &f.sliding_window, 24},
        {"{" MISTRAL ",\"sliding_window\":24,\"layer_types\":[\"sliding_attention\",\"sliding_attention\"],"
         "\"num_key_value_heads\":2}",
         &f.sliding_window, 24},
        /* qwen: a window is in force only with use_sliding_window, and only from layer max_window_layers on */
        {"{" QWEN2 ",\"sliding_window\":24}", &f.sliding_window, 0},
        {"{" QWEN2 ",\"sliding_window\":24,\"use_sliding_window\":true}", &f.sliding_window, 0},
        {"{" QWEN2 ",\"sliding_window\":24,\"use_sliding_window\":true,\"max_window_layers\":0}", &f.sliding_window,
         24},
        {"{" QWEN2 ",\"use_sliding_window\":true,\"max_window_layers\":0}", &f.sliding_window, 4096},
        {"{" QWEN2 ",\"use_sliding_window\":true,\"sliding_window\":null,\"max_window_layers\":0}", &f.sliding_window,
         0},
        {"{" QWEN3 ",\"layer_types\":[\"full_attention\",\"full_attention\"]}", &f.sliding_window, 0},
        {"{" QWEN2 ",\"use_mrope\":false,\"qkv_bias\":true,\"num_experts\":0,\"vision_config\":{}}", &f.layers, 2},
        {"{" PHI3 ",\"sliding_window\":2047}", &f.sliding_window, 2047},
        /* a default that transformers writes without looking at it */
        {"{" PHI3 ",\"max_position_embeddings\":128,\"original_max_position_embeddings\":4096}",
         &f.rope.original_window, 128},
        {"{" PHI3 ",\"max_position_embeddings\":512,\"original_max_position_embeddings\":128,\"rope_scaling\":{"
         "\"type\":\"su\"," FACTORS "}}",
         &f.rope.original_window, 128},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        assert_ok(read_text(&f, list[i].text));
        if (*list[i].value != list[i].wanted)
            fail_msg("%s: %lld instead of %lld", list[i].text, (long long)*list[i].value, (long long)list[i].wanted);
    }
    assert_int_equal(f.rope.kind, FL_ROPE_LONGROPE);
    assert_true(f.rope.factor == 4);
    assert_ok(read_text(&f, "{" PHI3 ",\"partial_rotary_factor\":0.5}"));
    assert_int_equal(f.rope.dim, 4);
    assert_ok(read_text(&f, "{" QWEN3 ",\"attention_bias\":true,\"tie_word_embeddings\":true}"));
    assert_true(f.attention_bias && f.output_bias && f.tied_head);
    assert_ok(read_text(&f, "{" NEOX ",\"rotary_pct\":1.0,\"rotary_emb_base\":5000,\"use_parallel_residual\":false,"
                            "\"attention_bias\":false,\"hidden_act\":\"gelu_new\"}"));
    assert_int_equal(f.rope.dim, 8);
    assert_true(f.rope.base == 5000 && !f.parallel_residual && !f.attention_bias && !f.output_bias);
    assert_int_equal(f.activation, FL_ACT_GELU_TANH);
    assert_ok(read_text(&f, "{" NEOX ",\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":4,\"rope_theta\":5000,"
                            "\"partial_rotary_factor\":0.5}}"));
    assert_int_equal(f.rope.dim, 4);
    assert_true(f.rope.base == 5000 && f.rope.factor == 4 && f.rope.kind == FL_ROPE_LINEAR);
}

static const struct {
    const char *text;
    fl_status status;
    const char *said;
} refused[] = {
    /* other families, named with those that are read */
    {"{\"model_type\":\"mixtral\"}", FL_ERR_UNSUPPORTED,
     "model_type = 'mixtral': unknown family; supported are the "
     "causal models of llama, mistral, qwen2, qwen3, phi3, "
     "gpt_neox and gpt2"},
    {"{\"model_type\":\"qwen2_moe\"}", FL_ERR_UNSUPPORTED, "model_type = 'qwen2_moe'"},
    {"{\"model_type\":\"qwen3_moe\"}", FL_ERR_UNSUPPORTED, "model_type = 'qwen3_moe'"},
    {"{\"model_type\":\"qwen2_vl\"}", FL_ERR_UNSUPPORTED, "model_type = 'qwen2_vl'"},
    {"{\"model_type\":\"phi3_v\"}", FL_ERR_UNSUPPORTED, "model_type = 'phi3_v'"},
    {"{\"model_type\":\"phi4mm\"}", FL_ERR_UNSUPPORTED, "model_type = 'phi4mm'"},
    {"{\"model_type\":\"mistral3\"}", FL_ERR_UNSUPPORTED, "model_type = 'mistral3'"},
    {"{\"model_type\":\"gemma2\"}", FL_ERR_UNSUPPORTED, "model_type = 'gemma2'"},
    {"{" MISTRAL ",\"architectures\":[\"MistralForSequenceClassification\"]}", FL_ERR_UNSUPPORTED, "architectures"},
    {"{" QWEN2 ",\"architectures\":[\"Qwen2VLForConditionalGeneration\"]}", FL_ERR_UNSUPPORTED, "architectures"},
    /* windows that differ by layer, or that the family has not got */
    {"{" QWEN2 ",\"use_sliding_window\":true,\"max_window_layers\":1}", FL_ERR_UNSUPPORTED, "max_window_layers = 1"},
    {"{" QWEN2 ",\"max_window_layers\":-1}", FL_ERR_FORMAT, "max_window_layers = -1"},
    {"{" QWEN2 ",\"use_sliding_window\":1}", FL_ERR_FORMAT, "use_sliding_window = 1"},
    {"{" QWEN2 ",\"use_sliding_window\":true,\"sliding_window\":0}", FL_ERR_FORMAT, "sliding_window = 0"},
    {"{" QWEN2 ",\"layer_types\":[\"full_attention\",\"sliding_attention\"]}", FL_ERR_UNSUPPORTED, "layer_types"},
    {"{" QWEN3 ",\"layer_types\":[\"sliding_attention\",\"sliding_attention\"]}", FL_ERR_UNSUPPORTED, "layer_types"},
    {"{" QWEN3 ",\"layer_types\":[\"linear_attention\",\"full_attention\"]}", FL_ERR_UNSUPPORTED, "layer_types"},
    {"{" QWEN3 ",\"layer_types\":[\"full_attention\"]}", FL_ERR_FORMAT, "layer_types"},
    {"{" QWEN3 ",\"layer_types\":\"full_attention\"}", FL_ERR_FORMAT, "layer_types"},
    {"{" QWEN3 ",\"layer_types\":[1,2]}", FL_ERR_UNSUPPORTED, "layer_types"},
    {"{" LLAMA ",\"layer_types\":[\"sliding_attention\",\"full_attention\"]}", FL_ERR_UNSUPPORTED, "layer_types"},
    {"{" MISTRAL ",\"num_key_value_heads\":2,\"layer_types\":[\"full_attention\",\"full_attention\"]}",
     FL_ERR_UNSUPPORTED, "layer_types"},
    {"{" MISTRAL ",\"num_key_value_heads\":2,\"use_sliding_window\":false}", FL_ERR_UNSUPPORTED,
     "use_sliding_window = false"},
    {"{" PHI3 ",\"sliding_window\":-1}", FL_ERR_FORMAT, "sliding_window = -1"},
    {"{" LLAMA ",\"use_sliding_window\":true}", FL_ERR_UNSUPPORTED, "use_sliding_window = true"},
    {"{" NEOX ",\"sliding_window\":24}", FL_ERR_UNSUPPORTED, "sliding_window = 24"},
    {"{" GPT2 ",\"sliding_window\":24}", FL_ERR_UNSUPPORTED, "sliding_window = 24"},
    /* activations */
    {"{" MISTRAL ",\"num_key_value_heads\":2,\"hidden_act\":\"gelu\"}", FL_ERR_UNSUPPORTED, "hidden_act = 'gelu'"},
    {"{" QWEN2 ",\"hidden_act\":\"relu\"}", FL_ERR_UNSUPPORTED, "hidden_act = 'relu'"},
    {"{" QWEN3 ",\"hidden_act\":\"gelu_new\"}", FL_ERR_UNSUPPORTED, "hidden_act = 'gelu_new'"},
    {"{" PHI3 ",\"hidden_act\":\"gelu\"}", FL_ERR_UNSUPPORTED, "hidden_act = 'gelu'"},
    {"{" NEOX ",\"hidden_act\":\"relu\"}", FL_ERR_UNSUPPORTED, "hidden_act = 'relu'"},
    {"{" NEOX ",\"hidden_act\":\"quick_gelu\"}", FL_ERR_UNSUPPORTED, "hidden_act = 'quick_gelu'"},
    /* rotations */
    {"{" LLAMA ",\"partial_rotary_factor\":0.5}", FL_ERR_UNSUPPORTED, "partial_rotary_factor"},
    {"{" QWEN2 ",\"partial_rotary_factor\":0.5}", FL_ERR_UNSUPPORTED, "partial_rotary_factor"},
    {"{" QWEN3 ",\"rope_parameters\":{\"rope_type\":\"default\",\"partial_rotary_factor\":0.5}}", FL_ERR_UNSUPPORTED,
     "partial_rotary_factor"},
    {"{" PHI3 ",\"partial_rotary_factor\":0.4}", FL_ERR_FORMAT, "partial_rotary_factor = 0.4"},
    {"{" PHI3 ",\"partial_rotary_factor\":0}", FL_ERR_FORMAT, "partial_rotary_factor"},
    {"{" PHI3 ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4}}", FL_ERR_UNSUPPORTED, "rope_scaling"},
    {"{" PHI3 ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":4}}", FL_ERR_UNSUPPORTED, "rope_scaling"},
    {"{" PHI3 ",\"rope_scaling\":{\"type\":\"su\"," FACTORS "}}", FL_ERR_FORMAT, "original_max_position_embeddings"},
    {"{" PHI3 ",\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1,1,1,1]}}", FL_ERR_FORMAT, "long_factor"},
    {"{" QWEN2 ",\"rope_scaling\":{\"type\":\"mrope\",\"mrope_section\":[1,1,2]}}", FL_ERR_UNSUPPORTED, "'mrope'"},
    {"{" NEOX ",\"rotary_pct\":0.25,\"partial_rotary_factor\":0.5}", FL_ERR_FORMAT, "rotary_pct = 0.25"},
    {"{" NEOX ",\"rotary_emb_base\":5000,\"rope_theta\":10000}", FL_ERR_FORMAT, "rotary_emb_base = 5000"},
    {"{" NEOX ",\"rotary_pct\":0.25,\"rope_parameters\":{\"partial_rotary_factor\":0.5}}", FL_ERR_FORMAT,
     "partial_rotary_factor = 0.5"},
    {"{" NEOX ",\"rotary_pct\":0.2}", FL_ERR_FORMAT, "partial_rotary_factor"},
    {"{" NEOX ",\"rotary_pct\":\"all\"}", FL_ERR_FORMAT, "partial_rotary_factor = 'all'"},
    /* biases that the family's code has not got, or always has */
    {"{" MISTRAL ",\"num_key_value_heads\":2,\"attention_bias\":true}", FL_ERR_UNSUPPORTED, "attention_bias = true"},
    {"{" MISTRAL ",\"num_key_value_heads\":2,\"mlp_bias\":true}", FL_ERR_UNSUPPORTED, "mlp_bias = true"},
    {"{" QWEN2 ",\"attention_bias\":false}", FL_ERR_UNSUPPORTED, "attention_bias = false"},
    {"{" QWEN2 ",\"qkv_bias\":false}", FL_ERR_UNSUPPORTED, "qkv_bias = false"},
    /* positions of other kinds */
    {"{" LLAMA ",\"position_embedding_type\":\"learned\"}", FL_ERR_UNSUPPORTED, "position_embedding_type = 'learned'"},
    {"{" LLAMA ",\"position_embedding_type\":1}", FL_ERR_FORMAT, "position_embedding_type = 1"},
    {"{" LLAMA ",\"position_embedding_type\":\"alibi\",\"rope_theta\":10000}", FL_ERR_FORMAT, "rope_theta = 10000"},
    {"{" LLAMA ",\"position_embedding_type\":\"none\",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}}",
     FL_ERR_FORMAT, "rope_scaling"},
    {"{" LLAMA ",\"position_embedding_type\":\"xpos\",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}}",
     FL_ERR_UNSUPPORTED, "position_embedding_type = 'xpos'"},
    {"{" QWEN2 ",\"position_embedding_type\":\"alibi\"}", FL_ERR_UNSUPPORTED, "position_embedding_type = 'alibi'"},
    {"{\"model_type\":\"furlong_llama\"" SIZES "}", FL_ERR_FORMAT, "position_embedding_type"},
    {"{" QWEN3 ",\"mlp_bias\":true}", FL_ERR_UNSUPPORTED, "mlp_bias = true"},
    {"{" PHI3 ",\"attention_bias\":true}", FL_ERR_UNSUPPORTED, "attention_bias = true"},
    {"{" NEOX ",\"attention_bias\":3}", FL_ERR_FORMAT, "attention_bias = 3"},
    {"{" NEOX ",\"use_parallel_residual\":\"yes\"}", FL_ERR_FORMAT, "use_parallel_residual = 'yes'"},
    /* sizes */
    {"{\"model_type\":\"qwen3\"" SIZES "}", FL_ERR_FORMAT, "head_dim"},
    {"{" MISTRAL ",\"num_key_value_heads\":4}", FL_ERR_FORMAT, "num_key_value_heads = 4"},
    {"{" NEOX ",\"layer_norm_eps\":0}", FL_ERR_FORMAT, "layer_norm_eps = 0"},
    {"{" PHI3 ",\"rms_norm_eps\":1}", FL_ERR_FORMAT, "rms_norm_eps = 1"},
    /* experts, pictures, sound and other scales in a family's clothes */
    {"{" MISTRAL ",\"num_local_experts\":8}", FL_ERR_UNSUPPORTED, "num_local_experts = 8"},
    {"{" QWEN2 ",\"num_experts\":60}", FL_ERR_UNSUPPORTED, "num_experts = 60"},
    {"{" LLAMA ",\"n_routed_experts\":64}", FL_ERR_UNSUPPORTED, "n_routed_experts = 64"},
    {"{" QWEN2 ",\"vision_config\":{\"depth\":32}}", FL_ERR_UNSUPPORTED, "vision_config"},
    {"{" LLAMA ",\"mm_vision_tower\":\"clip\"}", FL_ERR_UNSUPPORTED, "mm_vision_tower = 'clip'"},
    {"{" PHI3 ",\"img_processor\":{\"name\":\"clip\"}}", FL_ERR_UNSUPPORTED, "img_processor"},
    {"{" LLAMA ",\"text_config\":{\"hidden_size\":3}}", FL_ERR_UNSUPPORTED, "text_config"},
    {"{" QWEN2 ",\"use_mrope\":true}", FL_ERR_UNSUPPORTED, "use_mrope = true"},
    {"{" LLAMA ",\"no_rope_layers\":[1,0]}", FL_ERR_UNSUPPORTED, "no_rope_layers"},
    {"{" LLAMA ",\"qk_layernorm\":true}", FL_ERR_UNSUPPORTED, "qk_layernorm = true"},
    {"{" LLAMA ",\"logits_scaling\":8.0}", FL_ERR_UNSUPPORTED, "logits_scaling = 8.0"},
    {"{" LLAMA ",\"embedding_multiplier\":12}", FL_ERR_UNSUPPORTED, "embedding_multiplier = 12"},
    {"{" LLAMA ",\"final_logit_softcapping\":30}", FL_ERR_UNSUPPORTED, "final_logit_softcapping = 30"},
    {"{" LLAMA ",\"alibi\":true}", FL_ERR_UNSUPPORTED, "alibi = true"},
    {"{" QWEN3 ",\"quantization_config\":{\"quant_method\":\"awq\"}}", FL_ERR_UNSUPPORTED, "quantization_config"},
};

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        fl_config f;
        assert_refused(refused[i].text, read_text(&f, refused[i].text), refused[i].status,
                       "config.json: ", refused[i].said);
    }
}

/* ---- writing ---------------------------------------------------------------------------------------------------- */

static void written_and_read(const fl_config *c, fl_config *back)
{
    json_t *root;
    assert_ok(fl_hf_config_write(&root, c, FL_F32));
    fl_status status = fl_hf_config_read(back, root, "config.json");
    json_decref(root);
    assert_ok(status);
}

static bool same(const fl_config *a, const fl_config *b)
{
    return !strcmp(a->family, b->family) && a->vocab == b->vocab && a->width == b->width && a->layers == b->layers &&
           a->heads == b->heads && a->kv_heads == b->kv_heads && a->head_dim == b->head_dim && a->ffn == b->ffn &&
           a->window == b->window && a->sliding_window == b->sliding_window && a->norm_eps == b->norm_eps &&
           a->activation == b->activation && a->tied_head == b->tied_head && a->attention_bias == b->attention_bias &&
           a->output_bias == b->output_bias && a->qk_norm == b->qk_norm && a->mlp_bias == b->mlp_bias &&
           a->parallel_residual == b->parallel_residual && a->qkv_by_head == b->qkv_by_head && a->rotary == b->rotary &&
           a->positions == b->positions && !memcmp(&a->rope, &b->rope, sizeof a->rope) && a->bos == b->bos &&
           a->pad == b->pad && a->eos_count == b->eos_count && !memcmp(a->eos, b->eos, sizeof a->eos);
}

static void test_round_trip(void **state)
{
    (void)state;
    static const char *const list[] = {
        "{" LLAMA ",\"attention_bias\":true,\"mlp_bias\":true}",
        "{" LLAMA ",\"position_embedding_type\":\"alibi\"}",
        "{\"model_type\":\"furlong_llama\",\"position_embedding_type\":\"xpos\",\"rope_theta\":5000" SIZES "}",
        "{" LLAMA ",\"position_embedding_type\":\"sinusoidal\",\"max_position_embeddings\":77}",
        "{" LLAMA ",\"position_embedding_type\":\"none\"}",
        "{" LLAMA ",\"position_embedding_type\":\"rope\"}",
        "{" MISTRAL ",\"num_key_value_heads\":2,\"sliding_window\":24,\"head_dim\":16}",
        "{" MISTRAL ",\"num_key_value_heads\":2,\"sliding_window\":null}",
        "{" QWEN2 ",\"rope_theta\":1000000}",
        "{" QWEN2 ",\"use_sliding_window\":true,\"sliding_window\":24,\"max_window_layers\":0,"
        "\"tie_word_embeddings\":true,\"eos_token_id\":[1,2]}",
        "{" QWEN3 ",\"attention_bias\":true}",
        "{" PHI3 ",\"partial_rotary_factor\":0.75,\"sliding_window\":2047,\"pad_token_id\":3}",
        "{" PHI3 ",\"max_position_embeddings\":512,\"original_max_position_embeddings\":128,\"rope_scaling\":{"
        "\"type\":\"su\"," FACTORS "}}",
        "{" NEOX ",\"rotary_pct\":0.5,\"rotary_emb_base\":5000,\"use_parallel_residual\":false}",
        "{" NEOX ",\"rotary_pct\":1,\"hidden_act\":\"gelu_new\",\"attention_bias\":false}",
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        fl_config c, back;
        assert_ok(read_text(&c, list[i]));
        written_and_read(&c, &back);
        if (!same(&c, &back)) fail_msg("%s: another config is read back", list[i]);
    }
}

/* A schedule that phi3's keys cannot name is written as the longrope divisors that give its frequencies. */
static void test_phi3_scalings(void **state)
{
    (void)state;
    static const fl_rope_kind kinds[] = {FL_ROPE_LINEAR, FL_ROPE_YARN, FL_ROPE_NTK};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        fl_config c, back;
        double freq[FL_ROPE_MAX_PAIRS], freq_back[FL_ROPE_MAX_PAIRS], magnitude, magnitude_back;
        assert_ok(read_text(&c, "{" PHI3 ",\"head_dim\":64}"));
        c.rope.kind = kinds[i];
        c.rope.factor = 4;
        c.rope.window = c.window = 4 * c.rope.original_window;
        written_and_read(&c, &back);
        assert_int_equal(back.window, c.window);
        for (int64_t length = 100; length < 20000; length += 16000) { /* below and above the original window */
            assert_ok(fl_rope_frequencies(&c.rope, length, freq, &magnitude));
            assert_ok(fl_rope_frequencies(&back.rope, length, freq_back, &magnitude_back));
            assert_true(fabs(magnitude - magnitude_back) < 1e-14);
            for (int p = 0; p < 32; p++) /* two roundings in double */
                assert_true(fabs(freq[p] - freq_back[p]) <= 1e-15 * freq[p]);
        }
    }
    fl_config c;
    json_t *root;
    assert_ok(read_text(&c, "{" PHI3 "}"));
    c.rope.kind = FL_ROPE_DYNAMIC;
    c.rope.factor = 2;
    assert_refused("dynamic", fl_hf_config_write(&root, &c, FL_F32), FL_ERR_UNSUPPORTED, "config.json", "phi3");
}

/* Bases changed by NTK are written under both names that readers of gpt_neox look at. */
static void test_neox_base(void **state)
{
    (void)state;
    fl_config c, back;
    assert_ok(read_text(&c, "{" NEOX ",\"rotary_pct\":1}"));
    c.rope.kind = FL_ROPE_NTK;
    c.rope.factor = 2;
    c.rope.window = 2 * c.rope.original_window;
    written_and_read(&c, &back);
    assert_true(fabs(back.rope.base / (10000 * pow(2, 8.0 / 6)) - 1) < 1e-14);
}

static void test_cannot_say(void **state)
{
    (void)state;
    fl_config c;
    json_t *root;
    assert_ok(read_text(&c, "{" QWEN2 "}"));
    c.attention_bias = false;
    assert_refused("bias", fl_hf_config_write(&root, &c, FL_F32), FL_ERR_UNSUPPORTED, "config.json", "qwen2");
    assert_ok(read_text(&c, "{" QWEN3 "}"));
    c.qk_norm = false;
    assert_refused("norms", fl_hf_config_write(&root, &c, FL_F32), FL_ERR_UNSUPPORTED, "config.json", "qwen3");
    assert_ok(read_text(&c, "{" NEOX "}"));
    c.sliding_window = 24;
    assert_refused("window", fl_hf_config_write(&root, &c, FL_F32), FL_ERR_UNSUPPORTED, "config.json", "gpt_neox");
}

/* Keys of the families' files that say nothing of what is computed while nothing trains. */
static bool idle(const char *family, const char *key)
{
    static const char *const keys[] = {"transformers_version",   "use_cache",      "initializer_range",  "dtype",
                                       "pretraining_tp",         "embd_pdrop",     "resid_pdrop",        "attn_pdrop",
                                       "attention_dropout",      "hidden_dropout", "classifier_dropout", "is_decoder",
                                       "reorder_and_upcast_attn"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!strcmp(key, keys[i])) return true;
    bool unused_window = !strncmp(family, "qwen", 4) && !strcmp(key, "sliding_window"); /* use_sliding_window is off */
    return unused_window || !strncmp(key, "summary_", 8);
}

/* Every key of object, which is root or lies in it, made an object in turn: nothing is ever that by right. */
static int every_key_wrong(const char *family, json_t *root, json_t *object)
{
    const char *key;
    json_t *value;
    void *next;
    int wrong = 0;
    json_object_foreach_safe(object, next, key, value)
    {
        if (idle(family, key)) continue;
        if (json_is_object(value)) {
            wrong += every_key_wrong(family, root, value);
            continue;
        }
        char *name = strdup(key); /* setting a value may free the key */
        json_incref(value);
        json_object_set_new(object, name, json_pack("{s:i}", "x", 1));
        fl_config c;
        fl_status status = fl_hf_config_read(&c, root, "config.json");
        assert_refused(family, status, status == FL_ERR_UNSUPPORTED ? status : FL_ERR_FORMAT, "config.json", name);
        json_object_set_new(object, name, value);
        assert_ok(fl_hf_config_read(&c, root, "config.json"));
        free(name);
        wrong++;
    }
    return wrong;
}

static void test_every_key_wrong(void **state)
{
    (void)state;
    static const char *const families[] = {"llama", "mistral", "qwen2", "qwen3", "phi3_longrope", "gpt_neox", "gpt2"};
    for (size_t f = 0; f < sizeof families / sizeof *families; f++) {
        char path[512];
        json_t *root;
        snprintf(path, sizeof path, FL_TEST_DATA "/tiny/%s/config.json", families[f]);
        assert_ok(fl_json_read(&root, path, fl_json_config_limits));
        assert_true(every_key_wrong(families[f], root, root) >= 12);
        json_decref(root);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),   cmocka_unit_test(test_dual_chunk),    cmocka_unit_test(test_given),
        cmocka_unit_test(test_refused),    cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_neox_base),
        cmocka_unit_test(test_cannot_say), cmocka_unit_test(test_phi3_scalings), cmocka_unit_test(test_every_key_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
