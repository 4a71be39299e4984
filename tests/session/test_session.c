/* A session computes the same bits however its text arrives: in chunks, one by one, beside others, on any number of
 * threads, forked, truncated, cancelled, saved and restored. The whole in one pass without a memory, which
 * tests/model/test_golden.c holds against Transformers, is what all of it is compared with. */
#include "session_case.h"

#include <pthread.h>

#include "base/file.h"

#define COUNT 300

static fl_engine *engine;
static int32_t ids[COUNT];

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

/* ---- the same bits ---------------------------------------------------------------------------------------------- */

static void check_chunks(const char *path, int64_t count)
{
    fl_model *model = model_of(engine, path);
    int64_t vocab = model->config.vocab;
    random_ids(ids, count, vocab, 1);
    float *whole = malloc((size_t)vocab * sizeof *whole);
    fl_run *run;
    must(fl_run_create(&run, engine, 0, false));
    fl_batch_seq seq = {.rows = count};
    fl_batch batch = {.sequences = 1, .seq = &seq, .rows = count, .tokens = ids};
    int64_t row = count - 1;
    fl_head_spec spec = {.n = 1, .row = &row, .logits = whole};
    must(fl_model_pass(model, run, &batch, NULL, false, &spec));
    fl_run_destroy(run);

    static const int64_t chunk[] = {0, 1, 7, 64, 100};
    for (size_t i = 0; i < sizeof chunk / sizeof *chunk; i++) {
        fl_session *s = session_of(model, count, chunk[i]);
        assert_null(fl_session_logits(s));
        must(fl_session_read(s, ids, count));
        assert_same_bits(whole, fl_session_logits(s), vocab);
        assert_int_equal(fl_session_tokens(s), count);
        assert_memory_equal(fl_session_ids(s), ids, (size_t)count * sizeof *ids);
        /* Pages of 256 tokens. */
        assert_int_equal(fl_session_bytes(s), (count + 255) / 256 * 256 * model->config.layers *
                                                  model->config.kv_heads * model->config.head_dim * 8);
        fl_session_destroy(s);
    }
    free(whole);
    fl_model_close(model);
}

static void test_chunks(void **state)
{
    (void)state;
    check_chunks(TINY "llama", COUNT);
    check_chunks(TINY "gpt2", 128);
    check_chunks(STORIES, COUNT);
}

/* Schedules that depend on the length: every chunk of one read sees the length of the whole. */
static void test_chunks_of_schedules(void **state)
{
    (void)state;
    static const char *const config[] = {TINY "rope_dynamic.json", TINY "rope_longrope.json", TINY "rope_yarn.json"};
    for (int i = 0; i < 3; i++) {
        char folder[64];
        tiny_folder(folder, config[i]);
        check_chunks(folder, COUNT);
        check_chunks(folder, 100); /* on this side of the trained window of 128 */
        remove_folder(folder);
    }
}

static void test_threads(void **state)
{
    (void)state;
    float *logits[3];
    static const int threads[] = {1, 2, 3};
    for (int i = 0; i < 3; i++) {
        fl_engine *own = engine_of(threads[i], NULL, NULL);
        fl_model *model = model_of(own, STORIES);
        random_ids(ids, COUNT, model->config.vocab, 2);
        logits[i] = logits_after(model, ids, COUNT);
        assert_same_bits(logits[0], logits[i], model->config.vocab);
        fl_model_close(model);
        fl_engine_destroy(own);
    }
    for (int i = 0; i < 3; i++)
        free(logits[i]);
}

