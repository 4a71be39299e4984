/* Every protocol against the float64 oracle (tools/oracle/perplexity.py) on a real text, for plain, and Position
 * Interpolation by 2 and 4, inside and past the window.
 *
 * Bound: 4 digits of the perplexity, that is a relative error of 5e-5; fp32 logits are off by about 1e-6. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>

#include "golden.h"
#include "model/model.h"

#define BOUND 5e-5

static fl_engine *engine;

static int open_engine(void **state)
{
    (void)state;
    fl_engine_options options = FL_ENGINE_OPTIONS_INIT;
    return fl_engine_create(&engine, &options);
}

static int close_engine(void **state)
{
    (void)state;
    fl_engine_destroy(engine);
    return 0;
}

static void must(fl_status s)
{
    if (s != FL_OK) fail_msg("%s: %s", fl_status_name(s), fl_error_message());
}

static fl_model *open_model(double factor)
{
    fl_model_options options = FL_MODEL_OPTIONS_INIT;
    if (factor > 1) {
        options.rope.scaling = "linear";
        options.rope.scale = factor;
    }
    fl_model *m;
    must(fl_model_open(&m, engine, FL_SOURCE_DIR "/models/stories260K/stories260K.bin", &options));
    return m;
}

static fl_ppl_protocol protocol_of(const char *name)
{
    static const char *const names[] = {[FL_PPL_SINGLE] = "single",
                                        [FL_PPL_SLIDING] = "sliding",
                                        [FL_PPL_DISJOINT] = "disjoint",
                                        [FL_PPL_POSITION] = "position",
                                        [FL_PPL_MATCHED] = "matched"};
    for (int i = 0; i < 5; i++)
        if (!strcmp(names[i], name)) return (fl_ppl_protocol)i;
    fail_msg("unknown protocol %s", name);
    return FL_PPL_SINGLE;
}

static double number(const json_t *o, const char *key)
{
    return json_number_value(json_object_get(o, key));
}

static void check_result(const json_t *o, const fl_model *m, const fl_buffer *ids)
{
    int64_t length = (int64_t)number(o, "length"), starts[64];
    fl_ppl_options options = FL_PPL_OPTIONS_INIT;
    options.protocol = protocol_of(json_string_value(json_object_get(o, "protocol")));
    options.lengths = &length;
    options.length_count = 1;
    if (options.protocol == FL_PPL_SLIDING) options.stride = (int64_t)number(o, "stride");
    const json_t *list = json_object_get(o, "starts");
    if (list) {
        options.blocks = (int64_t)json_array_size(list);
        options.score = (int64_t)number(o, "score");
        assert_in_range(options.blocks, 1, 64);
        for (int64_t i = 0; i < options.blocks; i++)
            starts[i] = (int64_t)json_number_value(json_array_get(list, (size_t)i));
        options.starts = starts;
    }
    const int32_t *stream = (const int32_t *)(const void *)ids->data;
    fl_document document = {stream + 1, (int64_t)(ids->size / sizeof *stream) - 1};
    fl_ppl_result r;
    must(fl_eval_ppl(&r, m, &document, 1, stream[0], &options));
    assert_int_equal(r.tokens, (int64_t)number(o, "tokens"));
    double error = fabs(r.nll - number(o, "nll"));
    if (!(error < BOUND) || !(fabs(r.ppl / number(o, "ppl") - 1) < BOUND))
        fail_msg("%s at %lld: nll %.7f, expected %.7f", json_string_value(json_object_get(o, "protocol")),
                 (long long)length, r.nll, number(o, "nll"));
    assert_true(fabs(r.stderr_nll / number(o, "stderr") - 1) < 1e-3);
    const json_t *sums = json_object_get(o, "bucket_nll_sum"), *counts = json_object_get(o, "bucket_tokens");
    for (size_t b = 0; b < json_array_size(sums); b++) {
        double n = json_number_value(json_array_get(counts, b));
        assert_int_equal(r.bucket_tokens[b], (int64_t)n);
        assert_true(fabs(r.bucket[b] - json_number_value(json_array_get(sums, b)) / n) < BOUND * r.bucket[b]);
    }
}

static void test_protocols(void **state)
{
    (void)state;
    json_error_t error;
    json_t *file = json_load_file(FL_TEST_DATA "/golden/perplexity/stories.json", 0, &error);
    assert_non_null(file);
    fl_buffer ids = golden_file(FL_TEST_DATA "/golden/stories260K/text.i32.bin");
    assert_int_equal(ids.size / sizeof(int32_t), (size_t)number(file, "stream_tokens"));
    const json_t *results = json_object_get(file, "results");
    assert_true(json_array_size(results) > 20);
    double factor = 0;
    fl_model *m = NULL;
    for (size_t i = 0; i < json_array_size(results); i++) {
        const json_t *o = json_array_get(results, i);
        if (number(o, "factor") != factor) {
            fl_model_close(m);
            factor = number(o, "factor");
            m = open_model(factor);
        }
        check_result(o, m, &ids);
    }
    fl_model_close(m);
    fl_buffer_free(&ids);
    json_decref(file);
}

/* Drawn blocks: same seed same result, targets inside the text, other seed other blocks. */
static void test_drawn_blocks(void **state)
{
    (void)state;
    fl_model *m = open_model(1);
    fl_buffer ids = golden_file(FL_TEST_DATA "/golden/stories260K/text.i32.bin");
    const int32_t *stream = (const int32_t *)(const void *)ids.data;
    fl_document document[2] = {{stream + 1, 3000}, {stream + 4001, 3000}};
    int64_t lengths[] = {96, 256};
    fl_ppl_options options = FL_PPL_OPTIONS_INIT;
    options.protocol = FL_PPL_MATCHED;
    options.lengths = lengths;
    options.length_count = 2;
    options.score = 32;
    options.blocks = 8;
    fl_ppl_result a[2], b[2], c[2];
    must(fl_eval_ppl(a, m, document, 2, 1, &options));
    must(fl_eval_ppl(b, m, document, 2, 1, &options));
    options.seed = 1;
    must(fl_eval_ppl(c, m, document, 2, 1, &options));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(a[i].tokens, 2 * 8 * 32);
        assert_true(a[i].nll == b[i].nll && a[i].nll != c[i].nll);
    }
    fl_model_close(m);
    fl_buffer_free(&ids);
}

static void test_refusals(void **state)
{
    (void)state;
    fl_model *m = open_model(1);
    int32_t ids[100] = {5};
    fl_document document = {ids, 100};
    int64_t length = 512;
    fl_ppl_options options = FL_PPL_OPTIONS_INIT;
    options.lengths = &length;
    options.length_count = 1;
    fl_ppl_result r;
    for (int p = FL_PPL_SINGLE; p <= FL_PPL_MATCHED; p++) {
        options.protocol = (fl_ppl_protocol)p;
        assert_int_equal(fl_eval_ppl(&r, m, &document, 1, 1, &options), FL_ERR_ARGUMENT);
        assert_non_null(strstr(fl_error_message(), "101"));
    }
    options.protocol = FL_PPL_SLIDING;
    length = 64;
    options.stride = 64;
    assert_int_equal(fl_eval_ppl(&r, m, &document, 1, 1, &options), FL_ERR_ARGUMENT);
    length = 1;
    assert_int_equal(fl_eval_ppl(&r, m, &document, 1, 1, &options), FL_ERR_ARGUMENT);
    fl_model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_protocols), cmocka_unit_test(test_drawn_blocks),
                                       cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, open_engine, close_engine);
}
