#include "plan/window.h"

#include <math.h>
#include <string.h>

#include "model/passes_options.h"
#include "position/scaling_law.h"

#define TWO_PI 6.283185307179586
#define HIGHEST_BASE 1e9
#define MOST_DISTANCE (1 << 22) /* how far B(m) is looked at, tokens */
#define MOST_CHANGE 99.0        /* stands for "a pair is stopped", whose logarithm is infinite */

typedef struct geometry {
    fl_rope_spec plain;      /* the model as it was trained */
    const fl_rope_spec *own; /* as its file says, or NULL */
    double freq[FL_ROPE_MAX_PAIRS];
    double window, to, tune;
} geometry;

/* What is known of a method beyond its frequencies. Kinds without a row are judged by their angles alone. */
static const struct note {
    fl_rope_kind kind;
    const char *text;
} notes[] = {
    {FL_ROPE_PLAIN, "beyond the trained window pairs reach angles that were never seen"},
    {FL_ROPE_LINEAR, "Position Interpolation: all positions fall into the trained range; needs some 200 steps"},
    {FL_ROPE_NTK, "a larger base; middle pairs pass their trained range, so its factor is above the stretch wanted"},
    {FL_ROPE_DYNAMIC, "the base follows the length read; untuned, quality falls slowly with the factor"},
    {FL_ROPE_YARN, "slow pairs are interpolated, fast ones kept, logits sharpened; also serves untuned"},
    {FL_ROPE_LLAMA3, "as yarn without sharpening; the constants are those of Llama 3.1"},
    {FL_ROPE_LONGROPE, "factors of its own for every pair; searched ones serve untuned"},
    {FL_ROPE_DYNAMIC_LINEAR, "interpolation by the length read; untuned, and weaker than dynamic-yarn"},
    {FL_ROPE_DYNAMIC_YARN, "yarn by the length read; untuned, and short texts are left alone"},
    {FL_ROPE_NTK_PARTS, "yarn without sharpening"},
    {FL_ROPE_NTK_LINEAR, "pairs not seen whole are interpolated, the others as much less as they turn faster"},
    {FL_ROPE_MIXED_RADIX, "between interpolation and ntk; the slowest pair alone is interpolated in full"},
    {FL_ROPE_POWER, "slow pairs are slowed by a power of their place; the factor is only a claim"},
    {FL_ROPE_TRUNCATED, "slow pairs stand still: good perplexity, worse retrieval"},
};

static const char *note_of(fl_rope_kind kind)
{
    for (size_t i = 0; i < sizeof notes / sizeof *notes; i++)
        if (notes[i].kind == kind) return notes[i].text;
    return "judged by its angles: where the pairs that training has not seen whole leave their trained range";
}

static double change_of(const geometry *g, const double *freq)
{
    double sum = 0;
    int pairs = g->plain.dim / 2;
    for (int i = 0; i < pairs; i++) {
        if (freq[i] <= 0) return MOST_CHANGE;
        sum += fabs(log(freq[i] / g->freq[i]));
    }
    return sum / pairs;
}

/* A larger base tuned on `tune` tokens: bounded by the period of the last pair seen whole, or by the tuning. */
static double window_of_base(const geometry *g, double base)
{
    return fl_law_predict(g->plain.dim, g->plain.base, g->window, base, fmax(g->window, g->tune)).window;
}

static void add(fl_plan *p, const geometry *g, fl_plan_method m)
{
    fl_rope_spec spec;
    double freq[FL_ROPE_MAX_PAIRS], magnitude;
    if (p->methods == FL_PLAN_METHODS || fl_plan_method_spec(&spec, &m, g->own ? g->own : &g->plain) != FL_OK ||
        fl_rope_frequencies(&spec, (int64_t)g->to, freq, &magnitude) != FL_OK)
        return; /* this geometry has no such schedule: two components cannot be NTK-scaled */
    m.change = change_of(g, freq);
    if (m.window <= 0) m.window = fmin(fl_law_window_of_angles(g->freq, freq, g->plain.dim / 2, g->window), g->to);
    if (fabs(m.window / g->to - 1) < 1e-9) m.window = g->to; /* what rounding alone keeps from it */
    m.degenerate = m.basis == FL_PLAN_LAW && m.tuned && p->degenerate;
    /* The law is about tuning short and reading long; interpolated positions must be seen to be learnt. */
    m.tune_length = (int64_t)(m.tuned && m.basis != FL_PLAN_LAW ? g->to : g->tune);
    p->method[p->methods++] = m;
}

