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
#include "plan/count.h"
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

/* Methods that change passes: Self-Extend reaches (L - W) G + W; what clips distances reaches any text.
 * Where the table of passes has a kind that this plan has not, the loop over names fails. */
static void test_passes(void **state)
{
    (void)state;
    fl_plan p = {.size = sizeof p};
    fl_plan_options o = FL_PLAN_OPTIONS_INIT;
    o.head_dim = 64;
    o.window = 256;
    o.base = 10000;
    o.to = 1024;
    must(fl_plan_make(&p, &o));
    for (int kind = FL_PASSES_PLAIN + 1; kind < FL_PASSES_KIND_COUNT; kind++) {
        fl_passes passes = {.kind = (fl_passes_kind)kind};
        const fl_plan_method *m = method(&p, fl_passes_name(&passes));
        assert_true(m->passes && !m->tuned && m->window == 1024 && m->change == 0);
        assert_true(m->basis == FL_PLAN_CONSTRUCTION && m->stream == (kind == FL_PASSES_STREAM));
    }
    assert_true(p.smallest >= 0 && !p.method[p.smallest].passes);
    fl_rope_spec own;
    fl_passes passes;
    int64_t reach;
    fl_rope_spec_init(&own, 10000, 64, 256);
    must(fl_plan_method_passes(&passes, &reach, method(&p, "self-extend"), &own));
    assert_true(reach >= 1024 && reach == (256 - passes.near) * passes.group + passes.near);
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

/* An untied engine, model and a plan's counterpart: what arenas really held. */
static int64_t arenas(const fl_run *run)
{
    return (int64_t)(fl_arena_peak(run->data) + fl_arena_peak(run->grads) + fl_arena_peak(run->nodes));
}

typedef struct opened {
    fl_engine *engine;
    fl_model *model;
} opened;

static opened open_model(const char *path, const char *scaling, double scale)
{
    opened o;
    fl_engine_options engine_options = FL_ENGINE_OPTIONS_INIT;
    fl_model_options model_options = FL_MODEL_OPTIONS_INIT;
    model_options.rope.scaling = scaling;
    model_options.rope.scale = scale;
    must(fl_engine_create(&o.engine, &engine_options));
    must(fl_model_open(&o.model, o.engine, path, &model_options));
    return o;
}

static void close_model(opened o)
{
    fl_model_close(o.model);
    fl_engine_destroy(o.engine);
}

/* The same chunks as a session reads, with the same memory -> bytes of arenas. *kv: the most that pages took; scheme:
 * NULL for the model's own. */
static int64_t read_for_real(const fl_model *m, const fl_scheme *scheme, int64_t tokens, int64_t chunk,
                             const fl_kv_shape *shape, int64_t *kv)
{
    int32_t *ids = fl_calloc((size_t)tokens, sizeof *ids);
    fl_kv_shape *shapes = fl_calloc((size_t)m->config.layers, sizeof *shapes);
    fl_memory *memory;
    fl_run *run;
    *kv = 0;
    assert_true(ids && shapes);
    for (int64_t i = 0; i < m->config.layers; i++)
        shapes[i] = *shape;
    must(fl_memory_create(&memory, (int)m->config.layers, shapes));
    must(fl_run_create(&run, m->engine, 0, false));
    for (int64_t begin = 0; begin < tokens; begin += chunk) {
        int64_t rows = tokens - begin < chunk ? tokens - begin : chunk, row = rows - 1;
        fl_batch_seq seq = {.memory = memory, .rows = rows, .first_position = begin, .length = tokens};
        fl_batch batch = {.sequences = 1, .seq = &seq, .rows = rows, .tokens = ids + begin, .scheme = scheme};
        fl_head_spec spec = {.n = 1, .row = &row};
        int64_t held = fl_memory_tokens(memory) - fl_memory_evicted(memory) + rows;
        int64_t bytes =
            (held + FL_PAGE_TOKENS - 1) / FL_PAGE_TOKENS * m->config.layers * (int64_t)fl_kv_page_bytes(shape);
        *kv = bytes > *kv ? bytes : *kv;
        must(fl_model_pass(m, run, &batch, NULL, false, begin + rows == tokens ? &spec : NULL));
    }
    int64_t used = arenas(run);
    fl_run_destroy(run);
    fl_memory_destroy(memory);
    fl_free(shapes);
    fl_free(ids);
    return used;
}

/* What is counted is what a run uses, byte for byte: chunks that fill and that do not, every type of cache, and a
 * method that rotates keys at use. */
static void test_counted_reading(void **state)
{
    (void)state;
    static const struct {
        const char *scaling, *type_k, *type_v;
        int64_t tokens, chunk;
    } cases[] = {{NULL, "f32", "f32", 300, 96},
                 {NULL, "f16", "bf16", 512, 128},
                 {"linear", "bf16", "f32", 257, 512},
                 {"dynamic", "f32", "f32", 700, 64}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        opened o = open_model(FL_TEST_DATA "/tiny/llama", cases[i].scaling, cases[i].scaling ? 4 : 0);
        fl_kv_shape shape;
        int64_t kv;
        must(fl_model_kv_types(o.model, cases[i].type_k, cases[i].type_v, &shape));
        int64_t used = read_for_real(o.model, NULL, cases[i].tokens, cases[i].chunk, &shape, &kv);
        fl_plan p = {.size = sizeof p};
        fl_plan_options options = FL_PLAN_OPTIONS_INIT;
        options.model = o.model;
        options.to = cases[i].tokens;
        options.chunk = cases[i].chunk;
        options.type_k = cases[i].type_k;
        options.type_v = cases[i].type_v;
        must(fl_plan_make(&p, &options));
        assert_int_equal(p.scratch_bytes, used);
        assert_int_equal(p.kv_bytes, kv);
        assert_int_equal(p.read_bytes, p.weight_bytes + kv + used);
        const fl_plan_method *own = method(&p, cases[i].scaling ? cases[i].scaling : "none");
        assert_int_equal(own->memory_bytes, p.read_bytes);
        if (cases[i].scaling && !strcmp(cases[i].scaling, "dynamic"))
            assert_true(own->memory_bytes > method(&p, "linear")->memory_bytes);
        close_model(o);
    }
}

/* A stream takes its cache's memory, byte for byte what it holds at most: where a text does not fill the cache, where
 * blocks of 1024 tokens have been let go, and for a text so long that reading all of it is not counted. */
static void test_counted_stream(void **state)
{
    (void)state;
    static const struct {
        int64_t tokens, chunk;
    } cases[] = {{200, 64}, {5000, 96}, {9000, 1000}, {6000, 512}};
    opened o = open_model(FL_TEST_DATA "/tiny/llama", NULL, 0); /* window 128 */
    fl_kv_shape shape;
    must(fl_model_kv_types(o.model, "f32", "f32", &shape));
    fl_scheme scheme = o.model->scheme;
    scheme.passes = (fl_passes){.kind = FL_PASSES_STREAM, .sinks = 4, .window = 124};
    fl_plan p = {.size = sizeof p};
    fl_plan_options options = FL_PLAN_OPTIONS_INIT;
    options.model = o.model;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t kv, used = read_for_real(o.model, &scheme, cases[i].tokens, cases[i].chunk, &shape, &kv);
        options.to = cases[i].tokens;
        options.chunk = cases[i].chunk;
        must(fl_plan_make(&p, &options));
        assert_int_equal(method(&p, "stream")->memory_bytes, p.weight_bytes + kv + used);
    }
    int64_t most = method(&p, "stream")->memory_bytes;
    options.to = 50000000;
    must(fl_plan_make(&p, &options));
    assert_int_equal(method(&p, "stream")->memory_bytes, most);
    assert_true(p.read_bytes > 1000 * most);
    close_model(o);
}

