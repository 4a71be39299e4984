#include "file/gguf_config_write.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "file/passes_config.h"
#include "position/scaling_law.h"

#define KEY 128

typedef struct target {
    fl_gguf_keys *keys;
    const fl_gguf_family *family;
    const fl_config *config;
} target;

static const char *key_of(const target *t, const char *name, char key[KEY])
{
    snprintf(key, KEY, "%s.%s", t->family->arch, name);
    return key;
}

static void put_u32(const target *t, const char *name, int64_t value)
{
    char key[KEY];
    fl_gguf_put_u32(t->keys, key_of(t, name, key), (uint32_t)value);
}

static void put_f32(const target *t, const char *name, double value)
{
    char key[KEY];
    fl_gguf_put_f32(t->keys, key_of(t, name, key), value);
}

/* ---- positions ------------------------------------------------------------------------------------------------ */

static const char where[] = "GGUF files";

static void add_divisors(fl_gguf_rope_tensors *r, const char *name, const double *divisor, int pairs)
{
    float *value = r->value[r->count];
    for (int i = 0; i < pairs; i++)
        value[i] = (float)divisor[i];
    r->tensor[r->count++] = (fl_file_tensor){.name = name, .type = FL_F32, .rank = 1, .dim = {pairs}, .data = value};
}

/* Readers do not look for these tensors in every architecture. */
static fl_status need_divisors(const target *t, bool longrope)
{
    bool llama = !strcmp(t->family->arch, "llama");
    if (llama || (longrope && !strcmp(t->family->arch, "phi3"))) return FL_OK;
    return fl_fail(FL_ERR_UNSUPPORTED,
                   "%s: rope_type = %s: architecture %s has no divisors; use yarn, ntk or linear, or write a Hugging "
                   "Face folder",
                   where, fl_rope_kind_name(t->config->rope.kind), t->family->arch);
}

static void put_type(const target *t, const char *type)
{
    char key[KEY];
    fl_gguf_put_string(t->keys, key_of(t, "rope.scaling.type", key), type);
}

static void put_original(const target *t)
{
    put_u32(t, "rope.scaling.original_context_length", t->config->rope.original_window);
}

/* attn_factor multiplies 0.1 ln factor + 1, which readers compute themselves: it holds only what differs from that. */
static fl_status write_yarn(const target *t)
{
    const fl_rope_spec *s = &t->config->rope;
    double unused[FL_ROPE_MAX_PAIRS], magnitude;
    if (!s->truncate)
        return fl_fail(FL_ERR_UNSUPPORTED, "%s: truncate = false: no key says it; write a Hugging Face folder", where);
    FL_TRY(fl_rope_frequencies(s, s->original_window, unused, &magnitude));
    put_type(t, "yarn");
    put_f32(t, "rope.scaling.factor", s->factor);
    put_original(t);
    double attn_factor = magnitude / fl_law_yarn_magnitude(s->factor, 1);
    if (fabs(attn_factor - 1) > 1e-7) put_f32(t, "rope.scaling.attn_factor", attn_factor);
    if (s->extrapolation_factor != 1) put_f32(t, "rope.scaling.yarn_ext_factor", s->extrapolation_factor);
    if (s->beta_fast != 32) put_f32(t, "rope.scaling.yarn_beta_fast", s->beta_fast);
    if (s->beta_slow != 1) put_f32(t, "rope.scaling.yarn_beta_slow", s->beta_slow);
    return FL_OK;
}

static fl_status write_longrope(const target *t, fl_gguf_rope_tensors *rope)
{
    const fl_rope_spec *s = &t->config->rope;
    double unused[FL_ROPE_MAX_PAIRS], magnitude;
    FL_TRY(need_divisors(t, true));
    FL_TRY(fl_rope_frequencies(s, s->original_window, unused, &magnitude));
    put_type(t, "longrope");
    put_original(t);
    put_f32(t, "rope.scaling.attn_factor", magnitude);
    add_divisors(rope, "rope_factors_long.weight", s->long_factor, s->dim / 2);
    add_divisors(rope, "rope_factors_short.weight", s->short_factor, s->dim / 2);
    return FL_OK;
}