/* Three texts of different lengths, each with something read before, in one pass. */
static void test_batch(void **state)
{
    (void)state;
    static const int64_t before[] = {0, 70, 5}, rows[] = {40, 3, 1};
    fl_model *model = model_of(engine, TINY "llama");
    int64_t vocab = model->config.vocab, last[3];
    fl_kv_shape shape[3] = {fl_model_kv_shape(model), fl_model_kv_shape(model), fl_model_kv_shape(model)};
    random_ids(ids, COUNT, vocab, 3);
    fl_run *run;
    must(fl_run_create(&run, engine, 0, false));
    fl_memory *memory[3];
    fl_batch_seq seq[3];
    int32_t tokens[64];
    int64_t filled = 0;
    for (int i = 0; i < 3; i++) {
        must(fl_memory_create(&memory[i], 3, shape));
        fl_batch_seq first = {.memory = memory[i], .rows = before[i]};
        fl_batch batch = {.sequences = 1, .seq = &first, .rows = before[i], .tokens = ids + 90 * i};
        if (before[i]) must(fl_model_pass(model, run, &batch, NULL, false, NULL));
        seq[i] = (fl_batch_seq){.memory = memory[i], .first_row = filled, .rows = rows[i], .first_position = before[i]};
        memcpy(tokens + filled, ids + 90 * i + before[i], (size_t)rows[i] * sizeof *ids);
        filled += rows[i];
        last[i] = filled - 1;
    }
    float *together = malloc((size_t)(3 * vocab) * sizeof *together);
    fl_batch batch = {.sequences = 3, .seq = seq, .rows = filled, .tokens = tokens};
    fl_head_spec spec = {.n = 3, .row = last, .logits = together};
    must(fl_model_pass(model, run, &batch, NULL, false, &spec));
    for (int i = 0; i < 3; i++) {
        float *alone = logits_after(model, ids + 90 * i, before[i] + rows[i]);
        assert_same_bits(alone, together + i * vocab, vocab);
        free(alone);
        fl_memory_destroy(memory[i]);
    }
    free(together);
    fl_run_destroy(run);
    fl_model_close(model);
}

/* ---- going back and apart --------------------------------------------------------------------------------------- */

static void test_truncate(void **state)
{
    (void)state;
    fl_model *model = model_of(engine, STORIES);
    int64_t vocab = model->config.vocab;
    random_ids(ids, COUNT, vocab, 4);
    float *expected = logits_after(model, ids, COUNT);
    fl_session *s = session_of(model, 512, 0);
    must(fl_session_read(s, ids, COUNT));
    must(fl_session_truncate(s, COUNT)); /* nothing to do: the logits stay */
    assert_same_bits(expected, fl_session_logits(s), vocab);

    static const int64_t keep[] = {299, 256, 255, 64, 1, 0};
    for (size_t i = 0; i < sizeof keep / sizeof *keep; i++) {
        must(fl_session_truncate(s, keep[i]));
        assert_int_equal(fl_session_tokens(s), keep[i]);
        assert_null(fl_session_logits(s));
        int32_t other[40];
        random_ids(other, 40, vocab, 5 + i); /* something else in between */
        must(fl_session_read(s, other, 40));
        must(fl_session_truncate(s, keep[i]));
        must(fl_session_read(s, ids + keep[i], COUNT - keep[i]));
        assert_same_bits(expected, fl_session_logits(s), vocab);
    }
    /* As the header says: the last token again, out of the session's own list. */
    must(fl_session_truncate(s, COUNT - 1));
    must(fl_session_read(s, fl_session_ids(s) + COUNT - 1, 1));
    assert_same_bits(expected, fl_session_logits(s), vocab);
    assert_int_equal(fl_session_truncate(s, COUNT + 1), FL_ERR_ARGUMENT);
    assert_int_equal(fl_session_truncate(s, -1), FL_ERR_ARGUMENT);
    assert_int_equal(fl_session_tokens(s), COUNT);
    fl_session_destroy(s);
    free(expected);
    fl_model_close(model);
}

