/* Rotary schedules against Transformers, published worked values, and the identities that hold for any rotation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "position/rope.h"

static void near_relative(double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance * fabs(want))) fail_msg("got %.12g, want %.12g", got, want);
}

/* A value given with six significant digits. */
static void same_six(double got, double want)
{
    near_relative(got, want, 5.1e-6);
}

static fl_rope_spec spec_of(fl_rope_kind kind, double base, int dim, int64_t original, double factor)
{
    fl_rope_spec spec;
    fl_rope_spec_init(&spec, base, dim, original);
    spec.kind = kind;
    spec.factor = factor;
    spec.window = (int64_t)(factor * (double)original);
    return spec;
}

/* ---- golden numbers of Transformers ---- */

static int read_list(char *text, double *value, int limit)
{
    int n = 0;
    for (char *end = text; n < limit; text = end) {
        double v = strtod(text, &end);
        if (end == text) break;
        value[n++] = v;
    }
    return n;
}

/* Apply one "key value..." line of the golden file to the spec; false for keys that are not part of it. */
static bool set_key(fl_rope_spec *spec, const char *key, char *text)
{
    double value = strtod(text, NULL);
    const struct {
        const char *key;
        double *to;
    } numbers[] = {{"base", &spec->base},
                   {"factor", &spec->factor},
                   {"attention_factor", &spec->attention_factor},
                   {"beta_fast", &spec->beta_fast},
                   {"beta_slow", &spec->beta_slow},
                   {"mscale", &spec->mscale},
                   {"mscale_all_dim", &spec->mscale_all_dim},
                   {"low_freq_factor", &spec->low_freq_factor},
                   {"high_freq_factor", &spec->high_freq_factor}};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (strcmp(key, numbers[i].key) == 0) {
            *numbers[i].to = value;
            return true;
        }
    if (strcmp(key, "dim") == 0)
        spec->dim = (int)value;
    else if (strcmp(key, "window") == 0)
        spec->window = spec->original_window = (int64_t)value;
    else if (strcmp(key, "original_max_position_embeddings") == 0)
        spec->original_window = (int64_t)value;
    else if (strcmp(key, "truncate") == 0)
        spec->truncate = value != 0;
    else if (strcmp(key, "short_factor") == 0)
        spec->factors = read_list(text, spec->short_factor, FL_ROPE_MAX_PAIRS);
    else if (strcmp(key, "long_factor") == 0)
        spec->factors = read_list(text, spec->long_factor, FL_ROPE_MAX_PAIRS);
    else
        return false;
    return true;
}

static void test_against_transformers(void **state)
{
    (void)state;
    static char line[16384];
    FILE *file = fopen(FL_TEST_DATA "/rope/frequencies.txt", "r");
    assert_non_null(file);
    fl_rope_spec spec;
    double freq[FL_ROPE_MAX_PAIRS], want[FL_ROPE_MAX_PAIRS], magnitude, want_magnitude = 0;
    int64_t length = 0;
    int cases = 0, kinds[FL_ROPE_KIND_COUNT] = {0};
    while (fgets(line, sizeof line, file)) {
        assert_non_null(strchr(line, '\n'));
        if (line[0] == '#') continue;
        char *text = strchr(line, ' ');
        assert_non_null(text);
        *text++ = 0;
        text[strcspn(text, "\n")] = 0;
        if (strcmp(line, "kind") == 0) {
            fl_rope_spec_init(&spec, 10000, 2, 1);
            spec.factor = 0;
            assert_int_equal(fl_rope_kind_parse(&spec.kind, text), FL_OK);
        } else if (strcmp(line, "length") == 0) {
            length = strtoll(text, NULL, 10);
        } else if (strcmp(line, "magnitude") == 0) {
            want_magnitude = strtod(text, NULL);
        } else if (strcmp(line, "freq") == 0) {
            if (spec.factor == 0) spec.factor = (double)spec.window / (double)spec.original_window;
            assert_int_equal(read_list(text, want, FL_ROPE_MAX_PAIRS), spec.dim / 2);
            assert_int_equal(fl_rope_frequencies(&spec, length, freq, &magnitude), FL_OK);
            near_relative(magnitude, want_magnitude, 1e-14);
            for (int i = 0; i < spec.dim / 2; i++)
                near_relative(freq[i], want[i], 1e-13); /* both in double, by other orders of operations */
            cases++;
            kinds[spec.kind]++;
        } else if (!set_key(&spec, line, text)) {
            fail_msg("unknown key %s", line);
        }
    }
    fclose(file);
    assert_true(cases >= 40);
    for (int k = 0; k < FL_ROPE_KIND_COUNT; k++)
        /* What Transformers has no name for: see the worked values and test_schedules.c. */
        assert_true(kinds[k] > 0 || k == FL_ROPE_NTK || k >= FL_ROPE_DIVISORS);
}

