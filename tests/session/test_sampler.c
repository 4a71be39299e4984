/* The sampler against a plain double-precision version of its definition, against closed forms, and its draws against
 * the distribution they are meant to follow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "session/sampler.h"

#define VOCAB 700

static void must(fl_status s)
{
    if (s != FL_OK) fail_msg("%s: %s", fl_status_name(s), fl_error_message());
}

static fl_sampler_options off(void)
{
    fl_sampler_options o = FL_SAMPLER_OPTIONS_INIT;
    o.temperature = 1;
    o.top_k = 0;
    o.top_p = 1;
    o.min_p = 0;
    return o;
}

/* ---- the definition, step by step ------------------------------------------------------------------------------- */

typedef struct entry {
    int32_t id;
    double logit, share;
} entry;

static int by_logit(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static void softmax(entry *e, int n, double temperature)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += e[i].share = exp((e[i].logit - e[0].logit) / temperature);
    for (int i = 0; i < n; i++)
        e[i].share /= sum;
}

static int plain_candidates(const fl_sampler_options *o, const float *logits, int vocab, const int32_t *history,
                            int64_t count, entry *e)
{
    for (int i = 0; i < vocab; i++)
        e[i] = (entry){i, logits[i], 0};
    int64_t first = o->repeat_last < 0 || o->repeat_last > count ? 0 : count - o->repeat_last;
    for (int i = 0; i < vocab; i++) {
        bool found = false;
        for (int64_t j = first; j < count && o->repeat_last; j++)
            found = found || history[j] == i;
        /* In fp32, as the logits are. */
        if (found)
            e[i].logit = (float)(e[i].logit <= 0 ? e[i].logit * o->repeat_penalty : e[i].logit / o->repeat_penalty);
    }
    qsort(e, (size_t)vocab, sizeof *e, by_logit);
    int n = vocab;
    if (o->temperature == 0) n = 1;
    if (o->top_k > 0 && o->top_k < n) n = o->top_k;
    softmax(e, n, 1);
    double sum = 0;
    for (int i = 0; i < n && o->top_p < 1; i++) {
        sum += e[i].share;
        if (sum >= o->top_p) n = i + 1;
    }
    int kept = 0;
    for (int i = 0; i < n; i++)
        if (o->min_p == 0 || e[i].logit >= e[0].logit + log(o->min_p)) kept = i + 1;
    n = kept > 0 ? kept : 1;
    softmax(e, n, o->temperature > 0 ? o->temperature : 1);
    return n;
}

