/* gptneox: LayerNorm, rotation of a part of each head, q, k and v of a head together in one matrix, GELU; attention and
 * feed-forward side by side when use_parallel_residual. */
#include "base/alloc.h"
#include "model/model.h"

typedef struct neox_layer {
    int index;
    fl_attention_shape attention;
    double eps;
    bool tanh_form, parallel;
    int groups; /* column groups of the fused product: one per head, or one in all (GGUF) */
    fl_weight *norm1, *norm1_bias, *norm2, *norm2_bias;
    fl_weight *qkv, *qkv_bias, *wo, *bo, *up, *up_bias, *down, *down_bias;
} neox_layer;

typedef struct neox_body {
    fl_weight *norm, *norm_bias;
    neox_layer layer[];
} neox_body;

static fl_tensor *feed_forward(fl_run *r, const neox_layer *l, fl_tensor *x)
{
    fl_tensor *h = fl_linear(r, fl_layer_norm(r, x, l->norm2, l->norm2_bias, l->eps), l->up, l->up_bias);
    return fl_linear(r, fl_gelu(r, h, l->tanh_form), l->down, l->down_bias);
}

/* x [rows, width] -> [rows, width] */
static fl_tensor *neox_block(fl_run *r, const void *block, fl_tensor *x)
{
    const neox_layer *l = block;
    fl_tensor *h = fl_layer_norm(r, x, l->norm1, l->norm1_bias, l->eps);
    fl_tensor *qkv = fl_linear(r, h, l->qkv, l->qkv_bias);
    fl_tensor *a = fl_self_attend(r, l->index, &l->attention, fl_split(r, qkv, l->groups, 3, 0),
                                  fl_split(r, qkv, l->groups, 3, 1), fl_split(r, qkv, l->groups, 3, 2));
    a = fl_linear(r, a, l->wo, l->bo);
    if (!l->parallel) {
        x = fl_add(r, x, a);
        return fl_add(r, x, feed_forward(r, l, x));
    }
    /* The feed-forward reads x before the sum may replace it. */
    fl_tensor *f = feed_forward(r, l, x);
    return fl_add(r, fl_add(r, x, a), f);
}

static fl_tensor *neox_forward(fl_run *r, const fl_model *m)
{
    const neox_body *body = m->body;
    fl_attention_prepare(r, fl_model_scheme(m, r));
    fl_tensor *x = fl_embed(r, m->embed);
    for (int64_t i = 0; i < m->config.layers; i++)
        x = fl_block(r, neox_block, &body->layer[i], x);
    return fl_layer_norm(r, x, body->norm, body->norm_bias, m->config.norm_eps);
}

static fl_status bind_layer(fl_model *m, neox_layer *l, int i)
{
    const fl_config *c = &m->config;
    int64_t width = c->width, ffn = c->ffn, q = c->heads * c->head_dim;
    l->index = i;
    l->attention = (fl_attention_shape){(int)c->heads, (int)c->kv_heads, (int)c->head_dim, 0};
    l->eps = c->norm_eps;
    l->tanh_form = c->activation == FL_ACT_GELU_TANH;
    l->parallel = c->parallel_residual;
    l->groups = c->qkv_by_head ? (int)c->heads : 1;
    const struct {
        fl_weight **out;
        fl_weight_query query;
        const char *name;
        bool wanted;
    } list[] = {
        {&l->norm1, {FL_WEIGHT_VECTOR, false, 1, width, 0, 0}, "input_layernorm.weight", true},
        {&l->norm1_bias, {FL_WEIGHT_VECTOR, false, 1, width, 0, 0}, "input_layernorm.bias", true},
        {&l->norm2, {FL_WEIGHT_VECTOR, false, 1, width, 0, 0}, "post_attention_layernorm.weight", true},
        {&l->norm2_bias, {FL_WEIGHT_VECTOR, false, 1, width, 0, 0}, "post_attention_layernorm.bias", true},
        {&l->qkv, {FL_WEIGHT_MATRIX, false, 3 * q, width, 0, 0}, "attention.query_key_value.weight", true},
        {&l->qkv_bias, {FL_WEIGHT_VECTOR, false, 1, 3 * q, 0, 0}, "attention.query_key_value.bias", c->attention_bias},
        {&l->wo, {FL_WEIGHT_MATRIX, false, width, q, 0, 0}, "attention.dense.weight", true},
        {&l->bo, {FL_WEIGHT_VECTOR, false, 1, width, 0, 0}, "attention.dense.bias", c->output_bias},
        {&l->up, {FL_WEIGHT_MATRIX, false, ffn, width, 0, 0}, "mlp.dense_h_to_4h.weight", true},
        {&l->up_bias, {FL_WEIGHT_VECTOR, false, 1, ffn, 0, 0}, "mlp.dense_h_to_4h.bias", true},
        {&l->down, {FL_WEIGHT_MATRIX, false, width, ffn, 0, 0}, "mlp.dense_4h_to_h.weight", true},
        {&l->down_bias, {FL_WEIGHT_VECTOR, false, 1, width, 0, 0}, "mlp.dense_4h_to_h.bias", true},
    };
    for (size_t j = 0; j < sizeof list / sizeof *list; j++)
        if (list[j].wanted)
            FL_TRY(fl_model_bind(m, list[j].out, list[j].query, "gpt_neox.layers.%d.%s", i, list[j].name));
    return FL_OK;
}

static fl_status neox_bind(fl_model *m)
{
    const fl_config *c = &m->config;
    neox_body *body = fl_calloc(1, sizeof *body + (size_t)c->layers * sizeof *body->layer);
    if (!body) return FL_ERR_MEMORY;
    m->body = body;
    fl_weight_query vector = {.use = FL_WEIGHT_VECTOR, .rows = 1, .cols = c->width};
    FL_TRY(fl_model_bind(m, &m->embed, (fl_weight_query){.use = FL_WEIGHT_TABLE, .rows = c->vocab, .cols = c->width},
                         "gpt_neox.embed_in.weight"));
    for (int64_t i = 0; i < c->layers; i++)
        FL_TRY(bind_layer(m, &body->layer[i], (int)i));
    FL_TRY(fl_model_bind(m, &body->norm, vector, "gpt_neox.final_layer_norm.weight"));
    FL_TRY(fl_model_bind(m, &body->norm_bias, vector, "gpt_neox.final_layer_norm.bias"));
    if (c->tied_head) return fl_model_tie_head(m);
    return fl_model_bind(m, &m->head, (fl_weight_query){.use = FL_WEIGHT_MATRIX, .rows = c->vocab, .cols = c->width},
                         "embed_out.weight");
}

const fl_arch fl_arch_gptneox = {"gpt_neox", neox_bind, neox_forward};