/* The schedule as it is, whatever its parameters were. */
static fl_status write_divisors(const target *t, fl_gguf_rope_tensors *rope)
{
    const fl_rope_spec *s = &t->config->rope;
    double divisor[FL_ROPE_MAX_PAIRS], magnitude;
    FL_TRY(need_divisors(t, false));
    FL_TRY(fl_rope_divisors(s, s->window, divisor, &magnitude));
    if (magnitude != 1) put_f32(t, "rope.scaling.attn_factor", magnitude);
    add_divisors(rope, "rope_freqs.weight", divisor, s->dim / 2);
    return FL_OK;
}

static fl_status write_rope(const target *t, fl_gguf_rope_tensors *rope)
{
    const fl_rope_spec *s = &t->config->rope;
    FL_TRY(fl_rope_spec_check(s));
    if (s->dim != t->config->head_dim && !t->family->partial)
        return fl_fail(FL_ERR_UNSUPPORTED,
                       "%s: partial_rotary_factor: architecture %s rotates whole heads; write a "
                       "Hugging Face folder",
                       where, t->family->arch);
    double base = s->base;
    if (s->kind == FL_ROPE_NTK) base = fl_law_ntk_base(base, s->dim, s->factor);
    put_u32(t, "rope.dimension_count", s->dim);
    put_f32(t, "rope.freq_base", base);
    switch (s->kind) {
    case FL_ROPE_LINEAR:
        put_type(t, "linear");
        put_f32(t, "rope.scaling.factor", s->factor);
        if (s->original_window != s->window) put_original(t);
        return FL_OK;
    case FL_ROPE_DYNAMIC:
        return fl_fail(
            FL_ERR_UNSUPPORTED,
            "%s: rope_type = dynamic: no key says it; use ntk or yarn with a fixed factor, or write a Hugging "
            "Face folder",
            where);
    case FL_ROPE_DYNAMIC_LINEAR:
    case FL_ROPE_DYNAMIC_YARN:
        return fl_fail(FL_ERR_UNSUPPORTED, "%s: rope_type = %s: no key says it; use %s with a fixed factor", where,
                       fl_rope_kind_name(s->kind), s->kind == FL_ROPE_DYNAMIC_YARN ? "yarn" : "linear");
    case FL_ROPE_YARN:
    case FL_ROPE_NTK_PARTS:
        return write_yarn(t);
    case FL_ROPE_LONGROPE:
        return write_longrope(t, rope);
    case FL_ROPE_LLAMA3:
    case FL_ROPE_DIVISORS:
    case FL_ROPE_NTK_LINEAR:
    case FL_ROPE_MIXED_RADIX:
    case FL_ROPE_POWER:
    case FL_ROPE_TRUNCATED:
        return write_divisors(t, rope);
    default:
        return FL_OK;
    }
}

/* ---- the rest ------------------------------------------------------------------------------------------------- */

static fl_status check_activation(const target *t)
{
    const fl_config *c = t->config;
    fl_activation usual = t->family->rms_norm ? FL_ACT_SILU : c->rotary ? FL_ACT_GELU_ERF : FL_ACT_GELU_TANH;
    if (c->activation == usual) return FL_OK;
    return fl_fail(FL_ERR_UNSUPPORTED,
                   "%s: hidden_act: architecture %s has one activation, and this model another; write a Hugging Face "
                   "folder",
                   where, t->family->arch);
}

