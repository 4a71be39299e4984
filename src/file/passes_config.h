/* What files say of changed distances and log-n scaling: two blocks of config.json. GGUF and llama2.c have no words. */
#ifndef FL_FILE_PASSES_CONFIG_H
#define FL_FILE_PASSES_CONFIG_H

#include "file/config.h"
#include "file/json.h"

/* dual_chunk_attention_config {chunk_size, local_size, original_max_position_embeddings}, as vLLM reads it for
 * Qwen2.5-1M: fl_passes.last, last - chunk, and the L of FL_LOGN_LENGTH. The sparse attention that such files may also
 * ask for approximates the full one and is not read.
 * logn_attention {form, window}: furlong's own, since no other program has words for it; they compute without it.
 * Absent or null: c is left alone. */
#define FL_DUAL_CHUNK_KEY "dual_chunk_attention_config"
#define FL_LOGN_KEY "logn_attention"
fl_status fl_passes_config_read(fl_config *c, const fl_json_at *root);

/* The same blocks; other passes are refused. */
fl_status fl_passes_config_write(json_t *root, const fl_config *c);

/* FL_ERR_UNSUPPORTED where c changes passes or scales logits and the format has no words for it; `where` begins the
 * message. */
fl_status fl_passes_config_refuse(const fl_config *c, const char *where);

#endif
