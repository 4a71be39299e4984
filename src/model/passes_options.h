/* How a model is opened with other positions than its file says. */
#ifndef FL_MODEL_PASSES_OPTIONS_H
#define FL_MODEL_PASSES_OPTIONS_H

#include "file/config.h"

/* Schedule, passes and log-n scaling of the options into config, checked. The parameters of a pass method that are not
 * given follow from the window in force and the length wanted; config->window becomes what the method reaches. */
fl_status fl_position_options_apply(fl_config *config, const fl_model_options *options);

#endif
