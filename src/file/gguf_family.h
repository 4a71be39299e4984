/* What GGUF files call families and their tensors: one table, for reading and for writing. */
#ifndef FL_FILE_GGUF_FAMILY_H
#define FL_FILE_GGUF_FAMILY_H

#include "file/config.h"

typedef struct fl_gguf_entry {
    const char *gguf, *hf; /* of a layer: what follows "blk.N." and layer_prefix "N." */
} fl_gguf_entry;

typedef struct fl_gguf_family {
    const char *arch;   /* general.architecture, the prefix of its keys */
    const char *family; /* fl_config.family */
    const char *layer_prefix;
    const fl_gguf_entry *outer, *layer; /* ended by an empty entry */
    bool rms_norm;                      /* which key holds the epsilon */
    bool interleaved;                   /* rows of q and k lie as (2i, 2i + 1): ggml's NORM, else NEOX */
    bool partial;                       /* part of a head may be rotated */
    fl_positions positions;
} fl_gguf_family;

#define FL_GGUF_HEAD "output.weight"

const fl_gguf_family *fl_gguf_family_of_arch(const char *arch, size_t length); /* NULL: not supported */
const fl_gguf_family *fl_gguf_family_of_config(const fl_config *config);
/* "llama, qwen2, ...", for messages */
#define FL_GGUF_FAMILIES "supported are llama, qwen2, qwen3, phi3, gptneox, gpt2 and refact"

#define FL_GGUF_HF_NAME 96 /* bytes that every name of the table fits in, with any layer number */

/* The Hugging Face name of a tensor. False: the family has none of that name, or not that layer. */
bool fl_gguf_hf_name(const fl_gguf_family *f, const char *gguf, int64_t layers, char out[FL_GGUF_HF_NAME]);
/* The other way. */
bool fl_gguf_name_of_hf(const fl_gguf_family *f, const char *hf, int64_t layers, char out[FL_GGUF_HF_NAME]);

#endif
