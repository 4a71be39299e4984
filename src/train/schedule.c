#include "train/schedule.h"

#include <math.h>

double fl_schedule_rate(const fl_train_options *o, int64_t step)
{
    if (step < o->warmup) return o->lr * (0.1 + 0.9 * (double)step / (double)o->warmup);
    int64_t span = o->steps - 1 - o->warmup;
    double done = span > 0 ? fmin(1.0, (double)(step - o->warmup) / (double)span) : 1.0;
    switch (o->schedule) {
    case FL_SCHEDULE_LINEAR:
        return o->lr * (1 - (1 - o->lr_end) * done);
    case FL_SCHEDULE_COSINE:
        return o->lr * (o->lr_end + (1 - o->lr_end) * 0.5 * (1 + cos(3.14159265358979323846 * done)));
    case FL_SCHEDULE_CONSTANT:
        break;
    }
    return o->lr;
}