static void test_fork(void **state)
{
    (void)state;
    fl_model *model = model_of(engine, STORIES);
    int64_t vocab = model->config.vocab;
    random_ids(ids, COUNT, vocab, 6);
    fl_session *s = session_of(model, 512, 0), *fork;
    must(fl_session_read(s, ids, 100));
    must(fl_session_fork(&fork, s));
    assert_same_bits(fl_session_logits(s), fl_session_logits(fork), vocab);
    /* Both go on, first the copy: neither sees the other. */
    must(fl_session_read(fork, ids + 200, 60));
    must(fl_session_read(s, ids + 100, 200));
    float *expected = logits_after(model, ids, COUNT);
    assert_same_bits(expected, fl_session_logits(s), vocab);
    free(expected);
    int32_t joined[160];
    memcpy(joined, ids, 100 * sizeof *ids);
    memcpy(joined + 100, ids + 200, 60 * sizeof *ids);
    fl_session_destroy(s);
    expected = logits_after(model, joined, 160);
    assert_same_bits(expected, fl_session_logits(fork), vocab);
    assert_memory_equal(fl_session_ids(fork), joined, sizeof joined);
    free(expected);
    fl_session_destroy(fork);
    fl_model_close(model);
}

static void *read_rest(void *session)
{
    fl_session *s = session;
    int64_t held = fl_session_tokens(s);
    return fl_session_read(s, ids + held, COUNT - held) == FL_OK ? s : NULL;
}

/* Forks of one session, on one engine, in three threads at once. */
static void test_sessions_of_several_threads(void **state)
{
    (void)state;
    fl_model *model = model_of(engine, STORIES);
    random_ids(ids, COUNT, model->config.vocab, 7);
    float *expected = logits_after(model, ids, COUNT);
    fl_session *s[3];
    s[0] = session_of(model, 512, 8);
    must(fl_session_read(s[0], ids, 100));
    must(fl_session_fork(&s[1], s[0]));
    must(fl_session_fork(&s[2], s[1]));
    pthread_t thread[3];
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, read_rest, s[i]), 0);
    for (int i = 0; i < 3; i++) {
        void *done;
        pthread_join(thread[i], &done);
        assert_ptr_equal(done, s[i]);
        assert_same_bits(expected, fl_session_logits(s[i]), model->config.vocab);
        fl_session_destroy(s[i]);
    }
    free(expected);
    fl_model_close(model);
}

/* ---- snapshots -------------------------------------------------------------------------------------------------- */

static void check_restored(const char *path, const char *snapshot, int64_t window, int64_t sinks)
{
    fl_model *model = model_of(engine, path);
    int64_t vocab = model->config.vocab, read = 128, more = 60;
    random_ids(ids, COUNT, vocab, 8);
    fl_session_options options = FL_SESSION_OPTIONS_INIT;
    options.context = model->config.rotary ? COUNT : 0;
    options.sliding_window = window;
    options.sinks = sinks;
    if (!model->config.rotary) read = 60;
    fl_session *s, *restored;
    must(fl_session_create(&s, model, &options));
    must(fl_session_create(&restored, model, &options));
    must(fl_session_read(s, ids, read));
    must(fl_session_save(s, snapshot));
    must(fl_session_read(restored, ids + 5, 3)); /* is replaced */
    must(fl_session_restore(restored, snapshot));
    assert_int_equal(fl_session_tokens(restored), read);
    assert_memory_equal(fl_session_ids(restored), ids, (size_t)read * sizeof *ids);
    assert_same_bits(fl_session_logits(s), fl_session_logits(restored), vocab);
    must(fl_session_read(s, ids + read, more));
    must(fl_session_read(restored, ids + read, more));
    assert_same_bits(fl_session_logits(s), fl_session_logits(restored), vocab);
    fl_session_destroy(restored);
    fl_session_destroy(s);
    fl_model_close(model);
}

static void test_restored_is_continued(void **state)
{
    (void)state;
    char folder[64], snapshot[128];
    tiny_folder(folder, TINY "rope_dynamic.json");
    snprintf(snapshot, sizeof snapshot, "%s/snapshot", folder);
    check_restored(TINY "llama", snapshot, 0, 0);
    check_restored(TINY "llama", snapshot, 20, 4);
    check_restored(TINY "gpt2", snapshot, 0, 0);
    check_restored(STORIES, snapshot, 0, 0);
    check_restored(folder, snapshot, 0, 0);
    remove_folder(folder);
}

