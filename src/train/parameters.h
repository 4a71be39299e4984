/* What training owns beside a model: master weights, gradients and AdamW moments, each one contiguous block in the
 * order of the model's weights, so that clipping, the optimiser and checkpoints see plain arrays. */
#ifndef FL_TRAIN_PARAMETERS_H
#define FL_TRAIN_PARAMETERS_H

#include "model/model.h"

typedef struct fl_parameters {
    int64_t count;                            /* all values */
    float *master, *grad, *moment1, *moment2; /* [count] */
    int64_t *offset;                          /* [weights + 1] where each weight begins */
    bool *decays;                             /* [weights] matrices: weight decay applies */
    fl_overlay overlay;
} fl_parameters;

/* Masters are filled from the model; gradients and moments are zero. */
fl_status fl_parameters_create(fl_parameters *p, const fl_model *model);
void fl_parameters_destroy(fl_parameters *p);

#endif
