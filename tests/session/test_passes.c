/* Schemes that change distances: logits against a naive float64 oracle (tools/oracle/passes.py: full matrices of
 * relative positions, a simulated cache), and the same bits in chunks, token by token, with and without a memory, on
 * any number of threads. StreamingLLM besides: constant memory, and no trace of what has been forgotten. */
#include "session_case.h"

#include <math.h>

#include "session/session.h"

#define PASSES FL_TEST_DATA "/golden/passes/"
/* Relative to the largest logit of a row, as in tests/model/test_golden.c; fp32 gives some 1e-6. */
#define BOUND 1e-4

static fl_engine *engine;

static int open_engine(void **state)
{
    (void)state;
    engine = engine_of(2, NULL, NULL);
    return 0;
}

static int close_engine(void **state)
{
    (void)state;
    fl_engine_destroy(engine);
    return 0;
}

typedef struct passes_case {
    const char *golden, *model, *config; /* config: other than the folder's own, of the llama weights */
    fl_rope_options rope;
    fl_passes_options passes;
    int64_t window, sinks; /* not 0: a stream */
} passes_case;

#define LLAMA TINY "llama"
#define TIED TINY "llama_tied"
static const passes_case cases[] = {
    {.golden = "plain", .model = LLAMA},
    {.golden = "self_extend", .model = LLAMA, .passes = {.group = 4, .group_window = 32}},
    {.golden = "self_extend",
     .model = LLAMA,
     .rope = {.scaling = "self-extend", .scale = 3.25}, /* 4 x 96 + 32 = 416 */
     .passes = {.group_window = 32}},
    {.golden = "rerope", .model = LLAMA, .rope = {.scaling = "rerope"}, .passes = {.rerope_window = 40}},
    {.golden = "leaky_rerope",
     .model = LLAMA,
     .rope = {.scaling = "leaky-rerope"},
     .passes = {.rerope_window = 40, .rerope_leak = 8}},
    {.golden = "dual_chunk", .model = LLAMA, .rope = {.scaling = "dual-chunk"}},
    {.golden = "dual_chunk_code", .model = LLAMA, .rope = {.scaling = "dual-chunk"}, .passes = {.chunk_size = 96}},
    {.golden = "stream", .model = LLAMA, .window = 60, .sinks = 4},
    {.golden = "stream_no_sinks", .model = LLAMA, .window = 60, .sinks = -1},
    {.golden = "logn_beyond", .model = LLAMA, .passes = {.logn = "beyond"}},
    {.golden = "logn_everywhere", .model = LLAMA, .passes = {.logn = "everywhere", .logn_window = 100}},
    {.golden = "rerope_logn",
     .model = LLAMA,
     .rope = {.scaling = "rerope"},
     .passes = {.rerope_window = 40, .logn = "beyond"}},
    {.golden = "stream_logn",
     .model = LLAMA,
     .passes = {.logn = "beyond", .logn_window = 32},
     .window = 60,
     .sinks = 4},
    {.golden = "tied_self_extend", .model = TIED, .passes = {.group = 8, .group_window = 64}},
    {.golden = "tied_dual_chunk", .model = TIED, .rope = {.scaling = "dual-chunk"}},
    {.golden = "yarn_self_extend", .config = TINY "rope_yarn.json", .passes = {.group = 2, .group_window = 64}},
    {.golden = "yarn_rerope",
     .config = TINY "rope_yarn.json",
     .rope = {.scaling = "rerope"},
     .passes = {.rerope_window = 64}},
    {.golden = "stories_self_extend", .model = STORIES, .passes = {.group = 8, .group_window = 128}},
    {.golden = "stories_rerope", .model = STORIES, .rope = {.scaling = "rerope"}, .passes = {.rerope_window = 256}},
    {.golden = "stories_dual_chunk", .model = STORIES, .rope = {.scaling = "dual-chunk"}},
    {.golden = "stories_stream", .model = STORIES, .window = 252, .sinks = 4},
};
#define CASES ((int)(sizeof cases / sizeof *cases))

