/* Positions drawn for training, so that a model meets distances longer than its sequences. */
#ifndef FL_TRAIN_DRAW_H
#define FL_TRAIN_DRAW_H

#include "base/rng.h"
#include "furlong.h"

/* count positions of one sequence, ascending, below or at `range`, range >= count.
 * Randomized (Pal et al. 2023, Giraffe): sums of draws from U(0, 2), shrunk together where the last passes range - 1.
 * Subsampled (Ruoss et al. 2023): whole numbers from 0 .. range-1, each set of `count` of them as likely. */
void fl_draw_positions(fl_rng *rng, fl_train_positions kind, int64_t range, int64_t count, double *out);

#endif
