/* The loop around the gradients: schedules and data order in closed form, exact resume, cancelling, export. */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/rng.h"
#include "train/order.h"
#include "train/schedule.h"
#include "train/trainer.h"

#define MODEL FL_TEST_DATA "/tiny/llama"
#define DATA 700

static void must(fl_status s)
{
    if (s != FL_OK) fail_msg("%s: %s", fl_status_name(s), fl_error_message());
}

typedef struct setup {
    fl_engine *engine;
    fl_model *model;
    fl_trainer *trainer;
    fl_data *data;
} setup;

static fl_train_options options_of(const char *state, const char *log)
{
    fl_train_options o = FL_TRAIN_OPTIONS_INIT;
    o.length = 16;
    o.batch = 4;
    o.steps = 14;
    o.lr = 1e-3;
    o.warmup = 4;
    o.weight_decay = 0.1;
    o.seed = 5;
    o.state = state;
    o.log = log;
    o.save_every = 2;
    return o;
}

static void setup_open(setup *s, const fl_train_options *o, int threads)
{
    fl_engine_options engine = FL_ENGINE_OPTIONS_INIT;
    engine.threads = threads;
    fl_model_options model = FL_MODEL_OPTIONS_INIT;
    must(fl_engine_create(&s->engine, &engine));
    must(fl_model_open(&s->model, s->engine, MODEL, &model));
    must(fl_trainer_create(&s->trainer, s->model, o));
    fl_rng rng;
    fl_rng_seed(&rng, 3);
    int32_t ids[DATA];
    for (int i = 0; i < DATA; i++)
        ids[i] = (int32_t)(fl_rng_below(&rng, 6) * 7 + (uint64_t)(i % 5));
    must(fl_data_of_ids(&s->data, ids, DATA));
}

static void setup_close(setup *s)
{
    fl_data_close(s->data);
    fl_trainer_destroy(s->trainer);
    fl_model_close(s->model);
    fl_engine_destroy(s->engine);
}

static void test_schedule(void **state)
{
    (void)state;
    fl_train_options o = FL_TRAIN_OPTIONS_INIT;
    o.lr = 2;
    o.warmup = 10;
    o.steps = 111;
    o.lr_end = 0.5;
    assert_true(fabs(fl_schedule_rate(&o, 0) - 0.2) < 1e-12);
    assert_true(fabs(fl_schedule_rate(&o, 5) - 1.1) < 1e-12);
    assert_true(fl_schedule_rate(&o, 10) == 2 && fl_schedule_rate(&o, 110) == 2);
    o.schedule = FL_SCHEDULE_LINEAR;
    assert_true(fabs(fl_schedule_rate(&o, 60) - 1.5) < 1e-12 && fabs(fl_schedule_rate(&o, 110) - 1) < 1e-12);
    o.schedule = FL_SCHEDULE_COSINE;
    assert_true(fabs(fl_schedule_rate(&o, 60) - 1.5) < 1e-12 && fabs(fl_schedule_rate(&o, 110) - 1) < 1e-12);
    assert_true(fabs(fl_schedule_rate(&o, 35) - (1 + 0.5 * (1 + sqrt(0.5)))) < 1e-12);
}

/* Every window once in each epoch, in another order in the next; any draw is known without the ones before. */
static void test_order(void **state)
{
    (void)state;
    fl_order o, p;
    must(fl_order_create(&o, 50, 9));
    must(fl_order_create(&p, 50, 9));
    int64_t first[50], seen[50] = {0}, moved = 0;
    for (int64_t i = 0; i < 50; i++)
        seen[first[i] = fl_order_at(&o, i)]++;
    for (int64_t i = 0; i < 50; i++)
        assert_int_equal(seen[i], 1);
    for (int64_t i = 0; i < 50; i++) {
        int64_t second = fl_order_at(&o, 50 + i);
        seen[second]++;
        moved += second != first[i];
        assert_int_equal(fl_order_at(&p, 50 + i), second);
    }
    for (int64_t i = 0; i < 50; i++)
        assert_int_equal(seen[i], 2);
    assert_true(moved > 40);
    fl_order_destroy(&o);
    fl_order_destroy(&p);
}