static void test_weights_and_caches(void **state)
{
    (void)state;
    opened o = open_model(FL_SOURCE_DIR "/models/stories260K/stories260K.bin", NULL, 0);
    fl_plan p = {.size = sizeof p};
    fl_plan_options options = FL_PLAN_OPTIONS_INIT;
    options.model = o.model;
    options.to = 1024;
    must(fl_plan_make(&p, &options));
    /* 1024 tokens, 5 layers, 4 kv heads of 8: halves as the type does; heads of 8 hold no block of 32. */
    int64_t f32 = INT64_C(1024) * 5 * 2 * 4 * 8 * 4;
    assert_string_equal(p.cache[0].type, "f32");
    assert_int_equal(p.cache[0].bytes, f32);
    assert_int_equal(p.cache[1].bytes, f32 / 2);
    assert_int_equal(p.cache[2].bytes, f32 / 2);
    assert_int_equal(p.cache[3].bytes, 0);
    assert_int_equal(p.cache[4].bytes, 0);
    close_model(o);
}

static void test_counted_training(void **state)
{
    (void)state;
    opened o = open_model(FL_TEST_DATA "/tiny/llama", NULL, 0);
    int32_t ids[2 * 129] = {0};
    for (int recompute = 0; recompute < 2; recompute++) {
        fl_plan p = {.size = sizeof p};
        fl_plan_options options = FL_PLAN_OPTIONS_INIT;
        options.model = o.model;
        options.to = 300;
        options.tune_length = 128;
        options.batch = 2;
        must(fl_plan_make(&p, &options));
        fl_train_options t = FL_TRAIN_OPTIONS_INIT;
        t.length = 128;
        t.batch = 2;
        t.recompute = recompute ? FL_RECOMPUTE_ON : FL_RECOMPUTE_OFF;
        fl_trainer *trainer;
        must(fl_trainer_create(&trainer, o.model, &t));
        must(fl_trainer_step(trainer, ids, NULL));
        int64_t used = arenas(trainer->run) + trainer->parameters.count * 16 + o.model->weight_bytes;
        assert_int_equal(recompute ? p.train_recompute_bytes : p.train_bytes, used);
        fl_trainer_destroy(trainer);
        if (recompute) assert_true(p.train_recompute_bytes < p.train_bytes);

        t.length = 300; /* adapters are counted at the target */
        t.batch = 2;
        t.lora_rank = 8;
        t.trainable = "embed,norm";
        int32_t long_ids[2 * 301] = {0};
        must(fl_trainer_create(&trainer, o.model, &t));
        must(fl_trainer_step(trainer, long_ids, NULL));
        used = arenas(trainer->run) + trainer->parameters.count * 16 + o.model->weight_bytes;
        assert_int_equal(recompute ? p.lora_recompute_bytes : p.lora_bytes, used);
        fl_trainer_destroy(trainer);
    }
    close_model(o);
}