static void test_against_definition(void **state)
{
    (void)state;
    static const double temperature[] = {0, 0.3, 1, 2.5}, top_p[] = {1, 0.95, 0.5, 0}, min_p[] = {0, 0.05, 0.5, 1},
                        penalty[] = {1, 1.3, 0.7};
    static const int top_k[] = {0, 1, 40, 100000}, last[] = {0, 3, 64, -1};
    fl_rng rng;
    fl_rng_seed(&rng, 1);
    static float logits[VOCAB];
    static entry plain[VOCAB];
    int32_t history[200];
    for (int round = 0; round < 400; round++) {
        /* Steep and flat distributions, with ties in every third. */
        double spread = 0.2 + 4 * fl_rng_uniform(&rng);
        for (int i = 0; i < VOCAB; i++) {
            logits[i] = (float)(spread * fl_rng_normal(&rng));
            if (round % 3 == 0) logits[i] = roundf(logits[i]);
        }
        int64_t count = (int64_t)fl_rng_below(&rng, 200);
        for (int64_t i = 0; i < count; i++)
            history[i] = (int32_t)fl_rng_below(&rng, VOCAB);
        fl_sampler_options o = off();
        o.temperature = temperature[fl_rng_below(&rng, 4)];
        o.top_k = top_k[fl_rng_below(&rng, 4)];
        o.top_p = top_p[fl_rng_below(&rng, 4)];
        o.min_p = min_p[fl_rng_below(&rng, 4)];
        o.repeat_penalty = penalty[fl_rng_below(&rng, 3)];
        o.repeat_last = last[fl_rng_below(&rng, 4)];
        o.seed = (uint64_t)round;
        fl_sampler s;
        must(fl_sampler_init(&s, &o, VOCAB));
        int64_t n;
        must(fl_sampler_candidates(&s, logits, history, count, &n));
        int expected = plain_candidates(&o, logits, VOCAB, history, count, plain);
        assert_int_equal(n, expected);
        for (int i = 0; i < n; i++) {
            assert_int_equal(s.list[i].id, plain[i].id);
            assert_true(s.list[i].logit == (float)plain[i].logit);
            /* Sums of at most 700 terms in double: 700 units in the last place of the sum. */
            assert_true(fabs(s.list[i].share - plain[i].share) <= 2e-13);
        }
        /* The draw is the inverse of the summed shares at the generator's next number. */
        fl_rng same;
        fl_rng_seed(&same, o.seed);
        int32_t id;
        must(fl_sampler_next(&s, logits, history, count, &id));
        double u = n > 1 ? fl_rng_uniform(&same) : 0, sum = 0;
        int drawn = 0;
        for (; drawn < n - 1; drawn++)
            if ((sum += plain[drawn].share) >= u) break;
        assert_int_equal(id, plain[drawn].id);
        fl_sampler_free(&s);
    }
}

/* ---- closed forms ----------------------------------------------------------------------------------------------- */

#define SHARES 5
static const double share[SHARES] = {0.4, 0.3, 0.15, 0.1, 0.05};

static int64_t candidates(const fl_sampler_options *o, fl_sampler *s)
{
    static const int place[SHARES] = {3, 0, 4, 1, 2};
    float logits[SHARES];
    for (int i = 0; i < SHARES; i++)
        logits[place[i]] = (float)(log(share[i]) + 3); /* a constant changes nothing */
    must(fl_sampler_init(s, o, SHARES));
    int64_t n;
    must(fl_sampler_candidates(s, logits, NULL, 0, &n));
    for (int i = 0; i < n; i++)
        assert_int_equal(s->list[i].id, place[i]);
    return n;
}

static void check_shares(const fl_sampler_options *o, int expected, const double *shares)
{
    fl_sampler s;
    assert_int_equal(candidates(o, &s), expected);
    for (int i = 0; i < expected; i++) /* logits are fp32: 6e-8 of 3 */
        if (fabs(s.list[i].share - shares[i]) > 1e-6) fail_msg("share %d: %g, not %g", i, s.list[i].share, shares[i]);
    fl_sampler_free(&s);
}

static void test_closed_forms(void **state)
{
    (void)state;
    fl_sampler_options o = off();
    check_shares(&o, 5, share);

    o.temperature = 0.5; /* shares squared */
    double squares[SHARES], sum = 0;
    for (int i = 0; i < SHARES; i++)
        sum += squares[i] = share[i] * share[i];
    for (int i = 0; i < SHARES; i++)
        squares[i] /= sum;
    check_shares(&o, 5, squares);

    o = off();
    o.temperature = 0;
    check_shares(&o, 1, (double[]){1});

    o = off();
    o.top_k = 2;
    check_shares(&o, 2, (double[]){4.0 / 7, 3.0 / 7});
    o.top_k = 9;
    check_shares(&o, 5, share);

    o = off();
    o.top_p = 0.69; /* 0.4 + 0.3 reach it */
    check_shares(&o, 2, (double[]){4.0 / 7, 3.0 / 7});
    o.top_p = 0.71; /* and do not reach this */
    check_shares(&o, 3, (double[]){0.4 / 0.85, 0.3 / 0.85, 0.15 / 0.85});
    o.top_p = 0;
    check_shares(&o, 1, (double[]){1});

    o = off();
    o.min_p = 0.3; /* at least 0.12 */
    check_shares(&o, 3, (double[]){0.4 / 0.85, 0.3 / 0.85, 0.15 / 0.85});

    /* Order: top-k leaves 0.4, 0.3 and 0.15 of 0.85; of those the first two reach 0.8. Were top-p first, it would keep
     * three. */
    o = off();
    o.top_k = 3;
    o.top_p = 0.8;
    check_shares(&o, 2, (double[]){4.0 / 7, 3.0 / 7});

    /* Temperature comes last: it does not change who is kept. */
    o.temperature = 100;
    double flat[2] = {pow(4, 0.01), pow(3, 0.01)};
    check_shares(&o, 2, (double[]){flat[0] / (flat[0] + flat[1]), flat[1] / (flat[0] + flat[1])});
}

