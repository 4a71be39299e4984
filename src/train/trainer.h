#ifndef FL_TRAIN_TRAINER_H
#define FL_TRAIN_TRAINER_H

#include <stdatomic.h>

#include "train/parameters.h"

struct fl_trainer {
    const fl_model *model;
    fl_train_options options; /* strings copied */
    char *state_path, *log_path;
    fl_parameters parameters;
    fl_run *run;
    atomic_bool cancel;
    int64_t step; /* taken so far */
    double last_loss;
};

#endif
