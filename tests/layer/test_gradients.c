/* Every operator's backward pass against central finite differences of its own forward pass, one table for all.
 *
 * Loss = sum of fixed random coefficients times the output (or weighted nll for the head), summed in double. With step
 * h = 1/64 the difference quotient of an fp32 forward carries about 2^-24 * |loss terms| / h = 4e-6 of rounding and
 * h^2/6 * f''' of truncation; both stay below 2e-3 of the largest gradient of the same array, which is the bound. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "layer/self_attention.h"
#include "op/op.h"

#define MAX_ARRAYS 6
#define SAMPLES 24
#define STEP 0.015625f
#define BOUND 2e-3

static const int32_t tokens[] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5};
static const int32_t targets[] = {1, 4, 1, -1, 9, 2, 6, 5, 3, 5, 8};
static const float loss_weights[] = {0.1f, 0.2f, 0.1f, 0.3f, 0.1f, 0.05f, 0.1f, 0, 0.15f, 0.1f, 0.2f};

typedef struct scene {
    fl_engine *engine;
    fl_run *run;
    fl_batch_seq seq[3];
    fl_batch batch;
    float *array[MAX_ARRAYS], *grad[MAX_ARRAYS]; /* inputs first, then weights */
    fl_tensor input[MAX_ARRAYS];
    fl_weight weight[MAX_ARRAYS];
    float *master[MAX_ARRAYS], *weight_grad[MAX_ARRAYS];
    fl_overlay overlay;
    float *coefficient;
    fl_scheme scheme;
    fl_rope_spec rope;
    float nll[16];
    bool recompute;
} scene;

typedef struct operator_case {
    const char *name;
    int inputs, weights;
    int64_t shape[MAX_ARRAYS][2];
    fl_tensor *(*build)(scene *s);
} operator_case;

/* ---- the operators ----------------------------------------------------------------------------------------------- */

static fl_tensor *linear(scene *s)
{
    return fl_linear(s->run, &s->input[0], &s->weight[0], &s->weight[1]);
}

static fl_tensor *linear_no_bias(scene *s)
{
    return fl_linear(s->run, &s->input[0], &s->weight[0], NULL);
}

/* Frozen weights in blocks of 32: only the input has a gradient. */
static fl_tensor *linear_quantised(scene *s)
{
    static unsigned char blocks[5 * 2 * 34];
    fl_from_f32(FL_Q8_0, s->coefficient + 1024, blocks, 5 * 64);
    static fl_weight w;
    w = (fl_weight){"w", 99, {FL_Q8_0, 5, 64, 64, 1, blocks}, NULL, NULL};
    return fl_linear(s->run, &s->input[0], &w, NULL);
}

/* A low-rank adapter over such a weight: its two matrices and the input have gradients. */
static fl_tensor *linear_adapted(scene *s)
{
    static unsigned char blocks[5 * 2 * 34];
    fl_from_f32(FL_Q8_0, s->coefficient + 1024, blocks, 5 * 64);
    static fl_weight w;
    w = (fl_weight){"w", 2, {FL_Q8_0, 5, 64, 64, 1, blocks}, NULL, NULL};
    static fl_adapter adapter[3];
    adapter[2] = (fl_adapter){3, 0.5f, s->master[0], s->master[1], s->weight_grad[0], s->weight_grad[1]};
    s->overlay.adapter = adapter;
    s->overlay.count = 3;
    return fl_linear(s->run, &s->input[0], &w, NULL);
}

static fl_tensor *rms_norm(scene *s)
{
    return fl_rms_norm(s->run, &s->input[0], &s->weight[0], 1e-5);
}

static fl_tensor *layer_norm(scene *s)
{
    return fl_layer_norm(s->run, &s->input[0], &s->weight[0], &s->weight[1], 1e-5);
}

static fl_tensor *rms_norm_heads(scene *s)
{
    return fl_rms_norm_heads(s->run, &s->input[0], &s->weight[0], 1e-5);
}

/* All three parts, each with its own coefficients, as attention uses them. */
static fl_tensor *split(scene *s)
{
    fl_tensor *a = fl_split(s->run, &s->input[0], 2, 3, 0), *b = fl_split(s->run, &s->input[0], 2, 3, 1);
    fl_tensor *c = fl_split(s->run, &s->input[0], 2, 3, 2);
    return fl_swiglu(s->run, fl_gelu(s->run, a, true), fl_add(s->run, b, c));
}

