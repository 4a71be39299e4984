/* The gpt2 family: LayerNorm, learned positions, full attention, GELU; matrices stored [inputs, outputs]
 * (Conv1D), or [outputs, inputs] as in GGUF files. */
#include "base/alloc.h"
#include "model/model.h"

typedef struct gpt2_layer {
    int index;
    fl_attention_shape attention;
    double eps;
    bool tanh_form;
    fl_weight *norm1, *norm1_bias, *wq, *bq, *wk, *bk, *wv, *bv, *wo, *bo;
    fl_weight *norm2, *norm2_bias, *up, *up_bias, *down, *down_bias;
} gpt2_layer;

typedef struct gpt2_body {
    fl_weight *positions, *norm, *norm_bias;
    gpt2_layer layer[];
} gpt2_body;

/* x [rows, width] -> [rows, width] */
static fl_tensor *gpt2_block(fl_run *r, const void *block, fl_tensor *x)
{
    const gpt2_layer *l = block;
    fl_tensor *h = fl_layer_norm(r, x, l->norm1, l->norm1_bias, l->eps);
    fl_tensor *a = fl_self_attend(r, l->index, &l->attention, fl_linear(r, h, l->wq, l->bq),
                                  fl_linear(r, h, l->wk, l->bk), fl_linear(r, h, l->wv, l->bv));
    x = fl_add(r, x, fl_linear(r, a, l->wo, l->bo));
    h = fl_linear(r, fl_layer_norm(r, x, l->norm2, l->norm2_bias, l->eps), l->up, l->up_bias);
    return fl_add(r, x, fl_linear(r, fl_gelu(r, h, l->tanh_form), l->down, l->down_bias));
}

static fl_tensor *gpt2_forward(fl_run *r, const fl_model *m)
{
    const gpt2_body *body = m->body;
    fl_attention_prepare(r, fl_model_scheme(m, r));
    fl_tensor *x = fl_embed_positions(r, fl_embed(r, m->embed), body->positions);
    for (int64_t i = 0; i < m->config.layers; i++)
        x = fl_block(r, gpt2_block, &body->layer[i], x);
    return fl_layer_norm(r, x, body->norm, body->norm_bias, m->config.norm_eps);
}

static fl_status bind_layer(fl_model *m, gpt2_layer *l, int i)
{
    const fl_config *c = &m->config;
    int64_t width = c->width, ffn = c->ffn;
    fl_weight_use matrix = c->by_output ? FL_WEIGHT_MATRIX : FL_WEIGHT_MATRIX_T;
    l->index = i;
    l->attention = (fl_attention_shape){(int)c->heads, (int)c->kv_heads, (int)c->head_dim, 0};
    l->eps = c->norm_eps;
    l->tanh_form = c->activation == FL_ACT_GELU_TANH;
    struct {
        fl_weight **out;
        fl_weight_use use;
        int64_t rows, cols, first, total;
        const char *name;
    } list[] = {
        {&l->norm1, FL_WEIGHT_VECTOR, 1, width, 0, 0, "ln_1.weight"},
        {&l->norm1_bias, FL_WEIGHT_VECTOR, 1, width, 0, 0, "ln_1.bias"},
        {&l->wq, matrix, width, width, 0, 3 * width, "attn.c_attn.weight"},
        {&l->wk, matrix, width, width, width, 3 * width, "attn.c_attn.weight"},
        {&l->wv, matrix, width, width, 2 * width, 3 * width, "attn.c_attn.weight"},
        {&l->bq, FL_WEIGHT_VECTOR, 1, width, 0, 3 * width, "attn.c_attn.bias"},
        {&l->bk, FL_WEIGHT_VECTOR, 1, width, width, 3 * width, "attn.c_attn.bias"},
        {&l->bv, FL_WEIGHT_VECTOR, 1, width, 2 * width, 3 * width, "attn.c_attn.bias"},
        {&l->wo, matrix, width, width, 0, 0, "attn.c_proj.weight"},
        {&l->bo, FL_WEIGHT_VECTOR, 1, width, 0, 0, "attn.c_proj.bias"},
        {&l->norm2, FL_WEIGHT_VECTOR, 1, width, 0, 0, "ln_2.weight"},
        {&l->norm2_bias, FL_WEIGHT_VECTOR, 1, width, 0, 0, "ln_2.bias"},
        {&l->up, matrix, ffn, width, 0, 0, "mlp.c_fc.weight"},
        {&l->up_bias, FL_WEIGHT_VECTOR, 1, ffn, 0, 0, "mlp.c_fc.bias"},
        {&l->down, matrix, width, ffn, 0, 0, "mlp.c_proj.weight"},
        {&l->down_bias, FL_WEIGHT_VECTOR, 1, width, 0, 0, "mlp.c_proj.bias"},
    };
    for (size_t j = 0; j < sizeof list / sizeof *list; j++)
        FL_TRY(fl_model_bind(m, list[j].out,
                             (fl_weight_query){.use = list[j].use,
                                               .rows = list[j].rows,
                                               .cols = list[j].cols,
                                               .first = list[j].first,
                                               .total = list[j].total},
                             "transformer.h.%d.%s", i, list[j].name));
    return FL_OK;
}

static fl_status gpt2_bind(fl_model *m)
{
    const fl_config *c = &m->config;
    gpt2_body *body = fl_calloc(1, sizeof *body + (size_t)c->layers * sizeof *body->layer);
    if (!body) return FL_ERR_MEMORY;
    m->body = body;
    fl_weight_query vector = {.use = FL_WEIGHT_VECTOR, .rows = 1, .cols = c->width};
    FL_TRY(fl_model_bind(m, &m->embed, (fl_weight_query){.use = FL_WEIGHT_TABLE, .rows = c->vocab, .cols = c->width},
                         "transformer.wte.weight"));
    FL_TRY(fl_model_bind(m, &body->positions,
                         (fl_weight_query){.use = FL_WEIGHT_TABLE, .rows = c->window, .cols = c->width},
                         "transformer.wpe.weight"));
    for (int64_t i = 0; i < c->layers; i++)
        FL_TRY(bind_layer(m, &body->layer[i], (int)i));
    FL_TRY(fl_model_bind(m, &body->norm, vector, "transformer.ln_f.weight"));
    FL_TRY(fl_model_bind(m, &body->norm_bias, vector, "transformer.ln_f.bias"));
    if (c->tied_head) return fl_model_tie_head(m);
    return fl_model_bind(m, &m->head, (fl_weight_query){.use = FL_WEIGHT_MATRIX, .rows = c->vocab, .cols = c->width},
                         "lm_head.weight");
}

const fl_arch fl_arch_gpt2 = {"gpt2", gpt2_bind, gpt2_forward};
