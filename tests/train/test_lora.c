/* Training adapters: losses, gradient norms and first gradients against PyTorch in float64
 * (tools/oracle/lora_train.py) for plain, fused and transposed matrices; what is written opens again and computes the
 * same; exact resume; frozen weights in blocks.
 *
 * Bounds as for whole models (train/test_golden.c): 1e-5 of the loss, of the norm and of the largest gradient. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "golden.h"
#include "train/trainer.h"

#define BOUND 1e-5
#define RECORDS FL_TEST_DATA "/golden/train/lora_"
#define TINY FL_TEST_DATA "/tiny/"

static void must(fl_status s)
{
    if (s != FL_OK) fail_msg("%s: %s", fl_status_name(s), fl_error_message());
}

static char folder[] = "/tmp/furlong-lora-train-XXXXXX";
static fl_engine *engine;

static int set_up(void **state)
{
    (void)state;
    fl_engine_options options = FL_ENGINE_OPTIONS_INIT;
    options.threads = 2;
    return mkdtemp(folder) && fl_engine_create(&engine, &options) == FL_OK ? 0 : 1;
}

static int tear_down(void **state)
{
    (void)state;
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

static fl_model *open_model(const char *path, const char *lora)
{
    fl_model_options options = FL_MODEL_OPTIONS_INIT;
    options.lora = lora;
    fl_model *m;
    must(fl_model_open(&m, engine, path, &options));
    return m;
}

static fl_buffer record_part(const char *run, const char *part)
{
    char path[256];
    snprintf(path, sizeof path, RECORDS "%s%s", run, part);
    return golden_file(path);
}

/* ---- golden runs ------------------------------------------------------------------------------------------------ */

/* Where element (row, col) of an array lies in PyTorch's parameter: A and B as they are, weights by the strides of
 * their tensor. */
static int64_t place(const fl_trainer *t, int array, int64_t row, int64_t col)
{
    const fl_trained *a = &t->parameters.array[array];
    if (array >= t->parameters.whole) return row * a->cols + col;
    const fl_stored *s = &t->model->weight[a->weight]->stored;
    int64_t first = (const float *)s->data - (const float *)t->model->source[a->weight]->data;
    return first + row * s->row_stride + col * s->col_stride;
}

/* The line "parameter NAME offset ..." of an array. */
static int64_t offset_of(const fl_buffer *record, const fl_trainer *t, int array)
{
    char line[320], name[256];
    snprintf(name, sizeof name, "%s", t->model->source[t->parameters.array[array].weight]->name);
    int whole = t->parameters.whole;
    if (array >= whole) strcpy(strrchr(name, '.'), (array - whole) % 2 ? ".lora_B" : ".lora_A");
    snprintf(line, sizeof line, "\nparameter %s ", name);
    const char *found = strstr(record->data, line);
    if (!found) fail_msg("no parameter %s in the record", name);
    return atoll(found + strlen(line));
}

/* Copy the recorded numbers into `values` (start), or compare `values` with them (gradients). */
static void exchange(const fl_buffer *record, const fl_trainer *t, const float *numbers, float *values, bool compare)
{
    for (int i = 0; i < t->parameters.arrays; i++) {
        const fl_trained *a = &t->parameters.array[i];
        const float *from = numbers + offset_of(record, t, i);
        double error = 0, largest = 0;
        for (int64_t row = 0; row < a->rows; row++)
            for (int64_t col = 0; col < a->cols; col++) {
                float *mine = values + a->offset + row * a->cols + col, theirs = from[place(t, i, row, col)];
                if (!compare) *mine = theirs;
                error = fmax(error, fabs((double)*mine - (double)theirs));
                largest = fmax(largest, fabs((double)theirs));
            }
        if (!(error < BOUND * largest) && compare)
            fail_msg("array %d of %s: gradient off by %g of %g", i, t->model->weight[a->weight]->name, error, largest);
    }
}

