/* The decoder that llama and its relatives share: RMSNorm, rotary self-attention with grouped-query heads (optionally
 * normed queries and keys), SwiGLU; pre-norm residual blocks. Families differ in names, biases and fused tensors. */
#ifndef FL_MODEL_DECODER_H
#define FL_MODEL_DECODER_H

#include "model/model.h"

typedef struct fl_decoder_layer {
    int index;
    fl_attention_shape attention;
    double eps;
    fl_weight *attention_norm, *wq, *wk, *wv, *wo, *bq, *bk, *bv, *bo;
    fl_weight *q_norm, *k_norm; /* [head_dim] or NULL */
    fl_weight *ffn_norm, *gate, *up, *down, *gate_bias, *up_bias, *down_bias;
} fl_decoder_layer;

typedef struct fl_decoder {
    fl_weight *norm;
    fl_decoder_layer layer[];
} fl_decoder;

/* One tensor of a layer: where it goes and how it is found. name follows "model.layers.N.". */
typedef struct fl_decoder_entry {
    fl_weight **out;
    fl_weight_query query;
    const char *name;
    bool wanted;
} fl_decoder_entry;

/* Fills m->body, m->embed, m->head; `layer` binds one layer's tensors, whose index, attention and eps are set. */
fl_status fl_decoder_bind(fl_model *m, fl_status (*layer)(fl_model *m, fl_decoder_layer *l));
fl_status fl_decoder_bind_list(fl_model *m, const fl_decoder_layer *l, const fl_decoder_entry *list, size_t count);

fl_tensor *fl_decoder_forward(fl_run *r, const fl_model *m);

#endif
