/* An adapter in its file: what its settings say, and its tensors as pairs that belong to weights of a checkpoint. */
#ifndef FL_MODEL_LORA_ADAPTER_H
#define FL_MODEL_LORA_ADAPTER_H

#include "file/checkpoint.h"
#include "file/gguf_family.h"
#include "file/safetensors.h"
#include "model/lora_rows.h"

/* How a file names its tensors: what stands before and after the name of a weight. */
typedef struct fl_adapter_form {
    const char *prefix, *down, *up, *weight; /* weight: what the checkpoint's name has after the part between */
    const char *message;
} fl_adapter_form;

extern const fl_adapter_form fl_adapter_peft, fl_adapter_gguf;

typedef enum fl_alpha_divisor { FL_ALPHA_BY_RANK, FL_ALPHA_BY_ROOT, FL_ALPHA_BY_NOTHING } fl_alpha_divisor;

typedef struct fl_adapter {
    const fl_adapter_form *form;
    char *path;           /* of the tensors, for messages */
    fl_safetensors *file; /* holds the tensors, or */
    fl_gguf *gguf;
    const fl_gguf_family *family; /* whose names and row orders a GGUF file has */
    double scale;                 /* the caller's */
    double strength;              /* alpha times it */
    bool saves;                   /* holds whole tensors as well (modules_to_save) */
    int64_t rank;                 /* of every pair; 0: each has its own (rank_pattern, GGUF) */
    fl_alpha_divisor divisor;
    bool transposed; /* the checkpoint keeps its matrices [in, out] */
} fl_adapter;

/* The adapter at path (a PEFT folder or a GGUF file) for a model of that config, its settings read and checked, its
 * strength `scale` times alpha. fl_adapter_close, also after a failure. */
fl_status fl_adapter_open(fl_adapter *a, const fl_config *c, const char *path, double scale);
void fl_adapter_close(fl_adapter *a);

int64_t fl_adapter_count(const fl_adapter *a);
const fl_file_tensor *fl_adapter_at(const fl_adapter *a, int64_t i);

/* Is t a tensor that takes the place of the checkpoint's (modules_to_save)? */
bool fl_adapter_whole(const fl_adapter *a, const fl_file_tensor *t);

/* Is a tensor of that name a head, or a table whose rows are looked up? */
bool fl_adapter_is_head(const char *name);
bool fl_adapter_is_table(const char *name);

typedef struct fl_adapter_pair {
    const fl_file_tensor *weight, *down, *up; /* weight NULL: the tensor asked for is the up of another pair */
} fl_adapter_pair;

/* The pair of tensor i: A [r, in], B [out, r] and the weight [out, in] that they change. FL_ERR_FORMAT, FL_ERR_SHAPE
 * or FL_ERR_UNSUPPORTED with the tensor's name where there is none. */
fl_status fl_adapter_pair_at(fl_adapter_pair *out, const fl_adapter *a, const fl_checkpoint *c, int64_t i);

/* A new fp32 copy of a tensor; fl_free_aligned. */
fl_status fl_adapter_copy(float **out, const fl_file_tensor *t);

/* Takes `rows`, the values of the adapter's tensor t for that weight, and gives them in the order `to`;
 * fl_free_aligned(*out). */
fl_status fl_adapter_reordered(float **out, float *rows, const fl_adapter *a, const fl_config *c, fl_lora_order to,
                               const fl_file_tensor *t, const char *weight);

/* factor * B [out, r], its rows in the order `to`; fl_free_aligned. */
fl_status fl_adapter_up(float **out, const fl_adapter *a, const fl_config *c, fl_lora_order to, double factor,
                        const fl_file_tensor *up, const char *weight);

#endif