static void golden(const char *run)
{
    fl_buffer record = record_part(run, ".txt"), batch = record_part(run, "_batch.i32.bin"),
              start = record_part(run, "_start.f32.bin"), gradient = record_part(run, "_gradient.f32.bin");
    char targets[128], trainable[64], path[256];
    golden_word(&record, "targets", targets, sizeof targets);
    golden_word(&record, "trainable", trainable, sizeof trainable);
    fl_train_options o = FL_TRAIN_OPTIONS_INIT;
    o.steps = golden_integer(&record, "steps");
    o.batch = golden_integer(&record, "rows");
    o.length = golden_integer(&record, "length");
    o.warmup = golden_integer(&record, "warmup");
    o.lr = atof(golden_value(&record, "peak"));
    o.clip = atof(golden_value(&record, "clip"));
    o.weight_decay = atof(golden_value(&record, "decay"));
    o.lora_rank = golden_integer(&record, "rank");
    o.lora_alpha = atof(golden_value(&record, "alpha"));
    o.lora_targets = targets;
    o.trainable = strcmp(trainable, "-") ? trainable : NULL;
    snprintf(path, sizeof path, TINY "%s", run);
    fl_model *model = open_model(path, NULL);
    fl_trainer *t;
    must(fl_trainer_create(&t, model, &o));
    exchange(&record, t, (const float *)(const void *)start.data, t->parameters.master, false);
    const char *line = record.data;
    for (int64_t i = 0; i < o.steps; i++) {
        double lr, loss, norm;
        line = strstr(line + 1, "\nstep ");
        assert_int_equal(sscanf(line, "\nstep %*d %lf %lf %lf", &lr, &loss, &norm), 3);
        fl_train_step step;
        must(fl_trainer_step(t, (const int32_t *)(const void *)batch.data + i * o.batch * (o.length + 1), &step));
        if (!(fabs(step.loss - loss) < BOUND * loss && fabs(step.grad_norm - norm) < BOUND * norm))
            fail_msg("%s, step %lld: loss %.7f, expected %.7f; norm %.7f, expected %.7f", run, (long long)i, step.loss,
                     loss, step.grad_norm, norm);
        if (i == 0) exchange(&record, t, (const float *)(const void *)gradient.data, t->parameters.grad, true);
    }
    fl_trainer_destroy(t);
    fl_model_close(model);
    fl_buffer_free(&record);
    fl_buffer_free(&batch);
    fl_buffer_free(&start);
    fl_buffer_free(&gradient);
}

static void test_golden(void **state)
{
    (void)state;
    golden("llama");
    golden("phi3");
    golden("gpt2");
    golden("gpt_neox");
}

/* ---- what is written -------------------------------------------------------------------------------------------- */

#define DATA 600

static void make_data(int32_t *ids)
{
    for (int i = 0; i < DATA; i++)
        ids[i] = (i * i + i / 7) % 96;
}

static void run(fl_trainer *t, const int32_t *ids)
{
    fl_data *data;
    must(fl_data_of_ids(&data, ids, DATA));
    must(fl_trainer_run(t, data, NULL));
    fl_data_close(data);
}

static fl_train_options options_of(void)
{
    fl_train_options o = FL_TRAIN_OPTIONS_INIT;
    o.length = 24;
    o.batch = 4;
    o.steps = 8;
    o.lr = 5e-3;
    o.warmup = 2;
    o.seed = 3;
    o.lora_rank = 4;
    return o;
}

/* Sum of negative log-likelihoods of the data's first 48 tokens. */
static double score(const fl_model *m, const fl_overlay *overlay, const int32_t *ids)
{
    fl_run *run;
    must(fl_run_create(&run, engine, 0, false));
    float nll[48];
    fl_batch_seq seq = {.rows = 48};
    fl_batch batch = {.sequences = 1, .seq = &seq, .rows = 48, .tokens = ids};
    fl_head_spec spec = {.n = 48, .target = ids + 1, .nll = nll};
    must(fl_model_pass(m, run, &batch, overlay, false, &spec));
    fl_run_destroy(run);
    double sum = 0;
    for (int i = 0; i < 48; i++)
        sum += (double)nll[i];
    return sum;
}

/* The folder over the base model, and the merged model, compute what the trainer computes: W x + B A x against
 * (W + B A) x differ by roundings only. */
static void written(const char *path, const char *targets, const char *trainable)
{
    int32_t ids[DATA];
    make_data(ids);
    fl_model *base = open_model(path, NULL);
    fl_train_options o = options_of();
    o.lora_targets = targets;
    o.trainable = trainable;
    fl_trainer *t;
    must(fl_trainer_create(&t, base, &o));
    run(t, ids);
    must(fl_trainer_export_adapter(t, inside("adapter")));
    must(fl_trainer_export(t, inside("merged"), "f32"));
    double before = score(base, NULL, ids), trained = score(base, &t->parameters.overlay, ids);
    fl_model *adapted = open_model(path, inside("adapter")), *merged = open_model(inside("merged"), NULL);
    double a = score(adapted, NULL, ids), b = score(merged, NULL, ids);
    if (!(fabs(a - trained) < 1e-5 * trained && fabs(b - trained) < 1e-5 * trained && fabs(before - trained) > 0.1))
        fail_msg("%s: before %.6f, trained %.6f, adapter %.6f, merged %.6f", path, before, trained, a, b);
    fl_model_close(adapted);
    fl_model_close(merged);
    fl_trainer_destroy(t);
    fl_model_close(base);
}

