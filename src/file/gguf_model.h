/* A GGUF model: keys as fl_config, tensors under Hugging Face names, all files of a split model.
 *
 * Tensors stay as they lie in the files; where that differs from a Hugging Face folder the config says so:
 *   rope_interleaved    llama: rows of q and k lie as (2i, 2i + 1)
 *   qkv_by_head false   gpt_neox: all q, then all k, then all v
 *   by_output           gpt2: matrices are [outputs, inputs] */
#ifndef FL_FILE_GGUF_MODEL_H
#define FL_FILE_GGUF_MODEL_H

#include "file/config.h"
#include "file/gguf.h"

typedef struct fl_gguf_model {
    fl_config config;
    fl_file_tensor *tensor;
    int64_t count;
    char *names;
    fl_gguf **shard; /* of one file: one. The first holds the key-values. */
    int64_t shards;
} fl_gguf_model;

/* path: a GGUF file, or any of the files NAME-00001-of-00003.gguf of a split model, which must all be there. */
fl_status fl_gguf_model_open(fl_gguf_model *out, const char *path);
/* As above from one file's bytes, 8-byte aligned, kept by the caller while *out is used. */
fl_status fl_gguf_model_parse(fl_gguf_model *out, const char *name, const void *bytes, size_t size);
void fl_gguf_model_close(fl_gguf_model *m);

/* The key-values of the model, those of its tokenizer among them. */
static inline const fl_gguf *fl_gguf_model_keys(const fl_gguf_model *m)
{
    return m->shard[0];
}

#endif
