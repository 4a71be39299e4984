/* Bytes and seconds of reading and of training, counted by running the model's own code with shapes only. */
#ifndef FL_PLAN_COUNT_H
#define FL_PLAN_COUNT_H

#include "furlong.h"
#include "model/model.h"

typedef struct fl_count {
    int64_t kv_bytes, scratch_bytes; /* keys and values; arenas at their peak */
    int64_t parameter_bytes;         /* of training: masters, gradients and two moments */
    double seconds, token_seconds;   /* the whole; one more token behind what was read. 0 without rates */
} fl_count;

/* Reading `tokens` in chunks, as a session does. The peak is that of the last chunks: nothing grows in between. */
fl_status fl_count_reading(fl_count *out, const fl_model *m, const fl_scheme *scheme, const fl_kv_shape *shape,
                           int64_t tokens, int64_t chunk, const fl_rates *rates);

/* One step: of the options, length, batch, accumulate (0: one pass), recompute and what trains are looked at. */
fl_status fl_count_training(fl_count *out, const fl_model *m, const fl_train_options *o, const fl_rates *rates);

/* How long the work takes: each kind at its rate, products and attention no faster than what they read. */
double fl_count_seconds(const fl_work *work, const fl_rates *rates);

#endif
