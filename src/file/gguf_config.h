/* Key-values of a GGUF model to and from fl_config. */
#ifndef FL_FILE_GGUF_CONFIG_H
#define FL_FILE_GGUF_CONFIG_H

#include "file/gguf.h"
#include "file/gguf_family.h"

/* Tensors of a model, by their GGUF names: what keys do not say follows from which are there. */
typedef struct fl_gguf_tensors {
    fl_gguf *const *shard;
    int64_t shards;
} fl_gguf_tensors;

const fl_file_tensor *fl_gguf_tensors_find(const fl_gguf_tensors *t, const char *name); /* NULL: none */

/* stored_type is left to whoever maps the tensors. FL_ERR_UNSUPPORTED: an architecture, or a key that changes what the
 * model computes, which furlong does not know. */
fl_status fl_gguf_config_read(fl_config *out, const fl_gguf_family **family, const fl_gguf *keys,
                              const fl_gguf_tensors *tensors);

/* The rotary part; config has heads, head_dim and window. As llama.cpp computes it: the angle of pair i is
 * base^(-2i/dim) / divisor[i] / factor, or yarn's mix of that with the unscaled angle; attn_factor multiplies cos and
 * sin (of yarn on top of 0.1 ln factor + 1). Divisors are the tensors rope_freqs.weight, or rope_factors_short.weight
 * and rope_factors_long.weight. */
fl_status fl_gguf_rope_read(fl_config *config, const fl_gguf_family *family, const fl_gguf *keys,
                            const fl_gguf_tensors *tensors);

#endif
