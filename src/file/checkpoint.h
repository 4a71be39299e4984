/* An opened model file of any format: config, named tensors under Hugging Face names, tokenizer location.
 * Tensors point into mapped files; only what a file stores off its alignment or as int8 groups is copied. Every range
 * has been checked against its file. */
#ifndef FL_FILE_CHECKPOINT_H
#define FL_FILE_CHECKPOINT_H

#include "file/config.h"
#include "file/file_tensor.h"
#include "file/gguf.h"
#include "file/packed_model.h"
#include "tensor/tensor.h"

typedef enum fl_format { FL_FORMAT_HF, FL_FORMAT_LLAMA2C, FL_FORMAT_GGUF, FL_FORMAT_PACKED } fl_format;

typedef struct fl_checkpoint fl_checkpoint;

/* path: a Hugging Face folder, a .safetensors file inside one, a GGUF file (of a split model any of its files), a
 * llama2.c .bin (version 0, 1 or 2), or a packed file, whose matrices are not among the tensors here. The format is
 * told by content, not by name. Errors name file, key and value. */
fl_status fl_checkpoint_open(fl_checkpoint **out, const char *path);
/* Give back the memory that reading tensors has taken (base/map.h); all pointers stay good. */
void fl_checkpoint_release(const fl_checkpoint *c);
void fl_checkpoint_close(fl_checkpoint *c);

fl_format fl_checkpoint_format(const fl_checkpoint *c);
const fl_config *fl_checkpoint_config(const fl_checkpoint *c);
int64_t fl_checkpoint_count(const fl_checkpoint *c);
const fl_file_tensor *fl_checkpoint_at(const fl_checkpoint *c, int64_t i);
/* NULL if there is none of that name. */
const fl_file_tensor *fl_checkpoint_find(const fl_checkpoint *c, const char *name);
/* Path of the tokenizer file that belongs to the model: of a Hugging Face folder tokenizer.json, else tokenizer.model;
 * else, and for llama2.c files, the tok*.bin in the same folder when there is exactly one; of a GGUF or packed file
 * without a tokenizer of its own any of these. NULL: none is found. */
const char *fl_checkpoint_tokenizer(const fl_checkpoint *c);
/* The key-values of a GGUF model (tokenizer.ggml.* among them); NULL for other formats. */
const fl_gguf *fl_checkpoint_gguf(const fl_checkpoint *c);
/* NULL for other formats. */
const fl_packed_model *fl_checkpoint_packed(const fl_checkpoint *c);
/* FL_ERR_UNSUPPORTED for a packed file, which cannot be `what`: "converted", say. */
fl_status fl_checkpoint_need_rows(const fl_checkpoint *c, const char *what);
const char *fl_checkpoint_path(const fl_checkpoint *c);
const char *fl_checkpoint_folder(const fl_checkpoint *c); /* the folder that holds the model's files */

#endif
