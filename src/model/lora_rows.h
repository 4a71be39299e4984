/* The order of output rows in adapters and in a model's own tensors. */
#ifndef FL_MODEL_LORA_ROWS_H
#define FL_MODEL_LORA_ROWS_H

#include "file/config.h"

/* How rows of q and k, and of a fused q, k, v matrix, lie; as in fl_config. */
typedef struct fl_lora_order {
    bool interleaved, by_head;
} fl_lora_order;

/* Put rows [rows, cols] of the weight or bias `name` (Hugging Face) from one order into another. *values
 * (fl_alloc_aligned) may be replaced by another allocation. FL_ERR_SHAPE: the rows do not make whole heads. */
fl_status fl_lora_reorder(float **values, const fl_config *c, const char *name, int64_t rows, int64_t cols,
                          fl_lora_order from, fl_lora_order to);

#endif
