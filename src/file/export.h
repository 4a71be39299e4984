/* What a writer of model files writes: the tensors of an opened checkpoint with some of them replaced. */
#ifndef FL_FILE_EXPORT_H
#define FL_FILE_EXPORT_H

#include "base/file.h"
#include "file/checkpoint.h"
#include "file/permute.h"

typedef struct fl_export {
    const fl_config *config;      /* of the replacements and of the model that is written */
    const fl_file_tensor *tensor; /* replacements and additions */
    int64_t count;
    int64_t *index;
    const fl_checkpoint *source; /* may be NULL */
} fl_export;

/* Nothing is copied: tensor and source must live on. FL_ERR_ARGUMENT: a name comes twice. */
fl_status fl_export_open(fl_export *e, const fl_config *config, const fl_file_tensor *tensor, int64_t count,
                         const fl_checkpoint *source);
void fl_export_close(fl_export *e);

/* How a format keeps what formats keep differently; fl_config has the same of a model as it was opened. */
typedef struct fl_layout {
    fl_row_order order; /* of rotated rows */
    bool qkv_by_head;   /* gpt_neox: q, k, v of each head together; else all q, all k, all v */
    bool by_output;     /* gpt2: [outputs, inputs]; else [inputs, outputs] */
} fl_layout;

extern const fl_layout fl_layout_hf, fl_layout_llama2c;

typedef enum fl_move { FL_MOVE_NONE, FL_MOVE_ROTATED, FL_MOVE_QKV, FL_MOVE_TRANSPOSE } fl_move;

typedef struct fl_export_item {
    const fl_file_tensor *tensor;
    fl_move move; /* what must happen to its rows */
    fl_layout layout;
} fl_export_item;

/* The tensor to write under a name, and how its rows must be moved to lie in `layout`. NULL tensor: there is none. */
fl_export_item fl_export_find(const fl_export *e, const char *name, fl_layout layout);
/* Its shape once moved. */
fl_file_tensor fl_export_shape(const fl_export_item *item);

/* Append the item's values to the file as `type`; a type that holds no real numbers is written as it is. Rows must be a
 * whole number of the type's blocks. */
fl_status fl_export_values(const fl_export *e, const fl_export_item *item, fl_dtype type, fl_writer *w);

#endif
