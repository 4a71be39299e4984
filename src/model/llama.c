/* llama (1, 2, 3), mistral, qwen2 and qwen3: the shared decoder with separate q, k, v and gate, up. mistral adds a
 * sliding window, qwen2 biases on q, k and v, qwen3 norms of queries and keys; the config says which. */
#include "model/decoder.h"

static fl_status bind_layer(fl_model *m, fl_decoder_layer *l)
{
    const fl_config *c = &m->config;
    int64_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim, width = c->width, ffn = c->ffn;
    const fl_decoder_entry list[] = {
        {&l->attention_norm, {FL_WEIGHT_VECTOR, false, 1, width, 0, 0}, "input_layernorm.weight", true},
        {&l->wq, {FL_WEIGHT_MATRIX, false, q, width, 0, 0}, "self_attn.q_proj.weight", true},
        {&l->bq, {FL_WEIGHT_VECTOR, false, 1, q, 0, 0}, "self_attn.q_proj.bias", c->attention_bias},
        {&l->wk, {FL_WEIGHT_MATRIX, false, kv, width, 0, 0}, "self_attn.k_proj.weight", true},
        {&l->bk, {FL_WEIGHT_VECTOR, false, 1, kv, 0, 0}, "self_attn.k_proj.bias", c->attention_bias},
        {&l->wv, {FL_WEIGHT_MATRIX, false, kv, width, 0, 0}, "self_attn.v_proj.weight", true},
        {&l->bv, {FL_WEIGHT_VECTOR, false, 1, kv, 0, 0}, "self_attn.v_proj.bias", c->attention_bias},
        {&l->q_norm, {FL_WEIGHT_VECTOR, false, 1, c->head_dim, 0, 0}, "self_attn.q_norm.weight", c->qk_norm},
        {&l->k_norm, {FL_WEIGHT_VECTOR, false, 1, c->head_dim, 0, 0}, "self_attn.k_norm.weight", c->qk_norm},
        {&l->wo, {FL_WEIGHT_MATRIX, false, width, q, 0, 0}, "self_attn.o_proj.weight", true},
        {&l->bo, {FL_WEIGHT_VECTOR, false, 1, width, 0, 0}, "self_attn.o_proj.bias", c->output_bias},
        {&l->ffn_norm, {FL_WEIGHT_VECTOR, false, 1, width, 0, 0}, "post_attention_layernorm.weight", true},
        {&l->gate, {FL_WEIGHT_MATRIX, false, ffn, width, 0, 0}, "mlp.gate_proj.weight", true},
        {&l->gate_bias, {FL_WEIGHT_VECTOR, false, 1, ffn, 0, 0}, "mlp.gate_proj.bias", c->mlp_bias},
        {&l->up, {FL_WEIGHT_MATRIX, false, ffn, width, 0, 0}, "mlp.up_proj.weight", true},
        {&l->up_bias, {FL_WEIGHT_VECTOR, false, 1, ffn, 0, 0}, "mlp.up_proj.bias", c->mlp_bias},
        {&l->down, {FL_WEIGHT_MATRIX, false, width, ffn, 0, 0}, "mlp.down_proj.weight", true},
        {&l->down_bias, {FL_WEIGHT_VECTOR, false, 1, width, 0, 0}, "mlp.down_proj.bias", c->mlp_bias},
    };
    return fl_decoder_bind_list(m, l, list, sizeof list / sizeof *list);
}

static fl_status bind(fl_model *m)
{
    return fl_decoder_bind(m, bind_layer);
}

const fl_arch fl_arch_llama = {"llama", bind, fl_decoder_forward};
const fl_arch fl_arch_mistral = {"mistral", bind, fl_decoder_forward};
const fl_arch fl_arch_qwen2 = {"qwen2", bind, fl_decoder_forward};
const fl_arch fl_arch_qwen3 = {"qwen3", bind, fl_decoder_forward};
