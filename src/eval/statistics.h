/* Intervals of 95 %. */
#ifndef FL_EVAL_STATISTICS_H
#define FL_EVAL_STATISTICS_H

#include <stdint.h>

#include "base/status.h"

/* Of a share, hits of trials (Wilson 1927). No trials: 0 to 1. */
void fl_wilson(int64_t hits, int64_t trials, double *low, double *high);
fl_share fl_share_of(int64_t hits, int64_t items);

/* Of sum(value) / sum(weight), by drawing n of the pairs with replacement 2000 times (Efron 1979, percentiles); weight
 * NULL: all 1. The same seed draws the same ones, so that differences between two lists hold for the same documents.
 * n < 2: the quotient itself. FL_ERR_MEMORY. */
fl_status fl_bootstrap(const double *value, const double *weight, int64_t n, uint64_t seed, double *low, double *high);

#endif