static fl_model *case_model(const passes_case *c, fl_engine *of)
{
    fl_model_options options = FL_MODEL_OPTIONS_INIT;
    options.rope = c->rope;
    options.passes = c->passes;
    char folder[64];
    if (c->config) tiny_folder(folder, c->config);
    fl_model *model;
    must(fl_model_open(&model, of, c->config ? folder : c->model, &options));
    if (c->config) remove_folder(folder); /* the files stay mapped */
    return model;
}

static fl_session *case_session(const passes_case *c, const fl_model *model, int64_t chunk, const char *type)
{
    fl_session_options options = FL_SESSION_OPTIONS_INIT;
    options.overflow = c->window ? FL_OVERFLOW_STREAM : FL_OVERFLOW_EXTEND;
    options.sliding_window = c->window;
    options.sinks = c->sinks;
    options.chunk = chunk;
    options.type_k = options.type_v = type;
    fl_session *session;
    must(fl_session_create(&session, model, &options));
    return session;
}

/* The text of a record, repeated where it is shorter. */
static int32_t *case_ids(const passes_case *c, int64_t count)
{
    bool stories = !strncmp(c->golden, "stories", 7);
    fl_buffer b = golden_file(stories ? FL_TEST_DATA "/golden/stories260K/text.i32.bin" : PASSES "ids.i32.bin");
    int32_t *ids = malloc((size_t)count * sizeof *ids);
    for (int64_t i = 0; i < count; i++)
        memcpy(&ids[i], b.data + (size_t)i * 4 % b.size, 4);
    fl_buffer_free(&b);
    return ids;
}

/* Logits after each of count tokens but the last, [count - 1, vocab]. */
static float *all_logits(fl_session *s, const int32_t *ids, int64_t count)
{
    int64_t vocab = fl_session_model(s)->config.vocab;
    float *logits = malloc((size_t)((count - 1) * vocab) * sizeof *logits);
    must(fl_session_score(s, ids, count, &(fl_score){.first = 1, .logits = logits}));
    return logits;
}

static void test_golden(void **state)
{
    (void)state;
    for (int i = 0; i < CASES; i++) {
        const passes_case *c = &cases[i];
        char path[256];
        snprintf(path, sizeof path, PASSES "%s.txt", c->golden);
        fl_buffer record = golden_file(path);
        snprintf(path, sizeof path, PASSES "%s.f64.bin", c->golden);
        fl_buffer wanted = golden_file(path);
        long long rows = golden_integer(&record, "rows"), count = golden_integer(&record, "tokens"), position[16];
        golden_integers(&record, "row_position", position, rows);
        fl_model *model = case_model(c, engine);
        int64_t vocab = model->config.vocab;
        assert_int_equal(wanted.size, (size_t)(rows * vocab) * sizeof(double));
        int32_t *ids = case_ids(c, count + 1);
        fl_session *s = case_session(c, model, 0, NULL);
        float *logits = all_logits(s, ids, count + 1);
        for (long long r = 0; r < rows; r++) {
            const double *exact = (const double *)(const void *)wanted.data + r * vocab;
            const float *found = logits + position[r] * vocab;
            double error = 0, largest = 0;
            for (int64_t j = 0; j < vocab; j++) {
                error = fmax(error, fabs(exact[j] - (double)found[j]));
                largest = fmax(largest, fabs(exact[j]));
            }
            if (!(error < BOUND * largest))
                fail_msg("%s (%d), position %lld: relative error %g", c->golden, i, position[r], error / largest);
        }
        free(logits);
        free(ids);
        fl_session_destroy(s);
        fl_model_close(model);
        fl_buffer_free(&wanted);
        fl_buffer_free(&record);
    }
}

