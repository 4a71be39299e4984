/* Intervals of 95 %. */
#ifndef FL_EVAL_STATISTICS_H
#define FL_EVAL_STATISTICS_H

#include <stdint.h>

#include "base/status.h"

/* Of a share, hits of trials (Wilson 1927). No trials: 0 to 1. */
void fl_wilson(int64_t hits, int64_t trials, double *low, double *high);

/* Of the mean of n values, by drawing n of them with replacement 2000 times (Efron 1979, percentiles). The same seed
 * draws the same ones, so that differences between two lists hold for the same documents. n < 2: the mean itself.
 * FL_ERR_MEMORY. */
fl_status fl_bootstrap(const double *value, int64_t n, uint64_t seed, double *low, double *high);

#endif
