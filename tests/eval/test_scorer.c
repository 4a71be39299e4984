/* Judging a text: against log-softmax of the logits that reading token by token gives, and the same bits however the
 * text is cut, chunked, or shares its beginning with another. */
#include "eval_case.h"

#include "eval/scorer.h"

#define COUNT 300

/* Two fp32 evaluations of one product and softmax, summed in different orders: 1e-5 of values near 10. */
static void test_against_logits(void **state)
{
    (void)state;
    fl_session_options options = FL_SESSION_OPTIONS_INIT;
    fl_session *session;
    fl_scorer scorer;
    float nll[40];
    int32_t argmax[40];
    must(fl_session_create(&session, model, &options));
    must(fl_scorer_create(&scorer, model, NULL, 41));
    must(fl_scorer_text(&scorer, ids, 41, 1, nll, argmax));
    for (int i = 0; i < 40; i++) {
        must(fl_session_read(session, ids + i, 1));
        const float *logits = fl_session_logits(session);
        double most = -INFINITY, sum = 0;
        int best = 0;
        for (int v = 0; v < model->config.vocab; v++)
            if (logits[v] > most) most = logits[best = v];
        for (int v = 0; v < model->config.vocab; v++)
            sum += exp(logits[v] - most);
        assert_true(fabs(most + log(sum) - logits[ids[i + 1]] - nll[i]) < 1e-4);
        assert_int_equal(argmax[i], best);
    }
    fl_scorer_destroy(&scorer);
    fl_session_destroy(session);
}

static void test_same_bits(void **state)
{
    (void)state;
    float whole[COUNT], other[COUNT];
    int32_t argmax[COUNT], other_argmax[COUNT];
    static const int64_t chunks[] = {1, 7, 100};
    fl_scorer scorer;
    must(fl_scorer_create(&scorer, model, NULL, COUNT));
    must(fl_scorer_text(&scorer, ids, COUNT, 1, whole, argmax));
    /* Another text with the same beginning, then the first again: both begin in the middle. */
    int32_t changed[COUNT];
    memcpy(changed, ids, sizeof changed);
    changed[200] = changed[200] == 300 ? 301 : 300;
    must(fl_scorer_text(&scorer, changed, COUNT, 150, other, NULL));
    assert_memory_equal(other, whole + 149, 50 * sizeof *other);
    assert_true(other[60] != whole[209]);
    int64_t before = scorer.computed;
    must(fl_scorer_text(&scorer, ids, COUNT, 250, other, other_argmax));
    assert_int_equal(scorer.computed - before, COUNT - 1 - 200);
    assert_memory_equal(other, whole + 249, (COUNT - 250) * sizeof *other);
    assert_memory_equal(other_argmax, argmax + 249, (COUNT - 250) * sizeof *argmax);
    /* In pieces. */
    must(fl_scorer_start(&scorer));
    for (int64_t at = 0; at < COUNT - 1; at += 64) {
        int64_t n = COUNT - 1 - at < 64 ? COUNT - 1 - at : 64;
        must(fl_scorer_piece(&scorer, ids + at, n + 1, &(fl_score){.first = 1, .length = COUNT, .nll = other + at}));
    }
    assert_memory_equal(other, whole, (COUNT - 1) * sizeof *other);
    fl_scorer_destroy(&scorer);
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        fl_session_options reading = FL_SESSION_OPTIONS_INIT;
        reading.chunk = chunks[i];
        must(fl_scorer_create(&scorer, model, &reading, COUNT));
        must(fl_scorer_text(&scorer, ids, COUNT, 1, other, NULL));
        assert_memory_equal(other, whole, (COUNT - 1) * sizeof *other);
        fl_scorer_destroy(&scorer);
    }
}

/* Every way of reading: what stands before a text in the same scorer makes no difference. */
static void test_same_bits_of_schemes(void **state)
{
    (void)state;
    static const struct {
        const char *scaling, *logn;
        fl_overflow overflow;
    } way[] = {{"linear", NULL, FL_OVERFLOW_ERROR},      {"dynamic", NULL, FL_OVERFLOW_ERROR},
               {"self-extend", NULL, FL_OVERFLOW_ERROR}, {"rerope", "beyond", FL_OVERFLOW_ERROR},
               {"dual-chunk", NULL, FL_OVERFLOW_EXTEND}, {"dual-chunk", "length", FL_OVERFLOW_ERROR},
               {"none", NULL, FL_OVERFLOW_STREAM}};
    enum { LONG = 1400, SHORT = 900, FIRST = 800 };
    for (size_t i = 0; i < sizeof way / sizeof *way; i++) {
        fl_model_options options = FL_MODEL_OPTIONS_INIT;
        fl_session_options reading = FL_SESSION_OPTIONS_INIT;
        fl_model *m;
        fl_scorer used, fresh;
        float a[LONG], b[LONG];
        options.rope.scaling = way[i].scaling;
        options.context = LONG;
        options.passes.logn = way[i].logn;
        reading.overflow = way[i].overflow;
        must(fl_model_open(&m, engine, FL_SOURCE_DIR "/models/stories260K/stories260K.bin", &options));
        must(fl_scorer_create(&used, m, &reading, LONG));
        must(fl_scorer_create(&fresh, m, &reading, LONG));
        must(fl_scorer_text(&used, ids, LONG, 1, a, NULL));
        must(fl_scorer_text(&used, ids, SHORT, FIRST, a, NULL));
        must(fl_scorer_text(&fresh, ids, SHORT, FIRST, b, NULL));
        if (memcmp(a, b, (SHORT - FIRST) * sizeof *a))
            fail_msg("%s, log-n %s, overflow %d", way[i].scaling, way[i].logn ? way[i].logn : "off", way[i].overflow);
        fl_scorer_destroy(&used);
        fl_scorer_destroy(&fresh);
        fl_model_close(m);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    fl_scorer scorer;
    float nll[8];
    must(fl_scorer_create(&scorer, model, NULL, 8));
    assert_int_equal(fl_session_score(scorer.session, ids, 8, &(fl_score){.first = 0}), FL_ERR_ARGUMENT);
    assert_int_equal(fl_session_score(scorer.session, ids, 8, &(fl_score){.first = 8}), FL_ERR_ARGUMENT);
    assert_int_equal(fl_scorer_text(&scorer, ids, 9, 1, nll, NULL), FL_ERR_WINDOW);
    must(fl_scorer_text(&scorer, ids, 8, 1, nll, NULL));
    fl_scorer_destroy(&scorer);
}

/* A cancelled evaluation ends, and the scorer goes on with the next text. */
static void test_cancel(void **state)
{
    (void)state;
    fl_scorer scorer;
    fl_session_options reading = FL_SESSION_OPTIONS_INIT;
    float nll[COUNT];
    int64_t limit = 0;
    reading.chunk = 16;
    must(fl_scorer_create(&scorer, model, &reading, COUNT));
    fl_progress_start(&scorer.progress, stop_at, &limit, "test", COUNT);
    assert_int_equal(fl_scorer_text(&scorer, ids, COUNT, 1, nll, NULL), FL_ERR_CANCELLED);
    limit = INT64_MAX;
    must(fl_scorer_text(&scorer, ids, COUNT, 1, nll, NULL));
    fl_scorer_destroy(&scorer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_logits), cmocka_unit_test(test_same_bits),
                                       cmocka_unit_test(test_same_bits_of_schemes), cmocka_unit_test(test_refusals),
                                       cmocka_unit_test(test_cancel)};
    return cmocka_run_group_tests(tests, start, end);
}