static void add_kind(fl_plan *p, const geometry *g, fl_rope_kind kind, double enough)
{
    bool given = kind == FL_ROPE_LONGROPE || kind == FL_ROPE_DIVISORS; /* factors that only a file holds */
    if (given && (!g->own || g->own->kind != kind)) return;
    double scale = given ? g->own->factor : g->to / g->window, dim = g->plain.dim;
    fl_plan_method m = {.name = fl_rope_kind_name(kind),
                        .basis = FL_PLAN_CONSTRUCTION,
                        .tuned = true,
                        .scale = scale,
                        .note = note_of(kind)};
    if (kind == FL_ROPE_NTK) {
        if (isfinite(enough)) m.scale = fmax(1, pow(enough / g->plain.base, (dim - 2) / dim));
        m.basis = FL_PLAN_LAW;
        if (dim > 2) m.window = window_of_base(g, fl_law_ntk_base(g->plain.base, g->plain.dim, m.scale));
    }
    if (kind == FL_ROPE_DYNAMIC || kind == FL_ROPE_DYNAMIC_LINEAR || kind == FL_ROPE_DYNAMIC_YARN) {
        m.basis = FL_PLAN_RULE;
        m.tuned = false;
        m.window = g->to;
    }
    add(p, g, m);
}

/* Methods that fold distances into the trained range while reading, and the stream, which lets go of what is far. */
static void add_passes(fl_plan *p, const geometry *g)
{
    for (int kind = FL_PASSES_PLAIN + 1; kind < FL_PASSES_KIND_COUNT; kind++) {
        fl_passes passes = {.kind = (fl_passes_kind)kind};
        int64_t reach;
        bool stream = kind == FL_PASSES_STREAM;
        fl_plan_method m = {.name = fl_passes_name(&passes),
                            .basis = FL_PLAN_CONSTRUCTION,
                            .passes = true,
                            .stream = stream,
                            .scale = stream ? 0 : g->to / g->window,
                            .note = stream
                                        ? "StreamingLLM: flat perplexity at any length in the memory of its cache, but "
                                          "nothing farther back than the trained window can be fetched"
                                        : "no distance passes the trained window: distances are folded while reading, "
                                          "which takes more passes; nothing to tune"};
        if (fl_plan_method_passes(&passes, &reach, &m, &g->plain) != FL_OK) continue; /* not at this window */
        m.window = fmin((double)reach, g->to);
        add(p, g, m);
    }
}

static void add_methods(fl_plan *p, const geometry *g)
{
    double enough = fmax(p->base_for_target, p->beta0 * 1.01);
    add(p, g,
        (fl_plan_method){.name = "none", .basis = FL_PLAN_LAW, .window = g->window, .note = note_of(FL_ROPE_PLAIN)});
    for (int kind = FL_ROPE_PLAIN + 1; kind < FL_ROPE_KIND_COUNT; kind++)
        add_kind(p, g, (fl_rope_kind)kind, enough);
    if (isfinite(enough))
        add(p, g,
            (fl_plan_method){.name = "base",
                             .basis = FL_PLAN_LAW,
                             .tuned = true,
                             .window = window_of_base(g, enough),
                             .base = enough,
                             .note =
                                 "the smallest base whose bound is the target, and above beta0 of the tuning length"});
    add_passes(p, g);
}

/* Rules of thumb do not count: this one is meant to be relied on. */
static int smallest_change(const fl_plan *p, double to)
{
    int best = -1;
    for (int i = 0; i < p->methods; i++) {
        const fl_plan_method *m = &p->method[i];
        bool sure = m->basis == FL_PLAN_CONSTRUCTION || m->basis == FL_PLAN_LAW;
        if (sure && !m->degenerate && !m->passes && m->window >= to * (1 - 1e-9) &&
            (best < 0 || m->change < p->method[best].change))
            best = i;
    }
    return best;
}

