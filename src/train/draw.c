#include "train/draw.h"

static void randomized(fl_rng *rng, int64_t range, int64_t count, double *out)
{
    double at = 0, most = (double)(range - 1);
    for (int64_t i = 0; i < count; i++)
        out[i] = at += 2 * fl_rng_uniform(rng);
    for (int64_t i = 0; i < count && at > most; i++)
        out[i] *= most / at;
}

/* Selection sampling (Knuth, The Art of Computer Programming 3.4.2, algorithm S). */
static void subsampled(fl_rng *rng, int64_t range, int64_t count, double *out)
{
    int64_t taken = 0;
    for (int64_t p = 0; taken < count; p++)
        if ((int64_t)fl_rng_below(rng, (uint64_t)(range - p)) < count - taken) out[taken++] = (double)p;
}

void fl_draw_positions(fl_rng *rng, fl_train_positions kind, int64_t range, int64_t count, double *out)
{
    if (kind == FL_TRAIN_POSITIONS_RANDOMIZED)
        randomized(rng, range, count, out);
    else
        subsampled(rng, range, count, out);
}
