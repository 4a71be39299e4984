/* Write a Hugging Face model folder. */
#ifndef FL_FILE_HF_WRITE_H
#define FL_FILE_HF_WRITE_H

#include "file/checkpoint.h"

/* folder (made if missing): config.json, generation_config.json, model.safetensors with every real tensor as `type`
 * (F32, F16 or BF16), and the tokenizer files of source's folder. The tensors are those of source (may be NULL), each
 * replaced by the one of the same name among tensors[count]; further ones are added. config describes the model that is
 * written and the layout of `tensors`; q and k are put into the half-split order that Hugging Face files have.
 * config.json takes window and positions of a rotary model from config->rope. Each file is written atomically,
 * config.json last: a new folder that has one is whole. */
fl_status fl_hf_write(const char *folder, const fl_config *config, const fl_file_tensor *tensors, int64_t count,
                      fl_dtype type, const fl_checkpoint *source);

#endif