fl_status fl_plan_method_spec(fl_rope_spec *out, const fl_plan_method *method, const fl_rope_spec *own)
{
    fl_rope_kind kind = FL_ROPE_PLAIN;
    if (method->passes) {
        *out = *own;
        return FL_OK;
    }
    if (strcmp(method->name, "base") != 0) FL_TRY(fl_rope_kind_parse(&kind, method->name));
    if (kind == own->kind && kind != FL_ROPE_PLAIN) {
        *out = *own;
    } else {
        fl_rope_spec_init(out, own->base, own->dim, own->original_window);
        out->kind = kind;
    }
    if (method->base > 0) out->base = method->base;
    if (method->scale >= 1) out->factor = method->scale;
    out->window = fl_rope_scaled_window(out);
    return fl_rope_spec_check(out);
}

fl_status fl_plan_method_passes(fl_passes *out, int64_t *reach, const fl_plan_method *method, const fl_rope_spec *own)
{
    fl_model_options options = FL_MODEL_OPTIONS_INIT;
    fl_config config = {.positions = FL_POSITIONS_ROTARY, .rotary = true, .window = own->window, .rope = *own};
    if (method->stream) { /* as a session makes it without options */
        *out = (fl_passes){.kind = FL_PASSES_STREAM, .sinks = FL_STREAM_SINKS, .window = own->window - FL_STREAM_SINKS};
        *reach = INT64_MAX;
        return fl_passes_check(out, own->window);
    }
    if (method->passes) options.rope = (fl_rope_options){.scaling = method->name, .scale = method->scale};
    FL_TRY(fl_position_options_apply(&config, &options));
    *out = config.passes;
    *reach = config.window;
    return FL_OK;
}

static fl_status check(int dim, double window, double base, double to, double tune)
{
    if (dim < 2 || dim % 2 || dim > 2 * FL_ROPE_MAX_PAIRS)
        return fl_fail(FL_ERR_ARGUMENT, "--head-dim %d: the rotated part of a head is even, 2 to %d", dim,
                       2 * FL_ROPE_MAX_PAIRS);
    if (!(window > TWO_PI && window < 1e12))
        return fl_fail(FL_ERR_ARGUMENT, "--window %g: the trained window must be at least 7 tokens", window);
    if (!(base > 1 && base < 1e15)) return fl_fail(FL_ERR_ARGUMENT, "--base %g: must be above 1", base);
    if (!(to >= window && to < 1e12))
        return fl_fail(FL_ERR_ARGUMENT, "--to %g: the target must be at least the trained window of %g", to, window);
    if (tune < window)
        return fl_fail(FL_ERR_ARGUMENT, "--tune-length %g: the laws need at least the trained window of %g", tune,
                       window);
    return FL_OK;
}

fl_status fl_plan_windows(fl_plan *out, int dim, double window, double base, double to, double tune_length,
                          const fl_rope_spec *own)
{
    double tune = tune_length > 0 ? tune_length : window;
    FL_TRY(check(dim, window, base, to, tune));
    out->tune_length = (int64_t)tune;
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
    geometry g = {.own = own, .window = window, .to = to, .tune = tune};
    double magnitude;
    fl_rope_spec_init(&g.plain, base, dim, (int64_t)window);
    FL_TRY(fl_rope_frequencies(&g.plain, (int64_t)window, g.freq, &magnitude));
    out->first_negative = fl_law_first_negative(g.freq, dim / 2, MOST_DISTANCE);
    out->interpolation_bound = fl_law_interpolation_bound(dim, base, 1);
    /* The law counts whole pairs: with few of them, one pair more or less is a large factor of the window. */
    out->degenerate = pow(base, 2.0 / dim) > 1.5 || out->critical_dimension < 2;
    out->methods = 0;
    add_methods(out, &g);
    out->smallest = smallest_change(out, to);
    if (!isfinite(out->base_for_target)) out->base_for_target = 0;
    return FL_OK;
}