static void refused(fl_session *s, const char *snapshot, fl_status expected)
{
    int64_t held = fl_session_tokens(s);
    assert_int_equal(fl_session_restore(s, snapshot), expected);
    assert_true(strlen(fl_error_message()) > 20);
    assert_int_equal(fl_session_tokens(s), held); /* as before */
    assert_non_null(fl_session_logits(s));
}

static void test_foreign_snapshots(void **state)
{
    (void)state;
    char folder[64], snapshot[128];
    tiny_folder(folder, TINY "rope_linear.json");
    snprintf(snapshot, sizeof snapshot, "%s/snapshot", folder);
    fl_model *model = model_of(engine, TINY "llama");
    random_ids(ids, COUNT, model->config.vocab, 9);
    fl_session *s = session_of(model, 0, 0);
    must(fl_session_read(s, ids, 90));
    must(fl_session_save(s, snapshot));

    /* The same weights in another type, another schedule, another shape, another window. */
    const char *other[] = {TINY "llama_bf16", folder, TINY "gpt2", STORIES};
    for (int i = 0; i < 4; i++) {
        fl_model *foreign = model_of(engine, other[i]);
        fl_session *t = session_of(foreign, 0, 0);
        must(fl_session_read(t, ids, 4));
        refused(t, snapshot, FL_ERR_STATE);
        fl_session_destroy(t);
        fl_model_close(foreign);
    }
    fl_session_options options = FL_SESSION_OPTIONS_INIT;
    options.sliding_window = 20;
    fl_session *t;
    must(fl_session_create(&t, model, &options));
    must(fl_session_read(t, ids, 4));
    refused(t, snapshot, FL_ERR_STATE);
    fl_session_destroy(t);

    /* More tokens than this session's context holds. */
    t = session_of(model, 50, 0);
    must(fl_session_read(t, ids, 4));
    refused(t, snapshot, FL_ERR_WINDOW);
    assert_non_null(strstr(fl_error_message(), "90"));
    assert_non_null(strstr(fl_error_message(), "50"));

    /* A damaged file, a part of one, none. */
    fl_buffer whole = golden_file(snapshot);
    for (int i = 0; i < 2; i++) {
        FILE *f = fopen(snapshot, "wb");
        assert_non_null(f);
        whole.data[whole.size / 2] ^= 1;
        assert_int_equal(fwrite(whole.data, 1, whole.size / (size_t)(i + 1), f), whole.size / (size_t)(i + 1));
        assert_int_equal(fclose(f), 0);
        refused(t, snapshot, FL_ERR_FORMAT);
    }
    unlink(snapshot);
    refused(t, snapshot, FL_ERR_IO);
    fl_buffer_free(&whole);
    fl_session_destroy(t);
    fl_session_destroy(s);
    fl_model_close(model);
    remove_folder(folder);
}

/* ---- cancelling ------------------------------------------------------------------------------------------------- */

typedef struct watcher {
    fl_session *session;
    int64_t cancel_at; /* tokens done at which to act, -1: never */
    bool by_flag;      /* fl_session_cancel instead of the return value */
    int64_t total, last;
    int calls;
    double left;
} watcher;

static int watch(const char *stage, int64_t done, int64_t total, double seconds_left, void *user)
{
    watcher *w = user;
    if (strcmp(stage, "prefill") || done <= w->last || total != w->total) return 2;
    w->calls++;
    w->last = done;
    w->left = seconds_left;
    if (w->cancel_at < 0 || done < w->cancel_at) return 0;
    if (!w->by_flag) return 1;
    fl_session_cancel(w->session);
    return 0;
}