static fl_tensor *add(scene *s)
{
    return fl_add(s->run, &s->input[0], &s->input[1]);
}

static fl_tensor *add_self(scene *s)
{
    return fl_add(s->run, &s->input[0], &s->input[0]);
}

static fl_tensor *swiglu(scene *s)
{
    return fl_swiglu(s->run, &s->input[0], &s->input[1]);
}

static fl_tensor *gelu_tanh(scene *s)
{
    return fl_gelu(s->run, &s->input[0], true);
}

static fl_tensor *gelu_erf(scene *s)
{
    return fl_gelu(s->run, &s->input[0], false);
}

static fl_tensor *embed(scene *s)
{
    return fl_embed(s->run, &s->weight[0]);
}

static fl_tensor *embed_positions(scene *s)
{
    return fl_embed_positions(s->run, &s->input[0], &s->weight[0]);
}

/* q, k and v are rotated in place, so the attention sees copies (sums with nothing would share the data). */
static fl_tensor *attend(scene *s, fl_attention_shape shape)
{
    fl_run *r = s->run;
    fl_attention_prepare(r, &s->scheme);
    fl_tensor *copy[3];
    for (int i = 0; i < 3; i++) {
        fl_tensor *zero = fl_run_tensor(r, s->input[i].rows, s->input[i].cols);
        memset(zero->data, 0, (size_t)(zero->rows * zero->cols) * sizeof(float));
        copy[i] = fl_add(r, &s->input[i], zero);
    }
    return fl_self_attend(r, 0, &shape, copy[0], copy[1], copy[2]);
}

static fl_tensor *attention(scene *s)
{
    return attend(s, (fl_attention_shape){2, 2, 6, 0});
}

static fl_tensor *attention_grouped(scene *s)
{
    return attend(s, (fl_attention_shape){4, 2, 6, 0.3});
}

static fl_tensor *attention_window(scene *s)
{
    s->scheme.passes.window = 3;
    return attend(s, (fl_attention_shape){2, 1, 8, 0});
}

/* Groups of 4 of 11 rows: cuts at 4, 8 for the first half of the heads, at 2, 6, 10 for the second. */
static fl_tensor *attention_shifted(scene *s)
{
    s->scheme.shifted_group = 4;
    return attend(s, (fl_attention_shape){4, 2, 4, 0});
}

static fl_tensor *attention_shifted_one_key_head(scene *s)
{
    s->scheme.shifted_group = 4;
    return attend(s, (fl_attention_shape){2, 1, 8, 0});
}

static fl_tensor *attention_sinks(scene *s)
{
    s->scheme.passes.window = 3;
    s->scheme.passes.sinks = 2;
    return attend(s, (fl_attention_shape){2, 1, 8, 0});
}

static fl_tensor *attention_bidirectional(scene *s)
{
    s->scheme.bidirectional = true;
    s->scheme.interleaved = true;
    return attend(s, (fl_attention_shape){2, 1, 8, 0});
}

static fl_tensor *attention_documents(scene *s)
{
    s->batch.sequences = 3;
    s->seq[0] = (fl_batch_seq){.first_row = 0, .rows = 4};
    s->seq[1] = (fl_batch_seq){.first_row = 4, .rows = 1};
    s->seq[2] = (fl_batch_seq){.first_row = 5, .rows = 6, .first_position = 7};
    return attend(s, (fl_attention_shape){2, 1, 8, 0});
}

/* Factors below 1, above 1, and cut off at 1. */
static fl_tensor *attention_logn(scene *s)
{
    s->scheme.logn = FL_LOGN_EVERYWHERE;
    s->scheme.logn_window = 6;
    return attend(s, (fl_attention_shape){2, 1, 8, 0});
}

static fl_tensor *attention_logn_beyond(scene *s)
{
    s->scheme.logn = FL_LOGN_BEYOND;
    s->scheme.logn_window = 3;
    s->scheme.interleaved = true;
    return attend(s, (fl_attention_shape){2, 1, 8, 0});
}

