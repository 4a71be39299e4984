#include "position/rope.h"

#include "position/scaling_law.h"

#include <math.h>
#include <string.h>

/* Bounds far beyond use, within which every product formed here is finite, and exact where it should be. */
#define WINDOW_LIMIT ((int64_t)1 << 40)
#define NUMBER_LIMIT FL_ROPE_STILL
#define DIVISOR_LEAST 1e-6

static const char *const kind_names[FL_ROPE_KIND_COUNT] = {[FL_ROPE_PLAIN] = "none",
                                                           [FL_ROPE_LINEAR] = "linear",
                                                           [FL_ROPE_NTK] = "ntk",
                                                           [FL_ROPE_DYNAMIC] = "dynamic",
                                                           [FL_ROPE_YARN] = "yarn",
                                                           [FL_ROPE_LLAMA3] = "llama3",
                                                           [FL_ROPE_LONGROPE] = "longrope",
                                                           [FL_ROPE_DIVISORS] = "divisors",
                                                           [FL_ROPE_DYNAMIC_LINEAR] = "dynamic-linear",
                                                           [FL_ROPE_DYNAMIC_YARN] = "dynamic-yarn",
                                                           [FL_ROPE_NTK_PARTS] = "ntk-parts",
                                                           [FL_ROPE_NTK_LINEAR] = "ntk-linear",
                                                           [FL_ROPE_MIXED_RADIX] = "mixed-radix",
                                                           [FL_ROPE_POWER] = "power",
                                                           [FL_ROPE_TRUNCATED] = "truncated"};

void fl_rope_spec_init(fl_rope_spec *spec, double base, int dim, int64_t window)
{
    memset(spec, 0, sizeof *spec);
    spec->kind = FL_ROPE_PLAIN;
    spec->base = base;
    spec->dim = dim;
    spec->window = spec->original_window = window;
    spec->factor = 1;
    spec->beta_fast = 32;
    spec->beta_slow = 1;
    spec->extrapolation_factor = spec->attn_factor = 1;
    spec->truncate = true;
    spec->low_freq_factor = 1;
    spec->high_freq_factor = 4;
}

const char *fl_rope_kind_name(fl_rope_kind kind)
{
    return (unsigned)kind < FL_ROPE_KIND_COUNT ? kind_names[kind] : "unknown";
}

fl_status fl_rope_kind_parse(fl_rope_kind *out, const char *name)
{
    static const struct {
        const char *name;
        fl_rope_kind kind;
    } others[] = {{"default", FL_ROPE_PLAIN},
                  {"su", FL_ROPE_LONGROPE},
                  {"pi", FL_ROPE_LINEAR},
                  {"dynamic-pi", FL_ROPE_DYNAMIC_LINEAR},
                  {"dynamic-ntk", FL_ROPE_DYNAMIC}};
    static const char *const pretrained[] = {"alibi", "xpos", "sinusoidal", "learned", "nope"};
    for (int k = 0; k < FL_ROPE_KIND_COUNT; k++)
        if (strcmp(name, kind_names[k]) == 0) {
            *out = (fl_rope_kind)k;
            return FL_OK;
        }
    for (size_t k = 0; k < sizeof others / sizeof others[0]; k++)
        if (strcmp(name, others[k].name) == 0) {
            *out = others[k].kind;
            return FL_OK;
        }
    for (size_t k = 0; k < sizeof pretrained / sizeof *pretrained; k++)
        if (strcmp(name, pretrained[k]) == 0)
            return fl_fail(FL_ERR_UNSUPPORTED,
                           "rope_type = \"%s\": these positions come with pre-training and cannot be switched on in a "
                           "rotary model; train one from a config.json that says position_embedding_type",
                           name);
    return fl_fail(
        FL_ERR_UNSUPPORTED,
        "rope_type = \"%.64s\": unknown; use none (default), linear (pi), ntk, ntk-parts, ntk-linear, "
        "dynamic, dynamic-linear, dynamic-yarn, yarn, llama3, longrope (su), mixed-radix, power or truncated",
        name);
}

static fl_status check_above(const char *key, double value, double bound)
{
    if (value > bound && value <= NUMBER_LIMIT) return FL_OK;
    return fl_fail(FL_ERR_ARGUMENT, "%s = %g: must be greater than %g and at most %g", key, value, bound, NUMBER_LIMIT);
}

/* 0 stands for "not given". */
static fl_status check_optional(const char *key, double value)
{
    if (value >= 0 && value <= NUMBER_LIMIT) return FL_OK;
    return fl_fail(FL_ERR_ARGUMENT, "%s = %g: must be positive and at most %g, or be left out", key, value,
                   NUMBER_LIMIT);
}