static fl_session *watched_session(watcher *w, const fl_model *model, int64_t chunk)
{
    fl_session_options options = FL_SESSION_OPTIONS_INIT;
    options.progress = watch;
    options.progress_user = w;
    options.chunk = chunk;
    options.overflow = FL_OVERFLOW_EXTEND;
    must(fl_session_create(&w->session, model, &options));
    return w->session;
}

static void test_progress(void **state)
{
    (void)state;
    fl_model *model = model_of(engine, STORIES);
    random_ids(ids, COUNT, model->config.vocab, 10);
    watcher w = {.cancel_at = -1, .total = COUNT, .left = -1};
    fl_session *s = watched_session(&w, model, 0);
    must(fl_session_read(s, ids, COUNT));
    assert_true(w.calls >= 1);
    assert_int_equal(w.last, COUNT);
    assert_true(w.left == 0);
    w.calls = 0;
    must(fl_session_read(s, ids, 1)); /* single tokens do not report */
    assert_int_equal(w.calls, 0);
    fl_session_destroy(s);
    fl_model_close(model);
}

/* Progress is reported ten times a second: the text must last longer, so it is long and read token by token. */
static void test_cancel_by_progress(void **state)
{
    (void)state;
#ifdef __SANITIZE_THREAD__
    enum { LONG = 800 }; /* every token takes a hundred times longer */
#else
    enum { LONG = 4000 };
#endif
    static int32_t text[LONG];
    fl_model *model = model_of(engine, STORIES);
    int64_t vocab = model->config.vocab;
    random_ids(text, LONG, vocab, 11);
    float *expected = logits_after(model, text, LONG);
    for (int i = 0; i < 2; i++) {
        watcher w = {.cancel_at = 1, .by_flag = i == 1, .total = LONG};
        fl_session *s = watched_session(&w, model, 1);
        assert_int_equal(fl_session_read(s, text, LONG), FL_ERR_CANCELLED);
        int64_t held = fl_session_tokens(s);
        assert_true(held > 0 && held < LONG);
        assert_int_equal(held, w.last);
        assert_int_equal(w.calls, 1);
        assert_null(fl_session_logits(s));
        char numbers[64];
        snprintf(numbers, sizeof numbers, "%lld of %d", (long long)held, LONG);
        assert_non_null(strstr(fl_error_message(), numbers));
        w = (watcher){.session = s, .cancel_at = -1, .total = LONG - held};
        must(fl_session_read(s, text + held, LONG - held));
        assert_same_bits(expected, fl_session_logits(s), vocab);
        fl_session_destroy(s);
    }
    free(expected);
    fl_model_close(model);
}

/* A flag set while nothing is read ends the next read before its first layer, once. */
static void test_cancel_by_flag(void **state)
{
    (void)state;
    fl_model *model = model_of(engine, STORIES);
    int64_t vocab = model->config.vocab;
    random_ids(ids, COUNT, vocab, 12);
    float *expected = logits_after(model, ids, COUNT);
    fl_session *s = session_of(model, 0, 0);
    must(fl_session_read(s, ids, 10));
    float *before = logits_after(model, ids, 10);
    fl_session_cancel(s);
    fl_session_cancel(s);
    assert_int_equal(fl_session_read(s, ids + 10, COUNT - 10), FL_ERR_CANCELLED);
    assert_non_null(strstr(fl_error_message(), "0 of 290"));
    assert_int_equal(fl_session_tokens(s), 10);
    assert_same_bits(before, fl_session_logits(s), vocab); /* nothing was read: they still stand */
    must(fl_session_read(s, ids + 10, COUNT - 10));
    assert_same_bits(expected, fl_session_logits(s), vocab);
    fl_session_destroy(s);
    free(before);
    free(expected);
    fl_model_close(model);
}

static void *cancel_soon(void *session)
{
    usleep(2000);
    fl_session_cancel(session);
    return NULL;
}