/* --logn length scales by the length of the text: a prompt read in chunks is scaled as one read whole. */
static void test_logn_length(void **state)
{
    (void)state;
    static const passes_case c = {.golden = "logn_length", .model = LLAMA, .passes = {.logn = "length"}};
    fl_buffer record = golden_file(PASSES "logn_length.txt"), wanted = golden_file(PASSES "logn_length.f64.bin");
    int64_t rows = golden_integer(&record, "rows"), count = golden_integer(&record, "tokens");
    fl_model *model = case_model(&c, engine);
    int64_t vocab = model->config.vocab;
    const double *exact = (const double *)(const void *)wanted.data + (rows - 1) * vocab;
    int32_t *ids = case_ids(&c, count);
    for (int chunk = 64; chunk <= 512; chunk *= 8) {
        fl_session *s = case_session(&c, model, chunk, NULL);
        must(fl_session_read(s, ids, count));
        const float *found = fl_session_logits(s);
        double error = 0, largest = 0;
        for (int64_t j = 0; j < vocab; j++) {
            error = fmax(error, fabs(exact[j] - (double)found[j]));
            largest = fmax(largest, fabs(exact[j]));
        }
        if (!(error < BOUND * largest)) fail_msg("chunks of %d: relative error %g", chunk, error / largest);
        fl_session_destroy(s);
    }
    free(ids);
    fl_model_close(model);
    fl_buffer_free(&wanted);
    fl_buffer_free(&record);
}

/* ---- the same bits ---------------------------------------------------------------------------------------------- */

static void assert_same_rows(const char *what, const passes_case *c, const float *a, const float *b, int64_t rows,
                             int64_t vocab)
{
    for (int64_t r = 0; r < rows; r++)
        if (memcmp(a + r * vocab, b + r * vocab, (size_t)vocab * sizeof *a))
            fail_msg("%s: %s: other bits after token %lld", c->golden, what, (long long)r);
}

/* In chunks, token by token (as decoding does), and in one pass without a memory. */
static void check_bits(const passes_case *c, int64_t count, const char *type)
{
    fl_model *model = case_model(c, engine);
    int64_t vocab = model->config.vocab;
    int32_t *ids = case_ids(c, count + 1);
    fl_session *s = case_session(c, model, count, type);
    float *whole = all_logits(s, ids, count + 1);
    static const int64_t chunk[] = {1, 7, 64, 100, 512};
    for (size_t i = count > 1000; i < sizeof chunk / sizeof *chunk; i++) {
        fl_session *other = case_session(c, model, chunk[i], type);
        float *logits = all_logits(other, ids, count + 1);
        assert_same_rows("chunks", c, whole, logits, count, vocab);
        free(logits);
        fl_session_destroy(other);
    }
    /* Generation reads one token after another. */
    fl_session *decode = case_session(c, model, 64, type);
    must(fl_session_read(decode, ids, count - 20));
    for (int64_t i = count - 20; i < count; i++) {
        assert_same_bits(whole + (i - 1) * vocab, fl_session_logits(decode), vocab);
        must(fl_session_read(decode, ids + i, 1));
    }
    fl_session_destroy(decode);
    if (!type && !c->window) {
        float *alone = malloc((size_t)(count * vocab) * sizeof *alone);
        fl_run *run;
        must(fl_run_create(&run, engine, 0, false));
        fl_batch_seq seq = {.rows = count};
        fl_batch batch = {.sequences = 1, .seq = &seq, .rows = count, .tokens = ids};
        fl_head_spec spec = {.n = count, .logits = alone};
        must(fl_model_pass(model, run, &batch, NULL, false, &spec));
        assert_same_rows("without a memory", c, whole, alone, count, vocab);
        fl_run_destroy(run);
        free(alone);
    }
    free(whole);
    free(ids);
    fl_session_destroy(s);
    fl_model_close(model);
}

static void test_bits(void **state)
{
    (void)state;
    for (int i = 0; i < CASES; i++)
        if (!cases[i].config && strncmp(cases[i].golden, "stories", 7)) check_bits(&cases[i], 300, NULL);
}

/* Past several evictions, with window and sinks that are no multiple of anything. */
static void test_bits_of_evictions(void **state)
{
    (void)state;
    static const passes_case c = {.golden = "stories, a long stream", .model = STORIES, .window = 301, .sinks = 5};
    check_bits(&c, 3300, NULL);
}

