/* What files say of position schemes that change passes: config.json's dual_chunk_attention_config, and nothing else.
 */
#ifndef FL_FILE_PASSES_CONFIG_H
#define FL_FILE_PASSES_CONFIG_H

#include "file/config.h"
#include "file/json.h"

/* {chunk_size, local_size, original_max_position_embeddings} as vLLM reads it for Qwen2.5-1M: the first two are
 * fl_passes.last and last - chunk, the third the L of FL_LOGN_LENGTH. Absent or null: c is left alone. The sparse
 * attention that such files may also ask for does not change what full attention means and is not read. */
fl_status fl_passes_config_read(fl_config *c, const json_t *root, const char *file);

/* The same block; config->passes must be plain or dual-chunk, log-n off or FL_LOGN_LENGTH. */
fl_status fl_passes_config_write(json_t *root, const fl_config *c);

/* FL_ERR_UNSUPPORTED where c changes passes or scales logits and the format has no words for it; `where` begins the
 * message. */
fl_status fl_passes_config_refuse(const fl_config *c, const char *where);

#endif
