/* ROUGE against the Python package rouge_score (tools/oracle/evaluation.py). */
#include "eval_case.h"

/* The same integers divided in double, in a harmonic mean written in another order. */
static void test_golden(void **state)
{
    (void)state;
    json_t *golden = golden_json(FL_TEST_DATA "/golden/eval/rouge.json"), *pairs = json_object_get(golden, "pairs");
    assert_int_equal(json_array_size(pairs), 12);
    for (size_t i = 0; i < json_array_size(pairs); i++) {
        const json_t *pair = json_array_get(pairs, i);
        fl_rouge r[3];
        must(fl_eval_rouge(r, json_string_value(json_object_get(pair, "reference")),
                           json_string_value(json_object_get(pair, "candidate"))));
        for (size_t k = 0; k < 3; k++) {
            const json_t *g = json_array_get(json_object_get(pair, "rouge"), k);
            const double found[] = {r[k].precision, r[k].recall, r[k].f};
            for (size_t j = 0; j < 3; j++)
                if (!(fabs(found[j] - json_number_value(json_array_get(g, j))) < 1e-12))
                    fail_msg("pair %zu, ROUGE %zu: %.12f is not %.12f", i, k, found[j],
                             json_number_value(json_array_get(g, j)));
        }
    }
    json_decref(golden);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
