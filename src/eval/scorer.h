/* Negative log-likelihoods of the tokens of one window, read in chunks through a memory. */
#ifndef FL_EVAL_SCORER_H
#define FL_EVAL_SCORER_H

#include "model/model.h"

typedef struct fl_scorer {
    const fl_model *model;
    fl_run *run;
    fl_memory *memory;
    int64_t computed; /* tokens passed through the model so far */
} fl_scorer;

/* type_k, type_v: of keys and values, as in fl_session_options. */
fl_status fl_scorer_create(fl_scorer *s, const fl_model *model, const char *type_k, const char *type_v);
void fl_scorer_destroy(fl_scorer *s);

/* nll[i - first] = -ln p(ids[i] | ids[0 .. i-1]) for first <= i < count; 1 <= first < count. The window is read as one
 * sequence of `count` tokens from position 0; nothing of earlier windows is seen. */
fl_status fl_scorer_window(fl_scorer *s, const int32_t *ids, int64_t count, int64_t first, float *nll);

#endif