/* Every type of keys and values: near keys are read back from it and turned. llama_tied has heads of 24, stories of 8:
 * types of blocks need the qwen2 fixture's heads of 32. */
static void test_bits_of_types(void **state)
{
    (void)state;
    static const char *const types[] = {"f16", "bf16"};
    for (int t = 0; t < 2; t++) {
        check_bits(&cases[1], 300, types[t]);
        check_bits(&cases[3], 300, types[t]);
        check_bits(&cases[5], 300, types[t]);
        check_bits(&cases[7], 300, types[t]);
    }
}

static void test_threads(void **state)
{
    (void)state;
    static const int which[] = {1, 4, 5, 7};
    for (int i = 0; i < 4; i++) {
        const passes_case *c = &cases[which[i]];
        float *logits[3];
        int64_t vocab = 0;
        int32_t *ids = case_ids(c, 301);
        for (int t = 0; t < 3; t++) {
            fl_engine *own = engine_of(t + 1, NULL, NULL);
            fl_model *model = case_model(c, own);
            fl_session *s = case_session(c, model, 96, NULL);
            vocab = model->config.vocab;
            logits[t] = all_logits(s, ids, 301);
            assert_same_rows("threads", c, logits[0], logits[t], 300, vocab);
            fl_session_destroy(s);
            fl_model_close(model);
            fl_engine_destroy(own);
        }
        for (int t = 0; t < 3; t++)
            free(logits[t]);
        free(ids);
    }
}

/* ---- streams ---------------------------------------------------------------------------------------------------- */

/* What lies between the sinks and the window of all layers leaves no trace: after layers * window tokens nothing that a
 * sink or recent token has taken from there is left either. Sinks keep what they saw of each other. */
static void test_forgotten_is_forgotten(void **state)
{
    (void)state;
    static const passes_case c = {.golden = "stories, forgetting", .model = STORIES, .window = 60, .sinks = 4};
    fl_model *model = case_model(&c, engine);
    int64_t layers = model->config.layers, count = 2000, cut = count - layers * 60;
    int32_t *ids = case_ids(&c, count);
    fl_session *s = case_session(&c, model, 0, NULL);
    must(fl_session_read(s, ids, count));
    float *kept = malloc((size_t)model->config.vocab * sizeof *kept);
    memcpy(kept, fl_session_logits(s), (size_t)model->config.vocab * sizeof *kept);
    for (int64_t i = 4; i < cut; i++)
        ids[i] = (ids[i] + 17) % 512;
    must(fl_session_truncate(s, 0));
    must(fl_session_read(s, ids, count));
    assert_same_bits(kept, fl_session_logits(s), model->config.vocab);
    ids[count - 59] = (ids[count - 59] + 17) % 512; /* a token that is seen does change something */
    must(fl_session_truncate(s, 0));
    must(fl_session_read(s, ids, count));
    assert_true(memcmp(kept, fl_session_logits(s), (size_t)model->config.vocab * sizeof *kept) != 0);
    free(kept);
    free(ids);
    fl_session_destroy(s);
    fl_model_close(model);
}

/* 100,000 tokens in memory for less than 2300; ids are forgotten too. */
static void test_constant_memory(void **state)
{
    (void)state;
    static const passes_case c = {.golden = "stories, endless", .model = STORIES, .window = 252, .sinks = 4};
    fl_model *model = case_model(&c, engine);
    int32_t *ids = case_ids(&c, 1000);
    fl_session *s = case_session(&c, model, 250, NULL);
    int64_t most = 0;
    for (int64_t i = 0; i < 100; i++) {
        must(fl_session_read(s, ids, 1000));
        int64_t bytes = fl_session_bytes(s);
        if (bytes > most) most = bytes;
        assert_true(fl_session_tokens(s) - fl_session_ids_begin(s) < 8192);
        int64_t kept = fl_session_tokens(s) - fl_session_ids_begin(s);
        assert_true(kept >= 252); /* the window's are there */
        assert_memory_equal(fl_session_ids(s) + kept - 252, ids + 1000 - 252, 252 * sizeof *ids);
    }
    assert_int_equal(fl_session_tokens(s), 100000);
    /* The cache, a page of slack, a block that is not whole yet, the chunk, and pages begun at either end. */
    int64_t token = model->config.layers * model->config.kv_heads * model->config.head_dim * 8;
    assert_true(most <= (256 + 256 + 1024 + 250 + 2 * 256) * token);
    free(ids);
    fl_session_destroy(s);
    fl_model_close(model);
}