static fl_status check_window(const char *key, int64_t value)
{
    if (value >= 1 && value <= WINDOW_LIMIT) return FL_OK;
    return fl_fail(FL_ERR_ARGUMENT, "%s = %lld: must be between 1 and %lld tokens", key, (long long)value,
                   (long long)WINDOW_LIMIT);
}

static fl_status check_yarn(const fl_rope_spec *spec)
{
    FL_TRY(check_above("beta_fast", spec->beta_fast, 0));
    FL_TRY(check_above("beta_slow", spec->beta_slow, 0));
    if (spec->beta_fast < spec->beta_slow)
        return fl_fail(FL_ERR_ARGUMENT, "beta_fast = %g: must not be less than beta_slow = %g", spec->beta_fast,
                       spec->beta_slow);
    if (!(spec->extrapolation_factor >= 0 && spec->extrapolation_factor <= 1))
        return fl_fail(FL_ERR_ARGUMENT, "extrapolation_factor = %g: must be between 0 and 1",
                       spec->extrapolation_factor);
    FL_TRY(check_above("attn_factor", spec->attn_factor, 0));
    FL_TRY(check_optional("mscale", spec->mscale));
    return check_optional("mscale_all_dim", spec->mscale_all_dim);
}

static fl_status check_llama3(const fl_rope_spec *spec)
{
    FL_TRY(check_above("low_freq_factor", spec->low_freq_factor, 0));
    FL_TRY(check_above("high_freq_factor", spec->high_freq_factor, 0));
    if (spec->high_freq_factor <= spec->low_freq_factor)
        return fl_fail(FL_ERR_ARGUMENT, "high_freq_factor = %g: must be greater than low_freq_factor = %g",
                       spec->high_freq_factor, spec->low_freq_factor);
    return FL_OK;
}

static fl_status check_divisors(const char *key, const double *divisor, int pairs)
{
    for (int i = 0; i < pairs; i++)
        if (!(divisor[i] >= DIVISOR_LEAST && divisor[i] <= NUMBER_LIMIT))
            return fl_fail(FL_ERR_ARGUMENT, "%s[%d] = %g: must be between %g and %g", key, i, divisor[i], DIVISOR_LEAST,
                           NUMBER_LIMIT);
    return FL_OK;
}

static fl_status check_factors(const fl_rope_spec *spec)
{
    int pairs = spec->dim / 2;
    if (spec->factors != pairs)
        return fl_fail(FL_ERR_ARGUMENT,
                       "short_factor and long_factor have %d entries: a head that rotates %d components needs %d",
                       spec->factors, spec->dim, pairs);
    FL_TRY(check_divisors("short_factor", spec->short_factor, pairs));
    if (spec->kind == FL_ROPE_DIVISORS) return FL_OK;
    FL_TRY(check_divisors("long_factor", spec->long_factor, pairs));
    if (spec->original_window < 2)
        return fl_fail(FL_ERR_ARGUMENT, "original_max_position_embeddings = %lld: longrope needs at least 2",
                       (long long)spec->original_window);
    return FL_OK;
}

fl_status fl_rope_spec_check(const fl_rope_spec *spec)
{
    if ((unsigned)spec->kind >= FL_ROPE_KIND_COUNT)
        return fl_fail(FL_ERR_ARGUMENT, "rope_type = %d: no such kind", (int)spec->kind);
    if (spec->dim < 2 || spec->dim > 2 * FL_ROPE_MAX_PAIRS || spec->dim % 2)
        return fl_fail(FL_ERR_ARGUMENT,
                       "head_dim * partial_rotary_factor = %d: must be even and between 2 and %d components", spec->dim,
                       2 * FL_ROPE_MAX_PAIRS);
    FL_TRY(check_above("rope_theta", spec->base, 1));
    FL_TRY(check_window("max_position_embeddings", spec->window));
    FL_TRY(check_window("original_max_position_embeddings", spec->original_window));
    if (spec->kind == FL_ROPE_PLAIN) return FL_OK;

    if (!(spec->factor >= 1 && spec->factor * (double)spec->original_window <= (double)WINDOW_LIMIT))
        return fl_fail(FL_ERR_ARGUMENT,
                       "factor = %g: must be at least 1, and factor * original_max_position_embeddings at most %lld",
                       spec->factor, (long long)WINDOW_LIMIT);
    FL_TRY(check_optional("attention_factor", spec->attention_factor));
    FL_TRY(check_optional("rope shape", spec->shape));
    switch (spec->kind) {
    case FL_ROPE_NTK:
    case FL_ROPE_DYNAMIC:
        if (spec->dim == 2)
            return fl_fail(FL_ERR_ARGUMENT,
                           "rope_type = \"%s\": the base's exponent d/(d-2) needs more than the 2 "
                           "rotated components of this head",
                           kind_names[spec->kind]);
        return FL_OK;
    case FL_ROPE_YARN:
    case FL_ROPE_DYNAMIC_YARN:
    case FL_ROPE_NTK_PARTS:
        return check_yarn(spec);
    case FL_ROPE_NTK_LINEAR:
        if (fl_rope_shape(spec) > spec->dim / 2)
            return fl_fail(FL_ERR_ARGUMENT, "rope shape = %g: a head that rotates %d components has %d pairs",
                           spec->shape, spec->dim, spec->dim / 2);
        return FL_OK;
    case FL_ROPE_LLAMA3:
        return check_llama3(spec);
    case FL_ROPE_LONGROPE:
    case FL_ROPE_DIVISORS:
        return check_factors(spec);
    default:
        return FL_OK;
    }
}

