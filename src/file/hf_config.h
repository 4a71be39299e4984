/* config.json and generation_config.json of a Hugging Face folder, to and from fl_config. */
#ifndef FL_FILE_HF_CONFIG_H
#define FL_FILE_HF_CONFIG_H

#include "file/config.h"
#include "file/json.h"

/* The model_type of llamas with positions that no other tool knows for the family (position_embedding_type): a name of
 * their own keeps others from reading them as rotary. */
#define FL_HF_FURLONG "furlong_llama"

/* root: config.json; file: its name for messages. A key
 * that is absent takes the default of transformers; sizes have none and are required. stored_type is left to whoever
 * sees the tensors. FL_ERR_UNSUPPORTED: another family, or a variant of these that computes something else. */
fl_status fl_hf_config_read(fl_config *out, const json_t *root, const char *file);

/* "LlamaForCausalLM" for "llama"; NULL for a family that is not read here. */
const char *fl_hf_architecture(const char *family);

/* generation_config.json overrides the end-of-text ids. */
fl_status fl_hf_generation_read(fl_config *config, const json_t *root, const char *file);

/* New objects that transformers 4 and 5 read back to the same config; json_decref. type: of the weights beside it. */
fl_status fl_hf_config_write(json_t **out, const fl_config *config, fl_dtype type);
fl_status fl_hf_generation_write(json_t **out, const fl_config *config);

#endif
