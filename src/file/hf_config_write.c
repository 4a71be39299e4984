#include <string.h>

#include "file/hf_config.h"
#include "file/passes_config.h"
#include "file/rope_config.h"

/* Sets a key and remembers failure, so that a run of keys is checked once. */
static void set(json_t *object, const char *key, json_t *value, bool *failed)
{
    if (json_object_set_new(object, key, value)) *failed = true;
}

static json_t *token(int32_t id)
{
    return id >= 0 ? json_integer(id) : json_null();
}

static json_t *eos(const fl_config *c)
{
    if (c->eos_count <= 1) return token(c->eos_count ? c->eos[0] : -1);
    json_t *list = json_array();
    for (int i = 0; list && i < c->eos_count; i++)
        if (json_array_append_new(list, json_integer(c->eos[i]))) {
            json_decref(list);
            list = NULL;
        }
    return list;
}

static void set_tokens(json_t *root, const fl_config *c, bool *failed)
{
    set(root, "bos_token_id", token(c->bos), failed);
    set(root, "eos_token_id", eos(c), failed);
    set(root, "pad_token_id", token(c->pad), failed);
}

/* What a family's config.json cannot say must be what the family always has. */
static fl_status check_family(const fl_config *c, bool attention_bias, bool output_bias, bool mlp_bias, bool qk_norm,
                              bool sliding)
{
    if (c->attention_bias == attention_bias && c->output_bias == output_bias && c->mlp_bias == mlp_bias &&
        c->qk_norm == qk_norm && (sliding || !c->sliding_window))
        return FL_OK;
    return fl_fail(FL_ERR_UNSUPPORTED,
                   "config.json: family = %s: has no keys for norms of queries and keys, a bias of only some "
                   "projections, or a sliding window, other than the family's own",
                   c->family);
}

static json_t *window_or_null(int64_t window)
{
    return window ? json_integer(window) : json_null();
}

static fl_status write_decoder(json_t *root, const fl_config *c, bool *failed)
{
    set(root, "hidden_size", json_integer(c->width), failed);
    set(root, "intermediate_size", json_integer(c->ffn), failed);
    set(root, "num_hidden_layers", json_integer(c->layers), failed);
    set(root, "num_attention_heads", json_integer(c->heads), failed);
    set(root, "num_key_value_heads", json_integer(c->kv_heads), failed);
    set(root, "head_dim", json_integer(c->head_dim), failed);
    set(root, "hidden_act", json_string("silu"), failed);
    set(root, "rms_norm_eps", json_real(c->norm_eps), failed);
    if (c->positions != FL_POSITIONS_ROTARY)
        set(root, "position_embedding_type", json_string(fl_positions_name(c->positions)), failed);
    if (c->rotary) return fl_rope_config_write(root, &c->rope, c->head_dim);
    set(root, "max_position_embeddings", json_integer(c->window), failed);
    return FL_OK;
}

static fl_status write_llama(json_t *root, const fl_config *c, bool *failed)
{
    FL_TRY(check_family(c, c->attention_bias, c->attention_bias, c->mlp_bias, false, false));
    if (c->positions == FL_POSITIONS_XPOS && c->rope.kind != FL_ROPE_PLAIN)
        return fl_fail(FL_ERR_UNSUPPORTED, "config.json: rope_type = %s: xPos is not scaled",
                       fl_rope_kind_name(c->rope.kind));
    set(root, "attention_bias", json_boolean(c->attention_bias), failed);
    set(root, "mlp_bias", json_boolean(c->mlp_bias), failed);
    return write_decoder(root, c, failed);
}

static fl_status write_mistral(json_t *root, const fl_config *c, bool *failed)
{
    FL_TRY(check_family(c, false, false, false, false, true));
    set(root, "sliding_window", window_or_null(c->sliding_window), failed);
    return write_decoder(root, c, failed);
}

static fl_status write_phi3(json_t *root, const fl_config *config, bool *failed)
{
    fl_config c = *config;
    fl_rope_kind kind = c.rope.kind;
    if (kind == FL_ROPE_DYNAMIC)
        return fl_fail(FL_ERR_UNSUPPORTED, "config.json: family = phi3: has no spelling for dynamic scaling");
    if (kind == FL_ROPE_LINEAR || kind == FL_ROPE_YARN || kind == FL_ROPE_NTK_PARTS || kind == FL_ROPE_LLAMA3)
        FL_TRY(fl_rope_as_longrope(&c.rope));
    return write_mistral(root, &c, failed);
}

static fl_status write_qwen(json_t *root, const fl_config *c, bool *failed)
{
    bool three = !strcmp(c->family, "qwen3");
    FL_TRY(check_family(c, three ? c->attention_bias : true, three && c->attention_bias, false, three, true));
    set(root, "use_sliding_window", json_boolean(c->sliding_window > 0), failed);
    set(root, "sliding_window", window_or_null(c->sliding_window), failed);
    set(root, "max_window_layers", json_integer(c->sliding_window ? 0 : c->layers), failed);
    if (three) set(root, "attention_bias", json_boolean(c->attention_bias), failed);
    return write_decoder(root, c, failed);
}

