/* Which window each method will reach, said before anything is trained, with what the number rests on. */
#ifndef FL_PLAN_WINDOW_H
#define FL_PLAN_WINDOW_H

#include "furlong.h"

/* Fills everything of *out that follows from the rotary geometry alone: laws, bounds and predicted windows. */
fl_status fl_plan_windows(fl_plan *out, int head_dim, double window, double base, double to, double tune_length);

#endif