static void test_stream_goes_back(void **state)
{
    (void)state;
    static const passes_case c = {.golden = "stories, back", .model = STORIES, .window = 252, .sinks = 4};
    fl_model *model = case_model(&c, engine);
    int64_t vocab = model->config.vocab;
    int32_t *ids = case_ids(&c, 4000);
    fl_session *s = case_session(&c, model, 0, NULL), *fork, *restored = case_session(&c, model, 0, NULL);
    must(fl_session_read(s, ids, 4000));
    float *expected = malloc((size_t)vocab * sizeof *expected);
    memcpy(expected, fl_session_logits(s), (size_t)vocab * sizeof *expected);
    must(fl_session_truncate(s, 4000 - 256));
    must(fl_session_read(s, ids + 4000 - 256, 256));
    assert_same_bits(expected, fl_session_logits(s), vocab);
    assert_int_equal(fl_session_truncate(s, 1500), FL_ERR_STATE);
    assert_int_equal(fl_session_truncate(s, 100), FL_ERR_STATE);
    assert_int_equal(fl_session_tokens(s), 4000);
    char path[] = "/tmp/furlong-stream-XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    close(file);
    must(fl_session_save(s, path));
    must(fl_session_restore(restored, path));
    assert_int_equal(fl_session_tokens(restored), 4000);
    assert_same_bits(expected, fl_session_logits(restored), vocab);
    must(fl_session_fork(&fork, restored));
    fl_session *all[] = {s, fork, restored};
    float *next = NULL;
    for (int i = 0; i < 3; i++) {
        must(fl_session_read(all[i], ids, 1500));
        if (!next) {
            next = malloc((size_t)vocab * sizeof *next);
            memcpy(next, fl_session_logits(s), (size_t)vocab * sizeof *next);
        }
        assert_same_bits(next, fl_session_logits(all[i]), vocab);
        fl_session_destroy(all[i]);
    }
    /* Another cache does not understand it. */
    static const passes_case wider = {.golden = "", .model = STORIES, .window = 253, .sinks = 4};
    fl_session *other = case_session(&wider, model, 0, NULL);
    assert_int_equal(fl_session_restore(other, path), FL_ERR_STATE);
    fl_session_destroy(other);
    unlink(path);
    free(next);
    free(expected);
    free(ids);
    fl_model_close(model);
}

/* ---- what is refused -------------------------------------------------------------------------------------------- */