static void plain(double base, int dim, double *freq)
{
    for (int i = 0; i < dim / 2; i++)
        freq[i] = pow(base, -2.0 * i / dim);
}

/* The ramp of the published code runs linearly in the pair index, not in the number of rotations as the paper's does;
 * its upper end is capped at dim - 1 although pairs end at dim/2 - 1. Both are kept: trained models depend on them. */
static void yarn(const fl_rope_spec *spec, double factor, double *freq)
{
    double window = (double)spec->original_window;
    double low = fl_law_pair_turning(spec->dim, spec->base, window, spec->beta_fast);
    double high = fl_law_pair_turning(spec->dim, spec->base, window, spec->beta_slow);
    if (spec->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, spec->dim - 1);
    if (low == high) high += 0.001;
    for (int i = 0; i < spec->dim / 2; i++) {
        double ramp = fmin(fmax((i - low) / (high - low), 0), 1);
        double kept = (1 - ramp) * spec->extrapolation_factor;
        freq[i] = freq[i] / factor * (1 - kept) + freq[i] * kept;
    }
}

static double yarn_magnitude(const fl_rope_spec *spec, double s)
{
    if (spec->mscale > 0 && spec->mscale_all_dim > 0)
        return fl_law_yarn_magnitude(s, spec->mscale) / fl_law_yarn_magnitude(s, spec->mscale_all_dim);
    return fl_law_yarn_magnitude(s, 1);
}

static void llama3(const fl_rope_spec *spec, double *freq)
{
    const double two_pi = 2 * acos(-1.0);
    double low = spec->low_freq_factor, high = spec->high_freq_factor;
    for (int i = 0; i < spec->dim / 2; i++) {
        double rotations = (double)spec->original_window * freq[i] / two_pi;
        double kept = fmin(fmax((rotations - low) / (high - low), 0), 1);
        freq[i] = (1 - kept) * freq[i] / spec->factor + kept * freq[i];
    }
}

double fl_rope_shape(const fl_rope_spec *spec)
{
    if (spec->shape > 0) return spec->shape;
    switch (spec->kind) {
    case FL_ROPE_NTK_LINEAR: {
        double turning = fl_law_pair_turning(spec->dim, spec->base, (double)spec->original_window, 1);
        return fmin(fmax(floor(turning), 1), spec->dim / 2);
    }
    case FL_ROPE_MIXED_RADIX:
        return 0.75;
    case FL_ROPE_POWER:
        return 0.5;
    case FL_ROPE_TRUNCATED:
        return (double)spec->original_window;
    default:
        return 0;
    }
}

/* Giraffe: up to a period of `period` tokens pairs are kept; up to 8 times that they turn all alike, 16 times slower
 * than the cut-off; the rest stand still. */
static void truncated(double period, int pairs, double *freq)
{
    double cut = 2 * acos(-1.0) / period;
    for (int i = 0; i < pairs; i++)
        if (freq[i] < cut) freq[i] = freq[i] >= cut / 8 ? cut / 16 : 0;
}

static void divide(double *freq, const double *divisor, int pairs)
{
    for (int i = 0; i < pairs; i++)
        freq[i] /= divisor[i];
}

