/* Seeded random numbers: xoshiro256** (Blackman, Vigna), state small enough to checkpoint. */
#ifndef FL_BASE_RNG_H
#define FL_BASE_RNG_H

#include <stdint.h>

typedef struct fl_rng {
    uint64_t s[4];
} fl_rng;

void fl_rng_seed(fl_rng *r, uint64_t seed);            /* state from splitmix64(seed) */
uint64_t fl_rng_next(fl_rng *r);                       /* 64 uniform bits */
double fl_rng_uniform(fl_rng *r);                      /* [0, 1), 53 bits */
uint64_t fl_rng_below(fl_rng *r, uint64_t bound);      /* 0 .. bound-1 without bias; bound > 0 */
double fl_rng_normal(fl_rng *r);                       /* mean 0, variance 1 */

#endif
