#ifndef FL_TRAIN_TRAINER_H
#define FL_TRAIN_TRAINER_H

#include <stdatomic.h>

#include "base/rng.h"
#include "train/parameters.h"

/* Inputs and targets of one pass: batch / accumulate windows, filled anew for each. */
typedef struct fl_train_part {
    fl_batch_seq *seq;
    int32_t *input, *target;
    float *nll, *weight;
    double *position; /* drawn ones; NULL: none are */
    int64_t sequences, rows;
} fl_train_part;

struct fl_trainer {
    const fl_model *model;
    fl_train_options options; /* strings copied */
    char *state_path, *log_path, *tensorboard_path, *lora_targets, *trainable;
    fl_parameters parameters;
    fl_run *run;
    fl_scheme scheme; /* the model's, as this run trains it */
    fl_train_part part;
    atomic_bool cancel;
    int64_t step; /* taken so far */
    double last_loss;
    fl_rng drawing; /* of this step's positions */
    uint64_t data; /* checksum of what it trains on; 0: not known yet */
};

/* fl_trainer_step with documents cut apart: fresh [batch * (length + 1)] is true where a document begins that sees
 * nothing before it. */
fl_status fl_trainer_step_cut(fl_trainer *t, const int32_t *ids, const bool *fresh, fl_train_step *result);

#endif
