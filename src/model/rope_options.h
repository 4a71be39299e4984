/* The caller's wishes about positions, laid over what the file says. */
#ifndef FL_MODEL_ROPE_OPTIONS_H
#define FL_MODEL_ROPE_OPTIONS_H

#include "file/config.h"

/* Changes config->rope and config->window. context: tokens wanted, chooses a missing scale, or is the window that a
 * changed base is meant for; 0: none.
 * FL_ERR_ARGUMENT names the flag; a model without rotary positions refuses any. */
fl_status fl_rope_options_apply(fl_config *config, const fl_rope_options *options, int64_t context);

#endif
