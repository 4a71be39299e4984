/* Training speed and memory of a model folder on random ids:
 *
 *     bench_train MODEL BATCH LENGTH [STEPS [THREADS]] [recompute] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/rng.h"
#include "furlong.h"

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int failed(void)
{
    fprintf(stderr, "%s\n", fl_error_message());
    return 1;
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: %s MODEL BATCH LENGTH [STEPS [THREADS]] [recompute]\n", argv[0]);
        return 2;
    }
    fl_engine_options engine_options = FL_ENGINE_OPTIONS_INIT;
    fl_model_options model_options = FL_MODEL_OPTIONS_INIT;
    fl_train_options options = FL_TRAIN_OPTIONS_INIT;
    options.batch = atoll(argv[2]);
    options.length = atoll(argv[3]);
    if (!strcmp(argv[argc - 1], "recompute")) {
        options.recompute = FL_RECOMPUTE_ON;
        argc--;
    } else {
        options.recompute = FL_RECOMPUTE_OFF;
    }
    options.steps = argc > 4 ? atoll(argv[4]) : 5;
    if (argc > 5) engine_options.threads = atoi(argv[5]);
    fl_engine *engine;
    fl_model *model;
    fl_trainer *trainer;
    if (fl_engine_create(&engine, &engine_options) || fl_model_open(&model, engine, argv[1], &model_options) ||
        fl_trainer_create(&trainer, model, &options))
        return failed();
    fl_model_info info = {.size = sizeof info};
    fl_model_get_info(model, &info);
    int64_t count = options.batch * (options.length + 1), warm = 1;
    int32_t *ids = fl_calloc((size_t)count, sizeof *ids);
    double *seconds = fl_calloc((size_t)options.steps + 1, sizeof *seconds);
    fl_rng rng;
    fl_rng_seed(&rng, 1);
    fl_train_step step = {0};
    for (int64_t i = 0; i < options.steps + warm; i++) {
        for (int64_t j = 0; j < count; j++)
            ids[j] = (int32_t)fl_rng_below(&rng, (uint64_t)info.vocab);
        if (fl_trainer_step(trainer, ids, &step)) return failed();
        if (i >= warm) seconds[i - warm] = step.seconds;
    }
    qsort(seconds, (size_t)options.steps, sizeof *seconds, compare);
    double median = seconds[options.steps / 2];
    printf("%lld parameters, %lld x %lld, %d threads, %s: loss %.4f, median %.1f ms/step (best %.1f), %.0f tokens/s, "
           "peak resident %.0f MB\n",
           (long long)info.parameters, (long long)options.batch, (long long)options.length, fl_engine_threads(engine),
           fl_engine_cpu(engine), step.loss, 1e3 * median, 1e3 * seconds[0],
           (double)(options.batch * options.length) / median, (double)fl_peak_resident_bytes() / 1e6);
    fl_free(ids);
    fl_free(seconds);
    fl_trainer_destroy(trainer);
    fl_model_close(model);
    fl_engine_destroy(engine);
    return 0;
}
