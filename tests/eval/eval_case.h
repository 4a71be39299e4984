/* What the tests of evaluations share: the small trained model, and a place for files. */
#ifndef FL_TEST_EVAL_CASE_H
#define FL_TEST_EVAL_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

#include "golden.h"
#include "model/model.h"

static fl_engine *engine;
static fl_model *model;
static fl_tokenizer *tokenizer;
static fl_buffer stream; /* BOS and the ids of a text */
static const int32_t *ids;
static char scratch[64]; /* a file that does not exist when a test begins */

static inline void must(fl_status s)
{
    if (s != FL_OK) fail_msg("%s: %s", fl_status_name(s), fl_error_message());
}

static inline int start(void **state)
{
    (void)state;
    fl_engine_options engine_options = FL_ENGINE_OPTIONS_INIT;
    fl_model_options options = FL_MODEL_OPTIONS_INIT;
    must(fl_engine_create(&engine, &engine_options));
    must(fl_model_open(&model, engine, FL_SOURCE_DIR "/models/stories260K/stories260K.bin", &options));
    must(fl_tokenizer_load(&tokenizer, NULL, model));
    stream = golden_file(FL_TEST_DATA "/golden/stories260K/text.i32.bin");
    ids = (const int32_t *)(const void *)stream.data;
    snprintf(scratch, sizeof scratch, "/tmp/furlong-eval-%ld", (long)getpid());
    return 0;
}

static inline int end(void **state)
{
    (void)state;
    unlink(scratch);
    fl_buffer_free(&stream);
    fl_tokenizer_close(tokenizer);
    fl_model_close(model);
    fl_engine_destroy(engine);
    return 0;
}

static inline json_t *golden_json(const char *path)
{
    json_error_t error;
    json_t *o = json_load_file(path, 0, &error);
    if (!o) fail_msg("%s: %s", path, error.text);
    return o;
}

/* Cut the scratch file after its first `lines` lines and `bytes` more, as a killed run leaves it. */
static inline void cut_scratch(int lines, long bytes)
{
    FILE *f = fopen(scratch, "rb");
    assert_non_null(f);
    long at = 0;
    for (int c; lines && (c = fgetc(f)) != EOF; at++)
        lines -= c == '\n';
    fclose(f);
    assert_int_equal(truncate(scratch, at + bytes), 0);
}

/* Ends the work when it has done what user points to. */
static inline int stop_at(const char *stage, int64_t done, int64_t total, double left, void *user)
{
    (void)stage, (void)total, (void)left;
    return done >= *(const int64_t *)user;
}

#endif