/* Times are those of counted work: a model of one layer's products and attention against closed forms. */
static void test_counted_work(void **state)
{
    (void)state;
    opened o = open_model(FL_TEST_DATA "/tiny/llama", NULL, 0);
    const fl_config *c = &o.model->config;
    double products = 0, rows = 200;
    for (int i = 0; i < o.model->weights; i++) {
        const fl_weight *w = o.model->weight[i];
        if (w->packed && w != o.model->head) products += 2.0 * (double)(w->stored.rows * w->stored.cols);
    }
    double head = 2.0 * (double)(c->vocab * c->width), pairs = rows * (rows + 1) / 2;
    double attention = 4 * pairs * (double)(c->heads * c->head_dim * c->layers);
    fl_rates never = {sizeof never, 1, INFINITY, INFINITY, INFINITY, INFINITY, INFINITY, INFINITY, INFINITY, 0};
    fl_plan p = {.size = sizeof p};
    fl_plan_options options = FL_PLAN_OPTIONS_INIT;
    options.model = o.model;
    options.to = (int64_t)rows;
    options.tune_length = (int64_t)rows;
    options.chunk = 40; /* five chunks; the last one meets the head */
    fl_rates rates = never;
    rates.packed_flops = 1;
    options.rates = &rates;
    must(fl_plan_make(&p, &options));
    assert_true(fabs(method(&p, "none")->read_seconds / (rows * products + head) - 1) < 1e-12);
    assert_true(fabs(method(&p, "none")->token_seconds / (products + head) - 1) < 1e-12);
    assert_true(p.train_seconds == 0);
    rates = never;
    rates.attend_flops = 1;
    must(fl_plan_make(&p, &options));
    assert_true(fabs(method(&p, "none")->read_seconds / attention - 1) < 1e-12);
    assert_true(fabs(p.train_seconds / attention - 1) < 1e-12);
    assert_true(fabs(p.train_recompute_seconds / (2 * attention) - 1) < 1e-12); /* every block runs twice */
    rates = never;
    rates.plain_flops = 1; /* forward, inputs' and weights' gradients: but the first block's input has none */
    must(fl_plan_make(&p, &options));
    assert_true(fabs(p.train_seconds / (3 * rows * (products + head)) - 1) < 1e-12);
    rates = never;
    rates.attend_backward_flops = 1;
    must(fl_plan_make(&p, &options));
    assert_true(fabs(p.train_seconds / (2.5 * attention) - 1) < 1e-12);
    close_model(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_llama2),
                                       cmocka_unit_test(test_tiny_heads_are_called_so),
                                       cmocka_unit_test(test_passes),
                                       cmocka_unit_test(test_refusals),
                                       cmocka_unit_test(test_counted_reading),
                                       cmocka_unit_test(test_counted_stream),
                                       cmocka_unit_test(test_weights_and_caches),
                                       cmocka_unit_test(test_counted_training),
                                       cmocka_unit_test(test_counted_work)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