/* Steep enough that the bias decides which keys count. */
static fl_tensor *attention_alibi(scene *s)
{
    static const float slopes[] = {0.5f, 0.25f, 0.1f, 0.0625f};
    s->scheme.rope = NULL;
    s->scheme.alibi = slopes;
    s->batch.sequences = 2;
    s->seq[0] = (fl_batch_seq){.first_row = 0, .rows = 4};
    s->seq[1] = (fl_batch_seq){.first_row = 4, .rows = 7, .first_position = 3};
    return attend(s, (fl_attention_shape){4, 2, 6, 0});
}

/* Far from the start, where the scales are far from 1. */
static fl_tensor *attention_xpos(scene *s)
{
    s->scheme.xpos = true;
    s->scheme.passes.block = 4;
    s->seq[0].first_position = 5000;
    return attend(s, (fl_attention_shape){2, 1, 8, 0});
}

/* Positions drawn for training. */
static fl_tensor *attention_positions(scene *s)
{
    static const double positions[] = {0.5, 1.75, 2, 5.25, 9, 9.125, 12, 40, 41.5, 60, 63};
    s->seq[0].position = positions;
    return attend(s, (fl_attention_shape){2, 1, 8, 0});
}

static fl_tensor *attention_none(scene *s)
{
    s->scheme.rope = NULL;
    return attend(s, (fl_attention_shape){2, 1, 8, 0});
}

static fl_tensor *embed_sinusoidal(scene *s)
{
    return fl_embed_sinusoidal(s->run, &s->input[0]);
}

/* A residual block of two weights; x is used twice, as in every model. */
static fl_tensor *residual(fl_run *r, const void *block, fl_tensor *x)
{
    const scene *s = block;
    fl_tensor *h = fl_rms_norm(r, x, &s->weight[0], 1e-5);
    h = fl_gelu(r, fl_linear(r, h, &s->weight[1], NULL), true);
    return fl_add(r, x, h);
}

static fl_tensor *block_once(scene *s)
{
    return fl_block(s->run, residual, s, &s->input[0]);
}

static fl_tensor *blocks(scene *s)
{
    return fl_block(s->run, residual, s, fl_block(s->run, residual, s, fl_block(s->run, residual, s, &s->input[0])));
}

static fl_tensor *blocks_recomputed(scene *s)
{
    s->recompute = true;
    s->run->recompute = true;
    return blocks(s);
}

static fl_tensor *head(scene *s)
{
    fl_head_spec spec = {.n = 11, .target = targets, .nll = s->nll, .loss_weight = loss_weights};
    fl_head(s->run, &s->input[0], &s->weight[0], NULL, &spec);
    return NULL;
}

/* clang-format off */
static const operator_case cases[] = {
    {"linear", 1, 2, {{11, 7}, {5, 7}, {1, 5}}, linear},
    {"linear without bias", 1, 1, {{11, 40}, {33, 40}}, linear_no_bias},
    {"linear, quantised weights", 1, 0, {{11, 64}}, linear_quantised},
    {"rms_norm", 1, 1, {{11, 24}, {1, 24}}, rms_norm},
    {"layer_norm", 1, 2, {{11, 24}, {1, 24}, {1, 24}}, layer_norm},
    {"rms_norm of heads", 1, 1, {{11, 24}, {1, 8}}, rms_norm_heads},
    {"split", 1, 0, {{11, 24}}, split},
    {"add", 2, 0, {{11, 9}, {11, 9}}, add},
    {"add to itself", 1, 0, {{11, 9}}, add_self},
    {"swiglu", 2, 0, {{11, 9}, {11, 9}}, swiglu},
    {"gelu, tanh form", 1, 0, {{11, 9}}, gelu_tanh},
    {"gelu, erf form", 1, 0, {{11, 9}}, gelu_erf},
    {"embed", 0, 1, {{10, 6}}, embed},
    {"embed_positions", 1, 1, {{11, 6}, {16, 6}}, embed_positions},
    {"attention", 3, 0, {{11, 12}, {11, 12}, {11, 12}}, attention},
    {"attention, grouped heads", 3, 0, {{11, 24}, {11, 12}, {11, 12}}, attention_grouped},
    {"attention, window", 3, 0, {{11, 16}, {11, 8}, {11, 8}}, attention_window},
    {"attention, window and sinks", 3, 0, {{11, 16}, {11, 8}, {11, 8}}, attention_sinks},
    {"attention, log-n everywhere", 3, 0, {{11, 16}, {11, 8}, {11, 8}}, attention_logn},
    {"attention, log-n beyond", 3, 0, {{11, 16}, {11, 8}, {11, 8}}, attention_logn_beyond},
    {"attention, bidirectional", 3, 0, {{11, 16}, {11, 8}, {11, 8}}, attention_bidirectional},
    {"attention, packed documents", 3, 0, {{11, 16}, {11, 8}, {11, 8}}, attention_documents},
    {"attention, alibi", 3, 0, {{11, 24}, {11, 12}, {11, 12}}, attention_alibi},
    {"attention, xpos in blocks", 3, 0, {{11, 16}, {11, 8}, {11, 8}}, attention_xpos},
    {"attention, positions of its own", 3, 0, {{11, 16}, {11, 8}, {11, 8}}, attention_positions},
    {"attention without positions", 3, 0, {{11, 16}, {11, 8}, {11, 8}}, attention_none},
    {"embed_sinusoidal", 1, 0, {{11, 6}}, embed_sinusoidal},
    {"block", 1, 2, {{11, 12}, {1, 12}, {12, 12}}, block_once},
    {"three blocks", 1, 2, {{11, 12}, {1, 12}, {12, 12}}, blocks},
    {"three blocks, recomputed", 1, 2, {{11, 12}, {1, 12}, {12, 12}}, blocks_recomputed},
    {"head", 1, 1, {{11, 12}, {10, 12}}, head},
    {"attention, shifted groups", 3, 0, {{11, 16}, {11, 8}, {11, 8}}, attention_shifted},
    {"attention, shifted groups, one key head", 3, 0, {{11, 16}, {11, 8}, {11, 8}}, attention_shifted_one_key_head},
    {"linear, adapter over quantised weights", 1, 2, {{11, 64}, {3, 64}, {5, 3}}, linear_adapted},
};
/* clang-format on */

