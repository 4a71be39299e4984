/* What the tests of this floor share: engines, models, ids, and comparison to the bit. */
#ifndef TESTS_SESSION_CASE_H
#define TESTS_SESSION_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>
#include <unistd.h>

#include "base/rng.h"
#include "golden.h"
#include "model/model.h"

#define TINY FL_TEST_DATA "/tiny/"
#define STORIES FL_SOURCE_DIR "/models/stories260K/stories260K.bin"

static inline void must(fl_status s)
{
    if (s != FL_OK) fail_msg("%s: %s", fl_status_name(s), fl_error_message());
}

static inline fl_engine *engine_of(int threads, fl_log_fn log, void *user)
{
    fl_engine_options options = FL_ENGINE_OPTIONS_INIT;
    options.threads = threads;
    options.log = log;
    options.log_user = user;
    fl_engine *engine;
    must(fl_engine_create(&engine, &options));
    return engine;
}

static inline fl_model *model_of(fl_engine *engine, const char *path)
{
    fl_model_options options = FL_MODEL_OPTIONS_INIT;
    fl_model *model;
    must(fl_model_open(&model, engine, path, &options));
    return model;
}

static inline fl_session *session_of(const fl_model *model, int64_t context, int64_t chunk)
{
    fl_session_options options = FL_SESSION_OPTIONS_INIT;
    options.context = context;
    options.chunk = chunk;
    fl_session *session;
    must(fl_session_create(&session, model, &options));
    return session;
}

/* The llama folder's weights under another config, in a folder of its own; remove_folder when done. */
static inline void tiny_folder(char folder[64], const char *config)
{
    strcpy(folder, "/tmp/furlong-session-XXXXXX");
    assert_non_null(mkdtemp(folder));
    const char *from[] = {TINY "llama/model.safetensors", config};
    const char *to[] = {"model.safetensors", "config.json"};
    for (int i = 0; i < 2; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", folder, to[i]);
        fl_buffer b = golden_file(from[i]);
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        assert_int_equal(fwrite(b.data, 1, b.size, f), b.size);
        assert_int_equal(fclose(f), 0);
        fl_buffer_free(&b);
    }
}

static inline void remove_folder(const char *folder)
{
    const char *name[] = {"model.safetensors", "config.json", "snapshot"};
    for (int i = 0; i < 3; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", folder, name[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(folder), 0);
}

static inline void random_ids(int32_t *ids, int64_t count, int64_t vocab, uint64_t seed)
{
    fl_rng rng;
    fl_rng_seed(&rng, seed);
    for (int64_t i = 0; i < count; i++)
        ids[i] = (int32_t)fl_rng_below(&rng, (uint64_t)vocab);
}

static inline void assert_same_bits(const float *a, const float *b, int64_t n)
{
    assert_non_null(a);
    assert_non_null(b);
    for (int64_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof *a)) fail_msg("logit %lld: %.9g and %.9g", (long long)i, a[i], b[i]);
}

/* A copy of the logits that a fresh session has after these ids; free it. */
static inline float *logits_after(const fl_model *model, const int32_t *ids, int64_t count)
{
    fl_session *session = session_of(model, count, 0);
    must(fl_session_read(session, ids, count));
    float *copy = malloc((size_t)model->config.vocab * sizeof *copy);
    assert_non_null(copy);
    memcpy(copy, fl_session_logits(session), (size_t)model->config.vocab * sizeof *copy);
    fl_session_destroy(session);
    return copy;
}

#endif
