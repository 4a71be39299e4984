/* The hyperparameters of a model, one struct for every file format. Readers of formats fill it; models read it. */
#ifndef FL_FILE_CONFIG_H
#define FL_FILE_CONFIG_H

#include "position/passes.h"
#include "position/rope.h"
#include "tensor/dtype.h"

typedef enum fl_activation { FL_ACT_SILU, FL_ACT_GELU_TANH, FL_ACT_GELU_ERF } fl_activation;

/* Where a model knows the order of tokens from. All but rotary positions come with pre-training and cannot be changed.
 */
typedef enum fl_positions {
    FL_POSITIONS_ROTARY,
    FL_POSITIONS_LEARNED,    /* a table of them is added to the embeddings */
    FL_POSITIONS_ALIBI,      /* logits fall with distance */
    FL_POSITIONS_XPOS,       /* rotary, and scores decay with distance */
    FL_POSITIONS_SINUSOIDAL, /* sines and cosines are added to the embeddings */
    FL_POSITIONS_NONE,       /* from the causal mask alone */
    FL_POSITIONS_COUNT
} fl_positions;

/* "rotary", "learned", "alibi", "xpos", "sinusoidal", "none" */
const char *fl_positions_name(fl_positions positions);

#define FL_MAX_EOS 8

/* Bounds no model comes near; products of two of them fit 64 bits. */
#define FL_MOST_VOCAB (1 << 28)
#define FL_MOST_WIDTH (1 << 24)
#define FL_MOST_LAYERS (1 << 16)
#define FL_MOST_HEADS (1 << 16)

typedef struct fl_config {
    char family[32]; /* "llama", "gpt2": a key of the table of models */
    int64_t vocab, width, layers, heads, kv_heads, head_dim, ffn;
    int64_t window;         /* trained or scaled window as the file claims it, tokens */
    int64_t sliding_window; /* 0: none */
    double norm_eps;
    fl_activation activation;
    bool tied_head;      /* the head shares the embedding matrix */
    bool attention_bias; /* q, k and v carry a bias */
    bool output_bias;       /* the projection after attention carries a bias */
    bool qk_norm;           /* queries and keys are normed by head */
    bool parallel_residual; /* attention and feed-forward read the same input (gpt_neox) */
    bool qkv_by_head;       /* fused q, k, v lie together for each head; else all q, then all k, then all v */
    bool by_output;           /* gpt2: matrices are stored [outputs, inputs]; else [inputs, outputs] */
    bool mlp_bias;
    fl_positions positions;
    bool rotary;           /* queries and keys are rotated: rotary positions and xPos */
    bool rope_interleaved; /* pair i at (2i, 2i+1); else (i, i + dim/2) */
    fl_rope_spec rope;
    fl_passes passes;    /* how distances are changed; its window and sinks are a session's affair */
    fl_logn logn;        /* scaling of the logits by the length */
    int64_t logn_window; /* its L, tokens */
    int32_t bos, pad; /* -1: none */
    int eos_count;
    int32_t eos[FL_MAX_EOS];
    fl_dtype stored_type; /* of most weights */
} fl_config;

#endif
