/* Evaluation during training: before the first step it scores the model as opened, after the last one the model that is
 * written; its lines in the log; the same lines from a run that was interrupted. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/file.h"
#include "train/trainer.h"

#define MODEL FL_TEST_DATA "/tiny/llama"
#define DATA 700

static char folder[] = "/tmp/furlong-evaluate-XXXXXX";
static fl_engine *engine;
static fl_model *model;
static int32_t ids[DATA];

static void must(fl_status s)
{
    if (s != FL_OK) fail_msg("%s: %s", fl_status_name(s), fl_error_message());
}

static int set_up(void **state)
{
    (void)state;
    fl_engine_options options = FL_ENGINE_OPTIONS_INIT;
    fl_model_options model_options = FL_MODEL_OPTIONS_INIT;
    options.threads = 2;
    for (int i = 0; i < DATA; i++)
        ids[i] = (i * i + i / 7) % 96;
    return mkdtemp(folder) && fl_engine_create(&engine, &options) == FL_OK &&
                   fl_model_open(&model, engine, MODEL, &model_options) == FL_OK
               ? 0
               : 1;
}

static int tear_down(void **state)
{
    (void)state;
    fl_model_close(model);
    fl_engine_destroy(engine);
    char command[64];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command);
}

static const char *inside(const char *name)
{
    static char path[4][128];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

static const int64_t lengths[] = {24, 48};

typedef struct seen {
    int64_t step[16];
    double nll[16][2];
    int count;
} seen;

static void note(int64_t step, const fl_ppl_result *result, int count, void *user)
{
    seen *s = user;
    assert_int_equal(count, 2);
    s->step[s->count] = step;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(result[i].length, lengths[i]);
        s->nll[s->count][i] = result[i].nll;
    }
    s->count++;
}

static void train(fl_trainer **out, const fl_train_options *o)
{
    fl_data *data;
    must(fl_data_of_ids(&data, ids, DATA));
    must(fl_trainer_create(out, model, o));
    must(fl_trainer_run(*out, data, NULL));
    fl_data_close(data);
}

static void test_evaluation(void **state)
{
    (void)state;
    seen found = {.count = 0};
    fl_document text = {ids, 400};
    fl_ppl_options ppl = FL_PPL_OPTIONS_INIT;
    ppl.protocol = FL_PPL_MATCHED;
    ppl.lengths = lengths;
    ppl.length_count = 2;
    ppl.score = 8;
    ppl.blocks = 6;
    fl_train_eval eval = {3, &text, 1, 1, &ppl, note, &found};
    fl_train_options o = FL_TRAIN_OPTIONS_INIT;
    o.length = 24;
    o.batch = 4;
    o.steps = 7;
    o.lr = 5e-3;
    o.warmup = 2;
    o.eval = &eval;
    o.log = inside("log");
    o.lora_rank = 4;
    o.trainable = "norm";
    fl_trainer *t;
    train(&t, &o);
    assert_true(found.count == 4 && found.step[0] == 0 && found.step[1] == 3 && found.step[2] == 6 &&
                found.step[3] == 7);
    fl_ppl_result result[2];
    must(fl_eval_ppl(result, model, &text, 1, 1, &ppl));
    must(fl_trainer_export(t, inside("merged"), "f32"));
    fl_trainer_destroy(t);
    for (int i = 0; i < 2; i++) /* B is zero at first; products with A and B apart change no more than roundings */
        assert_true(fabs(result[i].nll - found.nll[0][i]) < 1e-5);
    fl_model_options options = FL_MODEL_OPTIONS_INIT;
    fl_model *merged;
    must(fl_model_open(&merged, engine, inside("merged"), &options));
    must(fl_eval_ppl(result, merged, &text, 1, 1, &ppl));
    for (int i = 0; i < 2; i++)
        assert_true(fabs(result[i].nll - found.nll[3][i]) < 1e-5 && fabs(found.nll[3][i] - found.nll[0][i]) > 0.01);
    fl_model_close(merged);

    fl_buffer log = {0};
    char line[128];
    must(fl_file_read(&log, inside("log"), 1 << 20));
    snprintf(line, sizeof line, "{\"step\":3,\"nll_24\":%.9g,\"ppl_24\":", found.nll[1][0]);
    assert_non_null(strstr(log.data, line));
    fl_buffer_free(&log);
}

/* Stopped after step 4 and resumed: the evaluations of an unbroken run. */
static void test_resume(void **state)
{
    (void)state;
    seen unbroken = {.count = 0}, broken = {.count = 0};
    fl_document text = {ids, 400};
    fl_ppl_options ppl = FL_PPL_OPTIONS_INIT;
    ppl.protocol = FL_PPL_DISJOINT;
    ppl.lengths = lengths;
    ppl.length_count = 2;
    fl_train_eval eval = {2, &text, 1, 1, &ppl, note, &unbroken};
    fl_train_options o = FL_TRAIN_OPTIONS_INIT;
    o.length = 24;
    o.batch = 4;
    o.steps = 6;
    o.lr = 5e-3;
    o.eval = &eval;
    fl_trainer *t;
    train(&t, &o);
    fl_trainer_destroy(t);
    eval.user = &broken;
    o.state = inside("state");
    o.steps = 4;
    train(&t, &o);
    fl_trainer_destroy(t);
    o.steps = 6;
    o.resume = true;
    train(&t, &o);
    fl_trainer_destroy(t);
    assert_true(unbroken.count == 4 && broken.count == 4);
    assert_memory_equal(unbroken.step, broken.step, sizeof unbroken.step[0] * 4);
    assert_memory_equal(unbroken.nll, broken.nll, sizeof unbroken.nll[0] * 4);
}

static void test_refusals(void **state)
{
    (void)state;
    fl_ppl_options ppl = FL_PPL_OPTIONS_INIT;
    fl_document text = {ids, 400};
    fl_train_eval eval = {0, &text, 1, 1, &ppl, NULL, NULL};
    fl_train_options o = FL_TRAIN_OPTIONS_INIT;
    o.eval = &eval;
    fl_trainer *t;
    assert_int_equal(fl_trainer_create(&t, model, &o), FL_ERR_ARGUMENT);
    assert_non_null(strstr(fl_error_message(), "fl_train_eval"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_evaluation), cmocka_unit_test(test_resume),
                                       cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
