/* Learning rate by step. */
#ifndef FL_TRAIN_SCHEDULE_H
#define FL_TRAIN_SCHEDULE_H

#include "furlong.h"

/* Rate of step (0-based): linear from 10 % of the peak over `warmup` steps (Position Interpolation, section 3.1), then
 * constant, or linear or cosine down to lr_end * peak, which the last step reaches. */
double fl_schedule_rate(const fl_train_options *options, int64_t step);

#endif
