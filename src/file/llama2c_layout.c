#include "file/llama2c_layout.h"

#include <stdio.h>

static const struct {
    const char *name;
    bool per_layer;
} parts[FL_LLAMA2C_END] = {
    [FL_LLAMA2C_EMBEDDING] = {"model.embed_tokens.weight", false},
    [FL_LLAMA2C_ATTENTION_NORM] = {"input_layernorm.weight", true},
    [FL_LLAMA2C_Q] = {"self_attn.q_proj.weight", true},
    [FL_LLAMA2C_K] = {"self_attn.k_proj.weight", true},
    [FL_LLAMA2C_V] = {"self_attn.v_proj.weight", true},
    [FL_LLAMA2C_O] = {"self_attn.o_proj.weight", true},
    [FL_LLAMA2C_FFN_NORM] = {"post_attention_layernorm.weight", true},
    [FL_LLAMA2C_GATE] = {"mlp.gate_proj.weight", true},
    [FL_LLAMA2C_DOWN] = {"mlp.down_proj.weight", true},
    [FL_LLAMA2C_UP] = {"mlp.up_proj.weight", true},
    [FL_LLAMA2C_FINAL_NORM] = {"model.norm.weight", false},
    [FL_LLAMA2C_ROTARY_TABLES] = {"rotary tables", false},
    [FL_LLAMA2C_HEAD] = {"lm_head.weight", false},
};

const fl_llama2c_part *fl_llama2c_order(int version)
{
    static const fl_llama2c_part first[] = {
        FL_LLAMA2C_EMBEDDING,  FL_LLAMA2C_ATTENTION_NORM, FL_LLAMA2C_Q,    FL_LLAMA2C_K,    FL_LLAMA2C_V,
        FL_LLAMA2C_O,          FL_LLAMA2C_FFN_NORM,       FL_LLAMA2C_GATE, FL_LLAMA2C_DOWN, FL_LLAMA2C_UP,
        FL_LLAMA2C_FINAL_NORM, FL_LLAMA2C_ROTARY_TABLES,  FL_LLAMA2C_HEAD, FL_LLAMA2C_END,
    };
    static const fl_llama2c_part later[] = {
        FL_LLAMA2C_ATTENTION_NORM,
        FL_LLAMA2C_FFN_NORM,
        FL_LLAMA2C_FINAL_NORM,
        FL_LLAMA2C_EMBEDDING,
        FL_LLAMA2C_Q,
        FL_LLAMA2C_K,
        FL_LLAMA2C_V,
        FL_LLAMA2C_O,
        FL_LLAMA2C_GATE,
        FL_LLAMA2C_DOWN,
        FL_LLAMA2C_UP,
        FL_LLAMA2C_HEAD,
        FL_LLAMA2C_END,
    };
    return version == 0 ? first : later;
}

int64_t fl_llama2c_repeats(fl_llama2c_part part, const fl_config *c)
{
    if (part == FL_LLAMA2C_HEAD) return !c->tied_head;
    return parts[part].per_layer ? c->layers : 1;
}

void fl_llama2c_describe(fl_llama2c_part part, int64_t layer, const fl_config *c, char name[FL_LLAMA2C_NAME],
                         fl_file_tensor *out)
{
    if (parts[part].per_layer)
        snprintf(name, FL_LLAMA2C_NAME, "model.layers.%d.%s", (int)layer, parts[part].name);
    else
        snprintf(name, FL_LLAMA2C_NAME, "%s", parts[part].name);
    *out = (fl_file_tensor){.name = name, .type = FL_F32, .rank = 2, .dim = {c->width, c->width}};
    switch (part) {
    case FL_LLAMA2C_EMBEDDING:
    case FL_LLAMA2C_HEAD:
        out->dim[0] = c->vocab;
        break;
    case FL_LLAMA2C_ATTENTION_NORM:
    case FL_LLAMA2C_FFN_NORM:
    case FL_LLAMA2C_FINAL_NORM:
        out->rank = 1;
        out->dim[1] = 0;
        break;
    case FL_LLAMA2C_K:
    case FL_LLAMA2C_V:
        out->dim[0] = c->kv_heads * c->head_dim;
        break;
    case FL_LLAMA2C_GATE:
    case FL_LLAMA2C_UP:
        out->dim[0] = c->ffn;
        break;
    case FL_LLAMA2C_DOWN:
        out->dim[1] = c->ffn;
        break;
    case FL_LLAMA2C_ROTARY_TABLES:
        out->dim[0] = 2 * c->window;
        out->dim[1] = c->head_dim / 2;
        break;
    default:
        break;
    }
}
