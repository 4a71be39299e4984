#include "file/gguf_family.h"

#include <stdio.h>
#include <string.h>

static const fl_gguf_entry decoder_outer[] = {
    {"token_embd.weight", "model.embed_tokens.weight"},
    {"output_norm.weight", "model.norm.weight"},
    {FL_GGUF_HEAD, "lm_head.weight"},
    {NULL, NULL},
};

static const fl_gguf_entry decoder_layer[] = {
    {"attn_norm.weight", "input_layernorm.weight"},
    {"attn_q.weight", "self_attn.q_proj.weight"},
    {"attn_q.bias", "self_attn.q_proj.bias"},
    {"attn_k.weight", "self_attn.k_proj.weight"},
    {"attn_k.bias", "self_attn.k_proj.bias"},
    {"attn_v.weight", "self_attn.v_proj.weight"},
    {"attn_v.bias", "self_attn.v_proj.bias"},
    {"attn_output.weight", "self_attn.o_proj.weight"},
    {"attn_output.bias", "self_attn.o_proj.bias"},
    {"ffn_norm.weight", "post_attention_layernorm.weight"},
    {"ffn_gate.weight", "mlp.gate_proj.weight"},
    {"ffn_gate.bias", "mlp.gate_proj.bias"},
    {"ffn_up.weight", "mlp.up_proj.weight"},
    {"ffn_up.bias", "mlp.up_proj.bias"},
    {"ffn_down.weight", "mlp.down_proj.weight"},
    {"ffn_down.bias", "mlp.down_proj.bias"},
    {NULL, NULL},
};

static const fl_gguf_entry qwen3_layer[] = {
    {"attn_norm.weight", "input_layernorm.weight"},    {"attn_q.weight", "self_attn.q_proj.weight"},
    {"attn_q_norm.weight", "self_attn.q_norm.weight"}, {"attn_k.weight", "self_attn.k_proj.weight"},
    {"attn_k_norm.weight", "self_attn.k_norm.weight"}, {"attn_v.weight", "self_attn.v_proj.weight"},
    {"attn_output.weight", "self_attn.o_proj.weight"}, {"ffn_norm.weight", "post_attention_layernorm.weight"},
    {"ffn_gate.weight", "mlp.gate_proj.weight"},       {"ffn_up.weight", "mlp.up_proj.weight"},
    {"ffn_down.weight", "mlp.down_proj.weight"},       {NULL, NULL},
};

static const fl_gguf_entry phi3_layer[] = {
    {"attn_norm.weight", "input_layernorm.weight"},
    {"attn_qkv.weight", "self_attn.qkv_proj.weight"},
    {"attn_output.weight", "self_attn.o_proj.weight"},
    {"ffn_norm.weight", "post_attention_layernorm.weight"},
    {"ffn_up.weight", "mlp.gate_up_proj.weight"},
    {"ffn_down.weight", "mlp.down_proj.weight"},
    {NULL, NULL},
};

static const fl_gguf_entry gptneox_outer[] = {
    {"token_embd.weight", "gpt_neox.embed_in.weight"},
    {"output_norm.weight", "gpt_neox.final_layer_norm.weight"},
    {"output_norm.bias", "gpt_neox.final_layer_norm.bias"},
    {FL_GGUF_HEAD, "embed_out.weight"},
    {NULL, NULL},
};

static const fl_gguf_entry gptneox_layer[] = {
    {"attn_norm.weight", "input_layernorm.weight"},
    {"attn_norm.bias", "input_layernorm.bias"},
    {"attn_qkv.weight", "attention.query_key_value.weight"},
    {"attn_qkv.bias", "attention.query_key_value.bias"},
    {"attn_output.weight", "attention.dense.weight"},
    {"attn_output.bias", "attention.dense.bias"},
    {"ffn_norm.weight", "post_attention_layernorm.weight"},
    {"ffn_norm.bias", "post_attention_layernorm.bias"},
    {"ffn_up.weight", "mlp.dense_h_to_4h.weight"},
    {"ffn_up.bias", "mlp.dense_h_to_4h.bias"},
    {"ffn_down.weight", "mlp.dense_4h_to_h.weight"},
    {"ffn_down.bias", "mlp.dense_4h_to_h.bias"},
    {NULL, NULL},
};

static const fl_gguf_entry gpt2_outer[] = {
    {"token_embd.weight", "transformer.wte.weight"},
    {"position_embd.weight", "transformer.wpe.weight"},
    {"output_norm.weight", "transformer.ln_f.weight"},
    {"output_norm.bias", "transformer.ln_f.bias"},
    {FL_GGUF_HEAD, "lm_head.weight"},
    {NULL, NULL},
};

