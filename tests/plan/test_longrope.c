/* LongRoPE's search on a small trained model: its result is what it says, by the perplexity that other code computes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "golden.h"
#include "model/model.h"

#define STORIES FL_SOURCE_DIR "/models/stories260K/stories260K.bin"
#define TO 1024 /* twice the window */

static fl_engine *engine;
static fl_document document;

static void must(fl_status s)
{
    if (s != FL_OK) fail_msg("%s: %s", fl_status_name(s), fl_error_message());
}

static fl_model *opened(const char *factors)
{
    fl_model_options options = FL_MODEL_OPTIONS_INIT;
    options.rope.longrope_factors = factors;
    fl_model *m;
    must(fl_model_open(&m, engine, STORIES, &options));
    return m;
}

static fl_longrope_options small(const char *path)
{
    fl_longrope_options o = FL_LONGROPE_OPTIONS_INIT;
    o.document = &document;
    o.documents = 1;
    o.bos = 1;
    o.to = TO;
    o.population = 6;
    o.rounds = 2;
    o.samples = 1;
    o.seed = 5;
    o.path = path;
    return o;
}

static void test_search(void **state)
{
    (void)state;
    char path[] = "/tmp/furlong-factors-XXXXXX";
    assert_true(close(mkstemp(path)) == 0);
    fl_model *m = opened(NULL);
    fl_longrope_options o = small(path);
    fl_longrope_result r = {.size = sizeof r}, again = {.size = sizeof again};
    must(fl_longrope_search(&r, m, &o));
    assert_int_equal(r.pairs, m->config.rope.dim / 2);
    assert_int_equal(r.evaluated, 6 + 2 * 3);
    for (int i = 0; i < r.pairs; i++)
        assert_true(r.factor[i] >= (i ? r.factor[i - 1] : 1) && r.factor[i] <= 1.25 * TO / 512);
    /* Never worse than what it began with, and this short search on this text is better. */
    assert_true(r.nll <= r.nll_linear && r.nll <= r.nll_ntk && r.nll <= r.nll_yarn);
    assert_true(r.nll < fmin(fmin(r.nll_linear, r.nll_ntk), r.nll_yarn));

    o.path = NULL;
    must(fl_longrope_search(&again, m, &o));
    assert_memory_equal(&r, &again, sizeof r);
    fl_model_close(m);

    /* The file opened as a model's factors: the window claimed, the divisors, and that perplexity. One document that is
     * no longer than the sample has one place for it. */
    m = opened(path);
    assert_int_equal(fl_model_window(m), TO);
    for (int i = 0; i < r.pairs; i++)
        assert_true(m->config.rope.long_factor[i] == r.factor[i] && m->config.rope.short_factor[i] == 1);
    const int64_t length = TO;
    fl_ppl_options ppl = FL_PPL_OPTIONS_INIT;
    fl_ppl_result result;
    ppl.lengths = &length;
    ppl.length_count = 1;
    must(fl_eval_ppl(&result, m, &document, 1, 1, &ppl));
    assert_true(fabs(result.nll - r.nll) < 1e-12);
    fl_model_close(m);
    unlink(path);
}

static void refused(fl_longrope_options o, const fl_model *m, fl_status status, const char *what)
{
    fl_longrope_result r = {.size = sizeof r};
    assert_int_equal(fl_longrope_search(&r, m, &o), status);
    if (!strstr(fl_error_message(), what)) fail_msg("%s: not in: %s", what, fl_error_message());
}

static int cancel(const char *stage, int64_t done, int64_t total, double seconds_left, void *user)
{
    (void)stage, (void)total, (void)seconds_left, (void)user;
    return done >= 2;
}

static void test_refusals(void **state)
{
    (void)state;
    fl_model *m = opened(NULL);
    fl_longrope_options o = small(NULL);
    o.to = 512;
    refused(o, m, FL_ERR_ARGUMENT, "--to 512");
    o = small(NULL);
    o.population = 3;
    refused(o, m, FL_ERR_ARGUMENT, "--population 3");
    o = small(NULL);
    o.to = TO + 1; /* the document has TO - 1 tokens beside BOS */
    refused(o, m, FL_ERR_ARGUMENT, "no document holds");
    o = small(NULL);
    o.progress = cancel;
    refused(o, m, FL_ERR_CANCELLED, "");
    fl_model_close(m);

    /* Factors that are not this model's. */
    char path[] = "/tmp/furlong-factors-XXXXXX";
    static const struct {
        const char *text, *what;
    } files[] = {
        {"{\"rope_type\": \"yarn\", \"factor\": 2}", "must be longrope"},
        {"{\"rope_type\": \"longrope\", \"factor\": 2, \"short_factor\": [1, 1], \"long_factor\": [1, 1]}",
         "short_factor"},
        {"{\"rope_type\": \"longrope\", \"factor\": 2, \"short_factor\": [1,1,1,1], \"long_factor\": [1,1,1,2], "
         "\"original_max_position_embeddings\": 2048}",
         "original_max_position_embeddings = 2048"},
        {"{\"rope_type\": \"longrope\", \"factor\": 2, \"short_factor\": [1,1,1,1], \"long_factor\": [1,1,1,2], "
         "\"lambda\": 3}",
         "lambda"},
        {"[1, 2]", "object"},
    };
    int fd = mkstemp(path);
    assert_true(fd >= 0 && close(fd) == 0);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        FILE *f = fopen(path, "w");
        fputs(files[i].text, f);
        fclose(f);
        fl_model_options options = FL_MODEL_OPTIONS_INIT;
        options.rope.longrope_factors = path;
        assert_int_not_equal(fl_model_open(&m, engine, STORIES, &options), FL_OK);
        if (!strstr(fl_error_message(), files[i].what) || !strstr(fl_error_message(), path))
            fail_msg("%s: not in: %s", files[i].what, fl_error_message());
    }
    unlink(path);
}

static int open_all(void **state)
{
    (void)state;
    fl_engine_options options = FL_ENGINE_OPTIONS_INIT;
    if (fl_engine_create(&engine, &options) != FL_OK) return 1;
    fl_buffer ids = golden_file(FL_TEST_DATA "/golden/stories260K/text.i32.bin");
    static int32_t copy[TO - 1];
    const int32_t *from = (const int32_t *)(const void *)ids.data;
    memcpy(copy, from + (from[0] == 1), sizeof copy);
    document = (fl_document){copy, TO - 1};
    fl_buffer_free(&ids);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    fl_engine_destroy(engine);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_search), cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, open_all, close_all);
}
