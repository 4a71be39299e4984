#include "train/order.h"

#include "base/alloc.h"
#include "base/rng.h"

fl_status fl_order_create(fl_order *o, int64_t windows, uint64_t seed)
{
    *o = (fl_order){.windows = windows, .seed = seed, .epoch = -1};
    o->index = fl_calloc((size_t)windows, sizeof *o->index);
    return o->index ? FL_OK : FL_ERR_MEMORY;
}

void fl_order_destroy(fl_order *o)
{
    fl_free(o->index);
    *o = (fl_order){0};
}

/* Fisher-Yates with a generator of its own for each epoch. */
static void shuffle(fl_order *o, int64_t epoch)
{
    fl_rng rng;
    fl_rng_seed(&rng, o->seed + (uint64_t)epoch * UINT64_C(0x9e3779b97f4a7c15));
    for (int64_t i = 0; i < o->windows; i++) {
        int64_t j = (int64_t)fl_rng_below(&rng, (uint64_t)i + 1);
        o->index[i] = o->index[j];
        o->index[j] = i;
    }
    o->epoch = epoch;
}

int64_t fl_order_at(fl_order *o, int64_t n)
{
    if (n / o->windows != o->epoch) shuffle(o, n / o->windows);
    return o->index[n % o->windows];
}
