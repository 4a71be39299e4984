/* The critical pair by experiment, without training. Beyond its window a model fails because its slow pairs reach
 * angles that training never showed. Holding pairs i .. end to their trained range of angles, by dividing them by
 * length/window, takes that away for each i in turn: at i = 0 this is Position Interpolation, at i = pairs the model as
 * it is. The knee of the loss over i is the first pair that has to be held. */
#ifndef FL_PLAN_MEASURE_H
#define FL_PLAN_MEASURE_H

#include "furlong.h"

#define FL_MEASURE_LENGTHS 2 /* 2 and 4 trained windows */

typedef struct fl_measured {
    int64_t length;
    double *loss, *error; /* [pairs + 1] by first held pair: nats per token above reading the last window untouched, on
                             the same targets, and the standard error over the blocks */
    int best;             /* where the loss is least */
    int knee;             /* from there on, the last i whose loss is within one standard error of it: the empirical
                             critical pair */
} fl_measured;

typedef struct fl_measure {
    int pairs;
    int64_t window;
    fl_measured at[FL_MEASURE_LENGTHS];
} fl_measure;

typedef struct fl_measure_options {
    int64_t score, blocks;
    const fl_session_options *session; /* how texts are read; NULL: as a new session */
    fl_progress_fn progress;
    void *progress_user;
} fl_measure_options;

/* FL_ERR_UNSUPPORTED for a model without rotary positions or with a scaling in force. fl_measure_free in every case. */
fl_status fl_measure_critical_pair(fl_measure *out, const fl_model *m, const fl_document *text, int32_t bos,
                                   const fl_measure_options *o);
void fl_measure_free(fl_measure *m);

#endif