/* ---- worked values ---- */

typedef struct worked {
    int pair;
    double freq;
} worked;

static void check_worked(const fl_rope_spec *spec, double want_magnitude, const worked *want, int n)
{
    double freq[FL_ROPE_MAX_PAIRS], magnitude;
    assert_int_equal(fl_rope_frequencies(spec, 0, freq, &magnitude), FL_OK);
    same_six(magnitude, want_magnitude);
    for (int i = 0; i < n; i++)
        same_six(freq[want[i].pair], want[i].freq);
}

#define CHECK(spec, magnitude, ...)                                                                                    \
    do {                                                                                                               \
        const worked want[] = {__VA_ARGS__};                                                                           \
        check_worked(&(spec), magnitude, want, (int)(sizeof want / sizeof want[0]));                                   \
    } while (0)

static void test_worked_values(void **state)
{
    (void)state;
    fl_rope_spec s = spec_of(FL_ROPE_YARN, 1e4, 128, 4096, 16);
    CHECK(s, 1.27726, {0, 1}, {20, 0.0562341}, {33, 0.00460044}, {46, 8.33451e-05}, {63, 7.21739e-06});
    s = spec_of(FL_ROPE_YARN, 1e6, 128, 32768, 4);
    CHECK(s, 1.13863, {23, 0.00697831}, {31, 0.00080296}, {40, 4.4457e-05}, {63, 3.10234e-07});
    s = spec_of(FL_ROPE_YARN, 1e4, 64, 512, 4);
    CHECK(s, 1.13863, {3, 0.421697}, {9, 0.0490315}, {16, 0.0025}, {31, 3.3338e-05});
    s = spec_of(FL_ROPE_YARN, 1e4, 32, 512, 4);
    CHECK(s, 1.13863, {4, 0.0678571}, {15, 4.4457e-05});
    s = spec_of(FL_ROPE_YARN, 1e4, 16, 256, 4);
    CHECK(s, 1.13863, {2, 0.0625}, {4, 0.0025}, {7, 7.90569e-05});
    s = spec_of(FL_ROPE_YARN, 1e4, 8, 256, 4);
    CHECK(s, 1.13863, {0, 1}, {1, 0.0625}, {2, 0.0025}, {3, 0.00025});

    s = spec_of(FL_ROPE_LLAMA3, 5e5, 128, 8192, 8);
    CHECK(s, 1, {0, 1}, {28, 0.00321145}, {29, 0.00216657}, {34, 0.000178508}, {35, 9.55621e-05}, {63, 3.06893e-07});
    s = spec_of(FL_ROPE_LLAMA3, 5e5, 64, 8192, 32);
    CHECK(s, 1, {15, 0.00129055}, {17, 9.70829e-05}, {18, 1.94616e-05}, {31, 9.41831e-08});

    /* NTK: the fastest pair keeps its frequency, the slowest is divided by exactly the factor. */
    for (double factor = 2; factor <= 16; factor *= 2) {
        s = spec_of(FL_ROPE_NTK, 1e4, 64, 4096, factor);
        CHECK(s, 1, {0, 1}, {31, pow(1e4, -62.0 / 64) / factor});
    }
    /* YaRN's published knobs. */
    s = spec_of(FL_ROPE_YARN, 1e4, 64, 512, 4);
    s.extrapolation_factor = 0;
    s.attn_factor = 2;
    CHECK(s, 2 * 1.13863, {0, 0.25}, {31, pow(1e4, -62.0 / 64) / 4});
}

