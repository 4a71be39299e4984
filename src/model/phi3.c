/* phi3: the shared decoder whose files keep q, k, v as one matrix, and gate and up as another. */
#include "model/decoder.h"

static fl_status bind_layer(fl_model *m, fl_decoder_layer *l)
{
    const fl_config *c = &m->config;
    int64_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim, qkv = q + 2 * kv, width = c->width,
            ffn = c->ffn;
    const fl_decoder_entry list[] = {
        {&l->attention_norm, {FL_WEIGHT_VECTOR, false, 1, width, 0, 0}, "input_layernorm.weight", true},
        {&l->wq, {FL_WEIGHT_MATRIX, false, q, width, 0, qkv}, "self_attn.qkv_proj.weight", true},
        {&l->wk, {FL_WEIGHT_MATRIX, false, kv, width, q, qkv}, "self_attn.qkv_proj.weight", true},
        {&l->wv, {FL_WEIGHT_MATRIX, false, kv, width, q + kv, qkv}, "self_attn.qkv_proj.weight", true},
        {&l->wo, {FL_WEIGHT_MATRIX, false, width, q, 0, 0}, "self_attn.o_proj.weight", true},
        {&l->ffn_norm, {FL_WEIGHT_VECTOR, false, 1, width, 0, 0}, "post_attention_layernorm.weight", true},
        {&l->gate, {FL_WEIGHT_MATRIX, false, ffn, width, 0, 2 * ffn}, "mlp.gate_up_proj.weight", true},
        {&l->up, {FL_WEIGHT_MATRIX, false, ffn, width, ffn, 2 * ffn}, "mlp.gate_up_proj.weight", true},
        {&l->down, {FL_WEIGHT_MATRIX, false, width, ffn, 0, 0}, "mlp.down_proj.weight", true},
    };
    return fl_decoder_bind_list(m, l, list, sizeof list / sizeof *list);
}

static fl_status bind(fl_model *m)
{
    return fl_decoder_bind(m, bind_layer);
}

const fl_arch fl_arch_phi3 = {"phi3", bind, fl_decoder_forward};
