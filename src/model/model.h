/* A model: the weights of a checkpoint bound to one family's stack of layers. */
#ifndef FL_MODEL_MODEL_H
#define FL_MODEL_MODEL_H

#include "file/checkpoint.h"
#include "layer/self_attention.h"
#include "model/lora.h"
#include "op/op.h"

/* One family: how names and config become layers, and how a batch flows through them. */
typedef struct fl_arch {
    const char *family;                                  /* fl_config.family */
    fl_status (*bind)(fl_model *m);                      /* fills m->body, m->embed, m->head */
    fl_tensor *(*forward)(fl_run *r, const fl_model *m); /* batch -> normed hidden rows [rows, width] */
} fl_arch;

extern const fl_arch fl_arch_llama, fl_arch_mistral, fl_arch_qwen2, fl_arch_qwen3, fl_arch_phi3, fl_arch_gptneox,
    fl_arch_gpt2;
const fl_arch *fl_arch_find(const char *family); /* NULL: unknown */

/* Names and shapes of the tensors a config asks for; data is NULL until someone fills it (fl_alloc_aligned). */
typedef struct fl_tensor_list {
    fl_file_tensor *tensor;
    int64_t count;
} fl_tensor_list;

void fl_tensor_list_free(fl_tensor_list *list);

struct fl_model {
    fl_engine *engine;
    fl_checkpoint *checkpoint;
    fl_lora lora; /* tensors that stand in for those of the checkpoint */
    fl_config config;
    const fl_arch *arch;
    fl_scheme scheme;
    float *slopes;                 /* of ALiBi, [heads] */
    char passes_text[96];          /* the passes' parameters in words */
    fl_weight **weight;            /* in binding order; weight[i]->index == i */
    const fl_file_tensor **source; /* the tensor of the file, or of lora, that weight[i] is (a part of); NULL: panels */
    int weights, weight_capacity;
    fl_weight *embed, *head, *head_bias;
    void *body; /* the family's own; freed with fl_free */
    int64_t parameters, weight_bytes, mapped_bytes;
    int64_t bytes_since_release; /* while binding: packed since the file's pages were given back */
    fl_tensor_list *listing;     /* not NULL: binding only collects what it would look up */
};

/* ---- binding, for families ------------------------------------------------------------------------------------ */

typedef enum fl_weight_use {
    FL_WEIGHT_MATRIX,   /* [outputs, inputs], packed for products */
    FL_WEIGHT_MATRIX_T, /* stored [inputs, outputs] (GPT-2's Conv1D), packed for products */
    FL_WEIGHT_TABLE,    /* [rows, width], looked up by row */
    FL_WEIGHT_VECTOR    /* [cols], kept as fp32 */
} fl_weight_use;

/* Find `name` (printf-formatted with the layer number by the caller), check its shape and add it to the model's list.
 * first_row and rows select outputs of a fused tensor (rows of outputs; entries of a vector); total is the size of that
 * dimension in the file. *out is NULL when the tensor is missing and optional. */
typedef struct fl_weight_query {
    fl_weight_use use;
    bool optional;
    int64_t rows, cols;   /* outputs and inputs; a vector has rows 1 */
    int64_t first, total; /* slice of outputs (of a vector: of entries); total 0: the whole tensor */
} fl_weight_query;

fl_status fl_model_bind(fl_model *m, fl_weight **out, fl_weight_query query, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Enough of every tensor to tell two trainings of one architecture apart, without reading the whole file. A packed
 * model has the sum of the model it was packed from. */
uint64_t fl_model_weights_sum(const fl_model *m);

/* The head when it shares the embedding matrix: that weight, packed as well. */
fl_status fl_model_tie_head(fl_model *m);

/* ---- the driver ------------------------------------------------------------------------------------------------ */

/* One pass of a batch: memories begun, forward, head, backward while recording, memories committed; on failure or
 * cancellation every memory is as before. Threads that share an engine take turns, pass by pass. */
fl_status fl_model_pass(const fl_model *m, fl_run *r, const fl_batch *batch, const fl_overlay *overlay, bool recording,
                        const fl_head_spec *spec);

/* The position scheme of the run's batch: its own, else the model's. */
const fl_scheme *fl_model_scheme(const fl_model *m, const fl_run *r);

/* The same weights under another schedule: *out borrows all of m, must not move and is not closed. */
void fl_model_view(fl_model *out, const fl_model *m, const fl_rope_spec *rope);

/* Tokens the model is meant for with its scaling in force. Some files claim only the window before scaling. */
int64_t fl_model_window(const fl_model *m);

/* Shape of one layer's keys and values in F32; with types by name ("f32", "f16", "bf16", "q8_0", "q4_0"; NULL: "f32"),
 * refused where the blocks of a type are larger than a head; and the name of such a type. */
fl_kv_shape fl_model_kv_shape(const fl_model *m);
fl_status fl_model_kv_types(const fl_model *m, const char *type_k, const char *type_v, fl_kv_shape *out);
const char *fl_model_kv_type_name(fl_dtype type);

#endif