static void test_refused_models(void **state)
{
    (void)state;
    static const struct {
        passes_case c;
        fl_status status;
        const char *part;
    } list[] = {
        {{.rope = {.scaling = "self-extend"}}, FL_ERR_ARGUMENT, "how far"},
        {{.rope = {.scaling = "self-extend"}, .passes = {.group = -1}}, FL_ERR_ARGUMENT, "--grp-attn-n -1"},
        {{.passes = {.group = -3}}, FL_ERR_ARGUMENT, "--grp-attn-n"},
        {{.passes = {.group = 4, .group_window = 30}}, FL_ERR_ARGUMENT, "no multiple"},
        {{.passes = {.group = 4, .group_window = 128}}, FL_ERR_ARGUMENT, "--grp-attn-w 128"},
        {{.passes = {.group = 4, .group_window = -4}}, FL_ERR_ARGUMENT, "--grp-attn-w -4"},
        {{.passes = {.group = INT64_MAX, .group_window = 32}}, FL_ERR_ARGUMENT, "no multiple"},
        {{.passes = {.group = INT64_MAX}}, FL_ERR_ARGUMENT, "--grp-attn-w"},
        {{.passes = {.group_window = 32}}, FL_ERR_ARGUMENT, "goes with --rope-scaling self-extend"},
        {{.rope = {.scaling = "self-extend", .scale = 1e5}}, FL_ERR_ARGUMENT, "reaches"},
        {{.rope = {.scaling = "self-extend", .scale = NAN}}, FL_ERR_ARGUMENT, "--rope-scale"},
        {{.rope = {.scaling = "rerope", .scale = -2}}, FL_ERR_ARGUMENT, "--rope-scale"},
        {{.rope = {.scaling = "rerope", .freq_scale = 0.5}}, FL_ERR_ARGUMENT, "--rope-freq-scale"},
        {{.rope = {.scaling = "rerope"}, .passes = {.rerope_window = 128}}, FL_ERR_ARGUMENT, "--rerope-window 128"},
        {{.rope = {.scaling = "rerope"}, .passes = {.rerope_leak = 2}}, FL_ERR_ARGUMENT, "leaky-rerope"},
        {{.rope = {.scaling = "leaky-rerope"}}, FL_ERR_ARGUMENT, "how far"},
        {{.rope = {.scaling = "leaky-rerope"}, .passes = {.rerope_leak = 0.5}}, FL_ERR_ARGUMENT, "--rerope-leak 0.5"},
        {{.rope = {.scaling = "leaky-rerope"}, .passes = {.rerope_leak = NAN}}, FL_ERR_ARGUMENT, "--rerope-leak"},
        {{.rope = {.scaling = "leaky-rerope"}, .passes = {.rerope_leak = INFINITY}}, FL_ERR_ARGUMENT, "--rerope-leak"},
        {{.rope = {.scaling = "dual-chunk"}, .passes = {.chunk_size = 129}}, FL_ERR_ARGUMENT, "--dual-chunk-size 129"},
        {{.rope = {.scaling = "dual-chunk"}, .passes = {.chunk_size = -5}}, FL_ERR_ARGUMENT, "--dual-chunk-size -5"},
        {{.rope = {.scaling = "dual-chunk"}, .passes = {.chunk_local = 127}}, FL_ERR_ARGUMENT, "--dual-chunk-local"},
        {{.rope = {.scaling = "dual-chunk"}, .passes = {.chunk_local = -1}}, FL_ERR_ARGUMENT, "--dual-chunk-local"},
        {{.rope = {.scaling = "dual-chunk"}, .passes = {.group = 4}}, FL_ERR_ARGUMENT, "--grp-attn-n 4"},
        {{.rope = {.scaling = "stream"}}, FL_ERR_ARGUMENT, "--overflow stream"},
        {{.passes = {.logn = "sometimes"}}, FL_ERR_ARGUMENT, "--logn sometimes"},
        {{.passes = {.logn_window = 100}}, FL_ERR_ARGUMENT, "--logn-window 100 goes with"},
        {{.passes = {.logn = "beyond", .logn_window = 1}}, FL_ERR_ARGUMENT, "--logn-window 1"},
        {{.passes = {.logn = "beyond", .logn_window = -7}}, FL_ERR_ARGUMENT, "--logn-window -7"},
        {{.model = TINY "gpt2", .passes = {.group = 2}}, FL_ERR_UNSUPPORTED, "has learned positions"},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        fl_model_options options = FL_MODEL_OPTIONS_INIT;
        options.rope = list[i].c.rope;
        options.passes = list[i].c.passes;
        fl_model *model = NULL;
        fl_status s = fl_model_open(&model, engine, list[i].c.model ? list[i].c.model : LLAMA, &options);
        if (s != list[i].status || !strstr(fl_error_message(), list[i].part))
            fail_msg("%d: %s \"%s\"; wanted \"%s\"", (int)i, fl_status_name(s), fl_error_message(), list[i].part);
        assert_null(model);
    }
}