static const fl_gguf_entry gpt2_layer[] = {
    {"attn_norm.weight", "ln_1.weight"},
    {"attn_norm.bias", "ln_1.bias"},
    {"attn_qkv.weight", "attn.c_attn.weight"},
    {"attn_qkv.bias", "attn.c_attn.bias"},
    {"attn_output.weight", "attn.c_proj.weight"},
    {"attn_output.bias", "attn.c_proj.bias"},
    {"ffn_norm.weight", "ln_2.weight"},
    {"ffn_norm.bias", "ln_2.bias"},
    {"ffn_up.weight", "mlp.c_fc.weight"},
    {"ffn_up.bias", "mlp.c_fc.bias"},
    {"ffn_down.weight", "mlp.c_proj.weight"},
    {"ffn_down.bias", "mlp.c_proj.bias"},
    {NULL, NULL},
};

/* llama.cpp's converter writes mistral models as llama: the same computation but for the sliding
 * window. Its refact is a llama with ALiBi. */
static const fl_gguf_family families[] = {
    {"llama", "llama", "model.layers.", decoder_outer, decoder_layer, true, true, false, FL_POSITIONS_ROTARY},
    {"llama", "mistral", "model.layers.", decoder_outer, decoder_layer, true, true, false, FL_POSITIONS_ROTARY},
    {"qwen2", "qwen2", "model.layers.", decoder_outer, decoder_layer, true, false, true, FL_POSITIONS_ROTARY},
    {"qwen3", "qwen3", "model.layers.", decoder_outer, qwen3_layer, true, false, true, FL_POSITIONS_ROTARY},
    {"phi3", "phi3", "model.layers.", decoder_outer, phi3_layer, true, false, true, FL_POSITIONS_ROTARY},
    {"gptneox", "gpt_neox", "gpt_neox.layers.", gptneox_outer, gptneox_layer, false, false, true, FL_POSITIONS_ROTARY},
    {"gpt2", "gpt2", "transformer.h.", gpt2_outer, gpt2_layer, false, false, false, FL_POSITIONS_LEARNED},
    {"refact", "llama", "model.layers.", decoder_outer, decoder_layer, true, false, false, FL_POSITIONS_ALIBI},
};

#define COUNT (sizeof families / sizeof *families)

const fl_gguf_family *fl_gguf_family_of_arch(const char *arch, size_t length)
{
    for (size_t i = 0; i < COUNT; i++)
        if (strlen(families[i].arch) == length && !memcmp(arch, families[i].arch, length)) return &families[i];
    return NULL;
}

const fl_gguf_family *fl_gguf_family_of_config(const fl_config *config)
{
    for (size_t i = 0; i < COUNT; i++)
        if (!strcmp(config->family, families[i].family) && config->positions == families[i].positions)
            return &families[i];
    return NULL;
}

static const char *translate(const fl_gguf_entry *names, const char *gguf)
{
    for (; names->gguf; names++)
        if (!strcmp(names->gguf, gguf)) return names->hf;
    return NULL;
}

/* "N.REST" with N < layers; one spelling for each number. *rest: REST. */
static bool parse_layer(const char *text, int64_t layers, int64_t *layer, const char **rest)
{
    const char *digit = text;
    *layer = 0;
    if (*digit == '0' && digit[1] != '.') return false;
    for (; *digit >= '0' && *digit <= '9' && *layer < layers; digit++)
        *layer = 10 * *layer + (*digit - '0');
    *rest = digit + 1;
    return digit > text && *digit == '.' && *layer < layers;
}

bool fl_gguf_hf_name(const fl_gguf_family *f, const char *gguf, int64_t layers, char out[FL_GGUF_HF_NAME])
{
    const char *hf = translate(f->outer, gguf);
    if (hf) {
        snprintf(out, FL_GGUF_HF_NAME, "%s", hf);
        return true;
    }
    if (strncmp(gguf, "blk.", 4)) return false;
    int64_t layer;
    const char *rest;
    if (!parse_layer(gguf + 4, layers, &layer, &rest)) return false;
    hf = translate(f->layer, rest);
    if (!hf) return false;
    snprintf(out, FL_GGUF_HF_NAME, "%s%lld.%s", f->layer_prefix, (long long)layer, hf);
    return true;
}

static const char *translate_back(const fl_gguf_entry *names, const char *hf)
{
    for (; names->gguf; names++)
        if (!strcmp(names->hf, hf)) return names->gguf;
    return NULL;
}

bool fl_gguf_name_of_hf(const fl_gguf_family *f, const char *hf, int64_t layers, char out[FL_GGUF_HF_NAME])
{
    const char *gguf = translate_back(f->outer, hf), *rest;
    size_t prefix = strlen(f->layer_prefix);
    int64_t layer;
    if (gguf) {
        snprintf(out, FL_GGUF_HF_NAME, "%s", gguf);
        return true;
    }
    if (strncmp(hf, f->layer_prefix, prefix) || !parse_layer(hf + prefix, layers, &layer, &rest)) return false;
    gguf = translate_back(f->layer, rest);
    if (!gguf) return false;
    snprintf(out, FL_GGUF_HF_NAME, "blk.%lld.%s", (long long)layer, gguf);
    return true;
}