/* A run killed at any moment and resumed ends in the bits of one that was never disturbed, its log included. */
static void test_resume_after_kill(void **state)
{
    (void)state;
    char folder[] = "/tmp/furlong-train-XXXXXX", path[64], log[64], unbroken_log[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/state", folder);
    snprintf(log, sizeof log, "%s/log", folder);
    snprintf(unbroken_log, sizeof unbroken_log, "%s/unbroken", folder);
    setup unbroken;
    fl_train_options o = options_of(NULL, unbroken_log);
    setup_open(&unbroken, &o, 2);
    must(fl_trainer_run(unbroken.trainer, unbroken.data, NULL));

    o = options_of(path, log);
    o.resume = true;
    for (int kill_after = 1; kill_after <= 3; kill_after++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            setup s;
            setup_open(&s, &o, 2);
            fl_trainer_run(s.trainer, s.data, NULL);
            _exit(0);
        }
        /* Wait for the state to change, then strike at no particular moment of the next steps. */
        struct stat before = {0}, now = {0};
        stat(path, &before);
        for (int i = 0; i < 2000; i++) {
            if (stat(path, &now) == 0 && now.st_ino != before.st_ino) break;
            nanosleep(&(struct timespec){0, 1000000}, NULL);
        }
        nanosleep(&(struct timespec){0, 700000 * kill_after}, NULL);
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, NULL, 0), child);
    }
    setup resumed;
    setup_open(&resumed, &o, 2);
    must(fl_trainer_run(resumed.trainer, resumed.data, NULL));
    assert_int_equal(resumed.trainer->step, 14);
    size_t bytes = (size_t)unbroken.trainer->parameters.count * sizeof(float);
    assert_memory_equal(unbroken.trainer->parameters.master, resumed.trainer->parameters.master, bytes);
    assert_memory_equal(unbroken.trainer->parameters.moment1, resumed.trainer->parameters.moment1, bytes);
    assert_memory_equal(unbroken.trainer->parameters.moment2, resumed.trainer->parameters.moment2, bytes);

    fl_buffer a = {0}, b = {0};
    must(fl_file_read(&a, unbroken_log, 1 << 20));
    must(fl_file_read(&b, log, 1 << 20));
    const char *x = a.data, *y = b.data;
    for (int i = 0; i < 14; i++) { /* all but the time taken */
        size_t n = (size_t)(strstr(x, "\"seconds\"") - x);
        assert_memory_equal(x, y, n);
        x = strchr(x, '\n') + 1;
        y = strchr(y, '\n') + 1;
    }
    assert_true(!*x && !*y);
    fl_buffer_free(&a);
    fl_buffer_free(&b);

    o.lr = 2e-3;
    setup other;
    setup_open(&other, &o, 2);
    assert_int_equal(fl_trainer_load(other.trainer, path), FL_ERR_STATE);
    assert_non_null(strstr(fl_error_message(), "lr"));
    setup_close(&other);
    o.resume = false;
    setup_open(&other, &o, 2);
    assert_int_equal(fl_trainer_run(other.trainer, other.data, NULL), FL_ERR_ARGUMENT);
    assert_non_null(strstr(fl_error_message(), "--resume"));
    setup_close(&other);
    setup_close(&resumed);
    setup_close(&unbroken);
    unlink(path);
    unlink(log);
    unlink(unbroken_log);
    rmdir(folder);
}

/* Accumulation and recomputation change memory, not what is learnt. Recomputation keeps every bit; accumulation sums
 * the same gradients in another order, so 10 steps of fp32 may differ by a few units in the last place of the loss. */
