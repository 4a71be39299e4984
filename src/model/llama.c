/* The llama family: RMSNorm, rotary self-attention with grouped-query heads, SwiGLU; pre-norm residual blocks. */
#include "base/alloc.h"
#include "model/model.h"

typedef struct llama_layer {
    int index;
    fl_attention_shape attention;
    double eps;
    fl_weight *attention_norm, *wq, *wk, *wv, *wo, *bq, *bk, *bv, *bo;
    fl_weight *ffn_norm, *gate, *up, *down, *gate_bias, *up_bias, *down_bias;
} llama_layer;

typedef struct llama_body {
    fl_weight *norm;
    llama_layer layer[];
} llama_body;

/* x [rows, width] -> [rows, width] */
static fl_tensor *llama_block(fl_run *r, const void *block, fl_tensor *x)
{
    const llama_layer *l = block;
    fl_tensor *h = fl_rms_norm(r, x, l->attention_norm, l->eps);
    fl_tensor *a = fl_self_attend(r, l->index, &l->attention, fl_linear(r, h, l->wq, l->bq),
                                  fl_linear(r, h, l->wk, l->bk), fl_linear(r, h, l->wv, l->bv));
    x = fl_add(r, x, fl_linear(r, a, l->wo, l->bo));
    h = fl_rms_norm(r, x, l->ffn_norm, l->eps);
    h = fl_swiglu(r, fl_linear(r, h, l->gate, l->gate_bias), fl_linear(r, h, l->up, l->up_bias));
    return fl_add(r, x, fl_linear(r, h, l->down, l->down_bias));
}

static fl_tensor *llama_forward(fl_run *r, const fl_model *m)
{
    const llama_body *body = m->body;
    fl_attention_prepare(r, fl_model_scheme(m, r));
    fl_tensor *x = fl_embed(r, m->embed);
    for (int64_t i = 0; i < m->config.layers; i++)
        x = fl_block(r, llama_block, &body->layer[i], x);
    return fl_rms_norm(r, x, body->norm, m->config.norm_eps);
}

static fl_status bind_layer(fl_model *m, llama_layer *l, int i)
{
    const fl_config *c = &m->config;
    int64_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim, width = c->width, ffn = c->ffn;
    l->index = i;
    l->attention = (fl_attention_shape){(int)c->heads, (int)c->kv_heads, (int)c->head_dim, 0};
    l->eps = c->norm_eps;
    struct {
        fl_weight **out;
        fl_weight_use use;
        int64_t rows, cols;
        const char *name;
        bool wanted;
    } list[] = {
        {&l->attention_norm, FL_WEIGHT_VECTOR, 1, width, "input_layernorm.weight", true},
        {&l->wq, FL_WEIGHT_MATRIX, q, width, "self_attn.q_proj.weight", true},
        {&l->bq, FL_WEIGHT_VECTOR, 1, q, "self_attn.q_proj.bias", c->attention_bias},
        {&l->wk, FL_WEIGHT_MATRIX, kv, width, "self_attn.k_proj.weight", true},
        {&l->bk, FL_WEIGHT_VECTOR, 1, kv, "self_attn.k_proj.bias", c->attention_bias},
        {&l->wv, FL_WEIGHT_MATRIX, kv, width, "self_attn.v_proj.weight", true},
        {&l->bv, FL_WEIGHT_VECTOR, 1, kv, "self_attn.v_proj.bias", c->attention_bias},
        {&l->wo, FL_WEIGHT_MATRIX, width, q, "self_attn.o_proj.weight", true},
        {&l->bo, FL_WEIGHT_VECTOR, 1, width, "self_attn.o_proj.bias", c->attention_bias},
        {&l->ffn_norm, FL_WEIGHT_VECTOR, 1, width, "post_attention_layernorm.weight", true},
        {&l->gate, FL_WEIGHT_MATRIX, ffn, width, "mlp.gate_proj.weight", true},
        {&l->gate_bias, FL_WEIGHT_VECTOR, 1, ffn, "mlp.gate_proj.bias", c->mlp_bias},
        {&l->up, FL_WEIGHT_MATRIX, ffn, width, "mlp.up_proj.weight", true},
        {&l->up_bias, FL_WEIGHT_VECTOR, 1, ffn, "mlp.up_proj.bias", c->mlp_bias},
        {&l->down, FL_WEIGHT_MATRIX, width, ffn, "mlp.down_proj.weight", true},
        {&l->down_bias, FL_WEIGHT_VECTOR, 1, width, "mlp.down_proj.bias", c->mlp_bias},
    };
    for (size_t j = 0; j < sizeof list / sizeof *list; j++)
        if (list[j].wanted)
            FL_TRY(fl_model_bind(m, list[j].out,
                                 (fl_weight_query){.use = list[j].use, .rows = list[j].rows, .cols = list[j].cols},
                                 "model.layers.%d.%s", i, list[j].name));
    return FL_OK;
}

static fl_status llama_bind(fl_model *m)
{
    const fl_config *c = &m->config;
    llama_body *body = fl_calloc(1, sizeof *body + (size_t)c->layers * sizeof *body->layer);
    if (!body) return FL_ERR_MEMORY;
    m->body = body;
    fl_weight_query table = {.use = FL_WEIGHT_TABLE, .rows = c->vocab, .cols = c->width};
    FL_TRY(fl_model_bind(m, &m->embed, table, "model.embed_tokens.weight"));
    for (int64_t i = 0; i < c->layers; i++)
        FL_TRY(bind_layer(m, &body->layer[i], (int)i));
    FL_TRY(fl_model_bind(m, &body->norm, (fl_weight_query){.use = FL_WEIGHT_VECTOR, .rows = 1, .cols = c->width},
                         "model.norm.weight"));
    if (c->tied_head) return fl_model_tie_head(m);
    return fl_model_bind(m, &m->head, (fl_weight_query){.use = FL_WEIGHT_MATRIX, .rows = c->vocab, .cols = c->width},
                         "lm_head.weight");
}

const fl_arch fl_arch_llama = {"llama", llama_bind, llama_forward};
