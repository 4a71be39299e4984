/* Rotary position schedules. Every method here differs only in d/2 angular frequencies and one magnitude:
 * angle(p, i) = p * freq[i], and cos and sin are multiplied by the magnitude. */
#ifndef FL_POSITION_ROPE_H
#define FL_POSITION_ROPE_H

#include "base/status.h"

typedef enum fl_rope_kind {
    FL_ROPE_PLAIN,   /* base^(-2i/d); a changed base is this kind with that base */
    FL_ROPE_LINEAR,  /* Position Interpolation: plain / factor */
    FL_ROPE_NTK,     /* base * factor^(d/(d-2)) */
    FL_ROPE_DYNAMIC, /* NTK with the factor of the current length over original_window */
    FL_ROPE_YARN,    /* the ramp of the published code, in the pair index */
    FL_ROPE_LLAMA3,
    FL_ROPE_LONGROPE,       /* given divisors: short ones up to the original window, long ones beyond */
    FL_ROPE_DIVISORS,       /* given divisors (short_factor) for every length, and attention_factor or 1 */
    FL_ROPE_DYNAMIC_LINEAR, /* Position Interpolation by the current length over original_window, from 1 on */
    FL_ROPE_DYNAMIC_YARN,   /* YaRN by the same ratio, its magnitude too */
    FL_ROPE_NTK_PARTS,      /* YaRN's ramp with magnitude 1 */
    FL_ROPE_NTK_LINEAR,     /* pairs from `shape` on divided by factor, those before by factor^(i/shape) */
    FL_ROPE_MIXED_RADIX,    /* pair i divided by factor^(((i+1)/pairs)^shape) */
    FL_ROPE_POWER,          /* pair i times (1 - i/pairs)^shape, whatever the factor */
    FL_ROPE_TRUNCATED,      /* pairs of periods above `shape` turn at one slow rate or not at all */
    FL_ROPE_KIND_COUNT
} fl_rope_kind;

#define FL_ROPE_MAX_PAIRS 256

/* How a model's file (or a flag) wants positions rotated; all spellings are normalised to this. */
typedef struct fl_rope_spec {
    fl_rope_kind kind;
    double base;             /* rope_theta */
    int dim;                 /* rotated components of a head, even, <= 2*FL_ROPE_MAX_PAIRS */
    int64_t window;          /* max_position_embeddings: what the model claims */
    int64_t original_window; /* the window it was trained on before scaling; equals window when unscaled */
    double factor;           /* s >= 1 */
    double attention_factor; /* replaces the computed magnitude when > 0 */
    double beta_fast, beta_slow;                  /* yarn: 32, 1 */
    double extrapolation_factor, attn_factor;     /* yarn: 1, 1 */
    double mscale, mscale_all_dim;                /* yarn, DeepSeek form; 0 = absent */
    bool truncate;                                /* yarn: floor and ceil the ramp ends (default true) */
    double low_freq_factor, high_freq_factor;     /* llama3 */
    double shape; /* the number that bends ntk-linear, mixed-radix, power and truncated; 0: fl_rope_shape's default */
    int factors;                                  /* longrope, divisors: entries used below, dim/2 */
    double short_factor[FL_ROPE_MAX_PAIRS], long_factor[FL_ROPE_MAX_PAIRS];
} fl_rope_spec;

/* A plain spec with every default filled in. */
void fl_rope_spec_init(fl_rope_spec *spec, double base, int dim, int64_t window);

/* "none", "linear", "ntk", "dynamic", "yarn", "llama3", "longrope", "divisors", "dynamic-linear", "dynamic-yarn",
 * "ntk-parts", "ntk-linear", "mixed-radix", "power", "truncated" */
const char *fl_rope_kind_name(fl_rope_kind kind);
/* "default", "su", "pi", "dynamic-pi" and "dynamic-ntk" are known too. Names of what only pre-training can give a model
 * (alibi, xpos, sinusoidal, learned, nope) are refused as such. */
fl_status fl_rope_kind_parse(fl_rope_kind *out, const char *name);

/* The number in force where a kind has one: spec->shape, or without it the published value: ntk-linear the critical
 * pair (Men et al. 2024, the second hand-made design), mixed-radix 0.75 and power 0.5 (an exponent), truncated
 * original_window (a period in tokens: Giraffe's cut-off is 2 pi over it). 0 for kinds without one. */
double fl_rope_shape(const fl_rope_spec *spec);

/* Refuse values no schedule can be built from; the message names the field as config.json spells it. */
fl_status fl_rope_spec_check(const fl_rope_spec *spec);

/* freq[dim/2] (radians per position) and the magnitude for a sequence of `length` tokens (only the dynamic kinds and
 * longrope look at it). Formulas and papers: docs/methods.md. */
fl_status fl_rope_frequencies(const fl_rope_spec *spec, int64_t length, double *freq, double *magnitude);

/* The same as divisors of base^(-2i/dim): what formats spell that have no name for a kind. A pair that does not turn
 * has FL_ROPE_STILL, by which no angle differs from 0 in fp32. */
#define FL_ROPE_STILL 1e18
fl_status fl_rope_divisors(const fl_rope_spec *spec, int64_t length, double *divisor, double *magnitude);

/* True when keys rotated for one length are wrong for another (the dynamic kinds, and longrope of two lists). */
bool fl_rope_depends_on_length(const fl_rope_spec *spec);

/* The window the scaled schedule is meant for: factor * original_window for scaled kinds, else window. Llama3's factor
 * is not that ratio (8 and 32 for windows 16 times longer), so there a longer claim in window counts. */
int64_t fl_rope_scaled_window(const fl_rope_spec *spec);

/* cos and sin tables [rows, pairs] in fp32 for the given positions (NULL: first, first+1, ...), which need not be whole
 * numbers; angle reduced modulo 2 pi in double, magnitude applied. */
void fl_rope_table(const double *freq, int pairs, double magnitude, const double *position, int64_t first, int64_t rows,
                   float *cos_out, float *sin_out);

/* One row of such a table, at a position that need not be whole. */
void fl_rope_angles(const double *freq, int pairs, double magnitude, double position, float *cos_out, float *sin_out);

#endif