static void test_same_result(void **state)
{
    (void)state;
    double loss[3];
    float *master[3];
    setup s[3];
    for (int i = 0; i < 3; i++) {
        fl_train_options o = options_of(NULL, NULL);
        o.accumulate = i == 1 ? 4 : 1;
        o.recompute = i == 2;
        setup_open(&s[i], &o, 2);
        fl_train_step last;
        must(fl_trainer_run(s[i].trainer, s[i].data, &last));
        loss[i] = last.loss;
        master[i] = s[i].trainer->parameters.master;
    }
    assert_true(loss[0] == loss[2]);
    assert_memory_equal(master[0], master[2], (size_t)s[0].trainer->parameters.count * sizeof(float));
    assert_true(fabs(loss[0] - loss[1]) < 1e-4 * loss[0]);
    for (int i = 0; i < 3; i++)
        setup_close(&s[i]);
}

static int cancel_at_five(const char *stage, int64_t done, int64_t total, double left, void *user)
{
    (void)stage, (void)total, (void)left, (void)user;
    return done >= 5;
}

static void test_cancel_saves(void **state)
{
    (void)state;
    char path[] = "/tmp/furlong-cancel-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    unlink(path);
    setup s;
    fl_train_options o = options_of(path, NULL);
    o.steps = 100000;
    o.save_every = 0;
    o.progress = cancel_at_five;
    setup_open(&s, &o, 2);
    assert_int_equal(fl_trainer_run(s.trainer, s.data, NULL), FL_ERR_CANCELLED);
    int64_t step = s.trainer->step;
    assert_true(step >= 5 && step < 100000);
    assert_true(fl_file_exists(path));
    must(fl_trainer_load(s.trainer, path));
    assert_int_equal(s.trainer->step, step);
    setup_close(&s);
    unlink(path);
}

/* What is written opens again and continues to the same loss as the trainer's own weights give. */
static void test_export(void **state)
{
    (void)state;
    char folder[] = "/tmp/furlong-export-XXXXXX";
    assert_non_null(mkdtemp(folder));
    setup s;
    fl_train_options o = options_of(NULL, NULL);
    setup_open(&s, &o, 2);
    must(fl_trainer_run(s.trainer, s.data, NULL));
    must(fl_trainer_export(s.trainer, folder, "f32"));
    fl_model_options options = FL_MODEL_OPTIONS_INIT;
    fl_model *again;
    must(fl_model_open(&again, s.engine, folder, &options));
    fl_parameters p;
    must(fl_parameters_create(&p, again, &o));
    assert_int_equal(p.count, s.trainer->parameters.count);
    assert_memory_equal(p.master, s.trainer->parameters.master, (size_t)p.count * sizeof(float));
    fl_parameters_destroy(&p);
    fl_model_close(again);
    setup_close(&s);
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

static void test_refusals(void **state)
{
    (void)state;
    setup s;
    fl_train_options o = options_of(NULL, NULL);
    setup_open(&s, &o, 1);
    fl_data *little;
    must(fl_data_of_ids(&little, (const int32_t[16]){0}, 16));
    assert_int_equal(fl_trainer_run(s.trainer, little, NULL), FL_ERR_ARGUMENT);
    assert_non_null(strstr(fl_error_message(), "17"));
    fl_data_close(little);
    fl_trainer *t;
    o.accumulate = 3;
    assert_int_equal(fl_trainer_create(&t, s.model, &o), FL_ERR_ARGUMENT);
    o = options_of(NULL, NULL);
    o.lr = NAN;
    assert_int_equal(fl_trainer_create(&t, s.model, &o), FL_ERR_ARGUMENT);
    assert_non_null(strstr(fl_error_message(), "--lr"));
    setup_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schedule),          cmocka_unit_test(test_order),
        cmocka_unit_test(test_resume_after_kill), cmocka_unit_test(test_same_result),
        cmocka_unit_test(test_cancel_saves),      cmocka_unit_test(test_export),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
