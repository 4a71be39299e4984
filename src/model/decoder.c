#include "model/decoder.h"

#include "base/alloc.h"

/* x [rows, width] -> [rows, width] */
static fl_tensor *decoder_block(fl_run *r, const void *block, fl_tensor *x)
{
    const fl_decoder_layer *l = block;
    fl_tensor *h = fl_rms_norm(r, x, l->attention_norm, l->eps);
    fl_tensor *q = fl_linear(r, h, l->wq, l->bq), *k = fl_linear(r, h, l->wk, l->bk),
              *v = fl_linear(r, h, l->wv, l->bv);
    if (l->q_norm) q = fl_rms_norm_heads(r, q, l->q_norm, l->eps);
    if (l->k_norm) k = fl_rms_norm_heads(r, k, l->k_norm, l->eps);
    fl_tensor *a = fl_self_attend(r, l->index, &l->attention, q, k, v);
    x = fl_add(r, x, fl_linear(r, a, l->wo, l->bo));
    h = fl_rms_norm(r, x, l->ffn_norm, l->eps);
    h = fl_swiglu(r, fl_linear(r, h, l->gate, l->gate_bias), fl_linear(r, h, l->up, l->up_bias));
    return fl_add(r, x, fl_linear(r, h, l->down, l->down_bias));
}

fl_tensor *fl_decoder_forward(fl_run *r, const fl_model *m)
{
    const fl_decoder *body = m->body;
    fl_attention_prepare(r, fl_model_scheme(m, r));
    fl_tensor *x = fl_embed(r, m->embed);
    if (m->config.positions == FL_POSITIONS_SINUSOIDAL) x = fl_embed_sinusoidal(r, x);
    for (int64_t i = 0; i < m->config.layers; i++)
        x = fl_block(r, decoder_block, &body->layer[i], x);
    return fl_rms_norm(r, x, body->norm, m->config.norm_eps);
}

fl_status fl_decoder_bind_list(fl_model *m, const fl_decoder_layer *l, const fl_decoder_entry *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (list[i].wanted)
            FL_TRY(fl_model_bind(m, list[i].out, list[i].query, "model.layers.%d.%s", l->index, list[i].name));
    return FL_OK;
}

fl_status fl_decoder_bind(fl_model *m, fl_status (*layer)(fl_model *m, fl_decoder_layer *l))
{
    const fl_config *c = &m->config;
    fl_decoder *body = fl_calloc(1, sizeof *body + (size_t)c->layers * sizeof *body->layer);
    if (!body) return FL_ERR_MEMORY;
    m->body = body;
    FL_TRY(fl_model_bind(m, &m->embed, (fl_weight_query){.use = FL_WEIGHT_TABLE, .rows = c->vocab, .cols = c->width},
                         "model.embed_tokens.weight"));
    for (int64_t i = 0; i < c->layers; i++) {
        fl_decoder_layer *l = &body->layer[i];
        l->index = (int)i;
        l->attention = (fl_attention_shape){(int)c->heads, (int)c->kv_heads, (int)c->head_dim, 0};
        l->eps = c->norm_eps;
        FL_TRY(layer(m, l));
    }
    FL_TRY(fl_model_bind(m, &body->norm, (fl_weight_query){.use = FL_WEIGHT_VECTOR, .rows = 1, .cols = c->width},
                         "model.norm.weight"));
    if (c->tied_head) return fl_model_tie_head(m);
    return fl_model_bind(m, &m->head, (fl_weight_query){.use = FL_WEIGHT_MATRIX, .rows = c->vocab, .cols = c->width},
                         "lm_head.weight");
}