static void test_written(void **state)
{
    (void)state;
    written(TINY "llama", NULL, "embed,norm");
    written(TINY "llama_tied", "q_proj,down_proj", "embed");
    written(TINY "phi3", "qkv_proj,gate_up_proj", NULL);
    written(TINY "gpt2", NULL, "ln_1.bias");
    written(TINY "gpt_neox", NULL, "norm");
    written(FL_SOURCE_DIR "/models/stories260K/stories260K.bin", "q_proj,v_proj", "k_proj"); /* interleaved rows */
}

/* Full training of some tensors alone is the model's own file with those changed. */
static void test_trainable_only(void **state)
{
    (void)state;
    int32_t ids[DATA];
    make_data(ids);
    fl_model *base = open_model(TINY "llama", NULL);
    fl_train_options o = options_of();
    o.lora_rank = 0;
    o.trainable = "layers.1.mlp";
    fl_trainer *t;
    must(fl_trainer_create(&t, base, &o));
    assert_int_equal(t->parameters.arrays, 3);
    run(t, ids);
    assert_int_equal(fl_trainer_export_adapter(t, inside("none")), FL_ERR_STATE);
    must(fl_trainer_export(t, inside("part"), "f32"));
    fl_model *back = open_model(inside("part"), NULL);
    for (int i = 0; i < base->weights; i++) {
        size_t bytes;
        must(fl_file_tensor_bytes(base->source[i], &bytes));
        bool changed = memcmp(base->source[i]->data, back->source[i]->data, bytes) != 0;
        assert_int_equal(changed, strstr(base->source[i]->name, "layers.1.mlp") != NULL);
    }
    fl_model_close(back);
    fl_trainer_destroy(t);
    fl_model_close(base);
}

/* ---- resume, frozen blocks, refusals ---------------------------------------------------------------------------- */

static void test_resume(void **state)
{
    (void)state;
    int32_t ids[DATA];
    make_data(ids);
    fl_model *m = open_model(TINY "llama", NULL);
    fl_train_options o = options_of();
    o.trainable = "norm";
    fl_trainer *unbroken, *first, *second;
    must(fl_trainer_create(&unbroken, m, &o));
    run(unbroken, ids);
    o.state = inside("state");
    o.steps = 5;
    must(fl_trainer_create(&first, m, &o));
    run(first, ids);
    o.steps = 8;
    o.resume = true;
    must(fl_trainer_create(&second, m, &o));
    run(second, ids);
    assert_memory_equal(unbroken->parameters.master, second->parameters.master,
                        (size_t)second->parameters.count * sizeof(float));
    fl_trainer_destroy(first);
    o.lora_alpha = 8;
    must(fl_trainer_create(&first, m, &o));
    assert_int_equal(fl_trainer_load(first, o.state), FL_ERR_STATE);
    assert_non_null(strstr(fl_error_message(), "lora_alpha"));
    fl_trainer_destroy(first);
    o.lora_alpha = 16;
    o.trainable = NULL;
    must(fl_trainer_create(&first, m, &o));
    assert_int_equal(fl_trainer_load(first, o.state), FL_ERR_STATE);
    assert_non_null(strstr(fl_error_message(), "trainable = norm"));
    fl_trainer_destroy(first);
    fl_trainer_destroy(second);
    fl_trainer_destroy(unbroken);
    fl_model_close(m);
}

/* A run killed at any moment and resumed ends in the bits of one that was never disturbed: adapters, the norms beside
 * them, and their moments. */
static void test_resume_after_kill(void **state)
{
    (void)state;
    int32_t ids[DATA];
    make_data(ids);
    fl_model *m = open_model(TINY "llama", NULL);
    fl_train_options o = options_of();
    o.trainable = "norm";
    o.steps = 14;
    fl_trainer *unbroken, *resumed;
    must(fl_trainer_create(&unbroken, m, &o));
    run(unbroken, ids);
    o.state = inside("killed");
    o.save_every = 2;
    o.resume = true;
    for (int kill_after = 1; kill_after <= 3; kill_after++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) { /* with threads of its own: those of the parent do not live here */
            fl_engine_options engine_options = FL_ENGINE_OPTIONS_INIT;
            engine_options.threads = 2;
            if (fl_engine_create(&engine, &engine_options) != FL_OK) _exit(1);
            fl_trainer *t;
            if (fl_trainer_create(&t, open_model(TINY "llama", NULL), &o) != FL_OK) _exit(1);
            run(t, ids);
            _exit(0);
        }
        /* Wait for the state to change, then strike at no particular moment of the next steps. */
        struct stat before = {0}, now = {0};
        stat(o.state, &before);
        for (int i = 0; i < 2000; i++) {
            if (stat(o.state, &now) == 0 && now.st_ino != before.st_ino) break;
            nanosleep(&(struct timespec){0, 1000000}, NULL);
        }
        nanosleep(&(struct timespec){0, 500000 * kill_after}, NULL);
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, NULL, 0), child);
    }
    must(fl_trainer_create(&resumed, m, &o));
    run(resumed, ids);
    assert_int_equal(resumed->step, 14);
    size_t bytes = (size_t)unbroken->parameters.count * sizeof(float);
    assert_memory_equal(unbroken->parameters.master, resumed->parameters.master, bytes);
    assert_memory_equal(unbroken->parameters.moment1, resumed->parameters.moment1, bytes);
    assert_memory_equal(unbroken->parameters.moment2, resumed->parameters.moment2, bytes);
    fl_trainer_destroy(resumed);
    fl_trainer_destroy(unbroken);
    fl_model_close(m);
}

