/* Controls of matched perplexity, intervals over documents, bits per byte, divergences (golden values from Transformers
 * in float64, tools/oracle/evaluation.py), and windows that are taken from a file of items. */
#include "eval_case.h"

#include "base/alloc.h"
#include "eval/divergence.h"
#include "eval/statistics.h"
#include "eval/windows.h"

static fl_model *stretched(double factor)
{
    fl_model_options options = FL_MODEL_OPTIONS_INIT;
    fl_model *m;
    options.rope.scaling = "linear";
    options.rope.scale = factor;
    must(fl_model_open(&m, engine, FL_SOURCE_DIR "/models/stories260K/stories260K.bin", &options));
    return m;
}

static double number(const json_t *o, const char *key)
{
    return json_number_value(json_object_get(o, key));
}

static void near_to(double found, double expected, double bound)
{
    if (!(fabs(found - expected) < bound)) fail_msg("%.9g is not %.9g within %.2g", found, expected, bound);
}

/* fp32 logits are off by about 1e-5; so are log-probabilities, and a mean of their differences less. */
static void test_divergence(void **state)
{
    (void)state;
    json_t *golden = golden_json(FL_TEST_DATA "/golden/eval/stories.json"), *g = json_object_get(golden, "divergence");
    fl_model *m = stretched(2);
    fl_document document = {ids + 1, 299};
    int64_t length = 300;
    fl_ppl_options o = FL_PPL_OPTIONS_INIT;
    fl_ppl_result r;
    o.lengths = &length;
    o.length_count = 1;
    o.reference = model;
    must(fl_eval_ppl(&r, m, &document, 1, ids[0], &o));
    assert_int_equal(r.tokens, (int64_t)number(g, "tokens"));
    near_to(r.kl, number(g, "kl"), 1e-4);
    near_to(r.kl_max, number(g, "kl_max"), 1e-3);
    near_to(r.kl_stderr, number(g, "kl_stderr"), 1e-4);
    near_to(r.top1, number(g, "top1"), 1e-12);
    near_to(r.reference_nll, number(g, "reference_nll"), 1e-4);
    near_to(r.nll, number(g, "nll"), 1e-4);
    /* The same bits of nll as without a reference, whatever pieces both are read in. */
    fl_ppl_result alone;
    o.reference = NULL;
    must(fl_eval_ppl(&alone, m, &document, 1, ids[0], &o));
    assert_true(alone.nll == r.nll && alone.stderr_nll == r.stderr_nll);
    /* A model diverges from itself by nothing, and by little when keys and values are rounded. */
    o.reference = model;
    must(fl_eval_ppl(&r, model, &document, 1, ids[0], &o));
    assert_true(r.kl == 0 && r.top1 == 1 && r.nll == r.reference_nll);
    fl_session_options reading = FL_SESSION_OPTIONS_INIT;
    reading.type_k = reading.type_v = "bf16";
    o.session = &reading;
    must(fl_eval_ppl(&r, model, &document, 1, ids[0], &o));
    assert_true(r.kl > 0 && r.kl < 1e-2 && r.nll != r.reference_nll);
    fl_model_close(m);
    json_decref(golden);
}

/* Closed form: two distributions of two outcomes. */
static void test_divergence_row(void **state)
{
    (void)state;
    const float p[] = {1, 1 + logf(3), -200}, q[] = {5, 5, -200};
    near_to(fl_divergence_row(p, q, 3), 0.25 * log(0.5) + 0.75 * log(1.5), 1e-6); /* fp32 logarithm of 3 */
    near_to(fl_divergence_row(p, p, 3), 0, 1e-15);
}

static fl_ppl_options matched(const int64_t *lengths, int count)
{
    fl_ppl_options o = FL_PPL_OPTIONS_INIT;
    o.protocol = FL_PPL_MATCHED;
    o.lengths = lengths;
    o.length_count = count;
    o.score = 32;
    o.blocks = 6;
    o.near = 128;
    o.tokenizer = tokenizer;
    return o;
}

