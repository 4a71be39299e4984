/* Merging against the plain rule it implements: again and again the pair of lowest rank, the leftmost among equals,
 * found by looking at every pair. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "text/bpe.h"

static int64_t merge_plainly(const fl_bpe *b, int32_t *symbol, int64_t n)
{
    for (;;) {
        int64_t at = -1;
        const fl_bpe_rule *best = NULL;
        for (int64_t i = 0; i + 1 < n; i++) {
            const fl_bpe_rule *r = fl_bpe_find(b, symbol[i], symbol[i + 1]);
            if (r && (!best || r->rank < best->rank)) {
                best = r;
                at = i;
            }
        }
        if (at < 0) return n;
        symbol[at] = best->result;
        memmove(symbol + at + 1, symbol + at + 2, (size_t)(n - at - 2) * sizeof(*symbol));
        n--;
    }
}

#define LETTERS 4
#define RULES 60
#define FILLERS 3000 /* rules for symbols that never occur: the tables have to grow */

static void fill(fl_bpe *b, int from, int to)
{
    for (int i = from; i < to; i++) {
        int symbol = 1000 + i;
        assert_int_equal(fl_bpe_add(b, symbol, symbol, (uint32_t)i, symbol), FL_OK);
        assert_int_equal(fl_bpe_seam(b, symbol, symbol), FL_OK);
    }
}

/* Random strings over a small alphabet, each the join of two earlier ones; symbol k stands for string k. Ranks may
 * be shared, as scores are. */
static void random_rules(fl_bpe *b, fl_rng *rng, bool shared_ranks)
{
    int first[LETTERS + RULES], last[LETTERS + RULES];
    for (int i = 0; i < LETTERS; i++)
        first[i] = last[i] = i;
    fill(b, 0, FILLERS);
    for (int i = 0; i < RULES; i++) {
        if (i == RULES / 2) fill(b, FILLERS, 2 * FILLERS);
        int known = LETTERS + i;
        int left = (int)(fl_rng_next(rng) % (uint64_t)known), right = (int)(fl_rng_next(rng) % (uint64_t)known);
        uint32_t rank = (uint32_t)(fl_rng_next(rng) % (shared_ranks ? 20 : 100000));
        if (fl_bpe_find(b, left, right)) rank = fl_bpe_find(b, left, right)->rank;
        first[known] = first[left];
        last[known] = last[right];
        assert_int_equal(fl_bpe_add(b, left, right, rank, known), FL_OK);
        assert_int_equal(fl_bpe_seam(b, last[left], first[right]), FL_OK);
    }
}

static void check_equal(const fl_bpe *b, const int32_t *symbol, int64_t n)
{
    int32_t *plain = malloc((size_t)n * sizeof(*plain)), *queued = malloc((size_t)n * sizeof(*queued)),
            *parts = malloc((size_t)n * sizeof(*parts));
    memcpy(plain, symbol, (size_t)n * sizeof(*plain));
    memcpy(queued, symbol, (size_t)n * sizeof(*queued));
    memcpy(parts, symbol, (size_t)n * sizeof(*parts));
    fl_bpe_work w = {0};
    int64_t expected = merge_plainly(b, plain, n), by_queue = fl_bpe_merge_long(b, &w, queued, n), by_parts = n;
    assert_int_equal(fl_bpe_merge(b, &w, parts, &by_parts), FL_OK);
    assert_int_equal(by_queue, expected);
    assert_memory_equal(queued, plain, (size_t)expected * sizeof(*plain));
    assert_int_equal(by_parts, expected);
    assert_memory_equal(parts, plain, (size_t)expected * sizeof(*plain));
    fl_bpe_work_free(&w);
    free(plain);
    free(queued);
    free(parts);
}

static void random_rows(void **state)
{
    bool shared_ranks = *state != NULL;
    fl_rng rng;
    fl_rng_seed(&rng, 11);
    for (int round = 0; round < 200; round++) {
        fl_bpe b = {0};
        int32_t symbol[600];
        random_rules(&b, &rng, shared_ranks);
        for (int k = 0; k < 4; k++) {
            int64_t n = 1 + (int64_t)(fl_rng_next(&rng) % 600);
            uint64_t letters = 1 + fl_rng_next(&rng) % LETTERS; /* one letter repeated, too */
            for (int64_t i = 0; i < n; i++)
                symbol[i] = (int32_t)(fl_rng_next(&rng) % letters);
            check_equal(&b, symbol, n);
        }
        fl_bpe_free(&b);
    }
}

static void alternating_rows(void **state)
{
    (void)state;
    fl_rng rng;
    fl_rng_seed(&rng, 12);
    for (int round = 0; round < 100; round++) {
        fl_bpe b = {0};
        int32_t symbol[400];
        random_rules(&b, &rng, round % 2);
        for (int period = 1; period <= 3; period++) {
            for (int i = 0; i < 400; i++)
                symbol[i] = i % period;
            check_equal(&b, symbol, 400);
        }
        fl_bpe_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_rows),
        {"random_rows with shared ranks", random_rows, NULL, NULL, (void *)1},
        cmocka_unit_test(alternating_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
