/* Packing in closed form on ids that say document and place, and training with documents cut apart against the same
 * documents trained on alone. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "train/trainer.h"
#include "train/windows.h"

#define MODEL FL_TEST_DATA "/tiny/llama"

static void must(fl_status s)
{
    if (s != FL_OK) fail_msg("%s: %s", fl_status_name(s), fl_error_message());
}

/* Documents of 7, 1, 12, 3 and 4 ids; id = 10 * document + place. */
static const int64_t begin[] = {0, 7, 8, 20, 23, 27};
#define DOCUMENTS 5
#define TOKENS 27

static fl_data example(int32_t ids[TOKENS])
{
    for (int d = 0; d < DOCUMENTS; d++)
        for (int64_t i = begin[d]; i < begin[d + 1]; i++)
            ids[i] = (int32_t)(10 * d + i - begin[d]);
    return (fl_data){.info = {.documents = DOCUMENTS, .tokens = TOKENS}, .id_bytes = 4, .ids = ids, .begin = begin};
}

static void test_stream(void **state)
{
    (void)state;
    int32_t all[TOKENS], ids[6];
    bool fresh[6];
    fl_data data = example(all);
    for (int packing = FL_PACKING_JOIN; packing <= FL_PACKING_CUT; packing++) {
        fl_windows w;
        must(fl_windows_create(&w, &data, 5, (fl_packing)packing));
        assert_int_equal(w.count, 5); /* 26 targets */
        assert_int_equal(w.unused, 1);
        for (int64_t i = 0; i < w.count; i++) {
            fl_windows_read(&w, i, ids, fresh);
            for (int64_t j = 0; j < 6; j++) {
                int64_t at = 5 * i + j;
                bool first = false;
                for (int d = 0; d < DOCUMENTS; d++)
                    first = first || begin[d] == at;
                assert_int_equal(ids[j], all[at]);
                assert_int_equal(fresh[j], packing == FL_PACKING_CUT && first && j > 0);
            }
        }
        fl_windows_destroy(&w);
    }
}

static void test_single(void **state)
{
    (void)state;
    int32_t all[TOKENS], ids[4];
    bool fresh[4];
    fl_data data = example(all);
    fl_windows w;
    must(fl_windows_create(&w, &data, 3, FL_PACKING_SINGLE));
    /* Targets: 6, 0, 11, 2, 3 -> windows 2, 0, 3, 0, 1; left over 0, 0, 2, 2, 0. */
    static const int32_t expected[] = {0, 3, 20, 23, 26, 40};
    assert_int_equal(w.count, 6);
    assert_int_equal(w.unused, 4);
    for (int64_t i = 0; i < w.count; i++) {
        fl_windows_read(&w, i, ids, fresh);
        for (int j = 0; j < 4; j++) {
            assert_int_equal(ids[j], expected[i] + j);
            assert_false(fresh[j]);
        }
    }
    fl_windows_destroy(&w);
    assert_int_equal(fl_windows_create(&w, &data, 12, FL_PACKING_SINGLE), FL_ERR_ARGUMENT);
    assert_non_null(strstr(fl_error_message(), "13 tokens"));
    assert_int_equal(fl_windows_create(&w, &data, 27, FL_PACKING_JOIN), FL_ERR_ARGUMENT);
    assert_non_null(strstr(fl_error_message(), "28"));
}

static fl_trainer *trainer_of(const fl_model *m, int64_t length, int64_t batch)
{
    fl_train_options o = FL_TRAIN_OPTIONS_INIT;
    fl_trainer *t;
    o.length = length;
    o.batch = batch;
    o.clip = 0;
    must(fl_trainer_create(&t, m, &o));
    return t;
}

/* A window of three documents of 4, 3 and 5 ids: its gradient is the mean over targets of the gradients of the three
 * documents, each trained on alone. */
static void test_cut(void **state)
{
    (void)state;
    fl_engine_options engine_options = FL_ENGINE_OPTIONS_INIT;
    fl_model_options model_options = FL_MODEL_OPTIONS_INIT;
    fl_engine *engine;
    fl_model *model;
    engine_options.threads = 1;
    must(fl_engine_create(&engine, &engine_options));
    must(fl_model_open(&model, engine, MODEL, &model_options));
    static const int32_t ids[12] = {3, 14, 15, 9, 26, 5, 35, 8, 9, 7, 9, 3};
    static const int64_t first[4] = {0, 4, 7, 12};
    bool fresh[12] = {0};
    fresh[4] = fresh[7] = true;

    fl_trainer *whole = trainer_of(model, 11, 1);
    fl_train_step step;
    must(fl_trainer_step_cut(whole, ids, fresh, &step));
    int64_t count = whole->parameters.count;
    double *sum = calloc((size_t)count, sizeof *sum);
    assert_non_null(sum);
    double loss = 0;
    int64_t targets = 0;
    for (int d = 0; d < 3; d++) {
        int64_t n = first[d + 1] - first[d] - 1;
        fl_trainer *alone = trainer_of(model, n, 1);
        fl_train_step one;
        must(fl_trainer_step(alone, ids + first[d], &one));
        loss += one.loss * (double)n;
        targets += n;
        for (int64_t i = 0; i < count; i++)
            sum[i] += alone->parameters.grad[i] * (double)n;
        fl_trainer_destroy(alone);
    }
    /* Both are fp32 sums of nine terms in different order. */
    assert_true(fabs(step.loss - loss / (double)targets) < 1e-6);
    double error = 0, norm = 0;
    for (int64_t i = 0; i < count; i++) {
        double expected = sum[i] / (double)targets;
        error += pow(whole->parameters.grad[i] - expected, 2);
        norm += expected * expected;
    }
    assert_true(norm > 0 && sqrt(error / norm) < 1e-5);
    free(sum);
    fl_trainer_destroy(whole);
    fl_model_close(model);
    fl_engine_destroy(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_single),
        cmocka_unit_test(test_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
