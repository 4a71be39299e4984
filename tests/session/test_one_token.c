/* Is a token near the beginning of a long text still read at its end? With full attention over stretched positions
 * changing it changes the logits after six windows; in a stream, which let it go, not a bit of them. What a session
 * computes is fixed to the bit by its tokens, so any difference comes from the token. */
#include "session_case.h"

#define COUNT 3072 /* six trained windows of 512; a stream of 5 layers carries a trace 5 x 508 = 2540 tokens far */
#define EARLY 8    /* behind the sinks */

static fl_engine *engine;
static int32_t ids[COUNT];

static int open_engine(void **state)
{
    (void)state;
    engine = engine_of(2, NULL, NULL);
    random_ids(ids, COUNT, 512, 3);
    ids[0] = 1;
    return 0;
}

static int close_engine(void **state)
{
    (void)state;
    fl_engine_destroy(engine);
    return 0;
}

/* Logits after all ids, those at `at` (-1: none) changed; free them. */
static float *logits_changed(const fl_model *m, fl_overflow overflow, int64_t at)
{
    fl_session_options options = FL_SESSION_OPTIONS_INIT;
    options.overflow = overflow;
    options.context = overflow == FL_OVERFLOW_STREAM ? 0 : COUNT;
    fl_session *s;
    int32_t kept = at >= 0 ? ids[at] : 0;
    if (at >= 0) ids[at] = (ids[at] + 17) % 512;
    must(fl_session_create(&s, m, &options));
    must(fl_session_read(s, ids, COUNT));
    if (at >= 0) ids[at] = kept;
    float *copy = malloc((size_t)m->config.vocab * sizeof *copy);
    assert_non_null(copy);
    memcpy(copy, fl_session_logits(s), (size_t)m->config.vocab * sizeof *copy);
    fl_session_destroy(s);
    return copy;
}

/* Does the token at `at` reach the logits behind the last one? */
static bool reaches(const fl_model *m, fl_overflow overflow, int64_t at)
{
    size_t bytes = (size_t)m->config.vocab * sizeof(float);
    float *as_it_is = logits_changed(m, overflow, -1), *again = logits_changed(m, overflow, -1),
          *changed = logits_changed(m, overflow, at);
    assert_memory_equal(as_it_is, again, bytes); /* nothing but the token can make a difference */
    bool differs = memcmp(as_it_is, changed, bytes) != 0;
    free(as_it_is);
    free(again);
    free(changed);
    return differs;
}

static fl_model *stretched(const char *scaling, double base)
{
    fl_model_options options = FL_MODEL_OPTIONS_INIT;
    options.rope.scaling = scaling;
    options.rope.freq_base = base;
    options.context = COUNT;
    fl_model *m;
    must(fl_model_open(&m, engine, STORIES, &options));
    assert_int_equal(fl_model_window(m), COUNT);
    return m;
}

static void test_full_attention(void **state)
{
    (void)state;
    static const struct {
        const char *scaling;
        double base;
    } ways[] = {{"yarn", 0}, {NULL, 1e6}};
    for (int i = 0; i < 2; i++) {
        fl_model *m = stretched(ways[i].scaling, ways[i].base);
        assert_true(reaches(m, FL_OVERFLOW_ERROR, EARLY));
        fl_model_close(m);
    }
}

static void test_stream(void **state)
{
    (void)state;
    fl_model *m = model_of(engine, STORIES);
    assert_false(reaches(m, FL_OVERFLOW_STREAM, EARLY));
    assert_true(reaches(m, FL_OVERFLOW_STREAM, 2));           /* a sink */
    assert_true(reaches(m, FL_OVERFLOW_STREAM, COUNT - 300)); /* in the window */
    fl_model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_full_attention), cmocka_unit_test(test_stream)};
    return cmocka_run_group_tests(tests, open_engine, close_engine);
}
