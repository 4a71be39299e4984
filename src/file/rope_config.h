/* Rotary positions as config.json spells them, to and from fl_rope_spec.
 *
 * transformers 4: top-level rope_theta, and rope_scaling {type or rope_type, ...} (null: none). transformers 5: one
 * rope_parameters {rope_type, rope_theta, partial_rotary_factor, ...}. "su" is an old name of longrope. A type or a key
 * that is not known for its type is refused: ignoring one changes every attention score without any other sign. */
#ifndef FL_FILE_ROPE_CONFIG_H
#define FL_FILE_ROPE_CONFIG_H

#include "file/json.h"
#include "position/rope.h"

/* config: the root of config.json; file: its name for messages. head_dim: components of a head; window:
 * max_position_embeddings. When rope_scaling and rope_parameters are both there they must say the same.
 *
 * original_window: what the file says, else window. Dynamic scaling takes max_position_embeddings for the trained
 * window as transformers does, so there both are the same. FL_ERR_FORMAT: a value is wrong; FL_ERR_UNSUPPORTED: a type
 * or key is unknown. Keys and defaults: transformers, modeling_rope_utils.py. */
fl_status fl_rope_config_read(fl_rope_spec *out, const json_t *config, const char *file, int64_t head_dim,
                              int64_t window);

/* Set rope_theta, rope_scaling (transformers 4), rope_parameters (transformers 5), max_position_embeddings and, where
 * a version looks for it, original_max_position_embeddings in config. Schedules without a spelling of their own are
 * written as what they are: NTK as the plain schedule with its larger base, ntk-parts as yarn with attention_factor 1,
 * ntk-linear, mixed-radix, power, truncated and divisors as longrope. FL_ERR_UNSUPPORTED: no transformers spelling
 * exists (dynamic-linear, dynamic-yarn). */
fl_status fl_rope_config_write(json_t *config, const fl_rope_spec *spec, int64_t head_dim);

/* The key of the first value in which two schedules differ, NULL: they are one. */
const char *fl_rope_difference(const fl_rope_spec *a, const fl_rope_spec *b);

/* The same schedule as longrope with one list of divisors: what Transformers computes of it is the same. Refused for
 * schedules that depend on the length. */
fl_status fl_rope_as_longrope(fl_rope_spec *spec);

#endif
