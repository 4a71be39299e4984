/* What is known by formula about rotary positions on long inputs: the scaling laws of extrapolation, the lower bound on
 * the base, and the closed forms that schedules and planners share. Pure functions of numbers; callers pass checked
 * values (dim as in fl_rope_spec, bases > 1, windows in tokens).
 *
 * Notation: a head's rotated part has `dim` components, pair i = 0 .. dim/2-1 turns by base^(-2i/dim) radians per
 * position. Sources:
 *   [laws]  Liu et al., Scaling Laws of RoPE-based Extrapolation, ICLR 2024 (arXiv 2310.05209)
 *   [base]  Men et al., Base of RoPE Bounds Context Length (arXiv 2405.14591)
 *   [pi]    Chen et al., Extending Context Window of Large Language Models via Positional Interpolation (2306.15595)
 *   [yarn]  Peng et al., YaRN (2309.00071) and its published code
 *   [alibi] Press et al., Train Short, Test Long (2108.12409)
 *   [xpos]  Sun et al., A Length-Extrapolatable Transformer (2212.10554) */
#ifndef FL_POSITION_SCALING_LAW_H
#define FL_POSITION_SCALING_LAW_H

#include <stdint.h>

/* ---- the scaling laws of extrapolation [laws] ---------------------------------------------------------------- */

/* The (fractional) index of the pair that makes `rotations` full turns inside `window` tokens:
 * dim ln(window / (2 pi rotations)) / (2 ln base). Pairs below it turn more often. With rotations = 1 this is the raw
 * critical dimension in pairs; with 32 and 1 the ends of YaRN's ramp. May be negative or beyond dim/2. */
double fl_law_pair_turning(int dim, double base, double window, double rotations);

/* Critical dimension 2 ceil(dim/2 log_base(window / 2 pi)): components whose whole period was seen in training,
 * 0 .. dim. The remaining ones cause the failure beyond the window. */
int fl_law_critical_dimension(int dim, double base, double window);

/* beta_1 = 2T/pi, beta_2 = T/pi, beta_3 = T/(2 pi) for the tuning window T: below them the slowest pair covers a
 * quarter, half and whole turn within T, and extrapolation improves markedly. which: 1, 2 or 3. */
double fl_law_small_base(int which, double tune_window);

/* beta_0 = base^(log_{train/2pi}(tune/2pi)): tuning on tune_window tokens with a base above it leaves the bound to the
 * period of the last pair seen whole in pre-training; below it the tuning window itself is the bound. Needs
 * train_window > 2 pi and tune_window >= train_window. */
double fl_law_critical_base(double base, double train_window, double tune_window);

/* T_extra = 2 pi tuned_base^(critical_dimension/dim): the window beyond which a model tuned with a larger base fails
 * sharply, in tokens. */
double fl_law_window_of_base(int dim, int critical_dimension, double tuned_base);

/* The inverse: the base whose bound is `window`. Infinite when critical_dimension is 0. */
double fl_law_base_of_window(int dim, int critical_dimension, double window);

/* The law without its ceil, which overshoots on heads with few pairs; independent of dim:
 * 2 pi (train/2pi)^(ln tuned_base / ln base). Expect measurements between this and fl_law_window_of_base. */
double fl_law_window_continuous(double base, double train_window, double tuned_base);

typedef struct fl_law_prediction {
    double critical_base;   /* beta_0 of this tuning window */
    int larger;             /* 1: tuned_base > beta_0, a sharp bound by period; 0: the tuning window is the bound */
    double window;          /* the predicted window, tokens */
    double raw_pairs;       /* dim/2 log_tuned_base(tune/2pi), before the ceil */
    int critical_dimension; /* of pre-training if larger, else of the tuned model, never below the former, <= dim */
    int below;              /* how many of beta_1, beta_2, beta_3 of the tuning window lie above tuned_base: from 1 on
                               the model degrades slowly beyond the window instead of failing */
} fl_law_prediction;

/* The extended law: pre-trained with base on train_window tokens, tuned with tuned_base on tune_window tokens. */
fl_law_prediction fl_law_predict(int dim, double base, double train_window, double tuned_base, double tune_window);

/* ---- the lower bound on the base [base] ---------------------------------------------------------------------- */

/* B(m) = sum_i cos(m freq[i]): proportional to how much more a query scores a similar key than a random one at
 * distance m. A schedule that should reach `window` needs B(m) >= 0 for all m < window. */
double fl_law_similarity(const double *freq, int pairs, int64_t distance);

/* The first m < limit with B(m) < 0, or limit. Takes some ten nanoseconds per m. */
int64_t fl_law_first_negative(const double *freq, int pairs, int64_t limit);

/* The smallest base on the grid 10^(k/1000), lowest <= base <= highest, with B(m) >= 0 for all m < window; 0 if there
 * is none. B is not monotone in the base, so no bisection: larger bases than the result may fail again. */
double fl_law_lowest_base(int dim, int64_t window, double lowest, double highest);

/* How many positions keep every rotation inside what training has shown: the pairs that did not turn fully within
 * `window` tokens at trained[] radians per position may not turn further at scaled[]. Infinite when none of them moves.
 * This is the window a schedule reaches by construction, whatever made it. */
double fl_law_window_of_angles(const double *trained, const double *scaled, int pairs, double window);

/* ---- bounds and factors of the methods ----------------------------------------------------------------------- */

/* Largest error of a score at a position interpolated half way between two integers: dim max_h / (32 ln base), where
 * max_h bounds |h_j| = |(q_2j + i q_2j+1)(k_2j - i k_2j+1)| [pi, theorem 2.1]. */
double fl_law_interpolation_bound(int dim, double base, double max_h);

/* NTK-aware: base factor^(dim/(dim-2)), dim > 2: the slowest pair is divided by exactly factor, the fastest kept. */
double fl_law_ntk_base(double base, int dim, double factor);

/* The base of "dynamic" scaling as Transformers computes it: NTK with factor length/window factor - (factor - 1) for
 * length > window, else base. */
double fl_law_dynamic_base(double base, int dim, double factor, double length, double window);

/* YaRN's magnitude 0.1 weight ln(factor) + 1 (1 for factor <= 1); cos and sin are multiplied by it on both sides, so
 * logits by its square. weight: 1, or DeepSeek's mscale. */
double fl_law_yarn_magnitude(double factor, double weight);

/* LongRoPE's magnitude sqrt(1 + ln factor / ln original_window) (1 for factor <= 1). */
double fl_law_longrope_magnitude(double factor, double original_window);

/* log-n attention: queries at 0-based position p are multiplied by max(1, ln(p+1)/ln(window)). */
double fl_law_log_n(int64_t position, double window);

/* ALiBi's slopes m_h for any number of heads: 2^(-8h/heads) for a power of two; otherwise those of the power of two
 * below, then every second one of the power of two above. A key at distance t gets -m_h t on its logit. */
void fl_law_alibi_slopes(int heads, double *slope);

/* xPos: zeta of a pair, (2 pair/dim + 0.4) / 1.4. Queries at p are scaled by zeta^(p/512), keys by its inverse. */
double fl_law_xpos_zeta(int dim, int pair);

#endif
