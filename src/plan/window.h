/* Which window each method will reach, said before anything is trained, with what the number rests on. */
#ifndef FL_PLAN_WINDOW_H
#define FL_PLAN_WINDOW_H

#include "furlong.h"
#include "position/passes.h"
#include "position/rope.h"

/* Fills everything of *out that follows from the rotary geometry alone: laws, bounds and predicted windows. own: the
 * model's rotary spec, for kinds that need given factors; may be NULL. */
fl_status fl_plan_windows(fl_plan *out, int head_dim, double window, double base, double to, double tune_length,
                          const fl_rope_spec *own);

/* The schedule that the flags of a method make of a model with this spec; of one that changes passes, the spec itself. */
fl_status fl_plan_method_spec(fl_rope_spec *out, const fl_plan_method *method, const fl_rope_spec *own);

/* The passes of a method that changes them, for a model with this spec; plain for the others. *reach: tokens. */
fl_status fl_plan_method_passes(fl_passes *out, int64_t *reach, const fl_plan_method *method, const fl_rope_spec *own);

#endif
