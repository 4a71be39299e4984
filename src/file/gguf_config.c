#include "file/gguf_config.h"

#include <stdio.h>
#include <string.h>

#include "file/json.h"

#define KEY 128

typedef struct source {
    const fl_gguf *keys;
    const fl_gguf_family *family;
    const fl_gguf_tensors *tensors;
} source;

const fl_file_tensor *fl_gguf_tensors_find(const fl_gguf_tensors *t, const char *name)
{
    for (int64_t i = 0; i < t->shards; i++) {
        const fl_file_tensor *found = fl_gguf_tensor(t->shard[i], name);
        if (found) return found;
    }
    return NULL;
}

static bool has_tensor(const source *s, const char *name)
{
    return fl_gguf_tensors_find(s->tensors, name) != NULL;
}

/* "arch.name" */
static const char *key_of(const source *s, const char *name, char key[KEY])
{
    snprintf(key, KEY, "%s.%s", s->family->arch, name);
    return key;
}

/* ---- sizes -------------------------------------------------------------------------------------------------- */

static fl_status missing(const source *s, const char *key)
{
    return fl_gguf_fail(FL_ERR_FORMAT, s->keys, key, "is missing");
}

/* A size; absent it is *out when that is above 0, and an error else. Some are lists of one number for each layer. */
static fl_status read_size(const source *s, const char *name, int64_t most, int64_t layers, int64_t *out)
{
    char key[KEY];
    const fl_gguf_value *v = fl_gguf_find(s->keys, key_of(s, name, key));
    if (!v) return *out > 0 ? FL_OK : missing(s, key);
    if (!v->array || !layers) return fl_gguf_integer(s->keys, key, 1, most, out);
    FL_TRY(fl_gguf_integers(s->keys, key, &v));
    if (v->count != (uint64_t)layers)
        return fl_gguf_fail(FL_ERR_FORMAT, s->keys, key, "is not one number for each layer");
    for (uint64_t i = 1; i < v->count; i++)
        if (fl_gguf_integer_at(v, i) != fl_gguf_integer_at(v, 0))
            return fl_gguf_fail(FL_ERR_UNSUPPORTED, s->keys, key, "layers of different sizes are not supported");
    *out = fl_gguf_integer_at(v, 0);
    if (*out < 1 || *out > most) return fl_gguf_fail(FL_ERR_FORMAT, s->keys, key, "is not a size of a model");
    return FL_OK;
}

static fl_status read_sizes(const source *s, fl_config *c)
{
    char key[KEY];
    FL_TRY(read_size(s, "context_length", INT32_MAX, 0, &c->window));
    FL_TRY(read_size(s, "embedding_length", FL_MOST_WIDTH, 0, &c->width));
    FL_TRY(read_size(s, "block_count", FL_MOST_LAYERS, 0, &c->layers));
    FL_TRY(read_size(s, "feed_forward_length", FL_MOST_WIDTH, c->layers, &c->ffn));
    FL_TRY(read_size(s, "attention.head_count", FL_MOST_HEADS, c->layers, &c->heads));
    c->kv_heads = c->heads;
    FL_TRY(read_size(s, "attention.head_count_kv", FL_MOST_HEADS, c->layers, &c->kv_heads));
    if (c->heads % c->kv_heads)
        return fl_gguf_fail(FL_ERR_FORMAT, s->keys, key_of(s, "attention.head_count_kv", key),
                            "does not divide attention.head_count");
    c->head_dim = c->width % c->heads ? 0 : c->width / c->heads;
    if (!c->head_dim && !fl_gguf_find(s->keys, key_of(s, "attention.key_length", key)))
        return fl_gguf_fail(FL_ERR_FORMAT, s->keys, key_of(s, "embedding_length", key),
                            "is no multiple of attention.head_count, and there is no attention.key_length");
    int64_t value_dim = c->head_dim;
    FL_TRY(read_size(s, "attention.key_length", FL_MOST_WIDTH, 0, &c->head_dim));
    FL_TRY(read_size(s, "attention.value_length", FL_MOST_WIDTH, 0, &value_dim));
    if (value_dim != c->head_dim)
        return fl_gguf_fail(FL_ERR_UNSUPPORTED, s->keys, key_of(s, "attention.value_length", key),
                            "values of another size than attention.key_length are not supported");
    c->sliding_window = 0;
    return fl_gguf_integer(s->keys, key_of(s, "attention.sliding_window", key), 0, INT32_MAX, &c->sliding_window);
}