static void test_penalty(void **state)
{
    (void)state;
    const float logits[4] = {2, 1.5f, -1, -1.1f};
    fl_sampler_options o = off();
    o.repeat_penalty = 2;
    o.repeat_last = 3;
    fl_sampler s;
    must(fl_sampler_init(&s, &o, 4));
    int64_t n;
    /* Only the last three count, each id once; ids outside the vocabulary are nobody's. */
    const int32_t history[] = {1, 0, 0, 2};
    must(fl_sampler_candidates(&s, logits, history, 4, &n));
    assert_int_equal(n, 4);
    const int32_t order[] = {1, 0, 3, 2};
    const float value[] = {1.5f, 1, -1.1f, -2};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(s.list[i].id, order[i]);
        assert_true(s.list[i].logit == value[i]);
    }
    must(fl_sampler_candidates(&s, logits, (const int32_t[]){-5, 4, 3}, 3, &n));
    assert_true(s.list[3].id == 3 && s.list[3].logit == -2.2f);
    fl_sampler_free(&s);
}

static void test_greedy(void **state)
{
    (void)state;
    fl_sampler_options o = FL_SAMPLER_OPTIONS_INIT;
    o.temperature = 0;
    fl_sampler s;
    int32_t id;
    must(fl_sampler_init(&s, &o, 6));
    must(fl_sampler_next(&s, (const float[]){1, 5, 2, 5, 5, 0}, NULL, 0, &id));
    assert_int_equal(id, 1); /* the lowest id among equals */
    must(fl_sampler_next(&s, (const float[]){-1, NAN, -2, INFINITY, -0.5f, -INFINITY}, NULL, 0, &id));
    assert_int_equal(id, 4); /* what is no number is never chosen */
    assert_int_equal(fl_sampler_next(&s, (const float[]){NAN, NAN, NAN, NAN, NAN, NAN}, NULL, 0, &id), FL_ERR_NUMERIC);
    fl_sampler_free(&s);
}

/* ---- draws ------------------------------------------------------------------------------------------------------ */

/* Pearson's statistic of 200000 draws over k kinds has mean k-1 and variance 2(k-1). Fixed seeds make the test certain
 * to give the same answer each time; the bound of mean + 6 standard deviations would be passed by chance about once in
 * a million seeds for a correct sampler, and a share that is wrong by 1 % of itself adds about 20 to 200. */