static void test_lengths(void **state)
{
    (void)state;
    fl_rope_spec s = spec_of(FL_ROPE_DYNAMIC, 1e4, 128, 4096, 2);
    double freq[64], magnitude;
    const struct {
        int64_t length;
        double base;
    } dynamic[] = {{1, 1e4}, {4096, 1e4}, {4097, 10005}, {6144, 20221.3}, {8192, 30527.7}, {16384, 72195.9}};
    for (size_t i = 0; i < sizeof dynamic / sizeof dynamic[0]; i++) {
        assert_int_equal(fl_rope_frequencies(&s, dynamic[i].length, freq, &magnitude), FL_OK);
        near_relative(freq[63], pow(dynamic[i].base, -126.0 / 128), 6e-6);
    }
    assert_true(fl_rope_depends_on_length(&s));

    s = spec_of(FL_ROPE_LONGROPE, 1e4, 8, 4096, 4);
    s.factors = 4;
    for (int i = 0; i < 4; i++) {
        s.short_factor[i] = 1;
        s.long_factor[i] = i + 1;
    }
    assert_int_equal(fl_rope_frequencies(&s, 4096, freq, &magnitude), FL_OK);
    near_relative(freq[3], 1e-3, 1e-14);
    same_six(magnitude, 1.08012);
    assert_int_equal(fl_rope_frequencies(&s, 4097, freq, &magnitude), FL_OK);
    near_relative(freq[3], 1e-3 / 4, 1e-14);
    assert_true(fl_rope_depends_on_length(&s));

    const fl_rope_kind fixed[] = {FL_ROPE_PLAIN, FL_ROPE_LINEAR, FL_ROPE_NTK, FL_ROPE_YARN, FL_ROPE_LLAMA3};
    for (size_t k = 0; k < sizeof fixed / sizeof fixed[0]; k++) {
        double other[64];
        s = spec_of(fixed[k], 1e4, 128, 4096, 4);
        assert_false(fl_rope_depends_on_length(&s));
        assert_int_equal(fl_rope_frequencies(&s, 1, freq, &magnitude), FL_OK);
        assert_int_equal(fl_rope_frequencies(&s, 1 << 20, other, &magnitude), FL_OK);
        assert_memory_equal(freq, other, sizeof freq);
    }
}

static void test_windows(void **state)
{
    (void)state;
    fl_rope_spec s = spec_of(FL_ROPE_YARN, 1e4, 128, 4096, 16);
    s.window = 4096; /* some files leave the claim as it was */
    assert_int_equal(fl_rope_scaled_window(&s), 65536);
    s.kind = FL_ROPE_PLAIN;
    assert_int_equal(fl_rope_scaled_window(&s), 4096);
    /* Llama 3.1: factor 8 on 8192, and yet 131,072 tokens. */
    s = spec_of(FL_ROPE_LLAMA3, 5e5, 128, 8192, 8);
    s.window = 131072;
    assert_int_equal(fl_rope_scaled_window(&s), 131072);
}

/* As longrope's, but for every length, with a magnitude of 1 unless another is given. */
static void test_divisors(void **state)
{
    (void)state;
    fl_rope_spec s;
    fl_rope_spec_init(&s, 1e4, 8, 4096);
    s.kind = FL_ROPE_DIVISORS;
    s.factors = 4;
    for (int i = 0; i < 4; i++)
        s.short_factor[i] = 1 + i; /* long_factor stays 0: it is not looked at */
    double freq[4], magnitude;
    for (int64_t length = 1; length < 100000; length *= 100) {
        assert_int_equal(fl_rope_frequencies(&s, length, freq, &magnitude), FL_OK);
        for (int i = 0; i < 4; i++)
            near_relative(freq[i], pow(10, -i) / (1 + i), 1e-15);
        assert_true(magnitude == 1);
    }
    s.attention_factor = 1.25;
    assert_int_equal(fl_rope_frequencies(&s, 1, freq, &magnitude), FL_OK);
    assert_true(magnitude == 1.25);
    assert_false(fl_rope_depends_on_length(&s));
    assert_int_equal(fl_rope_scaled_window(&s), 4096);
}