/* From another thread, in the middle of a pass: either it came in time or it did not, the session is consistent. */
static void test_cancel_from_another_thread(void **state)
{
    (void)state;
    fl_model *model = model_of(engine, STORIES);
    int64_t vocab = model->config.vocab;
    random_ids(ids, COUNT, vocab, 13);
    float *expected = logits_after(model, ids, COUNT);
    for (int round = 0; round < 10; round++) {
        fl_session *s = session_of(model, 0, 30);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, cancel_soon, s), 0);
        fl_status status = fl_session_read(s, ids, COUNT);
        pthread_join(thread, NULL);
        int64_t held = fl_session_tokens(s);
        if (status == FL_OK) {
            assert_int_equal(held, COUNT);
            fl_session_truncate(s, 0);
            held = 0;
            assert_int_equal(fl_session_read(s, ids, COUNT), FL_ERR_CANCELLED); /* it came late: the next read */
        } else {
            assert_int_equal(status, FL_ERR_CANCELLED);
        }
        assert_int_equal(held % 30, 0);
        held = fl_session_tokens(s);
        must(fl_session_read(s, ids + held, COUNT - held));
        assert_same_bits(expected, fl_session_logits(s), vocab);
        fl_session_destroy(s);
    }
    free(expected);
    fl_model_close(model);
}

/* ---- the window ------------------------------------------------------------------------------------------------- */

typedef struct lines {
    int warnings;
    char last[512];
} lines;

static void keep_line(fl_log_level level, const char *text, void *user)
{
    lines *l = user;
    if (level != FL_LOG_WARN) return;
    l->warnings++;
    snprintf(l->last, sizeof l->last, "%s", text);
}

static void test_window_error(void **state)
{
    (void)state;
    fl_model *model = model_of(engine, TINY "llama"); /* window 128 */
    int64_t vocab = model->config.vocab;
    random_ids(ids, COUNT, vocab, 14);
    fl_session *s = session_of(model, 0, 16);
    assert_int_equal(fl_session_context(s), 128);
    must(fl_session_read(s, ids, 100));
    float *before = logits_after(model, ids, 100);
    assert_int_equal(fl_session_read(s, ids + 100, 29), FL_ERR_WINDOW);
    assert_non_null(strstr(fl_error_message(), "129"));
    assert_non_null(strstr(fl_error_message(), "128"));
    assert_non_null(strstr(fl_error_message(), "scaling"));
    assert_int_equal(fl_session_tokens(s), 100);
    assert_same_bits(before, fl_session_logits(s), vocab);
    must(fl_session_read(s, ids + 100, 28));
    assert_int_equal(fl_session_tokens(s), 128);
    assert_int_equal(fl_session_read(s, ids, 1), FL_ERR_WINDOW);
    fl_session_destroy(s);
    free(before);
    fl_model_close(model);
}

static void test_extend(void **state)
{
    (void)state;
    lines l = {0};
    fl_engine *own = engine_of(1, keep_line, &l);
    fl_model *model = model_of(own, TINY "llama");
    random_ids(ids, COUNT, model->config.vocab, 15);
    fl_session_options options = FL_SESSION_OPTIONS_INIT;
    options.overflow = FL_OVERFLOW_EXTEND;
    fl_session *s;
    must(fl_session_create(&s, model, &options));
    must(fl_session_read(s, ids, 128));
    assert_int_equal(l.warnings, 0);
    must(fl_session_read(s, ids + 128, COUNT - 128));
    assert_int_equal(l.warnings, 1); /* once, with both numbers */
    assert_non_null(strstr(l.last, "300"));
    assert_non_null(strstr(l.last, "128"));
    must(fl_session_read(s, ids, 1));
    assert_int_equal(l.warnings, 1);
    fl_session_destroy(s);
    fl_model_close(model);

    model = model_of(own, TINY "gpt2"); /* learned positions go no further */
    assert_int_equal(fl_session_create(&s, model, &options), FL_ERR_UNSUPPORTED);
    options.overflow = FL_OVERFLOW_ERROR;
    options.context = 129;
    assert_int_equal(fl_session_create(&s, model, &options), FL_ERR_UNSUPPORTED);
    options.context = 128;
    must(fl_session_create(&s, model, &options));
    random_ids(ids, COUNT, model->config.vocab, 15);
    assert_int_equal(fl_session_read(s, ids, 129), FL_ERR_WINDOW);
    assert_null(strstr(fl_error_message(), "scaling")); /* no advice that cannot help */
    fl_session_destroy(s);
    fl_model_close(model);
    fl_engine_destroy(own);
}

