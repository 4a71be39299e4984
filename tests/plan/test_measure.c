/* The critical pair by experiment: its ends are two methods that are measured apart, and its knee follows from the
 * losses by a rule that is checked on them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "eval/blocks.h"
#include "plan/measure.h"

#define FOLDER FL_SOURCE_DIR "/models/stories260K/"
#define SCORE 32
#define BLOCKS 6
#define TEXT 9000

static fl_engine *engine;
static fl_model *model;
static int32_t ids[TEXT];

static void must(fl_status s)
{
    if (s != FL_OK) fail_msg("%s: %s", fl_status_name(s), fl_error_message());
}

static fl_model *open_model(const char *scaling, double scale)
{
    fl_model_options o = FL_MODEL_OPTIONS_INIT;
    fl_model *m;
    o.rope.scaling = scaling;
    o.rope.scale = scale;
    must(fl_model_open(&m, engine, FOLDER "stories260K.bin", &o));
    return m;
}

static int setup(void **state)
{
    (void)state;
    fl_engine_options o = FL_ENGINE_OPTIONS_INIT;
    fl_tokenizer *t;
    fl_buffer text = {0};
    int64_t count = 0;
    must(fl_engine_create(&engine, &o));
    model = open_model(NULL, 0);
    must(fl_tokenizer_load(&t, NULL, model));
    must(fl_file_read(&text, FOLDER "sample-stories.txt", (size_t)1 << 20));
    static int32_t all[100100]; /* at most one token per byte */
    must(fl_tokenize(t, text.data, text.size, false, false, all, sizeof all / sizeof *all, &count));
    assert_true(count >= TEXT);
    memcpy(ids, all, sizeof ids);
    fl_buffer_free(&text);
    fl_tokenizer_close(t);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fl_model_close(model);
    fl_engine_destroy(engine);
    return 0;
}

/* Loss of blocks with `length` tokens above that of the plain model with 512. */
static void expected(const char *scaling, int64_t length, double *mean, double *error)
{
    fl_document text = {ids, TEXT};
    fl_blocks blocks;
    fl_scorer scorer;
    double base[BLOCKS], nll[BLOCKS];
    fl_model *m = open_model(scaling, scaling ? (double)length / 512 : 0);
    must(fl_blocks_create(&blocks, &text, 1, 1, 2048, SCORE, BLOCKS, false));
    must(fl_scorer_create(&scorer, model, NULL, 512));
    must(fl_blocks_judge(&blocks, &scorer, 512, base));
    fl_scorer_destroy(&scorer);
    must(fl_scorer_create(&scorer, m, NULL, length));
    must(fl_blocks_judge(&blocks, &scorer, length, nll));
    fl_scorer_destroy(&scorer);
    fl_paired(nll, base, BLOCKS, mean, error);
    fl_blocks_destroy(&blocks);
    fl_model_close(m);
}

static void test_ends_and_knee(void **state)
{
    (void)state;
    fl_document text = {ids, TEXT};
    fl_measure measure;
    fl_measure_options o = {.score = SCORE, .blocks = BLOCKS};
    must(fl_measure_critical_pair(&measure, model, &text, 1, &o));
    assert_int_equal(measure.pairs, 4);
    for (int i = 0; i < FL_MEASURE_LENGTHS; i++) {
        const fl_measured *at = &measure.at[i];
        double mean, error;
        assert_int_equal(at->length, 1024 << i);
        expected("linear", at->length, &mean, &error); /* every pair divided: Position Interpolation, to the bit */
        assert_true(at->loss[0] == mean && at->error[0] == error);
        expected(NULL, at->length, &mean, &error);
        assert_true(at->loss[4] == mean && at->error[4] == error);
        for (int j = 0; j <= 4; j++)
            assert_true(at->loss[j] >= at->loss[at->best]);
        assert_true(at->knee >= at->best && at->knee <= 4);
    }
    assert_true(measure.at[1].loss[4] > measure.at[0].loss[4]); /* untouched, it fails further out */
    fl_measure_free(&measure);
}

static void test_refusals(void **state)
{
    (void)state;
    fl_document text = {ids, 1000};
    fl_measure measure;
    fl_measure_options o = {.score = SCORE, .blocks = BLOCKS};
    assert_int_equal(fl_measure_critical_pair(&measure, model, &text, 1, &o), FL_ERR_ARGUMENT);
    assert_non_null(strstr(fl_error_message(), "2048"));
    fl_measure_free(&measure);
    fl_model *scaled = open_model("yarn", 2);
    assert_int_equal(fl_measure_critical_pair(&measure, scaled, &text, 1, &o), FL_ERR_UNSUPPORTED);
    fl_measure_free(&measure);
    fl_model_close(scaled);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ends_and_knee), cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