/* ---- the check --------------------------------------------------------------------------------------------------- */

static int64_t size_of(const operator_case *c, int i)
{
    return c->shape[i][0] * c->shape[i][1];
}

static void scene_open(scene *s, const operator_case *c, fl_engine *engine)
{
    memset(s, 0, sizeof *s);
    s->engine = engine;
    assert_int_equal(fl_run_create(&s->run, engine, (size_t)1 << 28, false), FL_OK);
    fl_rng rng;
    fl_rng_seed(&rng, 7);
    for (int i = 0; i < c->inputs + c->weights; i++) {
        s->array[i] = fl_alloc_aligned((size_t)size_of(c, i) * sizeof(float));
        s->grad[i] = fl_calloc((size_t)size_of(c, i), sizeof(float));
        for (int64_t j = 0; j < size_of(c, i); j++)
            s->array[i][j] = (float)(0.7 * fl_rng_normal(&rng));
    }
    s->coefficient = fl_calloc(4096, sizeof(float));
    for (int i = 0; i < 4096; i++)
        s->coefficient[i] = (float)fl_rng_normal(&rng);
    for (int i = 0; i < c->weights; i++) {
        int64_t rows = c->shape[c->inputs + i][0], cols = c->shape[c->inputs + i][1];
        s->master[i] = s->array[c->inputs + i];
        s->weight_grad[i] = s->grad[c->inputs + i];
        s->weight[i] = (fl_weight){"w", i, {FL_F32, rows, cols, cols, 1, s->master[i]}, NULL, s->master[i]};
    }
    s->overlay = (fl_overlay){.count = c->weights, .master = s->master, .grad = s->weight_grad};
    fl_rope_spec_init(&s->rope, 10000, 4, 64);
}

static void scene_close(scene *s, const operator_case *c)
{
    for (int i = 0; i < c->inputs + c->weights; i++) {
        fl_free_aligned(s->array[i]);
        fl_free(s->grad[i]);
    }
    fl_free(s->coefficient);
    fl_run_destroy(s->run);
}