static const char *gelu_name(const fl_config *c)
{
    return c->activation == FL_ACT_GELU_ERF ? "gelu" : "gelu_new";
}

static fl_status write_neox(json_t *root, const fl_config *c, bool *failed)
{
    FL_TRY(check_family(c, c->attention_bias, c->attention_bias, true, false, false));
    set(root, "hidden_size", json_integer(c->width), failed);
    set(root, "intermediate_size", json_integer(c->ffn), failed);
    set(root, "num_hidden_layers", json_integer(c->layers), failed);
    set(root, "num_attention_heads", json_integer(c->heads), failed);
    set(root, "hidden_act", json_string(gelu_name(c)), failed);
    set(root, "layer_norm_eps", json_real(c->norm_eps), failed);
    set(root, "attention_bias", json_boolean(c->attention_bias), failed);
    set(root, "use_parallel_residual", json_boolean(c->parallel_residual), failed);
    FL_TRY(fl_rope_config_write(root, &c->rope, c->head_dim));
    /* Version 4 reads these two names; the same numbers. */
    json_t *part = json_object_get(root, "partial_rotary_factor");
    set(root, "rotary_pct", part ? json_incref(part) : json_real(1), failed);
    set(root, "rotary_emb_base", json_incref(json_object_get(root, "rope_theta")), failed);
    return FL_OK;
}

static fl_status write_gpt2(json_t *root, const fl_config *c, bool *failed)
{
    set(root, "n_embd", json_integer(c->width), failed);
    set(root, "n_inner", json_integer(c->ffn), failed);
    set(root, "n_layer", json_integer(c->layers), failed);
    set(root, "n_head", json_integer(c->heads), failed);
    set(root, "n_positions", json_integer(c->window), failed);
    set(root, "layer_norm_epsilon", json_real(c->norm_eps), failed);
    set(root, "activation_function", json_string(gelu_name(c)), failed);
    return FL_OK;
}

static const char *torch_name(fl_dtype type)
{
    return type == FL_F16 ? "float16" : type == FL_BF16 ? "bfloat16" : "float32";
}

typedef fl_status (*writer)(json_t *root, const fl_config *c, bool *failed);

static writer writer_of(const char *family)
{
    static const struct {
        const char *family;
        writer write;
    } list[] = {{"llama", write_llama}, {"mistral", write_mistral}, {"phi3", write_phi3}, {"qwen2", write_qwen},
                {"qwen3", write_qwen},  {"gpt_neox", write_neox},   {"gpt2", write_gpt2}};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (!strcmp(list[i].family, family)) return list[i].write;
    return NULL;
}

static fl_status fill_config(json_t *root, const fl_config *c, fl_dtype type)
{
    bool failed = false;
    json_t *architectures = json_array();
    set(root, "architectures", architectures, &failed);
    bool own = c->positions != FL_POSITIONS_ROTARY && !strcmp(c->family, "llama");
    const char *model_type = own ? FL_HF_FURLONG : c->family;
    if (failed || json_array_append_new(architectures, json_string(fl_hf_architecture(model_type)))) failed = true;
    set(root, "model_type", json_string(model_type), &failed);
    set(root, "vocab_size", json_integer(c->vocab), &failed);
    FL_TRY(writer_of(c->family)(root, c, &failed));
    /* Other programs read dual chunks in these families alone. */
    if (c->passes.kind == FL_PASSES_DUAL_CHUNK && strcmp(c->family, "qwen2") && strcmp(c->family, "qwen3"))
        return fl_passes_config_refuse(c, "config.json");
    FL_TRY(fl_passes_config_write(root, c));
    set(root, "tie_word_embeddings", json_boolean(c->tied_head), &failed);
    set_tokens(root, c, &failed);
    set(root, "torch_dtype", json_string(torch_name(type)), &failed); /* version 5 reads this older name too */
    return failed ? fl_fail(FL_ERR_MEMORY, "config.json: no memory for the JSON") : FL_OK;
}

fl_status fl_hf_config_write(json_t **out, const fl_config *config, fl_dtype type)
{
    if (!writer_of(config->family) || !fl_hf_architecture(config->family))
        return fl_fail(FL_ERR_UNSUPPORTED, "config.json: family = %s: cannot be written as a Hugging Face folder",
                       config->family);
    json_t *root = json_object();
    if (!root) return fl_fail(FL_ERR_MEMORY, "config.json: no memory for the JSON");
    fl_status status = fill_config(root, config, type);
    if (status == FL_OK)
        *out = root;
    else
        json_decref(root);
    return status;
}

fl_status fl_hf_generation_write(json_t **out, const fl_config *config)
{
    bool failed = false;
    json_t *root = json_object();
    set_tokens(root, config, &failed);
    if (failed) {
        json_decref(root);
        return fl_fail(FL_ERR_MEMORY, "generation_config.json: no memory for the JSON");
    }
    *out = root;
    return FL_OK;
}