static void test_names(void **state)
{
    (void)state;
    fl_rope_kind kind;
    for (int k = 0; k < FL_ROPE_KIND_COUNT; k++) {
        assert_int_equal(fl_rope_kind_parse(&kind, fl_rope_kind_name((fl_rope_kind)k)), FL_OK);
        assert_int_equal(kind, k);
    }
    assert_int_equal(fl_rope_kind_parse(&kind, "default"), FL_OK);
    assert_int_equal(kind, FL_ROPE_PLAIN);
    assert_int_equal(fl_rope_kind_parse(&kind, "su"), FL_OK);
    assert_int_equal(kind, FL_ROPE_LONGROPE);
    assert_int_equal(fl_rope_kind_parse(&kind, "pi"), FL_OK);
    assert_int_equal(kind, FL_ROPE_LINEAR);
    assert_int_equal(fl_rope_kind_parse(&kind, "proportional"), FL_ERR_UNSUPPORTED);
    assert_non_null(strstr(fl_error_message(), "rope_type = \"proportional\""));
    assert_non_null(strstr(fl_error_message(), "yarn"));
    /* Positions that only pre-training gives are refused as such. */
    static const char *const pretrained[] = {"alibi", "xpos", "sinusoidal", "learned", "nope"};
    for (size_t i = 0; i < sizeof pretrained / sizeof *pretrained; i++) {
        assert_int_equal(fl_rope_kind_parse(&kind, pretrained[i]), FL_ERR_UNSUPPORTED);
        assert_non_null(strstr(fl_error_message(), pretrained[i]));
        assert_non_null(strstr(fl_error_message(), "pre-training"));
    }
}

/* ---- refusals ---- */

static void refused(const fl_rope_spec *spec, const char *key)
{
    double freq[FL_ROPE_MAX_PAIRS], magnitude;
    assert_int_equal(fl_rope_spec_check(spec), FL_ERR_ARGUMENT);
    assert_non_null(strstr(fl_error_message(), key));
    assert_int_equal(fl_rope_frequencies(spec, 100, freq, &magnitude), FL_ERR_ARGUMENT);
}

static fl_rope_spec accepted_spec(fl_rope_kind kind)
{
    fl_rope_spec s = spec_of(kind < FL_ROPE_KIND_COUNT ? kind : FL_ROPE_PLAIN, 1e4, 8, 256, 4);
    s.factors = 4;
    for (int i = 0; i < 4; i++)
        s.short_factor[i] = s.long_factor[i] = 1;
    assert_int_equal(fl_rope_spec_check(&s), FL_OK);
    s.kind = kind;
    return s;
}

#define REFUSED(kind, key, change)                                                                                     \
    do {                                                                                                               \
        fl_rope_spec s = accepted_spec(kind);                                                                          \
        change;                                                                                                        \
        refused(&s, key);                                                                                              \
    } while (0)

static void test_refusals(void **state)
{
    (void)state;
    const double bad[] = {NAN, INFINITY, -INFINITY, -1};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        REFUSED(FL_ROPE_PLAIN, "rope_theta", s.base = bad[i]);
        REFUSED(FL_ROPE_LINEAR, "factor", s.factor = bad[i]);
        REFUSED(FL_ROPE_YARN, "beta_fast", s.beta_fast = bad[i]);
        REFUSED(FL_ROPE_YARN, "beta_slow", s.beta_slow = bad[i]);
        REFUSED(FL_ROPE_YARN, "attention_factor", s.attention_factor = bad[i]);
        REFUSED(FL_ROPE_YARN, "extrapolation_factor", s.extrapolation_factor = bad[i]);
        REFUSED(FL_ROPE_YARN, "attn_factor", s.attn_factor = bad[i]);
        REFUSED(FL_ROPE_YARN, "mscale", s.mscale = bad[i]);
        REFUSED(FL_ROPE_YARN, "mscale_all_dim", s.mscale_all_dim = bad[i]);
        REFUSED(FL_ROPE_LLAMA3, "low_freq_factor", s.low_freq_factor = bad[i]);
        REFUSED(FL_ROPE_LLAMA3, "high_freq_factor", s.high_freq_factor = bad[i]);
        REFUSED(FL_ROPE_LONGROPE, "short_factor[2]", s.short_factor[2] = bad[i]);
        REFUSED(FL_ROPE_LONGROPE, "long_factor[3]", s.long_factor[3] = bad[i]);
    }
    REFUSED(FL_ROPE_PLAIN, "rope_theta", s.base = 1);
    REFUSED(FL_ROPE_PLAIN, "head_dim", s.dim = 7);
    REFUSED(FL_ROPE_PLAIN, "head_dim", s.dim = 0);
    REFUSED(FL_ROPE_PLAIN, "head_dim", s.dim = 2 * FL_ROPE_MAX_PAIRS + 2);
    REFUSED(FL_ROPE_PLAIN, "max_position_embeddings", s.window = 0);
    REFUSED(FL_ROPE_YARN, "original_max_position_embeddings", s.original_window = -5);
    REFUSED(FL_ROPE_YARN, "original_max_position_embeddings", s.original_window = INT64_MAX);
    REFUSED(FL_ROPE_LINEAR, "factor", s.factor = 0.5);
    REFUSED(FL_ROPE_LINEAR, "factor", s.factor = 1e30);
    REFUSED(FL_ROPE_NTK, "d/(d-2)", s.dim = 2);
    REFUSED(FL_ROPE_YARN, "beta_fast", s.beta_fast = 0.5);
    REFUSED(FL_ROPE_LLAMA3, "high_freq_factor", s.high_freq_factor = s.low_freq_factor);
    REFUSED(FL_ROPE_LONGROPE, "long_factor have 3", s.factors = 3);
    REFUSED(FL_ROPE_LONGROPE, "original_max_position_embeddings", s.original_window = 1);
    REFUSED((fl_rope_kind)99, "rope_type", (void)s);
}

