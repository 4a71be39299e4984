/* Hugging Face model folders: config.json, generation_config.json, model.safetensors or its shards with an index. */
#ifndef FL_FILE_HF_H
#define FL_FILE_HF_H

#include "file/checkpoint.h"
#include "file/safetensors.h"

typedef struct fl_hf {
    fl_config config;
    fl_file_tensor *tensor; /* names carry the family's full prefix even where a file leaves it out (gpt2) */
    int64_t count;
    fl_safetensors **shard; /* what the tensors point into */
    int64_t shards;
    char *names; /* those that had to be completed */
} fl_hf;

/* weights: name of one .safetensors file in the folder, or NULL: model.safetensors, else all shards that
 * model.safetensors.index.json lists (tensors it does not list are left out). fl_hf_close when done. */
fl_status fl_hf_open(fl_hf *out, const char *folder, const char *weights);
void fl_hf_close(fl_hf *m);

#endif