/* Over Q8_0 weights the forward products run on integers (inputs rounded to 8 bits), so gradients are those of the F32
 * model to about a percent; the direction is what training needs. */
static void test_quantised(void **state)
{
    (void)state;
    int32_t ids[DATA];
    make_data(ids);
    fl_convert_options convert = FL_CONVERT_OPTIONS_INIT;
    convert.type = "q8_0";
    convert.no_tokenizer = true;
    must(fl_convert(TINY "llama", inside("model.gguf"), &convert));
    fl_model *m[2] = {open_model(TINY "llama", NULL), open_model(inside("model.gguf"), NULL)};
    fl_trainer *t[2];
    fl_train_options o = options_of();
    double loss[2];
    for (int i = 0; i < 2; i++) {
        must(fl_trainer_create(&t[i], m[i], &o));
        fl_train_step step;
        must(fl_trainer_step(t[i], ids, &step));
        loss[i] = step.loss;
    }
    assert_true(fabs(loss[0] - loss[1]) < 0.01 * loss[0]);
    double dot = 0, length[2] = {0};
    const float *a = t[0]->parameters.grad, *b = t[1]->parameters.grad;
    assert_int_equal(t[0]->parameters.count, t[1]->parameters.count);
    /* B is zero at first, so A has no gradient yet, and B's rows of q and k lie in another order in GGUF: compare v. */
    for (int i = 0; i < t[0]->parameters.arrays; i++) {
        const fl_trained *array = &t[0]->parameters.array[i];
        if (!strstr(m[0]->weight[array->weight]->name, "v_proj")) continue;
        for (int64_t j = array->offset; j < array->offset + array->rows * array->cols; j++) {
            dot += (double)a[j] * (double)b[j];
            length[0] += (double)a[j] * (double)a[j];
            length[1] += (double)b[j] * (double)b[j];
        }
    }
    if (!(dot > 0.99 * sqrt(length[0] * length[1]))) fail_msg("cosine %g", dot / sqrt(length[0] * length[1]));
    must(fl_trainer_export_adapter(t[1], inside("over_q8")));
    fl_model *adapted = open_model(TINY "llama", inside("over_q8")); /* row order of Hugging Face again */
    fl_model_close(adapted);
    for (int i = 0; i < 2; i++) {
        fl_trainer_destroy(t[i]);
        fl_model_close(m[i]);
    }
}

static void refused(fl_model *m, const fl_train_options *o, fl_status status, const char *said)
{
    fl_trainer *t;
    assert_int_equal(fl_trainer_create(&t, m, o), status);
    if (!strstr(fl_error_message(), said)) fail_msg("%s: does not say %s", fl_error_message(), said);
}

static void test_refusals(void **state)
{
    (void)state;
    fl_model *m = open_model(TINY "llama", NULL);
    fl_train_options o = options_of();
    o.lora_targets = "q_proj,querry";
    refused(m, &o, FL_ERR_ARGUMENT, "'querry' matches nothing");
    o.lora_targets = "proj";
    refused(m, &o, FL_ERR_ARGUMENT, "'proj' matches nothing"); /* whole names between dots */
    o.lora_targets = "lm_head";
    refused(m, &o, FL_ERR_UNSUPPORTED, "lm_head.weight cannot have an adapter");
    o.lora_targets = "embed_tokens";
    refused(m, &o, FL_ERR_UNSUPPORTED, "model.embed_tokens.weight cannot");
    o.lora_targets = "q_proj";
    o.trainable = "q_proj";
    refused(m, &o, FL_ERR_ARGUMENT, "both name it");
    o.trainable = "nothing_like_it";
    refused(m, &o, FL_ERR_ARGUMENT, "--trainable");
    o.trainable = NULL;
    o.lora_alpha = NAN;
    refused(m, &o, FL_ERR_ARGUMENT, "--lora-alpha");
    o.lora_alpha = 16;
    o.lora_rank = 0;
    refused(m, &o, FL_ERR_ARGUMENT, "needs --lora-rank");
    fl_model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_written),
        cmocka_unit_test(test_trainable_only),
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_resume_after_kill),
        cmocka_unit_test(test_quantised),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