/* Whatever passes the check must give finite frequencies: random extreme values. */
static void test_accepted_is_finite(void **state)
{
    (void)state;
    fl_rng rng;
    fl_rng_seed(&rng, 3);
    int accepted = 0;
    for (int t = 0; t < 200000; t++) {
        fl_rope_spec s;
        fl_rope_spec_init(&s, 1 + pow(10, 40 * fl_rng_uniform(&rng) - 15), 2 + 2 * (int)fl_rng_below(&rng, 6),
                          1 + (int64_t)fl_rng_below(&rng, (uint64_t)1 << fl_rng_below(&rng, 42)));
        s.kind = (fl_rope_kind)fl_rng_below(&rng, FL_ROPE_KIND_COUNT);
        s.original_window = 1 + (int64_t)fl_rng_below(&rng, (uint64_t)1 << fl_rng_below(&rng, 42));
        double *number[] = {&s.factor, &s.attention_factor, &s.beta_fast,       &s.beta_slow,       &s.attn_factor,
                            &s.mscale, &s.mscale_all_dim,   &s.low_freq_factor, &s.high_freq_factor};
        for (size_t i = 0; i < sizeof number / sizeof number[0]; i++)
            if (fl_rng_below(&rng, 3) == 0) *number[i] = pow(10, 40 * fl_rng_uniform(&rng) - 20);
        s.truncate = fl_rng_below(&rng, 2);
        s.factors = s.dim / 2;
        for (int i = 0; i < s.factors; i++)
            s.short_factor[i] = s.long_factor[i] = pow(10, 26 * fl_rng_uniform(&rng) - 7);
        double freq[FL_ROPE_MAX_PAIRS], magnitude;
        int64_t length = (int64_t)(fl_rng_next(&rng) >> (1 + fl_rng_below(&rng, 62)));
        if (fl_rope_frequencies(&s, length, freq, &magnitude) != FL_OK) continue;
        accepted++;
        assert_true(isfinite(magnitude) && magnitude > 0 && fl_rope_scaled_window(&s) > 0);
        for (int i = 0; i < s.dim / 2; i++)
            assert_true(isfinite(freq[i]) && freq[i] >= 0 && isfinite((float)cos(freq[i] * (double)length)));
    }
    assert_true(accepted > 10000);
}

/* ---- the table ---- */

/* fp32 rounding of a value up to 1 is 2^-25; the angle's error, 2^20 * 2^-52 or so, is far below. */
static void test_table_precision(void **state)
{
    (void)state;
    fl_rope_spec s = spec_of(FL_ROPE_PLAIN, 1e4, 128, 4096, 1);
    double freq[64], magnitude;
    assert_int_equal(fl_rope_frequencies(&s, 0, freq, &magnitude), FL_OK);
    const double positions[] = {0, 1, 4095, 32767, 131071.5, 1000003, 1048575, 1048576};
    float c[8 * 64], sn[8 * 64];
    fl_rope_table(freq, 64, 1.25, positions, 0, 8, c, sn);
    for (int r = 0; r < 8; r++)
        for (int i = 0; i < 64; i++) {
            long double angle = (long double)positions[r] * powl(10000.0L, -2.0L * i / 128.0L);
            assert_true(fabsl(c[r * 64 + i] - 1.25L * cosl(angle)) < 6.1e-8L);
            assert_true(fabsl(sn[r * 64 + i] - 1.25L * sinl(angle)) < 6.1e-8L);
        }
    /* Consecutive positions are those positions. */
    float from[8 * 64], to[8 * 64];
    const double run[] = {1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007};
    fl_rope_table(freq, 64, 1, run, 5, 8, c, sn);
    fl_rope_table(freq, 64, 1, NULL, 1000, 8, from, to);
    assert_memory_equal(c, from, sizeof c);
    assert_memory_equal(sn, to, sizeof sn);
}

