#include "file/hf_config.h"

#include <string.h>

#include "file/passes_config.h"
#include "file/rope_config.h"

/* ---- ids of special tokens ---------------------------------------------------------------------------------- */

/* -1 and null mean "none". fallback is the family's default, dropped where the vocabulary is too small for it. */
static fl_status read_token(const fl_json_at *at, const char *key, int64_t vocab, int64_t fallback, int32_t *out)
{
    int64_t id = !json_object_get(at->object, key) && fallback < vocab ? fallback : -1;
    FL_TRY(fl_json_int(at, key, -1, vocab - 1, &id, NULL));
    *out = (int32_t)id;
    return FL_OK;
}

/* One id or a list of them. */
static fl_status read_eos(const fl_json_at *at, int64_t fallback, fl_config *c)
{
    static const char key[] = "eos_token_id";
    const json_t *value = json_object_get(at->object, key);
    if (!json_is_array(value)) {
        int32_t id;
        FL_TRY(read_token(at, key, c->vocab, fallback, &id));
        c->eos_count = id >= 0;
        c->eos[0] = id;
        return FL_OK;
    }
    size_t count = json_array_size(value);
    if (count > FL_MAX_EOS) {
        char why[64];
        snprintf(why, sizeof why, "%zu ids; at most %d are supported", count, FL_MAX_EOS);
        return fl_json_fail(FL_ERR_UNSUPPORTED, at, key, why);
    }
    int32_t eos[FL_MAX_EOS];
    for (size_t i = 0; i < count; i++) {
        const json_t *id = json_array_get(value, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= c->vocab)
            return fl_json_fail(FL_ERR_FORMAT, at, key, "holds something other than ids of the vocabulary");
        eos[i] = (int32_t)json_integer_value(id);
    }
    memcpy(c->eos, eos, count * sizeof *eos);
    c->eos_count = (int)count;
    return FL_OK;
}

static fl_status read_tokens(const fl_json_at *at, int64_t bos, int64_t eos, fl_config *c)
{
    FL_TRY(read_token(at, "bos_token_id", c->vocab, bos, &c->bos));
    FL_TRY(read_eos(at, eos, c));
    /* Padding is never fed to a model here, and many files name an id that their vocabulary lacks. */
    int64_t pad = -1;
    FL_TRY(fl_json_int(at, "pad_token_id", INT32_MIN, INT32_MAX, &pad, NULL));
    c->pad = pad >= 0 && pad < c->vocab ? (int32_t)pad : -1;
    return FL_OK;
}

fl_status fl_hf_generation_read(fl_config *config, const json_t *root, const char *file)
{
    fl_json_at at = {root, file, ""};
    const json_t *value = json_object_get(root, "eos_token_id");
    return value && !json_is_null(value) ? read_eos(&at, -1, config) : FL_OK;
}

/* ---- families ----------------------------------------------------------------------------------------------- */

