#include <string.h>

#include "file/hf_config.h"
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

static fl_status write_llama(json_t *root, const fl_config *c, bool *failed)
{
    if (c->qk_norm || c->output_bias != c->attention_bias || c->sliding_window)
        return fl_fail(FL_ERR_UNSUPPORTED,
                       "config.json: family = llama: has no keys for norms of queries and keys, a bias of only some "
                       "projections, or a sliding window");
    set(root, "hidden_size", json_integer(c->width), failed);
    set(root, "intermediate_size", json_integer(c->ffn), failed);
    set(root, "num_hidden_layers", json_integer(c->layers), failed);
    set(root, "num_attention_heads", json_integer(c->heads), failed);
    set(root, "num_key_value_heads", json_integer(c->kv_heads), failed);
    set(root, "head_dim", json_integer(c->head_dim), failed);
    set(root, "hidden_act", json_string("silu"), failed);
    set(root, "rms_norm_eps", json_real(c->norm_eps), failed);
    set(root, "attention_bias", json_boolean(c->attention_bias), failed);
    set(root, "mlp_bias", json_boolean(c->mlp_bias), failed);
    return fl_rope_config_write(root, &c->rope, c->head_dim);
}

static fl_status write_gpt2(json_t *root, const fl_config *c, bool *failed)
{
    set(root, "n_embd", json_integer(c->width), failed);
    set(root, "n_inner", json_integer(c->ffn), failed);
    set(root, "n_layer", json_integer(c->layers), failed);
    set(root, "n_head", json_integer(c->heads), failed);
    set(root, "n_positions", json_integer(c->window), failed);
    set(root, "layer_norm_epsilon", json_real(c->norm_eps), failed);
    set(root, "activation_function", json_string(c->activation == FL_ACT_GELU_ERF ? "gelu" : "gelu_new"), failed);
    return FL_OK;
}

static const char *torch_name(fl_dtype type)
{
    return type == FL_F16 ? "float16" : type == FL_BF16 ? "bfloat16" : "float32";
}

static fl_status fill_config(json_t *root, const fl_config *c, fl_dtype type)
{
    bool failed = false, llama = !strcmp(c->family, "llama");
    json_t *architectures = json_array();
    set(root, "architectures", architectures, &failed);
    if (failed || json_array_append_new(architectures, json_string(llama ? "LlamaForCausalLM" : "GPT2LMHeadModel")))
        failed = true;
    set(root, "model_type", json_string(c->family), &failed);
    set(root, "vocab_size", json_integer(c->vocab), &failed);
    FL_TRY(llama ? write_llama(root, c, &failed) : write_gpt2(root, c, &failed));
    set(root, "tie_word_embeddings", json_boolean(c->tied_head), &failed);
    set_tokens(root, c, &failed);
    set(root, "torch_dtype", json_string(torch_name(type)), &failed); /* version 5 reads this older name too */
    return failed ? fl_fail(FL_ERR_MEMORY, "config.json: no memory for the JSON") : FL_OK;
}

fl_status fl_hf_config_write(json_t **out, const fl_config *config, fl_dtype type)
{
    if (strcmp(config->family, "llama") && strcmp(config->family, "gpt2"))
        return fl_fail(FL_ERR_UNSUPPORTED, "config.json: family = %s: only llama and gpt2 can be written",
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
