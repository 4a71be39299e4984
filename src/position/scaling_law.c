#include "position/scaling_law.h"

#include "base/size.h"
#include "position/rope.h"

#include <math.h>

#define TWO_PI 6.283185307179586476925286766559
#define GRID_PER_DECADE 1000.0

/* Pairs are advanced by complex products; after this many steps the angles are computed anew, so that B's rounding
 * error stays below NEAR_ZERO, under which a sign is decided by exact angles. */
#define ANCHOR_STEPS 256
#define NEAR_ZERO 1e-9
#define BLOCK_PAIRS 64

double fl_law_pair_turning(int dim, double base, double window, double rotations)
{
    return dim * log(window / (TWO_PI * rotations)) / (2 * log(base));
}

/* 2 ceil(pairs), 0 .. dim, for any finite or infinite number of pairs. */
static int even_ceiling(double pairs, int dim)
{
    if (pairs <= 0) return 0;
    return pairs >= dim / 2 ? dim : 2 * (int)ceil(pairs);
}

int fl_law_critical_dimension(int dim, double base, double window)
{
    return even_ceiling(fl_law_pair_turning(dim, base, window, 1), dim);
}

double fl_law_small_base(int which, double tune_window)
{
    return tune_window * 4 / TWO_PI / (which == 1 ? 1 : which == 2 ? 2 : 4);
}

double fl_law_critical_base(double base, double train_window, double tune_window)
{
    return pow(base, log(tune_window / TWO_PI) / log(train_window / TWO_PI));
}

double fl_law_window_of_base(int dim, int critical_dimension, double tuned_base)
{
    return TWO_PI * pow(tuned_base, (double)critical_dimension / dim);
}

double fl_law_base_of_window(int dim, int critical_dimension, double window)
{
    if (critical_dimension == 0) return INFINITY;
    return pow(window / TWO_PI, (double)dim / critical_dimension);
}

double fl_law_window_continuous(double base, double train_window, double tuned_base)
{
    return TWO_PI * pow(train_window / TWO_PI, log(tuned_base) / log(base));
}

fl_law_prediction fl_law_predict(int dim, double base, double train_window, double tuned_base, double tune_window)
{
    fl_law_prediction p;
    int trained = fl_law_critical_dimension(dim, base, train_window);
    p.critical_base = fl_law_critical_base(base, train_window, tune_window);
    p.raw_pairs = fl_law_pair_turning(dim, tuned_base, tune_window, 1);
    p.larger = tuned_base > p.critical_base;
    if (p.larger) {
        p.window = fl_law_window_of_base(dim, trained, tuned_base);
        p.critical_dimension = trained;
    } else {
        int tuned = even_ceiling(p.raw_pairs, dim);
        p.window = tune_window;
        p.critical_dimension = tuned > trained ? tuned : trained;
    }
    p.below = 0;
    for (int which = 1; which <= 3; which++)
        p.below += tuned_base < fl_law_small_base(which, tune_window);
    return p;
}

double fl_law_similarity(const double *freq, int pairs, int64_t distance)
{
    double sum = 0;
    for (int i = 0; i < pairs; i++)
        sum += cos((double)distance * freq[i]);
    return sum;
}

/* B(m) for first <= m < first + count, count <= ANCHOR_STEPS. */
static void similarity_run(const double *freq, int pairs, int64_t first, int count, double *sum)
{
    for (int k = 0; k < count; k++)
        sum[k] = 0;
    for (int start = 0; start < pairs; start += BLOCK_PAIRS) {
        int n = pairs - start < BLOCK_PAIRS ? pairs - start : BLOCK_PAIRS;
        double x[BLOCK_PAIRS], y[BLOCK_PAIRS], c[BLOCK_PAIRS], s[BLOCK_PAIRS];
        for (int i = 0; i < n; i++) {
            double angle = (double)first * freq[start + i];
            x[i] = cos(angle);
            y[i] = sin(angle);
            c[i] = cos(freq[start + i]);
            s[i] = sin(freq[start + i]);
        }
        for (int k = 0; k < count; k++) {
            double lane[4] = {0};
            int i = 0;
            for (; i + 4 <= n; i += 4)
                for (int j = 0; j < 4; j++) {
                    double a = x[i + j], b = y[i + j];
                    lane[j] += a;
                    x[i + j] = a * c[i + j] - b * s[i + j];
                    y[i + j] = a * s[i + j] + b * c[i + j];
                }
            for (; i < n; i++) {
                double a = x[i], b = y[i];
                lane[0] += a;
                x[i] = a * c[i] - b * s[i];
                y[i] = a * s[i] + b * c[i];
            }
            sum[k] += (lane[0] + lane[1]) + (lane[2] + lane[3]);
        }
    }
}