/* llama.cpp's numbers for "mostly of this type" */
static fl_status file_type(fl_dtype type, uint32_t *out)
{
    static const struct {
        fl_dtype type;
        uint32_t number;
    } types[] = {{FL_F32, 0}, {FL_F16, 1}, {FL_Q4_0, 2}, {FL_Q8_0, 7}, {FL_BF16, 32}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].type == type) {
            *out = types[i].number;
            return FL_OK;
        }
    return fl_fail(FL_ERR_ARGUMENT, "%s: type = %s: are written as F32, F16, BF16, Q8_0 or Q4_0", where,
                   fl_dtype_get(type)->name);
}

static void write_attention(const target *t)
{
    const fl_config *c = t->config;
    put_u32(t, "attention.head_count", c->heads);
    put_u32(t, "attention.head_count_kv", c->kv_heads);
    if (c->head_dim * c->heads != c->width) {
        put_u32(t, "attention.key_length", c->head_dim);
        put_u32(t, "attention.value_length", c->head_dim);
    }
    /* In phi3 a window of 0 tells readers that there is none. */
    if (c->sliding_window || !strcmp(t->family->arch, "phi3"))
        put_u32(t, "attention.sliding_window", c->sliding_window);
    if (c->positions == FL_POSITIONS_ALIBI) put_f32(t, "attention.max_alibi_bias", 8);
    put_f32(t, t->family->rms_norm ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon", c->norm_eps);
}

fl_status fl_gguf_config_write(fl_gguf_keys *keys, fl_gguf_rope_tensors *rope, const fl_config *config, fl_dtype type)
{
    target t = {keys, fl_gguf_family_of_config(config), config};
    uint32_t number;
    rope->count = 0;
    if (!t.family && config->positions != FL_POSITIONS_ROTARY)
        return fl_fail(FL_ERR_UNSUPPORTED,
                       "%s: position_embedding_type = %s: no architecture has such positions in family %s; write a "
                       "Hugging Face folder",
                       where, fl_positions_name(config->positions), config->family);
    if (!t.family) return fl_fail(FL_ERR_UNSUPPORTED, "%s: family = %s: " FL_GGUF_FAMILIES, where, config->family);
    FL_TRY(file_type(type, &number));
    FL_TRY(check_activation(&t));
    FL_TRY(fl_passes_config_refuse(config, where));
    fl_gguf_put_string(keys, "general.architecture", t.family->arch);
    fl_gguf_put_string(keys, "general.type", "model");
    fl_gguf_put_u32(keys, "general.file_type", number);
    fl_gguf_put_u32(keys, "general.quantization_version", 2);
    put_u32(&t, "block_count", config->layers);
    put_u32(&t, "context_length", config->window);
    put_u32(&t, "embedding_length", config->width);
    put_u32(&t, "feed_forward_length", config->ffn);
    put_u32(&t, "vocab_size", config->vocab);
    write_attention(&t);
    char key[KEY];
    if (!strcmp(t.family->arch, "gptneox"))
        fl_gguf_put_bool(keys, key_of(&t, "use_parallel_residual", key), config->parallel_residual);
    return config->rotary ? write_rope(&t, rope) : FL_OK;
}

fl_status fl_gguf_tokens_write(fl_gguf_keys *keys, const fl_config *config)
{
    static const char *const ends[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    int most = (int)(sizeof ends / sizeof *ends);
    if (config->eos_count > most)
        return fl_fail(FL_ERR_UNSUPPORTED, "%s: eos_token_id: %d ids; there are keys for %d", where, config->eos_count,
                       most);
    fl_gguf_put_string(keys, "tokenizer.ggml.model", "none"); /* llama.cpp then takes ids, vocab_size of them */
    if (config->bos >= 0) fl_gguf_put_u32(keys, "tokenizer.ggml.bos_token_id", (uint32_t)config->bos);
    for (int i = 0; i < config->eos_count; i++)
        fl_gguf_put_u32(keys, ends[i], (uint32_t)config->eos[i]);
    if (config->pad >= 0) fl_gguf_put_u32(keys, "tokenizer.ggml.padding_token_id", (uint32_t)config->pad);
    return FL_OK;
}