/* NULL also for null. */
static json_t *given(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

static fl_status need_int(const fl_json_at *at, const char *key, int64_t max, int64_t *out)
{
    FL_TRY(fl_json_need(at, key));
    return fl_json_int(at, key, 1, max, out, NULL);
}

static fl_status read_eps(const fl_json_at *at, const char *key, double fallback, double *out)
{
    *out = fallback;
    FL_TRY(fl_json_real(at, key, out, NULL));
    if (!(*out > 0 && *out < 1)) return fl_json_fail(FL_ERR_FORMAT, at, key, "must be above 0 and below 1");
    return FL_OK;
}

/* Keys that change what the model computes and must therefore have their usual value. */
static fl_status need_bool(const fl_json_at *at, const char *key, bool usual)
{
    bool value = usual;
    FL_TRY(fl_json_bool(at, key, &value));
    if (value != usual) return fl_json_fail(FL_ERR_UNSUPPORTED, at, key, "this variant is not supported");
    return FL_OK;
}

/* What transformers assumes where a file of the family is silent. */
typedef struct decoder_defaults {
    int64_t window, kv_heads; /* kv_heads 0: as many as heads */
    int64_t bos, eos;         /* -1: none */
    double eps;
    bool partial; /* the family can rotate a part of each head */
} decoder_defaults;

static fl_status no_rotary_keys(const fl_json_at *at, fl_positions positions)
{
    static const char *const keys[] = {"rope_theta", "rope_scaling", "rope_parameters"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (given(at->object, keys[i])) {
            char why[96];
            snprintf(why, sizeof why, "a model with %s positions rotates nothing; delete it",
                     fl_positions_name(positions));
            return fl_json_fail(FL_ERR_FORMAT, at, keys[i], why);
        }
    return FL_OK;
}

/* What llama and its relatives spell alike, up to the positions. */
static fl_status read_decoder(const fl_json_at *at, fl_config *c, decoder_defaults d)
{
    const char *activation = "silu";
    FL_TRY(need_int(at, "vocab_size", FL_MOST_VOCAB, &c->vocab));
    FL_TRY(need_int(at, "hidden_size", FL_MOST_WIDTH, &c->width));
    FL_TRY(need_int(at, "intermediate_size", FL_MOST_WIDTH, &c->ffn));
    FL_TRY(need_int(at, "num_hidden_layers", FL_MOST_LAYERS, &c->layers));
    FL_TRY(need_int(at, "num_attention_heads", FL_MOST_HEADS, &c->heads));
    bool silent = !json_object_get(at->object, "num_key_value_heads"); /* null: as many as heads in every family */
    c->kv_heads = silent && d.kv_heads && d.kv_heads < c->heads ? d.kv_heads : c->heads;
    FL_TRY(fl_json_int(at, "num_key_value_heads", 1, c->heads, &c->kv_heads, NULL));
    if (c->heads % c->kv_heads)
        return fl_json_fail(FL_ERR_FORMAT, at, "num_key_value_heads", "does not divide num_attention_heads");

    bool given;
    FL_TRY(fl_json_int(at, "head_dim", 1, FL_MOST_WIDTH, &c->head_dim, &given));
    if (!given) {
        if (c->width % c->heads)
            return fl_json_fail(FL_ERR_FORMAT, at, "num_attention_heads",
                                "does not divide hidden_size, and there is no head_dim");
        c->head_dim = c->width / c->heads;
    }
    c->window = d.window;
    FL_TRY(fl_json_int(at, "max_position_embeddings", 1, INT32_MAX, &c->window, NULL));
    FL_TRY(read_eps(at, "rms_norm_eps", d.eps, &c->norm_eps));
    FL_TRY(fl_json_string(at, "hidden_act", &activation));
    if (strcmp(activation, "silu") && strcmp(activation, "swish"))
        return fl_json_fail(FL_ERR_UNSUPPORTED, at, "hidden_act", "this family is computed with silu only");
    c->activation = FL_ACT_SILU;
    FL_TRY(fl_json_bool(at, "tie_word_embeddings", &c->tied_head));
    c->rotary = c->positions == FL_POSITIONS_ROTARY || c->positions == FL_POSITIONS_XPOS;
    FL_TRY(c->rotary ? fl_rope_config_read(&c->rope, at->object, at->file, c->head_dim, c->window)
                     : no_rotary_keys(at, c->positions));
    if (c->rotary && c->rope.dim != c->head_dim && !d.partial)
        return fl_fail(FL_ERR_UNSUPPORTED,
                       "%s: partial_rotary_factor: %d of %lld components: this family rotates whole heads; delete it",
                       at->file, c->rope.dim, (long long)c->head_dim);
    FL_TRY(fl_passes_config_read(c, at));
    return read_tokens(at, d.bos, d.eos, c);
}

static fl_status no_sliding_window(const fl_json_at *at)
{
    if (given(at->object, "sliding_window"))
        return fl_json_fail(FL_ERR_UNSUPPORTED, at, "sliding_window", "this family has none; set it to null");
    return need_bool(at, "use_sliding_window", false);
}

static const char positions_key[] = "position_embedding_type";

/* A key of furlong's own, for llamas that were pre-trained with other positions than rotary ones. */
static fl_status read_positions(const fl_json_at *at, fl_config *c)
{
    const char *name = "rotary";
    FL_TRY(fl_json_string(at, positions_key, &name));
    if (!strcmp(name, "rope")) name = "rotary";
    for (int i = 0; i < FL_POSITIONS_COUNT; i++)
        if (i != FL_POSITIONS_LEARNED && !strcmp(name, fl_positions_name((fl_positions)i))) {
            c->positions = (fl_positions)i;
            return FL_OK;
        }
    return fl_json_fail(FL_ERR_UNSUPPORTED, at, positions_key,
                        "known are rotary, alibi, xpos, sinusoidal and none (learned positions: family gpt2)");
}

/* Other families have their own positions only. */
static fl_status refuse_positions(const fl_json_at *at)
{
    static const char *const others[] = {"alibi", "xpos", "sinusoidal", "none"};
    const char *name = NULL;
    FL_TRY(fl_json_string(at, positions_key, &name));
    for (size_t i = 0; name && i < sizeof others / sizeof *others; i++)
        if (!strcmp(name, others[i]))
            return fl_json_fail(FL_ERR_UNSUPPORTED, at, positions_key,
                                "only models of the llama family may have these");
    return FL_OK;
}

static fl_status read_llama(const fl_json_at *at, fl_config *c)
{
    FL_TRY(read_positions(at, c));
    FL_TRY(read_decoder(at, c, (decoder_defaults){2048, 0, 1, 2, 1e-6, false}));
    FL_TRY(fl_json_bool(at, "attention_bias", &c->attention_bias));
    c->output_bias = c->attention_bias;
    FL_TRY(fl_json_bool(at, "mlp_bias", &c->mlp_bias));
    if (c->positions == FL_POSITIONS_XPOS && c->rope.kind != FL_ROPE_PLAIN)
        return fl_json_fail(FL_ERR_UNSUPPORTED, at, positions_key, "xPos is not scaled; delete rope_scaling");
    return no_sliding_window(at);
}

/* A row sees itself and sliding_window - 1 tokens before it. null: all; absent: the family's default. */
static fl_status read_sliding_window(const fl_json_at *at, int64_t fallback, fl_config *c)
{
    const json_t *value = json_object_get(at->object, "sliding_window");
    c->sliding_window = value ? 0 : fallback;
    return fl_json_int(at, "sliding_window", 1, INT32_MAX, &c->sliding_window, NULL);
}

/* mistral and phi3: a window that is given applies, whatever use_sliding_window says. */
static fl_status read_plain_window(const fl_json_at *at, int64_t fallback, fl_config *c)
{
    FL_TRY(read_sliding_window(at, fallback, c));
    return c->sliding_window ? need_bool(at, "use_sliding_window", true) : FL_OK;
}

static fl_status no_biases(const fl_json_at *at)
{
    FL_TRY(need_bool(at, "attention_bias", false));
    return need_bool(at, "mlp_bias", false);
}

static fl_status read_mistral(const fl_json_at *at, fl_config *c)
{
    FL_TRY(read_decoder(at, c, (decoder_defaults){131072, 8, 1, 2, 1e-6, false}));
    FL_TRY(no_biases(at));
    return read_plain_window(at, 4096, c);
}

/* Layers that differ in their window are not computed here, so they must all be alike. */
static fl_status read_layer_types(const fl_json_at *at, fl_config *c)
{
    const json_t *types = json_object_get(at->object, "layer_types");
    if (!types || json_is_null(types)) return FL_OK;
    if (!json_is_array(types) || (int64_t)json_array_size(types) != c->layers)
        return fl_json_fail(FL_ERR_FORMAT, at, "layer_types", "must list num_hidden_layers names");
    const char *wanted = c->sliding_window ? "sliding_attention" : "full_attention";
    for (int64_t i = 0; i < c->layers; i++) {
        const char *type = json_string_value(json_array_get(types, (size_t)i));
        if (!type || strcmp(type, wanted))
            return fl_json_fail(FL_ERR_UNSUPPORTED, at, "layer_types",
                                "layers of different kinds, or of another kind than the keys of the sliding window "
                                "say, are not supported");
    }
    return FL_OK;
}

/* qwen2 and qwen3: a sliding window only where use_sliding_window says so, from layer max_window_layers on. */
static fl_status read_qwen_window(const fl_json_at *at, fl_config *c)
{
    bool use = false;
    int64_t full_layers = 28;
    FL_TRY(fl_json_bool(at, "use_sliding_window", &use));
    FL_TRY(fl_json_int(at, "max_window_layers", 0, FL_MOST_LAYERS, &full_layers, NULL));
    if (use) {
        FL_TRY(read_sliding_window(at, 4096, c));
        if (c->sliding_window && full_layers >= c->layers) c->sliding_window = 0;
        if (c->sliding_window && full_layers > 0)
            return fl_json_fail(FL_ERR_UNSUPPORTED, at, "max_window_layers",
                                "a sliding window in some layers only is not supported");
    }
    return FL_OK;
}

static fl_status read_qwen2(const fl_json_at *at, fl_config *c)
{
    FL_TRY(read_decoder(at, c, (decoder_defaults){32768, 32, -1, -1, 1e-6, false}));
    c->attention_bias = true;
    FL_TRY(need_bool(at, "attention_bias", true));
    FL_TRY(need_bool(at, "qkv_bias", true));
    FL_TRY(need_bool(at, "mlp_bias", false));
    return read_qwen_window(at, c);
}

static fl_status read_qwen3(const fl_json_at *at, fl_config *c)
{
    /* Unlike its relatives this family does not derive head_dim. */
    if (!json_object_get(at->object, "head_dim"))
        return fl_json_fail(FL_ERR_FORMAT, at, "head_dim", "missing; qwen3 files state it (usually 128)");
    FL_TRY(read_decoder(at, c, (decoder_defaults){32768, 32, -1, -1, 1e-6, false}));
    FL_TRY(fl_json_bool(at, "attention_bias", &c->attention_bias));
    c->output_bias = c->attention_bias;
    c->qk_norm = true;
    FL_TRY(need_bool(at, "mlp_bias", false));
    return read_qwen_window(at, c);
}

static fl_status read_phi3(const fl_json_at *at, fl_config *c)
{
    FL_TRY(read_decoder(at, c, (decoder_defaults){4096, 0, 1, 32000, 1e-5, true}));
    FL_TRY(no_biases(at));
    FL_TRY(read_plain_window(at, 0, c));
    const char *name = json_object_get(at->object, "rope_parameters") ? "rope_parameters" : "rope_scaling";
    if (c->rope.kind == FL_ROPE_PLAIN) {
        /* transformers writes its default of 4096 where a file is silent, and looks at it for longrope only. */
        if (c->rope.original_window > c->window) c->rope.original_window = c->window;
        return FL_OK;
    }
    if (c->rope.kind != FL_ROPE_LONGROPE)
        return fl_json_fail(FL_ERR_UNSUPPORTED, at, name,
                            "this family has no scaling but longrope (transformers takes even yarn for it)");
    static const char key[] = "original_max_position_embeddings";
    return json_object_get(json_object_get(at->object, name), key) ? FL_OK : fl_json_need(at, key);
}

/* The names version 4 had for keys that all families share now, moved there: rotary_pct, rotary_emb_base. */
static fl_status modern_neox(const fl_json_at *at, json_t **out)
{
    static const char *const names[][2] = {{"rotary_pct", "partial_rotary_factor"}, {"rotary_emb_base", "rope_theta"}};
    json_t *root = json_copy((json_t *)(uintptr_t)at->object);
    if (!root) return fl_fail(FL_ERR_MEMORY, "%s: no memory for the JSON", at->file);
    const json_t *inside = json_object_get(root, "rope_parameters");
    fl_status status = FL_OK;
    for (size_t i = 0; i < 2 && status == FL_OK; i++) {
        json_t *old = given(root, names[i][0]), *new = given(root, names[i][1]);
        if (old && new &&json_number_value(old) != json_number_value(new))
            status = fl_json_fail(FL_ERR_FORMAT, at, names[i][0], "contradicts the newer key for the same number");
        bool silent = i == 0 && !old && !new && !given(inside, names[0][1]);
        json_t *add = silent ? json_real(0.25) : !new ? json_incref(old) : NULL;
        if ((silent || add) && json_object_set_new(root, names[i][1], add))
            status = fl_fail(FL_ERR_MEMORY, "%s: no memory for the JSON", at->file);
    }
    if (status == FL_OK)
        *out = root;
    else
        json_decref(root);
    return status;
}

static fl_status read_gelu(const fl_json_at *at, const char *key, const char *fallback, fl_config *c)
{
    static const struct {
        const char *name;
        fl_activation activation;
    } known[] = {{"gelu", FL_ACT_GELU_ERF},
                 {"gelu_new", FL_ACT_GELU_TANH},
                 {"gelu_fast", FL_ACT_GELU_TANH},
                 {"gelu_pytorch_tanh", FL_ACT_GELU_TANH}};
    const char *name = fallback;
    FL_TRY(fl_json_string(at, key, &name));
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(name, known[i].name)) {
            c->activation = known[i].activation;
            return FL_OK;
        }
    return fl_json_fail(FL_ERR_UNSUPPORTED, at, key,
                        "this family is computed with gelu, gelu_new, gelu_fast or gelu_pytorch_tanh");
}

static fl_status read_neox(const fl_json_at *at, fl_config *c)
{
    FL_TRY(need_int(at, "vocab_size", FL_MOST_VOCAB, &c->vocab));
    FL_TRY(need_int(at, "hidden_size", FL_MOST_WIDTH, &c->width));
    FL_TRY(need_int(at, "intermediate_size", FL_MOST_WIDTH, &c->ffn));
    FL_TRY(need_int(at, "num_hidden_layers", FL_MOST_LAYERS, &c->layers));
    FL_TRY(need_int(at, "num_attention_heads", FL_MOST_HEADS, &c->heads));
    c->kv_heads = c->heads;
    if (c->width % c->heads)
        return fl_json_fail(FL_ERR_FORMAT, at, "num_attention_heads", "does not divide hidden_size");
    c->head_dim = c->width / c->heads;
    c->window = 2048;
    FL_TRY(fl_json_int(at, "max_position_embeddings", 1, INT32_MAX, &c->window, NULL));
    FL_TRY(read_eps(at, "layer_norm_eps", 1e-5, &c->norm_eps));
    FL_TRY(read_gelu(at, "hidden_act", "gelu", c));
    FL_TRY(fl_json_bool(at, "tie_word_embeddings", &c->tied_head));
    c->attention_bias = c->parallel_residual = c->qkv_by_head = c->mlp_bias = c->rotary = true;
    FL_TRY(fl_json_bool(at, "attention_bias", &c->attention_bias));
    c->output_bias = c->attention_bias;
    FL_TRY(fl_json_bool(at, "use_parallel_residual", &c->parallel_residual));
    json_t *modern = NULL;
    FL_TRY(modern_neox(at, &modern));
    fl_status status = fl_rope_config_read(&c->rope, modern, at->file, c->head_dim, c->window);
    json_decref(modern);
    FL_TRY(status);
    FL_TRY(no_sliding_window(at));
    return read_tokens(at, 0, 2, c);
}

static fl_status read_gpt2(const fl_json_at *at, fl_config *c)
{
    FL_TRY(need_int(at, "vocab_size", FL_MOST_VOCAB, &c->vocab));
    FL_TRY(need_int(at, "n_embd", FL_MOST_WIDTH, &c->width));
    FL_TRY(need_int(at, "n_layer", FL_MOST_LAYERS, &c->layers));
    FL_TRY(need_int(at, "n_head", FL_MOST_HEADS, &c->heads));
    c->kv_heads = c->heads;
    if (c->width % c->heads) return fl_json_fail(FL_ERR_FORMAT, at, "n_head", "does not divide n_embd");
    c->head_dim = c->width / c->heads;
    c->ffn = 4 * c->width;
    FL_TRY(fl_json_int(at, "n_inner", 1, FL_MOST_WIDTH, &c->ffn, NULL));
    c->window = 1024;
    FL_TRY(fl_json_int(at, "n_positions", 1, FL_MOST_WIDTH, &c->window, NULL));
    FL_TRY(read_eps(at, "layer_norm_epsilon", 1e-5, &c->norm_eps));
    FL_TRY(read_gelu(at, "activation_function", "gelu_new", c));
    c->tied_head = true;
    FL_TRY(fl_json_bool(at, "tie_word_embeddings", &c->tied_head));
    c->attention_bias = c->output_bias = c->mlp_bias = true;
    c->positions = FL_POSITIONS_LEARNED;
    FL_TRY(need_bool(at, "scale_attn_weights", true));
    FL_TRY(need_bool(at, "scale_attn_by_inverse_layer_idx", false));
    FL_TRY(need_bool(at, "add_cross_attention", false));
    FL_TRY(no_sliding_window(at));
    return read_tokens(at, 50256, 50256, c);
}

/* Keys of relatives that compute something else. What such a key says must be nothing: absent, null, false, 0, empty,
 * or the number that has no effect. */
static fl_status refuse_variants(const fl_json_at *at)
{
    static const struct {
        const char *key;
        double idle;
    } keys[] = {
        {"num_experts", 0},
        {"num_local_experts", 0},
        {"n_routed_experts", 0},
        {"num_experts_per_tok", 0},
        {"vision_config", 0},
        {"audio_config", 0},
        {"text_config", 0},
        {"mm_vision_tower", 0},
        {"img_processor", 0},
        {"embd_layer", 0},
        {"audio_processor", 0},
        {"cross_attention_layers", 0},
        {"is_encoder_decoder", 0},
        {"use_mrope", 0},
        {"no_rope_layers", 0},
        {"rope_interleave", 0},
        {"alibi", 0},
        {"use_qk_norm", 0},
        {"qk_layernorm", 0},
        {"clip_qkv", 0},
        {"attn_logit_softcapping", 0},
        {"final_logit_softcapping", 0},
        {"embedding_multiplier", 1},
        {"attention_multiplier", 0},
        {"residual_multiplier", 1},
        {"logits_scaling", 1},
        {"logit_scale", 1},
        {"use_logn_attn", 0},
        {"use_dynamic_ntk", 0},
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *value = json_object_get(at->object, keys[i].key);
        double number = json_number_value(value);
        bool idle = !value || json_is_null(value) || json_is_false(value) ||
                    (json_is_number(value) && (number == 0 || number == keys[i].idle)) ||
                    (json_is_array(value) && !json_array_size(value)) ||
                    (json_is_object(value) && !json_object_size(value)) ||
                    (json_is_string(value) && !json_string_length(value));
        if (!idle)
            return fl_json_fail(FL_ERR_UNSUPPORTED, at, keys[i].key,
                                "a variant of the family that is not supported (experts, other inputs than text, "
                                "another attention or other scales)");
    }
    return FL_OK;
}

static const struct {
    const char *model_type, *architecture;
    fl_status (*read)(const fl_json_at *at, fl_config *c);
} families[] = {
    {"llama", "LlamaForCausalLM", read_llama}, {"mistral", "MistralForCausalLM", read_mistral},
    {"qwen2", "Qwen2ForCausalLM", read_qwen2}, {"qwen3", "Qwen3ForCausalLM", read_qwen3},
    {"phi3", "Phi3ForCausalLM", read_phi3},    {"gpt_neox", "GPTNeoXForCausalLM", read_neox},
    {"gpt2", "GPT2LMHeadModel", read_gpt2},    {FL_HF_FURLONG, "FurlongLlamaForCausalLM", read_llama},
};

#define SUPPORTED "supported are the causal models of llama, mistral, qwen2, qwen3, phi3, gpt_neox and gpt2"

const char *fl_hf_architecture(const char *family)
{
    for (size_t f = 0; f < sizeof families / sizeof *families; f++)
        if (!strcmp(family, families[f].model_type)) return families[f].architecture;
    return NULL;
}

fl_status fl_hf_config_read(fl_config *out, const json_t *root, const char *file)
{
    fl_json_at at = {root, file, ""};
    fl_config c = {.pad = -1, .bos = -1};
    const char *type = NULL;
    FL_TRY(fl_json_need(&at, "model_type"));
    FL_TRY(fl_json_string(&at, "model_type", &type));
    size_t f = 0;
    while (f < sizeof families / sizeof *families && strcmp(type, families[f].model_type))
        f++;
    if (f == sizeof families / sizeof *families)
        return fl_json_fail(FL_ERR_UNSUPPORTED, &at, "model_type", "unknown family; " SUPPORTED);

    const json_t *architectures = json_object_get(root, "architectures");
    if (architectures && !json_is_null(architectures)) {
        const char *first = json_string_value(json_array_get(architectures, 0));
        if (!first || strcmp(first, families[f].architecture))
            return fl_json_fail(FL_ERR_UNSUPPORTED, &at, "architectures", SUPPORTED);
    }
    const json_t *quantized = json_object_get(root, "quantization_config");
    if (quantized && !json_is_null(quantized))
        return fl_json_fail(FL_ERR_UNSUPPORTED, &at, "quantization_config",
                            "quantised weights are not read; use the unquantised model");
    bool own = !strcmp(type, FL_HF_FURLONG);
    snprintf(c.family, sizeof c.family, "%s", own ? "llama" : type);
    if (own) FL_TRY(fl_json_need(&at, positions_key));
    if (families[f].read != read_llama) FL_TRY(refuse_positions(&at));
    FL_TRY(refuse_variants(&at));
    FL_TRY(families[f].read(&at, &c));
    FL_TRY(read_layer_types(&at, &c));
    *out = c;
    return FL_OK;
}