static void test_refused_sessions(void **state)
{
    (void)state;
    fl_model *plain = model_of(engine, LLAMA), *learned = model_of(engine, TINY "gpt2"),
             *changed = case_model(&cases[1], engine);
    const struct {
        const fl_model *model;
        fl_overflow overflow;
        int64_t window, sinks;
        fl_status status;
        const char *part;
    } list[] = {
        {plain, FL_OVERFLOW_STREAM, 125, 4, FL_ERR_ARGUMENT, "must fit the model's window of 128"},
        {plain, FL_OVERFLOW_STREAM, 0, 128, FL_ERR_ARGUMENT, "must fit"},
        {plain, FL_OVERFLOW_STREAM, INT64_MAX, INT64_MAX, FL_ERR_ARGUMENT, "must fit"},
        {plain, FL_OVERFLOW_STREAM, -1, 4, FL_ERR_ARGUMENT, "window = -1"},
        {plain, FL_OVERFLOW_STREAM, 60, -2, FL_ERR_ARGUMENT, "sinks = -2"},
        {plain, FL_OVERFLOW_ERROR, 60, -1, FL_ERR_ARGUMENT, "sinks = -1"},
        {plain, (fl_overflow)7, 0, 0, FL_ERR_ARGUMENT, "overflow = 7"},
        {learned, FL_OVERFLOW_STREAM, 0, 0, FL_ERR_UNSUPPORTED, "learned positions"},
        {changed, FL_OVERFLOW_STREAM, 0, 0, FL_ERR_UNSUPPORTED, "self-extend"},
        {changed, FL_OVERFLOW_ERROR, 60, 4, FL_ERR_UNSUPPORTED, "sinks = 4 with self-extend"},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        fl_session_options options = FL_SESSION_OPTIONS_INIT;
        options.overflow = list[i].overflow;
        options.sliding_window = list[i].window;
        options.sinks = list[i].sinks;
        fl_session *session = NULL;
        fl_status s = fl_session_create(&session, list[i].model, &options);
        if (s != list[i].status || !strstr(fl_error_message(), list[i].part))
            fail_msg("%d: %s \"%s\"; wanted \"%s\"", (int)i, fl_status_name(s), fl_error_message(), list[i].part);
        assert_null(session);
    }
    fl_model_close(changed);
    fl_model_close(learned);
    fl_model_close(plain);
}

/* What a method reaches by construction: (L - W) G + W for Self-Extend, W + 1 + (L - 1 - W) K for leaky ReRoPE. */
static void test_windows(void **state)
{
    (void)state;
    static const struct {
        int index;
        int64_t window;
        const char *name, *detail;
    } list[] = {{1, 4 * 96 + 32, "self-extend", "groups of 4 beyond 32 tokens"},
                {4, 41 + 87 * 8, "leaky-rerope", "exact below 40 tokens, then 1/8 as fast"},
                {5, 128, "dual-chunk", "chunks of 96, queries up to position 127"},
                {0, 128, "plain", ""}};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        fl_model *model = case_model(&cases[list[i].index], engine);
        fl_model_info info = {.size = sizeof info};
        must(fl_model_get_info(model, &info));
        assert_int_equal(info.window, list[i].window);
        assert_string_equal(info.passes, list[i].name);
        assert_string_equal(info.passes_detail, list[i].detail);
        fl_model_close(model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden),
                                       cmocka_unit_test(test_logn_length),
                                       cmocka_unit_test(test_bits),
                                       cmocka_unit_test(test_bits_of_evictions),
                                       cmocka_unit_test(test_bits_of_types),
                                       cmocka_unit_test(test_threads),
                                       cmocka_unit_test(test_forgotten_is_forgotten),
                                       cmocka_unit_test(test_constant_memory),
                                       cmocka_unit_test(test_stream_goes_back),
                                       cmocka_unit_test(test_refused_models),
                                       cmocka_unit_test(test_refused_sessions),
                                       cmocka_unit_test(test_windows)};
    return cmocka_run_group_tests(tests, open_engine, close_engine);
}