/* With pairs (i, i + pairs): rotate a head by the row's angles, in double from the table's floats. */
static void rotate(const float *x, const float *c, const float *s, int pairs, double direction, double *y)
{
    for (int i = 0; i < pairs; i++) {
        y[i] = (double)x[i] * c[i] - direction * x[i + pairs] * s[i];
        y[i + pairs] = (double)x[i + pairs] * c[i] + direction * x[i] * s[i];
    }
}

static double dot(const double *a, const double *b, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* Scores depend on the distance alone, at any offset, for every kind; and a rotation back restores the head. */
static void test_relative_scores(void **state)
{
    (void)state;
    enum { PAIRS = 32, DIM = 2 * PAIRS };
    fl_rng rng;
    fl_rng_seed(&rng, 5);
    for (int k = 0; k < FL_ROPE_KIND_COUNT; k++) {
        fl_rope_spec s = spec_of((fl_rope_kind)k, 1e4, DIM, 512, 4);
        s.factors = PAIRS;
        for (int i = 0; i < PAIRS; i++)
            s.short_factor[i] = s.long_factor[i] = 1 + 0.1 * i;
        double freq[PAIRS], m;
        assert_int_equal(fl_rope_frequencies(&s, 2048, freq, &m), FL_OK);
        float q[DIM], key[DIM], c[4 * PAIRS], sn[4 * PAIRS];
        for (int i = 0; i < DIM; i++) {
            q[i] = (float)fl_rng_normal(&rng);
            key[i] = (float)fl_rng_normal(&rng);
        }
        for (int64_t offset = 0; offset < 1000000; offset = offset * 7 + 1) {
            const double positions[] = {(double)offset + 900, (double)offset, 900, 0};
            double rq[DIM], rk[DIM], near_q[DIM], near_k[DIM], closed = 0;
            fl_rope_table(freq, PAIRS, m, positions, 0, 4, c, sn);
            rotate(q, c, sn, PAIRS, 1, rq);
            rotate(key, c + PAIRS, sn + PAIRS, PAIRS, 1, rk);
            rotate(q, c + 2 * PAIRS, sn + 2 * PAIRS, PAIRS, 1, near_q);
            rotate(key, c + 3 * PAIRS, sn + 3 * PAIRS, PAIRS, 1, near_k);
            for (int i = 0; i < PAIRS; i++) {
                double even = (double)q[i] * key[i] + (double)q[i + PAIRS] * key[i + PAIRS];
                double odd = (double)q[i] * key[i + PAIRS] - (double)q[i + PAIRS] * key[i];
                closed += m * m * (even * cos(900 * freq[i]) + odd * sin(900 * freq[i]));
            }
            /* 64 products of size m^2, each from two table entries rounded to 2^-25. */
            assert_true(fabs(dot(rq, rk, DIM) - dot(near_q, near_k, DIM)) < 64 * m * m * 2e-7);
            assert_true(fabs(dot(rq, rk, DIM) - closed) < 64 * m * m * 2e-7);

            float turned[DIM];
            double back[DIM];
            for (int i = 0; i < DIM; i++)
                turned[i] = (float)rq[i];
            rotate(turned, c, sn, PAIRS, -1, back);
            for (int i = 0; i < DIM; i++)
                assert_true(fabs(back[i] - m * m * q[i]) < 2e-6 * m * m);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_transformers),
        cmocka_unit_test(test_worked_values),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_windows),
        cmocka_unit_test(test_divisors),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_accepted_is_finite),
        cmocka_unit_test(test_table_precision),
        cmocka_unit_test(test_relative_scores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
