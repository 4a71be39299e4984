/* Which window of the data comes when: a fresh shuffle for every epoch, known from the seed alone, so that a resumed
 * run needs no state beyond its step. */
#ifndef FL_TRAIN_ORDER_H
#define FL_TRAIN_ORDER_H

#include "base/status.h"

typedef struct fl_order {
    int64_t windows; /* in the data */
    uint64_t seed;
    int64_t epoch;  /* the one in `index`, -1: none yet */
    int64_t *index; /* [windows] */
} fl_order;

fl_status fl_order_create(fl_order *o, int64_t windows, uint64_t seed);
void fl_order_destroy(fl_order *o);

/* Window of the n-th draw since the beginning of training. */
int64_t fl_order_at(fl_order *o, int64_t n);

#endif