static void check_draws(fl_sampler_options o, int vocab, const float *logits)
{
    enum { DRAWS = 200000 };
    fl_sampler s, again;
    int64_t n;
    must(fl_sampler_init(&s, &o, vocab));
    must(fl_sampler_init(&again, &o, vocab));
    must(fl_sampler_candidates(&s, logits, NULL, 0, &n));
    double *expected = calloc((size_t)vocab, sizeof *expected), statistic = 0;
    int *seen = calloc((size_t)vocab, sizeof *seen);
    for (int64_t i = 0; i < n; i++)
        expected[s.list[i].id] = s.list[i].share * DRAWS;
    for (int i = 0; i < DRAWS; i++) {
        int32_t id, same;
        must(fl_sampler_next(&s, logits, NULL, 0, &id));
        if (i < 100) { /* one seed, one sequence */
            must(fl_sampler_next(&again, logits, NULL, 0, &same));
            assert_int_equal(id, same);
        }
        seen[id]++;
    }
    for (int i = 0; i < vocab; i++) {
        if (expected[i] == 0) assert_int_equal(seen[i], 0);
        if (expected[i] > 0) statistic += (seen[i] - expected[i]) * (seen[i] - expected[i]) / expected[i];
    }
    double mean = (double)n - 1;
    if (!(statistic < mean + 6 * sqrt(2 * mean))) fail_msg("chi-square %g for %lld kinds", statistic, (long long)n);
    free(expected);
    free(seen);
    fl_sampler_free(&again);
    fl_sampler_free(&s);
}

static void test_draws(void **state)
{
    (void)state;
    float logits[20];
    fl_rng rng;
    fl_rng_seed(&rng, 4);
    for (int i = 0; i < 20; i++)
        logits[i] = (float)fl_rng_normal(&rng);
    fl_sampler_options o = off();
    check_draws(o, 20, logits);
    o.seed = 1;
    o.temperature = 0.7;
    check_draws(o, 20, logits);
    o = (fl_sampler_options)FL_SAMPLER_OPTIONS_INIT;
    o.top_k = 8;
    o.seed = UINT64_MAX;
    check_draws(o, 20, logits);
}

static void test_seeds_differ(void **state)
{
    (void)state;
    float logits[64] = {0};
    fl_sampler_options o = off();
    fl_sampler a, b;
    must(fl_sampler_init(&a, &o, 64));
    o.seed = 1;
    must(fl_sampler_init(&b, &o, 64));
    int equal = 0;
    for (int i = 0; i < 1000; i++) {
        int32_t x, y;
        must(fl_sampler_next(&a, logits, NULL, 0, &x));
        must(fl_sampler_next(&b, logits, NULL, 0, &y));
        equal += x == y;
    }
    assert_in_range(equal, 1, 60); /* 1000/64 = 16 by chance */
    fl_sampler_free(&a);
    fl_sampler_free(&b);
}

static void test_options(void **state)
{
    (void)state;
    const fl_sampler_options good = FL_SAMPLER_OPTIONS_INIT;
    struct {
        fl_sampler_options o;
        const char *named;
    } bad[11];
    for (int i = 0; i < 11; i++)
        bad[i].o = good;
    bad[0].o.size = 8, bad[0].named = "size";
    bad[1].o.temperature = -1, bad[1].named = "temperature = -1";
    bad[2].o.temperature = NAN, bad[2].named = "temperature";
    bad[3].o.top_k = -1, bad[3].named = "top-k = -1";
    bad[4].o.top_p = 1.5, bad[4].named = "top-p = 1.5";
    bad[5].o.top_p = NAN, bad[5].named = "top-p";
    bad[6].o.min_p = -0.1, bad[6].named = "min-p = -0.1";
    bad[7].o.repeat_penalty = 0, bad[7].named = "repeat-penalty = 0";
    bad[8].o.repeat_penalty = INFINITY, bad[8].named = "repeat-penalty";
    bad[9].o.repeat_last = -2, bad[9].named = "repeat-last-n = -2";
    bad[10].o.temperature = INFINITY, bad[10].named = "temperature";
    for (int i = 0; i < 11; i++) {
        fl_sampler s;
        assert_int_equal(fl_sampler_init(&s, &bad[i].o, 10), FL_ERR_ARGUMENT);
        assert_non_null(strstr(fl_error_message(), bad[i].named));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_definition),
        cmocka_unit_test(test_closed_forms),
        cmocka_unit_test(test_penalty),
        cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_draws),
        cmocka_unit_test(test_seeds_differ),
        cmocka_unit_test(test_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