static double forward(scene *s, const operator_case *c, bool backward)
{
    s->scheme = (fl_scheme){.rope = &s->rope};
    s->seq[0] = (fl_batch_seq){.rows = 11};
    s->batch = (fl_batch){.sequences = 1, .seq = s->seq, .rows = 11, .tokens = tokens};
    for (int i = 0; i < c->inputs; i++)
        s->input[i] = (fl_tensor){FL_F32, c->shape[i][0], c->shape[i][1], c->shape[i][1], s->array[i], NULL, true};
    if (backward)
        for (int i = 0; i < c->weights; i++)
            memset(s->weight_grad[i], 0, (size_t)size_of(c, c->inputs + i) * sizeof(float));
    fl_run_begin(s->run, &s->batch, &s->overlay, true);
    fl_tensor *y = c->build(s);
    double loss = 0;
    if (y) {
        assert_true(y->rows * y->cols <= 4096);
        for (int64_t i = 0; i < y->rows * y->cols; i++)
            loss += (double)s->coefficient[i] * ((float *)y->data)[i];
        /* The backward pass may reuse the memory of a gradient it is done with, so it gets a copy. */
        bool accumulate;
        y->needs_grad = true;
        fl_run_grad(s->run, y, &accumulate);
        memcpy(y->grad, s->coefficient, (size_t)(y->rows * y->cols) * sizeof(float));
    } else {
        for (int i = 0; i < 11; i++)
            loss += (double)loss_weights[i] * s->nll[i];
    }
    if (backward) fl_run_backward(s->run);
    assert_string_equal(s->run->message, "");
    for (int i = 0; backward && i < c->inputs; i++)
        memcpy(s->grad[i], s->input[i].grad, (size_t)size_of(c, i) * sizeof(float));
    return loss;
}

static void check_array(scene *s, const operator_case *c, int i)
{
    int64_t n = size_of(c, i);
    float *grad = fl_calloc((size_t)n, sizeof *grad);
    memcpy(grad, s->grad[i], (size_t)n * sizeof *grad);
    double largest = 0;
    for (int64_t j = 0; j < n; j++)
        largest = fmax(largest, fabs(grad[j]));
    assert_true(largest > 1e-3);
    fl_rng rng;
    fl_rng_seed(&rng, 11);
    for (int k = 0; k < SAMPLES; k++) {
        int64_t j = (int64_t)fl_rng_below(&rng, (uint64_t)n);
        float keep = s->array[i][j];
        s->array[i][j] = keep + STEP;
        double up = forward(s, c, false);
        s->array[i][j] = keep - STEP;
        double down = forward(s, c, false);
        s->array[i][j] = keep;
        double expected = (up - down) / (2.0 * (double)STEP);
        if (fabs(expected - grad[j]) > BOUND * largest)
            fail_msg("%s, array %d, value %lld: gradient %g, finite difference %g", c->name, i, (long long)j,
                     (double)grad[j], expected);
    }
    fl_free(grad);
}

static void test_gradients(void **state)
{
    (void)state;
    static const char *const levels[] = {"generic", "auto"};
    for (size_t l = 0; l < 2; l++) {
        fl_engine_options options = FL_ENGINE_OPTIONS_INIT;
        options.cpu = levels[l];
        options.threads = 2;
        fl_engine *engine;
        assert_int_equal(fl_engine_create(&engine, &options), FL_OK);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            scene s;
            scene_open(&s, &cases[i], engine);
            forward(&s, &cases[i], true);
            for (int j = 0; j < cases[i].inputs + cases[i].weights; j++) {
                forward(&s, &cases[i], true);
                check_array(&s, &cases[i], j);
            }
            scene_close(&s, &cases[i]);
        }
        fl_engine_destroy(engine);
    }
}

static const operator_case *case_of(const char *name)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (!strcmp(cases[i].name, name)) return &cases[i];
    fail_msg("no case %s", name);
    return NULL;
}

/* Recomputing blocks gives the same bits as keeping them. */
static void test_recompute_bits(void **state)
{
    (void)state;
    fl_engine_options options = FL_ENGINE_OPTIONS_INIT;
    fl_engine *engine;
    assert_int_equal(fl_engine_create(&engine, &options), FL_OK);
    const operator_case *kept = case_of("three blocks"), *again = case_of("three blocks, recomputed");
    scene a, b;
    scene_open(&a, kept, engine);
    scene_open(&b, again, engine);
    assert_true(forward(&a, kept, true) == forward(&b, again, true));
    for (int i = 0; i < 3; i++)
        assert_memory_equal(a.grad[i], b.grad[i], (size_t)size_of(kept, i) * sizeof(float));
    assert_true(fl_arena_peak(b.run->data) < fl_arena_peak(a.run->data));
    scene_close(&a, kept);
    scene_close(&b, again);
    fl_engine_destroy(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_gradients), cmocka_unit_test(test_recompute_bits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