/* With a scaling in force the window is the scaled one, and nothing is warned of inside it. */
static void test_scaled_window(void **state)
{
    (void)state;
    lines l = {0};
    fl_engine *own = engine_of(1, keep_line, &l);
    fl_model_options options = FL_MODEL_OPTIONS_INIT;
    options.rope.scaling = "yarn";
    options.context = 384;
    fl_model *model;
    must(fl_model_open(&model, own, TINY "llama", &options));
    fl_session *s = session_of(model, 0, 0);
    assert_int_equal(fl_session_context(s), 384);
    random_ids(ids, COUNT, model->config.vocab, 16);
    must(fl_session_read(s, ids, COUNT));
    assert_int_equal(l.warnings, 0);
    fl_session_destroy(s);
    fl_model_close(model);
    fl_engine_destroy(own);
}

static float *logits_with_window(const fl_model *model, const int32_t *text, int64_t count, int64_t window,
                                 int64_t sinks, int64_t chunk)
{
    fl_session_options options = FL_SESSION_OPTIONS_INIT;
    options.context = COUNT;
    options.sliding_window = window;
    options.sinks = sinks;
    options.chunk = chunk;
    fl_session *s;
    must(fl_session_create(&s, model, &options));
    must(fl_session_read(s, text, count));
    float *copy = malloc((size_t)model->config.vocab * sizeof *copy);
    memcpy(copy, fl_session_logits(s), (size_t)model->config.vocab * sizeof *copy);
    fl_session_destroy(s);
    return copy;
}

static bool same(const float *a, const float *b, int64_t n)
{
    return memcmp(a, b, (size_t)n * sizeof *a) == 0;
}

/* Three layers with a window of w see 3 (w - 1) tokens back and no further, but for the sinks. */
static void test_sliding_window(void **state)
{
    (void)state;
    fl_model *model = model_of(engine, TINY "llama");
    int64_t vocab = model->config.vocab, count = 100, window = 8, reach = 3 * (window - 1);
    random_ids(ids, count, vocab, 17);
    float *full = logits_after(model, ids, count);
    float *wide = logits_with_window(model, ids, count, count, 0, 0);
    float *narrow = logits_with_window(model, ids, count, window, 0, 0);
    float *chunked = logits_with_window(model, ids, count, window, 0, 7);
    float *sinks = logits_with_window(model, ids, count, window, 4, 0);
    float *sinks_chunked = logits_with_window(model, ids, count, window, 4, 13);
    assert_same_bits(full, wide, vocab);
    assert_false(same(full, narrow, vocab));
    assert_same_bits(narrow, chunked, vocab);
    assert_false(same(narrow, sinks, vocab));
    assert_same_bits(sinks, sinks_chunked, vocab);

    static const int64_t changed[] = {0, 3, 4, 50};
    for (int i = 0; i < 4; i++) {
        int32_t old = ids[changed[i]];
        ids[changed[i]] = (old + 1) % (int32_t)vocab;
        float *a = logits_with_window(model, ids, count, window, 0, 0);
        float *b = logits_with_window(model, ids, count, window, 4, 0);
        assert_true(same(a, narrow, vocab));
        assert_int_equal(same(b, sinks, vocab), changed[i] >= 4);
        free(a);
        free(b);
        ids[changed[i]] = old;
    }
    int64_t edge = count - 1 - reach;
    for (int64_t i = edge - 1; i <= edge; i++) {
        int32_t old = ids[i];
        ids[i] = (old + 1) % (int32_t)vocab;
        float *a = logits_with_window(model, ids, count, window, 0, 0);
        assert_int_equal(same(a, narrow, vocab), i < edge);
        free(a);
        ids[i] = old;
    }
    /* A token that sees only itself gets its own value back, wherever it stands. */
    float *single = logits_after(model, ids + count - 1, 1);
    float *alone = logits_with_window(model, ids, count, 1, 0, 0);
    assert_same_bits(single, alone, vocab);
    float *const all[] = {full, wide, narrow, chunked, sinks, sinks_chunked, single, alone};
    for (int i = 0; i < 8; i++)
        free(all[i]);
    fl_model_close(model);
}