/* The first m in [first, end) with B(m) < 0, or end. */
static int64_t negative_in(const double *freq, int pairs, int64_t first, int64_t end)
{
    double sum[ANCHOR_STEPS];
    for (int64_t m = first; m < end; m += ANCHOR_STEPS) {
        int count = (int)fl_min64(ANCHOR_STEPS, end - m);
        similarity_run(freq, pairs, m, count, sum);
        for (int k = 0; k < count; k++) {
            if (sum[k] >= NEAR_ZERO) continue;
            if (sum[k] < -NEAR_ZERO || fl_law_similarity(freq, pairs, m + k) < 0) return m + k;
        }
    }
    return end;
}

int64_t fl_law_first_negative(const double *freq, int pairs, int64_t limit)
{
    return negative_in(freq, pairs, 0, limit);
}

double fl_law_lowest_base(int dim, int64_t window, double lowest, double highest)
{
    double freq[FL_ROPE_MAX_PAIRS];
    int pairs = dim / 2;
    int64_t witness = 0;
    for (int64_t k = (int64_t)ceil(GRID_PER_DECADE * log10(lowest) - 1e-6);; k++) {
        double base = pow(10, (double)k / GRID_PER_DECADE);
        if (base > highest * (1 + 1e-12)) return 0;
        for (int i = 0; i < pairs; i++)
            freq[i] = pow(base, -2.0 * i / dim);
        /* A base mostly fails near where the one before it did: look there first. */
        int64_t start = witness - witness / 16;
        int64_t m = negative_in(freq, pairs, start, window);
        if (m < window) {
            witness = m;
            continue;
        }
        m = negative_in(freq, pairs, 0, start);
        if (m == start) return base;
        witness = m;
    }
}

double fl_law_window_of_angles(const double *trained, const double *scaled, int pairs, double window)
{
    double least = INFINITY;
    for (int i = 0; i < pairs; i++)
        if (window * trained[i] < TWO_PI && scaled[i] > 0) least = fmin(least, window * trained[i] / scaled[i]);
    return least;
}

double fl_law_interpolation_bound(int dim, double base, double max_h)
{
    return dim * max_h / (32 * log(base));
}

double fl_law_ntk_base(double base, int dim, double factor)
{
    return base * pow(factor, (double)dim / (dim - 2));
}

double fl_law_dynamic_base(double base, int dim, double factor, double length, double window)
{
    if (length <= window) return base;
    return fl_law_ntk_base(base, dim, factor * length / window - (factor - 1));
}

double fl_law_yarn_magnitude(double factor, double weight)
{
    return factor <= 1 ? 1.0 : 0.1 * weight * log(factor) + 1.0;
}

double fl_law_longrope_magnitude(double factor, double original_window)
{
    return factor <= 1 ? 1.0 : sqrt(1 + log(factor) / log(original_window));
}

double fl_law_log_n(int64_t position, double window)
{
    return fmax(1.0, log((double)position + 1) / log(window));
}

void fl_law_alibi_slopes(int heads, double *slope)
{
    int power = 1;
    while (power <= heads / 2)
        power *= 2;
    for (int h = 0; h < heads; h++)
        slope[h] = h < power ? exp2(-8.0 * (h + 1) / power) : exp2(-4.0 * (2 * (h - power) + 1) / power);
}

double fl_law_xpos_zeta(int dim, int pair)
{
    return (2.0 * pair / dim + 0.4) / 1.4;
}