static fl_status read_eps(const source *s, fl_config *c)
{
    char key[KEY];
    key_of(s, s->family->rms_norm ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon", key);
    if (!fl_gguf_find(s->keys, key)) return missing(s, key);
    FL_TRY(fl_gguf_real(s->keys, key, &c->norm_eps));
    /* float32 cannot hold 1e-5: what its writer had was a short decimal. */
    char digits[32];
    snprintf(digits, sizeof digits, "%.7g", c->norm_eps);
    double decimal = 0;
    if (sscanf(digits, "%lf", &decimal) == 1 && (float)decimal == (float)c->norm_eps) c->norm_eps = decimal;
    if (!(c->norm_eps > 0 && c->norm_eps < 1))
        return fl_gguf_fail(FL_ERR_FORMAT, s->keys, key, "must be above 0 and below 1");
    return FL_OK;
}

/* ---- keys that would change the computation ------------------------------------------------------------------- */

static const char *const known_rope[] = {"dimension_count", "freq_base", "scale_linear", "scaling.type",
                                         "scaling.factor", "scaling.original_context_length", "scaling.attn_factor",
                                         "scaling.finetuned", "scaling.yarn_ext_factor", "scaling.yarn_attn_factor",
                                         "scaling.yarn_beta_fast", "scaling.yarn_beta_slow",
                                         /* read as "must be 0" */
                                         "scaling.yarn_log_multiplier", "scaling.alpha", NULL};
static const char *const known_attention[] = {"head_count",
                                              "head_count_kv",
                                              "key_length",
                                              "value_length",
                                              "layer_norm_epsilon",
                                              "layer_norm_rms_epsilon",
                                              "sliding_window",
                                              "max_alibi_bias",
                                              "clamp_kqv",
                                              "causal",
                                              "scale",
                                              NULL};

static bool listed(const char *const *names, const char *name)
{
    for (; *names; names++)
        if (!strcmp(*names, name)) return true;
    return false;
}

/* A key whose only supported value is 0, or its absence. */
static fl_status need_zero(const source *s, const char *name)
{
    char key[KEY];
    const fl_gguf_value *v = fl_gguf_find(s->keys, key_of(s, name, key));
    if (!v) return FL_OK;
    double real = 0;
    int64_t whole = 0;
    if (v->type == FL_GGUF_F32 || v->type == FL_GGUF_F64)
        FL_TRY(fl_gguf_real(s->keys, key, &real));
    else
        FL_TRY(fl_gguf_integer(s->keys, key, INT64_MIN, INT64_MAX, &whole));
    if (real != 0 || whole != 0) return fl_gguf_fail(FL_ERR_UNSUPPORTED, s->keys, key, "this variant is not supported");
    return FL_OK;
}

/* ALiBi belongs to an architecture or not; its slopes are those of a largest bias of 8. */
static fl_status check_alibi(const source *s)
{
    static const char name[] = "attention.max_alibi_bias";
    if (s->family->positions != FL_POSITIONS_ALIBI) return need_zero(s, name);
    char key[KEY];
    double bias = 8;
    FL_TRY(fl_gguf_real(s->keys, key_of(s, name, key), &bias));
    if (bias != 8) return fl_gguf_fail(FL_ERR_UNSUPPORTED, s->keys, key, "only slopes of 8 are supported");
    return FL_OK;
}

/* Positions and attention are where a key that is passed over changes every number without any other sign. */
static fl_status check_keys(const source *s)
{
    static const char *const zero[] = {
        "expert_count",      "expert_used_count", "attention.clamp_kqv", "attention.scale",
        "logit_scale",       "residual_scale",    "embedding_scale",     "rope.scaling.yarn_log_multiplier",
        "rope.scaling.alpha"};
    size_t length = strlen(s->family->arch);
    for (int64_t i = 0; i < fl_gguf_key_count(s->keys); i++) {
        const char *key = fl_gguf_at(s->keys, i)->key;
        if (strncmp(key, s->family->arch, length) || key[length] != '.') continue;
        const char *name = key + length + 1;
        bool unknown = (!strncmp(name, "rope.", 5) && !listed(known_rope, name + 5)) ||
                       (!strncmp(name, "attention.", 10) && !listed(known_attention, name + 10));
        if (unknown)
            return fl_gguf_fail(FL_ERR_UNSUPPORTED, s->keys, key,
                                "is not known, and could change what the model computes");
    }
    for (size_t i = 0; i < sizeof zero / sizeof *zero; i++)
        FL_TRY(need_zero(s, zero[i]));
    FL_TRY(check_alibi(s));
    bool causal = true;
    char key[KEY];
    FL_TRY(fl_gguf_bool(s->keys, key_of(s, "attention.causal", key), &causal));
    if (!causal) return fl_gguf_fail(FL_ERR_UNSUPPORTED, s->keys, key, "only causal attention is supported");
    return FL_OK;
}

/* ---- special tokens ------------------------------------------------------------------------------------------- */

static fl_status read_token(const source *s, const char *key, int64_t fallback, int64_t vocab, int32_t *out)
{
    int64_t id = fallback < vocab ? fallback : -1;
    const fl_gguf_value *v = fl_gguf_find(s->keys, key);
    /* Writers of models without the token put 2^32 - 1. */
    if (v && v->type == FL_GGUF_U32 && !v->array && fl_gguf_integer_at(v, 0) == UINT32_MAX)
        id = -1;
    else
        FL_TRY(fl_gguf_integer(s->keys, key, -1, vocab - 1, &id));
    *out = (int32_t)id;
    return FL_OK;
}

static void add_eos(fl_config *c, int32_t id)
{
    for (int i = 0; i < c->eos_count; i++)
        if (c->eos[i] == id) return;
    if (id >= 0 && c->eos_count < FL_MAX_EOS) c->eos[c->eos_count++] = id;
}

/* Absent ids are those of Llama 2 where the vocabulary is of that kind, as llama.cpp has it; else none. */
static fl_status read_tokens(const source *s, fl_config *c)
{
    static const char *const ends[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    fl_gguf_text model = {"", 0};
    FL_TRY(fl_gguf_string(s->keys, "tokenizer.ggml.model", &model));
    bool llama = fl_gguf_text_is(model, "llama");
    FL_TRY(read_token(s, "tokenizer.ggml.bos_token_id", llama ? 1 : -1, c->vocab, &c->bos));
    FL_TRY(read_token(s, "tokenizer.ggml.padding_token_id", -1, c->vocab, &c->pad));
    c->eos_count = 0;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        int32_t id;
        FL_TRY(read_token(s, ends[i], llama && i == 0 ? 2 : -1, c->vocab, &id));
        add_eos(c, id);
    }
    return FL_OK;
}

/* ---- what tensors say ------------------------------------------------------------------------------------------- */

static fl_status read_tensors(const source *s, fl_config *c)
{
    const fl_file_tensor *embed = fl_gguf_tensors_find(s->tensors, "token_embd.weight");
    if (!embed)
        return fl_gguf_fail(FL_ERR_FORMAT, s->keys, "token_embd.weight",
                            "the tensor is missing; does the file hold a vocabulary only?");
    if (embed->rank != 2 || embed->dim[0] > FL_MOST_VOCAB)
        return fl_gguf_fail(FL_ERR_FORMAT, s->keys, "token_embd.weight", "is not a matrix [vocabulary, width]");
    c->vocab = embed->dim[0];
    char key[KEY];
    int64_t claimed; /* files in use disagree: the rows count */
    FL_TRY(fl_gguf_integer(s->keys, key_of(s, "vocab_size", key), 1, FL_MOST_VOCAB, &claimed));
    c->tied_head = !has_tensor(s, FL_GGUF_HEAD);
    c->attention_bias = has_tensor(s, "blk.0.attn_q.bias") || has_tensor(s, "blk.0.attn_qkv.bias");
    c->output_bias = has_tensor(s, "blk.0.attn_output.bias");
    c->mlp_bias = has_tensor(s, "blk.0.ffn_up.bias");
    return FL_OK;
}

/* ---- the whole -------------------------------------------------------------------------------------------------- */

static fl_status find_family(const fl_gguf_family **out, const fl_gguf *keys)
{
    static const char key[] = "general.architecture";
    fl_gguf_text arch = {NULL, 0};
    FL_TRY(fl_gguf_string(keys, key, &arch));
    if (!arch.bytes) return fl_gguf_fail(FL_ERR_FORMAT, keys, key, "is missing");
    *out = fl_gguf_family_of_arch(arch.bytes, arch.length);
    if (*out) return FL_OK;
    char name[FL_SHOWN], shown[FL_SHOWN];
    snprintf(name, sizeof name, "%.*s", (int)(arch.length < 64 ? arch.length : 64), arch.bytes);
    return fl_fail(FL_ERR_UNSUPPORTED, "%s: %s = \"%s\": " FL_GGUF_FAMILIES, fl_gguf_name(keys), key,
                   fl_show_text(shown, name));
}

fl_status fl_gguf_config_read(fl_config *out, const fl_gguf_family **family, const fl_gguf *keys,
                              const fl_gguf_tensors *tensors)
{
    source s = {keys, NULL, tensors};
    fl_config c = {.bos = -1, .pad = -1};
    FL_TRY(find_family(&s.family, keys));
    FL_TRY(check_keys(&s));
    FL_TRY(read_sizes(&s, &c));
    FL_TRY(read_eps(&s, &c));
    FL_TRY(read_tensors(&s, &c));
    FL_TRY(read_tokens(&s, &c));
    const char *name = s.family->family;
    if (!strcmp(name, "llama") && c.sliding_window) name = "mistral";
    snprintf(c.family, sizeof c.family, "%s", name);
    c.qk_norm = !strcmp(name, "qwen3");
    c.rope_interleaved = s.family->interleaved;
    c.positions = s.family->positions;
    c.rotary = c.positions == FL_POSITIONS_ROTARY;
    c.by_output = c.positions == FL_POSITIONS_LEARNED; /* gpt2 */
    if (s.family->rms_norm)
        c.activation = FL_ACT_SILU;
    else /* the files do not say: what the families' own models have */
        c.activation = c.rotary ? FL_ACT_GELU_ERF : FL_ACT_GELU_TANH;
    char key[KEY];
    c.parallel_residual = false;
    if (!strcmp(name, "gpt_neox")) {
        c.parallel_residual = true;
        FL_TRY(fl_gguf_bool(keys, key_of(&s, "use_parallel_residual", key), &c.parallel_residual));
    }
    if (c.rotary) FL_TRY(fl_gguf_rope_read(&c, s.family, keys, tensors));
    *family = s.family;
    *out = c;
    return FL_OK;
}