/* What is put in place of far context, id by id. */
static void test_far_windows(void **state)
{
    (void)state;
    static const int64_t lengths[] = {128, 300, 400};
    fl_document document[] = {{ids + 1, 1000}, {ids + 1501, 1000}, {ids + 3001, 350}};
    fl_streams s;
    must(fl_streams_build(&s, document, 2, -1, 0, 0));
    for (fl_far far = FL_FAR_KEEP; far <= FL_FAR_DROP; far++) {
        fl_ppl_options o = matched(lengths, 3);
        fl_windows kept[3] = {0}, p[3] = {0};
        int32_t before[400], after[400];
        for (int i = 0; i < 3; i++) {
            o.far = FL_FAR_KEEP;
            must(fl_windows_lay(&kept[i], &s, lengths[i], 400, 128, &o));
            o.far = far;
            must(fl_windows_lay(&p[i], &s, lengths[i], 400, 128, &o));
            assert_int_equal(p[i].count, 12);
            for (int64_t w = 0; w < 12; w++) {
                const fl_window *x = &p[i].list[w];
                int64_t n = fl_window_tokens(x), changed = lengths[i] - 128, same = 0;
                fl_window_ids(before, &s, &kept[i].list[w], 0);
                fl_window_ids(after, &s, x, 0);
                assert_int_equal(n, far == FL_FAR_DROP ? 128 : lengths[i]);
                assert_int_equal(n - x->first, 32);
                assert_memory_equal(after + n - 128, before + lengths[i] - 128, 128 * sizeof *after);
                if (far == FL_FAR_DROP) continue;
                for (int64_t j = 0; j < changed; j++)
                    same += before[j] == after[j];
                if (far == FL_FAR_KEEP) assert_int_equal(same, changed);
                if (far == FL_FAR_OTHER && changed) {
                    assert_int_equal(x->far_stream, 1 - x->stream);
                    assert_memory_equal(after, s.ids[x->far_stream] + x->far_begin, (size_t)changed * sizeof *after);
                    /* The longer window's other text ends where the shorter one's does. */
                    assert_int_equal(x->far_begin + x->far, p[1].list[w].far_begin + p[1].list[w].far);
                }
                if (far == FL_FAR_SHUFFLE && changed) {
                    int64_t sum = 0;
                    assert_true(same < changed / 2);
                    for (int64_t j = 0; j < changed; j++)
                        sum += (int64_t)after[j] * after[j] - (int64_t)before[j] * before[j];
                    assert_int_equal(sum, 0);
                }
            }
        }
        for (int i = 0; i < 3; i++) {
            fl_free(kept[i].list);
            fl_free(p[i].list);
        }
    }
    fl_streams_free(&s);
}

static void test_far_results(void **state)
{
    (void)state;
    static const int64_t lengths[] = {128, 400};
    fl_document document[] = {{ids + 1, 1000}, {ids + 1501, 1000}, {ids + 3001, 350}};
    fl_ppl_result keep[2], drop[2], other[2];
    fl_ppl_document by_document[2][3] = {0};
    fl_ppl_options o = matched(lengths, 2);
    assert_int_equal(fl_eval_ppl(keep, model, document, 3, -1, &o), FL_ERR_ARGUMENT); /* the third is too short */
    o.skip_short = true;
    o.documents = by_document[0];
    must(fl_eval_ppl(keep, model, document, 3, -1, &o));
    assert_int_equal(keep[0].skipped, 1);
    assert_int_equal(keep[0].documents, 2);
    assert_int_equal(by_document[0][2].tokens, 0);
    for (int i = 0; i < 2; i++) {
        double total = 0;
        int64_t bytes = 0;
        for (int d = 0; d < 2; d++) {
            assert_int_equal(by_document[i][d].tokens, 6 * 32);
            total += by_document[i][d].nll * 6 * 32;
            bytes += by_document[i][d].bytes;
        }
        near_to(keep[i].nll, total / (2 * 6 * 32), 1e-12);
        assert_int_equal(keep[i].bytes, bytes);
        near_to(keep[i].bits_per_byte, total / log(2) / (double)bytes, 1e-12);
        assert_true(keep[i].low <= keep[i].nll && keep[i].high >= keep[i].nll);
    }
    assert_true(keep[0].gain == 0 && keep[0].gain_documents == 0);
    near_to(keep[1].gain, keep[0].nll - keep[1].nll, 1e-12);
    o.far = FL_FAR_DROP;
    must(fl_eval_ppl(drop, model, document, 3, -1, &o));
    assert_true(drop[0].nll == keep[0].nll && drop[1].nll == keep[0].nll);
    o.far = FL_FAR_OTHER;
    must(fl_eval_ppl(other, model, document, 3, -1, &o));
    assert_true(other[0].nll == keep[0].nll && other[1].nll != keep[1].nll);
    o.far = FL_FAR_OTHER;
    assert_int_equal(fl_eval_ppl(other, model, document, 1, -1, &o), FL_ERR_ARGUMENT);
    assert_non_null(strstr(fl_error_message(), "--far other"));
    o.protocol = FL_PPL_SINGLE;
    assert_int_equal(fl_eval_ppl(other, model, document, 2, -1, &o), FL_ERR_ARGUMENT);
}

