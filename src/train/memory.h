/* Memory of training, known before it begins; fl_train_memory_plan is in furlong.h. */
#ifndef FL_TRAIN_MEMORY_H
#define FL_TRAIN_MEMORY_H

#include "train/parameters.h"

/* Ranges of the options, with the flag in the message. */
fl_status fl_train_options_check(const fl_model *model, const fl_train_options *options);

#endif