/* ---- misuse ----------------------------------------------------------------------------------------------------- */

static void test_arguments(void **state)
{
    (void)state;
    fl_model *model = model_of(engine, TINY "llama");
    fl_session *s = NULL;
    const fl_session_options good = FL_SESSION_OPTIONS_INIT;
    fl_session_options bad[8];
    for (int i = 0; i < 8; i++)
        bad[i] = good;
    bad[0].size = 1;
    bad[1].context = -1;
    bad[2].chunk = -1;
    bad[3].chunk = INT64_C(1) << 40;
    bad[4].sinks = 4; /* without a window */
    bad[5].sliding_window = -1;
    bad[6].overflow = (fl_overflow)7;
    bad[7].context = INT64_MAX;
    for (int i = 0; i < 8; i++)
        assert_int_equal(fl_session_create(&s, model, &bad[i]), FL_ERR_ARGUMENT);
    assert_int_equal(fl_session_create(NULL, model, &good), FL_ERR_ARGUMENT);
    assert_int_equal(fl_session_create(&s, NULL, &good), FL_ERR_ARGUMENT);
    assert_int_equal(fl_session_create(&s, model, NULL), FL_ERR_ARGUMENT);
    assert_null(s);

    must(fl_session_create(&s, model, &good));
    random_ids(ids, 20, model->config.vocab, 18);
    assert_int_equal(fl_session_read(s, NULL, 1), FL_ERR_ARGUMENT);
    assert_int_equal(fl_session_read(s, ids, -1), FL_ERR_ARGUMENT);
    assert_int_equal(fl_session_read(s, ids, INT64_MAX), FL_ERR_ARGUMENT);
    must(fl_session_read(s, NULL, 0));
    ids[19] = (int32_t)model->config.vocab;
    assert_int_equal(fl_session_read(s, ids, 20), FL_ERR_ARGUMENT);
    assert_non_null(strstr(fl_error_message(), "token 19 has id 320"));
    ids[19] = -1;
    assert_int_equal(fl_session_read(s, ids, 20), FL_ERR_ARGUMENT);
    assert_int_equal(fl_session_tokens(s), 0);
    assert_int_equal(fl_session_bytes(s), 0);
    must(fl_session_truncate(s, 0));
    fl_session_destroy(s);
    fl_session_destroy(NULL);
    fl_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_chunks_of_schedules),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_batch),
        cmocka_unit_test(test_truncate),
        cmocka_unit_test(test_fork),
        cmocka_unit_test(test_sessions_of_several_threads),
        cmocka_unit_test(test_restored_is_continued),
        cmocka_unit_test(test_foreign_snapshots),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_cancel_by_progress),
        cmocka_unit_test(test_cancel_by_flag),
        cmocka_unit_test(test_cancel_from_another_thread),
        cmocka_unit_test(test_window_error),
        cmocka_unit_test(test_extend),
        cmocka_unit_test(test_scaled_window),
        cmocka_unit_test(test_sliding_window),
        cmocka_unit_test(test_arguments),
    };
    return cmocka_run_group_tests(tests, open_engine, close_engine);
}
