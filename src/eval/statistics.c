#include "eval/statistics.h"

#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/rng.h"

#define DRAWS 2000
#define NORMAL_975 1.959963984540054 /* quantile of the normal distribution */

void fl_wilson(int64_t hits, int64_t trials, double *low, double *high)
{
    *low = 0;
    *high = 1;
    if (trials <= 0) return;
    double n = (double)trials, p = (double)hits / n, z2 = NORMAL_975 * NORMAL_975;
    double middle = (p + z2 / (2 * n)) / (1 + z2 / n);
    double half = NORMAL_975 * sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n);
    if (hits > 0) *low = middle - half;
    if (hits < trials) *high = middle + half;
}

fl_share fl_share_of(int64_t hits, int64_t items)
{
    fl_share s = {.hits = hits, .items = items};
    fl_wilson(hits, items, &s.low, &s.high);
    return s;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

fl_status fl_bootstrap(const double *value, const double *weight, int64_t n, uint64_t seed, double *low, double *high)
{
    double sum = 0, weights = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += value[i];
        weights += weight ? weight[i] : 1;
    }
    *low = *high = n > 0 ? sum / weights : 0;
    if (n < 2) return FL_OK;
    double *mean = fl_calloc(DRAWS, sizeof *mean);
    if (!mean) return FL_ERR_MEMORY;
    fl_rng rng;
    fl_rng_seed(&rng, seed);
    for (int d = 0; d < DRAWS; d++) {
        sum = weights = 0;
        for (int64_t i = 0; i < n; i++) {
            uint64_t j = fl_rng_below(&rng, (uint64_t)n);
            sum += value[j];
            weights += weight ? weight[j] : 1;
        }
        mean[d] = sum / weights;
    }
    qsort(mean, DRAWS, sizeof *mean, compare);
    *low = mean[DRAWS / 40];
    *high = mean[DRAWS - 1 - DRAWS / 40];
    fl_free(mean);
    return FL_OK;
}
