/* Positions drawn for training: the distributions they are said to have, training and resuming with them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "golden.h"
#include "train/draw.h"
#include "train/trainer.h"

static void must(fl_status s)
{
    if (s != FL_OK) fail_msg("%s: %s", fl_status_name(s), fl_error_message());
}

/* Steps from U(0, 2): mean 1 and variance 1/3. With 100,000 of them the mean is within 0.01 (5 standard errors). */
static void test_randomized(void **state)
{
    (void)state;
    static double p[100000];
    fl_rng rng;
    fl_rng_seed(&rng, 1);
    fl_draw_positions(&rng, FL_TRAIN_POSITIONS_RANDOMIZED, 1 << 20, 100000, p);
    double squares = 0;
    for (int i = 0; i < 100000; i++) {
        double step = p[i] - (i ? p[i - 1] : 0);
        assert_true(step >= 0 && step < 2);
        squares += (step - 1) * (step - 1);
    }
    assert_true(fabs(p[99999] / 100000 - 1) < 0.01 && fabs(squares / 100000 - 1.0 / 3) < 0.01);
    /* Where the last would pass the range all shrink: about half of the sequences of the length itself. */
    int shrunk = 0;
    for (int n = 0; n < 400; n++) {
        fl_draw_positions(&rng, FL_TRAIN_POSITIONS_RANDOMIZED, 64, 64, p);
        assert_true(p[63] <= 63 + 1e-9);
        shrunk += fabs(p[63] - 63) < 1e-9;
    }
    assert_true(shrunk > 120 && shrunk < 320);
}

/* Distinct whole numbers in order, each below the range as likely: 40,000 draws of 8 of 32 hit each number 10,000 times
 * with a standard deviation of 87. */
static void test_subsampled(void **state)
{
    (void)state;
    int hits[32] = {0};
    double p[8];
    fl_rng rng;
    fl_rng_seed(&rng, 2);
    for (int n = 0; n < 40000; n++) {
        fl_draw_positions(&rng, FL_TRAIN_POSITIONS_SUBSAMPLED, 32, 8, p);
        for (int i = 0; i < 8; i++) {
            assert_true(p[i] == floor(p[i]) && p[i] >= 0 && p[i] < 32 && (i == 0 || p[i] > p[i - 1]));
            hits[(int)p[i]]++;
        }
    }
    for (int i = 0; i < 32; i++)
        assert_in_range(hits[i], 9500, 10500);
    fl_draw_positions(&rng, FL_TRAIN_POSITIONS_SUBSAMPLED, 8, 8, p);
    for (int i = 0; i < 8; i++)
        assert_true(p[i] == i);
}

static double losses(fl_engine *engine, fl_train_positions positions, int64_t range, int64_t accumulate, int steps,
                     double *loss)
{
    fl_model_options model_options = FL_MODEL_OPTIONS_INIT;
    fl_train_options options = FL_TRAIN_OPTIONS_INIT;
    fl_model *model;
    fl_trainer *trainer;
    int32_t ids[4 * 33];
    for (int i = 0; i < 4 * 33; i++)
        ids[i] = (i * 37 + i / 5) % 320;
    options.length = 32;
    options.batch = 4;
    options.accumulate = accumulate;
    options.lr = 1e-3;
    options.positions = positions;
    options.position_range = range;
    must(fl_model_open(&model, engine, FL_TEST_DATA "/tiny/llama", &model_options));
    must(fl_trainer_create(&trainer, model, &options));
    fl_train_step step;
    for (int i = 0; i < steps; i++) {
        must(fl_trainer_step(trainer, ids, &step));
        loss[i] = step.loss;
    }
    fl_trainer_destroy(trainer);
    fl_model_close(model);
    return step.loss;
}

/* Drawn anew for each step, alike for the same seed and however a step is cut, and plain where nothing is left to draw.
 */
static void test_training(void **state)
{
    (void)state;
    fl_engine_options engine_options = FL_ENGINE_OPTIONS_INIT;
    fl_engine *engine;
    must(fl_engine_create(&engine, &engine_options));
    double plain[3], again[3], drawn[3];
    losses(engine, FL_TRAIN_POSITIONS_PLAIN, 0, 1, 3, plain);
    losses(engine, FL_TRAIN_POSITIONS_SUBSAMPLED, 32, 1, 3, again); /* 32 of 32 */
    for (int i = 0; i < 3; i++)
        assert_true(plain[i] == again[i]);
    for (int kind = FL_TRAIN_POSITIONS_RANDOMIZED; kind <= FL_TRAIN_POSITIONS_SUBSAMPLED; kind++) {
        losses(engine, (fl_train_positions)kind, 128, 1, 3, drawn);
        losses(engine, (fl_train_positions)kind, 128, 1, 3, again);
        assert_memory_equal(drawn, again, sizeof drawn);
        assert_true(drawn[0] != plain[0]);
        /* Cut in two the same positions meet the same rows; sums differ by rounding alone. */
        losses(engine, (fl_train_positions)kind, 128, 2, 3, again);
        assert_true(fabs(drawn[0] - again[0]) < 1e-6 && fabs(drawn[2] - again[2]) < 1e-4);
    }
    fl_engine_destroy(engine);
}

static void test_refusals(void **state)
{
    (void)state;
    fl_engine_options engine_options = FL_ENGINE_OPTIONS_INIT;
    fl_model_options model_options = FL_MODEL_OPTIONS_INIT;
    fl_train_options options = FL_TRAIN_OPTIONS_INIT;
    fl_engine *engine;
    fl_model *model;
    fl_trainer *trainer;
    must(fl_engine_create(&engine, &engine_options));
    must(fl_model_open(&model, engine, FL_TEST_DATA "/tiny/gpt2", &model_options));
    options.positions = FL_TRAIN_POSITIONS_RANDOMIZED;
    assert_int_equal(fl_trainer_create(&trainer, model, &options), FL_ERR_UNSUPPORTED);
    assert_non_null(strstr(fl_error_message(), "learned"));
    fl_model_close(model);
    must(fl_model_open(&model, engine, FL_TEST_DATA "/tiny/llama", &model_options));
    options.position_range = 100; /* the window is 128 */
    assert_int_equal(fl_trainer_create(&trainer, model, &options), FL_ERR_ARGUMENT);
    assert_non_null(strstr(fl_error_message(), "--position-range 100"));
    fl_model_close(model);
    fl_engine_destroy(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_randomized), cmocka_unit_test(test_subsampled),
                                       cmocka_unit_test(test_training), cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
