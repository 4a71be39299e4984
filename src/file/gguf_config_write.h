/* fl_config as the keys of a GGUF model. */
#ifndef FL_FILE_GGUF_CONFIG_WRITE_H
#define FL_FILE_GGUF_CONFIG_WRITE_H

#include "file/gguf_family.h"
#include "file/gguf_write.h"

#define FL_GGUF_ROPE_TENSORS 2

/* Tensors that say what no key can: rope_freqs.weight, or rope_factors_long.weight and rope_factors_short.weight. */
typedef struct fl_gguf_rope_tensors {
    fl_file_tensor tensor[FL_GGUF_ROPE_TENSORS]; /* data lies in value */
    int count;
    float value[FL_GGUF_ROPE_TENSORS][FL_ROPE_MAX_PAIRS];
} fl_gguf_rope_tensors;

/* The keys of the architecture; type: of the matrices. FL_ERR_UNSUPPORTED where the format has no way to say it. */
fl_status fl_gguf_config_write(fl_gguf_keys *keys, fl_gguf_rope_tensors *rope, const fl_config *config, fl_dtype type);

/* Ids of special tokens for a file that takes no tokenizer.* keys from elsewhere. */
fl_status fl_gguf_tokens_write(fl_gguf_keys *keys, const fl_config *config);

#endif
