#include "plan/window.h"

#include <math.h>

#include "position/rope.h"
#include "position/scaling_law.h"

#define PI 3.14159265358979323846
#define HIGHEST_BASE 1e9
#define MOST_DISTANCE (1 << 22) /* how far B(m) is looked at, tokens */

static void add(fl_plan *p, fl_plan_method m)
{
    p->method[p->methods++] = m;
}

/* A larger base tuned on tune_length tokens: bounded by the period of the last pair seen whole, or by the tuning. */
static double window_of_base(int dim, double window, double base, double tuned_base, double tune_length)
{
    return fl_law_predict(dim, base, window, tuned_base, fmax(window, tune_length)).window;
}

static void add_methods(fl_plan *p, int dim, double window, double base, double to, double tune_length)
{
    double scale = to / window, ntk = dim > 2 ? fl_law_ntk_base(base, dim, scale) : base * scale;
    double enough = fmax(p->base_for_target, p->beta0 * 1.01);
    add(p, (fl_plan_method){"none", FL_PLAN_LAW, false, window, 0, 0,
                            "beyond the trained window pairs reach angles that were never seen"});
    add(p, (fl_plan_method){"linear", FL_PLAN_CONSTRUCTION, true, to, scale, 0,
                            "Position Interpolation: all positions fall into the trained range; needs some 200 steps"});
    add(p, (fl_plan_method){"yarn", FL_PLAN_CONSTRUCTION, true, to, scale, 0,
                            "slow pairs are interpolated, fast ones kept, logits sharpened; also serves untuned"});
    add(p,
        (fl_plan_method){"ntk", FL_PLAN_LAW, true, window_of_base(dim, window, base, ntk, tune_length), scale, 0,
                         "a base of its own; middle pairs pass their trained range, so the reach is below the scale"});
    if (isfinite(enough))
        add(p, (fl_plan_method){"base", FL_PLAN_LAW, true, window_of_base(dim, window, base, enough, tune_length), 0,
                                enough,
                                "the smallest base whose bound is the target, and above beta0 of the tuning length"});
    add(p, (fl_plan_method){"dynamic", FL_PLAN_RULE, false, to, scale, 0,
                            "the base follows the length read; untuned, quality falls slowly with the factor"});
    add(p, (fl_plan_method){"llama3", FL_PLAN_CONSTRUCTION, true, to, scale, 0,
                            "as yarn without sharpening; the constants are those of Llama 3.1"});
}

fl_status fl_plan_windows(fl_plan *out, int dim, double window, double base, double to, double tune_length)
{
    if (dim < 2 || dim % 2 || dim > 2 * FL_ROPE_MAX_PAIRS)
        return fl_fail(FL_ERR_ARGUMENT, "--head-dim %d: the rotated part of a head is even, 2 to %d", dim,
                       2 * FL_ROPE_MAX_PAIRS);
    if (!(window > 2 * PI && window < 1e12))
        return fl_fail(FL_ERR_ARGUMENT, "--window %g: the trained window must be at least 7 tokens", window);
    if (!(base > 1 && base < 1e15)) return fl_fail(FL_ERR_ARGUMENT, "--base %g: must be above 1", base);
    if (!(to >= window && to < 1e12))
        return fl_fail(FL_ERR_ARGUMENT, "--to %g: the target must be at least the trained window of %g", to, window);
    double tune = tune_length > 0 ? tune_length : window;
    if (tune < window)
        return fl_fail(FL_ERR_ARGUMENT, "--tune-length %g: the laws need at least the trained window of %g", tune,
                       window);

    out->rotary_dim = dim;
    out->critical_dimension = fl_law_critical_dimension(dim, base, window);
    out->critical_pairs = fl_law_pair_turning(dim, base, window, 1);
    out->beta0 = fl_law_critical_base(base, window, tune);
    out->beta1 = fl_law_small_base(1, tune);
    out->beta2 = fl_law_small_base(2, tune);
    out->beta3 = fl_law_small_base(3, tune);
    out->base_for_target = fl_law_base_of_window(dim, out->critical_dimension, to);
    if (out->critical_dimension < 2 || out->base_for_target > HIGHEST_BASE) out->base_for_target = INFINITY;
    out->lowest_base = to <= MOST_DISTANCE ? fl_law_lowest_base(dim, (int64_t)to, 10, HIGHEST_BASE) : 0;
    fl_rope_spec spec;
    double freq[FL_ROPE_MAX_PAIRS], magnitude;
    fl_rope_spec_init(&spec, base, dim, (int64_t)window);
    fl_status s = fl_rope_frequencies(&spec, (int64_t)window, freq, &magnitude);
    if (s != FL_OK) return s;
    out->first_negative = fl_law_first_negative(freq, dim / 2, MOST_DISTANCE);
    out->interpolation_bound = fl_law_interpolation_bound(dim, base, 1);
    /* The law counts whole pairs: with few of them, one pair more or less is a large factor of the window. */
    out->degenerate = pow(base, 2.0 / dim) > 1.5 || out->critical_dimension < 2;
    out->methods = 0;
    add_methods(out, dim, window, base, to, tune);
    if (!isfinite(out->base_for_target)) out->base_for_target = 0;
    return FL_OK;
}
