/* Memory of training, known before it begins; fl_train_memory_plan is in furlong.h. */
#ifndef FL_TRAIN_MEMORY_H
#define FL_TRAIN_MEMORY_H

#include "train/parameters.h"

/* Ranges of the options, with the flag in the message. */
fl_status fl_train_options_check(const fl_model *model, const fl_train_options *options);

/* One pass by shapes alone: bytes of its arenas at their peak, and the work it would be (NULL: not wanted). overlay: as
 * of fl_parameters_outline; options: length and how a pass is made. */
fl_status fl_train_count_pass(const fl_model *model, const fl_overlay *overlay, const fl_train_options *options,
                              int64_t sequences, bool recompute, int64_t *bytes, fl_work *work);

#endif
