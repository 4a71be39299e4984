/* The planner against published and recomputed numbers: Llama-2 (critical dimension 92, beta0(16384) = 71738.4), Code
 * Llama (base 1e6 tuned at 16384: 129,027 tokens), and counted bytes against a real run's arenas. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "model/model.h"
#include "plan/window.h"
#include "train/trainer.h"

static void must(fl_status s)
{
    if (s != FL_OK) fail_msg("%s: %s", fl_status_name(s), fl_error_message());
}

static bool near(double a, double b)
{
    return fabs(a / b - 1) < 5e-6; /* six published digits */
}

static const fl_plan_method *method(const fl_plan *p, const char *name)
{
    for (int i = 0; i < p->methods; i++)
        if (!strcmp(p->method[i].name, name)) return &p->method[i];
    fail_msg("no method %s", name);
    return NULL;
}

static void test_llama2(void **state)
{
    (void)state;
    fl_plan p = {.size = sizeof p};
    fl_plan_options o = FL_PLAN_OPTIONS_INIT;
    o.head_dim = 128;
    o.window = 4096;
    o.base = 10000;
    o.to = 129027;
    o.tune_length = 16384;
    must(fl_plan_make(&p, &o));
    assert_int_equal(p.critical_dimension, 92);
    assert_true(near(p.critical_pairs, 45.0269));
    assert_true(near(p.beta0, 71738.4));
    assert_true(near(p.beta1, 10430.4) && near(p.beta2, 5215.19) && near(p.beta3, 2607.59));
    assert_true(near(p.base_for_target, 1e6)); /* Code Llama's base is what the law asks for at its reach */
    assert_int_equal(p.first_negative, 1707);
    assert_true(method(&p, "none")->window == 4096);
    assert_true(method(&p, "linear")->window == 129027 && method(&p, "linear")->basis == FL_PLAN_CONSTRUCTION);
    assert_true(near(method(&p, "base")->window, 129027) && method(&p, "base")->basis == FL_PLAN_LAW);
    assert_true(!p.degenerate && p.read_bytes == 0);
}

static void test_tiny_heads_are_called_so(void **state)
{
    (void)state;
    fl_plan p = {.size = sizeof p};
    fl_plan_options o = FL_PLAN_OPTIONS_INIT;
    o.head_dim = 8;
    o.window = 256;
    o.base = 10000;
    o.to = 1024;
    must(fl_plan_make(&p, &o));
    assert_int_equal(p.critical_dimension, 4);
    assert_true(p.degenerate);
    o.head_dim = 64;
    must(fl_plan_make(&p, &o));
    assert_int_equal(p.critical_dimension, 26);
    assert_true(!p.degenerate && near(p.base_for_target, 278752));
}

static void test_refusals(void **state)
{
    (void)state;
    fl_plan p = {.size = sizeof p};
    fl_plan_options o = FL_PLAN_OPTIONS_INIT;
    o.head_dim = 64;
    o.window = 256;
    o.base = 10000;
    o.to = 128;
    assert_int_equal(fl_plan_make(&p, &o), FL_ERR_ARGUMENT);
    assert_non_null(strstr(fl_error_message(), "--to"));
    o.to = 1024;
    o.base = 0.5;
    assert_int_equal(fl_plan_make(&p, &o), FL_ERR_ARGUMENT);
    o.base = 10000;
    o.head_dim = 63;
    assert_int_equal(fl_plan_make(&p, &o), FL_ERR_ARGUMENT);
    o.head_dim = 64;
    o.tune_length = 100;
    assert_int_equal(fl_plan_make(&p, &o), FL_ERR_ARGUMENT);
}

/* What is counted is what a run uses, byte for byte. */
static void test_counted_bytes(void **state)
{
    (void)state;
    enum { ROWS = 96 };
    fl_engine_options engine_options = FL_ENGINE_OPTIONS_INIT;
    fl_model_options model_options = FL_MODEL_OPTIONS_INIT;
    fl_engine *engine;
    fl_model *m;
    must(fl_engine_create(&engine, &engine_options));
    must(fl_model_open(&m, engine, FL_TEST_DATA "/tiny/llama", &model_options));
    fl_plan p = {.size = sizeof p};
    fl_plan_options o = FL_PLAN_OPTIONS_INIT;
    o.model = m;
    o.to = 300;
    o.chunk = ROWS;
    must(fl_plan_make(&p, &o));
    fl_kv_shape shape = fl_model_kv_shape(m);
    assert_int_equal(p.kv_bytes, 2 * m->config.layers * (int64_t)fl_kv_page_bytes(&shape));

    int32_t ids[129] = {0};
    fl_run *run;
    must(fl_run_create(&run, engine, 0, false));
    fl_batch_seq seq = {.rows = ROWS};
    fl_batch batch = {.sequences = 1, .seq = &seq, .rows = ROWS, .tokens = ids};
    fl_head_spec spec = {.n = 1};
    must(fl_model_pass(m, run, &batch, NULL, false, &spec));
    int64_t used = (int64_t)(fl_arena_peak(run->data) + fl_arena_peak(run->grads) + fl_arena_peak(run->nodes));
    assert_int_equal(p.read_bytes, p.weight_bytes + p.kv_bytes + used);
    fl_run_destroy(run);

    fl_train_options t = FL_TRAIN_OPTIONS_INIT;
    t.length = 128;
    t.batch = 1;
    fl_trainer *trainer;
    must(fl_trainer_create(&trainer, m, &t));
    must(fl_trainer_step(trainer, ids, NULL));
    used = (int64_t)(fl_arena_peak(trainer->run->data) + fl_arena_peak(trainer->run->grads) +
                     fl_arena_peak(trainer->run->nodes));
    assert_int_equal(p.train_bytes, used + m->parameters * 16 + m->weight_bytes);
    fl_trainer_destroy(trainer);
    fl_model_close(m);
    fl_engine_destroy(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_llama2), cmocka_unit_test(test_tiny_heads_are_called_so),
                                       cmocka_unit_test(test_refusals), cmocka_unit_test(test_counted_bytes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