/* The plain frequencies, scaled; *m is the magnitude that the method computes. */
static void scale(const fl_rope_spec *spec, double length, double *freq, double *m)
{
    int pairs = spec->dim / 2;
    double window = (double)spec->original_window, shape = fl_rope_shape(spec), grown = fmax(1, length / window);
    switch (spec->kind) {
    case FL_ROPE_LINEAR:
    case FL_ROPE_DYNAMIC_LINEAR:
        for (int i = 0; i < pairs; i++)
            freq[i] /= spec->kind == FL_ROPE_LINEAR ? spec->factor : grown;
        return;
    case FL_ROPE_YARN:
        yarn(spec, spec->factor, freq);
        *m = yarn_magnitude(spec, spec->factor) * spec->attn_factor;
        return;
    case FL_ROPE_DYNAMIC_YARN:
        yarn(spec, grown, freq);
        *m = yarn_magnitude(spec, grown) * spec->attn_factor;
        return;
    case FL_ROPE_NTK_PARTS:
        yarn(spec, spec->factor, freq);
        return;
    case FL_ROPE_NTK_LINEAR:
        for (int i = 0; i < pairs; i++)
            freq[i] /= pow(spec->factor, fmin(i / shape, 1));
        return;
    case FL_ROPE_MIXED_RADIX:
        for (int i = 0; i < pairs; i++)
            freq[i] *= pow(spec->factor, -pow((i + 1.0) / pairs, shape));
        return;
    case FL_ROPE_POWER:
        for (int i = 0; i < pairs; i++)
            freq[i] *= pow(1 - (double)i / pairs, shape);
        return;
    case FL_ROPE_TRUNCATED:
        truncated(shape, pairs, freq);
        return;
    case FL_ROPE_LLAMA3:
        llama3(spec, freq);
        return;
    case FL_ROPE_LONGROPE:
        divide(freq, length > window ? spec->long_factor : spec->short_factor, pairs);
        *m = fl_law_longrope_magnitude(spec->factor, window);
        return;
    case FL_ROPE_DIVISORS:
        divide(freq, spec->short_factor, pairs);
        return;
    default:
        return;
    }
}

fl_status fl_rope_frequencies(const fl_rope_spec *spec, int64_t length, double *freq, double *magnitude)
{
    FL_TRY(fl_rope_spec_check(spec));
    double m = 1;
    double base = spec->base;
    if (spec->kind == FL_ROPE_NTK) base = fl_law_ntk_base(base, spec->dim, spec->factor);
    if (spec->kind == FL_ROPE_DYNAMIC)
        base = fl_law_dynamic_base(base, spec->dim, spec->factor, (double)length, (double)spec->original_window);
    plain(base, spec->dim, freq);
    scale(spec, (double)length, freq, &m);
    bool scales_magnitude =
        spec->kind == FL_ROPE_YARN || spec->kind == FL_ROPE_LONGROPE || spec->kind == FL_ROPE_DIVISORS;
    *magnitude = scales_magnitude && spec->attention_factor > 0 ? spec->attention_factor : m;
    return FL_OK;
}

fl_status fl_rope_divisors(const fl_rope_spec *spec, int64_t length, double *divisor, double *magnitude)
{
    double unscaled[FL_ROPE_MAX_PAIRS];
    FL_TRY(fl_rope_frequencies(spec, length, divisor, magnitude));
    plain(spec->base, spec->dim, unscaled);
    for (int i = 0; i < spec->dim / 2; i++)
        divisor[i] = divisor[i] > 0 ? fmin(unscaled[i] / divisor[i], FL_ROPE_STILL) : FL_ROPE_STILL;
    return FL_OK;
}

bool fl_rope_depends_on_length(const fl_rope_spec *spec)
{
    size_t bytes = (size_t)spec->factors * sizeof *spec->short_factor;
    return spec->kind == FL_ROPE_DYNAMIC || spec->kind == FL_ROPE_DYNAMIC_LINEAR ||
           spec->kind == FL_ROPE_DYNAMIC_YARN ||
           (spec->kind == FL_ROPE_LONGROPE && memcmp(spec->short_factor, spec->long_factor, bytes) != 0);
}

int64_t fl_rope_scaled_window(const fl_rope_spec *spec)
{
    bool claimed = spec->kind == FL_ROPE_LLAMA3 && spec->window > spec->original_window;
    if (spec->kind == FL_ROPE_PLAIN || spec->kind == FL_ROPE_DIVISORS || claimed) return spec->window;
    return llround(spec->factor * (double)spec->original_window);
}

void fl_rope_angles(const double *freq, int pairs, double magnitude, double position, float *cos_out, float *sin_out)
{
    for (int i = 0; i < pairs; i++) {
        double angle = position * freq[i]; /* sin and cos reduce it modulo 2 pi with all its bits */
        cos_out[i] = (float)(magnitude * cos(angle));
        sin_out[i] = (float)(magnitude * sin(angle));
    }
}

void fl_rope_table(const double *freq, int pairs, double magnitude, const double *position, int64_t first, int64_t rows,
                   float *cos_out, float *sin_out)
{
    for (int64_t r = 0; r < rows; r++)
        fl_rope_angles(freq, pairs, magnitude, position ? position[r] : (double)(first + r), cos_out + r * pairs,
                       sin_out + r * pairs);
}