/* Bytes of the scored tokens are those of the text: here the whole text but the first token. */
static void test_bytes(void **state)
{
    (void)state;
    fl_buffer text = golden_file(FL_TEST_DATA "/text/stories.txt");
    int32_t some[400];
    int64_t count;
    must(fl_tokenize(tokenizer, text.data, 700, false, false, some, 400, &count));
    fl_document document = {some, count};
    int64_t length = count + 1;
    fl_ppl_options o = FL_PPL_OPTIONS_INIT;
    fl_ppl_result r;
    o.lengths = &length;
    o.length_count = 1;
    o.tokenizer = tokenizer;
    must(fl_eval_ppl(&r, model, &document, 1, 1, &o));
    assert_int_equal(r.bytes, 700);
    fl_buffer_free(&text);
}

/* Every protocol: stopped and gone on with is the same to the bit as done at once. */
static void test_resume(void **state)
{
    (void)state;
    static const int64_t lengths[] = {96, 200};
    fl_document document[] = {{ids + 1, 800}, {ids + 1501, 700}};
    for (fl_ppl_protocol p = FL_PPL_SINGLE; p <= FL_PPL_MATCHED; p++) {
        fl_ppl_options o = matched(lengths, 2);
        fl_ppl_result whole[2], resumed[2];
        o.protocol = p;
        o.stride = 64;
        o.reference = p == FL_PPL_SLIDING ? model : NULL;
        must(fl_eval_ppl(whole, model, document, 2, 1, &o));
        o.items = scratch;
        must(fl_eval_ppl(resumed, model, document, 2, 1, &o));
        cut_scratch(3, 10);
        must(fl_eval_ppl(resumed, model, document, 2, 1, &o));
        assert_int_equal(resumed[0].reused + resumed[1].reused, 3);
        for (int i = 0; i < 2; i++) {
            assert_true(whole[i].nll == resumed[i].nll && whole[i].stderr_nll == resumed[i].stderr_nll);
            assert_true(whole[i].low == resumed[i].low && whole[i].kl == resumed[i].kl);
            assert_int_equal(whole[i].bytes, resumed[i].bytes);
            assert_memory_equal(whole[i].bucket, resumed[i].bucket, sizeof whole[i].bucket);
        }
        unlink(scratch);
    }
}

/* The interval of a mean of 400 draws from a known list: near mean +- 1.96 standard errors. */
static void test_bootstrap(void **state)
{
    (void)state;
    double value[400], weight[400], low, high, again, sum = 0, squares = 0;
    for (int i = 0; i < 400; i++) {
        value[i] = (double)(i * 7919 % 400) / 400;
        weight[i] = 2;
        sum += value[i];
        squares += value[i] * value[i];
    }
    double mean = sum / 400, se = sqrt((squares / 400 - mean * mean) / 400);
    must(fl_bootstrap(value, NULL, 400, 5, &low, &high));
    /* 2000 draws put the percentiles within about 0.15 standard errors. */
    near_to(low, mean - 1.96 * se, 0.15 * se);
    near_to(high, mean + 1.96 * se, 0.15 * se);
    must(fl_bootstrap(value, weight, 400, 5, &again, &high));
    near_to(again, low / 2, 1e-12);
    must(fl_bootstrap(value, NULL, 1, 5, &low, &high));
    assert_true(low == value[0] && high == value[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_divergence),  cmocka_unit_test(test_divergence_row),
                                       cmocka_unit_test(test_far_windows), cmocka_unit_test(test_far_results),
                                       cmocka_unit_test(test_bytes),       cmocka_unit_test(test_resume),
                                       cmocka_unit_test(test_bootstrap)};
    return cmocka_run_group_tests(tests, start, end);
}
