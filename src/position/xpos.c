#include "position/xpos.h"

#include <math.h>

#include "position/scaling_law.h"

#define SCALE_POSITIONS 512.0

void fl_xpos_angles(const double *freq, int pairs, bool key, int64_t centre, double position, float *cos_out,
                    float *sin_out)
{
    for (int i = 0; i < pairs; i++) {
        double per_position = log2(fl_law_xpos_zeta(2 * pairs, i)) / SCALE_POSITIONS;
        double power = (key ? -position : position) * per_position, removed = nearbyint((double)centre * per_position);
        /* The fraction by itself, and the whole part exactly. */
        double whole = floor(power) - (key ? -removed : removed), angle = position * freq[i];
        double scale = ldexp(exp2(power - floor(power)), (int)fmin(fmax(whole, -1000), 1000));
        cos_out[i] = (float)(scale * cos(angle));
        sin_out[i] = (float)(scale * sin(angle));
    }
}
