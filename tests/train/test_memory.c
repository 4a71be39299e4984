/* The memory plan: equal to the arenas of a real step, the order in which it makes a run fit, and what it says when
 * nothing does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "train/trainer.h"

#define MODEL FL_TEST_DATA "/tiny/llama"
#define MARGIN ((int64_t)40 << 20)

static fl_engine *engine;
static fl_model *model;

static void must(fl_status s)
{
    if (s != FL_OK) fail_msg("%s: %s", fl_status_name(s), fl_error_message());
}

static int set_up(void **state)
{
    (void)state;
    fl_engine_options options = FL_ENGINE_OPTIONS_INIT;
    fl_model_options model_options = FL_MODEL_OPTIONS_INIT;
    must(fl_engine_create(&engine, &options));
    must(fl_model_open(&model, engine, MODEL, &model_options));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fl_model_close(model);
    fl_engine_destroy(engine);
    return 0;
}

static fl_train_memory plan(const fl_train_options *o)
{
    fl_train_memory m = {.size = sizeof m};
    must(fl_train_memory_plan(&m, model, o));
    return m;
}

/* The least limit under which `bytes` fit beside the margin that is kept. */
static int64_t limit_for(int64_t bytes)
{
    return bytes + bytes / 20 + MARGIN;
}

static void test_exact(void **state)
{
    (void)state;
    int32_t ids[4 * 65] = {0};
    for (int way = 0; way < 4; way++) {
        fl_train_options o = FL_TRAIN_OPTIONS_INIT;
        o.batch = 4;
        o.length = 64;
        o.accumulate = way == 1 ? 2 : 1;
        o.recompute = way == 2 ? FL_RECOMPUTE_ON : FL_RECOMPUTE_OFF;
        o.lora_rank = way == 3 ? 4 : 0;
        fl_train_memory m = plan(&o);
        fl_trainer *t;
        must(fl_trainer_create(&t, model, &o));
        must(fl_trainer_step(t, ids, NULL));
        size_t used = fl_arena_peak(t->run->data) + fl_arena_peak(t->run->grads) + fl_arena_peak(t->run->nodes);
        assert_int_equal(m.pass_bytes, used);
        assert_int_equal(m.parameter_bytes, t->parameters.count * 16);
        assert_int_equal(m.total_bytes, m.model_bytes + m.parameter_bytes + m.pass_bytes + m.batch_bytes);
        fl_trainer_destroy(t);
    }
}

static void test_choice(void **state)
{
    (void)state;
    fl_train_options o = FL_TRAIN_OPTIONS_INIT;
    o.batch = 6;
    o.length = 1024;
    fl_train_memory whole = plan(&o);
    assert_true(whole.accumulate == 1 && !whole.recompute);
    o.memory_limit = limit_for(whole.total_bytes) - 1;
    fl_train_memory half = plan(&o); /* passes are cut first, down to 2048 tokens, by divisors of the batch */
    assert_true(half.accumulate == 2 && !half.recompute && half.total_bytes < whole.total_bytes);
    o.memory_limit = limit_for(half.total_bytes);
    assert_int_equal(plan(&o).total_bytes, half.total_bytes);
    o.memory_limit--;
    fl_train_memory third = plan(&o);
    assert_true(third.accumulate == 3 && !third.recompute);
    o.memory_limit = limit_for(third.total_bytes) - 1;
    fl_train_memory again = plan(&o); /* then blocks are recomputed */
    assert_true(again.accumulate == 3 && again.recompute);
    o.memory_limit = limit_for(again.total_bytes) - 1;
    fl_train_memory single = plan(&o); /* then sequences go one by one */
    assert_true(single.accumulate == 6 && single.recompute);
    o.memory_limit = limit_for(half.total_bytes);
    o.recompute = FL_RECOMPUTE_ON;
    assert_true(plan(&o).recompute);
    fl_trainer *t;
    must(fl_trainer_create(&t, model, &o));
    assert_true(t->run->recompute && t->options.accumulate == plan(&o).accumulate);
    fl_trainer_destroy(t);
    o.recompute = FL_RECOMPUTE_AUTO;
    o.memory_limit = limit_for(single.total_bytes) - 1;
    fl_train_memory none = {.size = sizeof none};
    assert_int_equal(fl_train_memory_plan(&none, model, &o), FL_ERR_MEMORY);
    assert_non_null(strstr(fl_error_message(), "--length 512 fits"));
    o.accumulate = 1;
    o.memory_limit = 0;
    o.recompute = FL_RECOMPUTE_ON;
    o.memory_limit = limit_for(plan(&o).total_bytes);
    o.recompute = FL_RECOMPUTE_AUTO;
    assert_true(plan(&o).accumulate == 1 && plan(&o).recompute);
    o.recompute = FL_RECOMPUTE_OFF;
    assert_int_equal(fl_trainer_create(&t, model, &o), FL_ERR_MEMORY);
    assert_non_null(strstr(fl_error_message(), "--accumulate "));
    o.memory_limit = MARGIN;
    assert_int_equal(fl_trainer_create(&t, model, &o), FL_ERR_MEMORY);
    assert_non_null(strstr(fl_error_message(), "--lora-rank 8"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_exact), cmocka_unit_test(test_choice)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
