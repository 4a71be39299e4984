/* Generation: greedy ids and text token for token as Transformers in float64 gives them (margins between the two best
 * logits in those records are at least 2e-3, our logits are within 1e-4 of their size), and everything that ends it. */
#include "session_case.h"

#include <jansson.h>

#define AIDREAMS FL_TEST_DATA "/models/aidreams260K/aidreams260K.bin"

static fl_engine *engine;
static fl_model *stories;
static fl_tokenizer *tokenizer;

static int open_all(void **state)
{
    (void)state;
    engine = engine_of(2, NULL, NULL);
    stories = model_of(engine, STORIES);
    return fl_tokenizer_load(&tokenizer, NULL, stories);
}

static int close_all(void **state)
{
    (void)state;
    fl_tokenizer_close(tokenizer);
    fl_model_close(stories);
    fl_engine_destroy(engine);
    return 0;
}

static fl_session *session_with(const fl_model *model, const fl_tokenizer *t, const char *prompt, int64_t context)
{
    int32_t ids[256];
    int64_t count;
    must(fl_tokenize(t, prompt, strlen(prompt), true, true, ids, 256, &count));
    assert_in_range(count, 1, 256);
    fl_session *s = session_of(model, context, 0);
    must(fl_session_read(s, ids, count));
    return s;
}

typedef struct collected {
    fl_buffer text;
    int pieces, stop_after; /* 0: never */
    fl_session *cancel;     /* at the first piece */
} collected;

static int collect(const char *text, size_t length, void *user)
{
    collected *c = user;
    assert_true(length > 0);
    /* Whole characters only: jansson takes nothing else. */
    json_t *valid = json_stringn(text, length);
    assert_non_null(valid);
    json_decref(valid);
    fl_buffer_append(&c->text, text, length);
    c->pieces++;
    if (c->cancel) fl_session_cancel(c->cancel);
    return c->stop_after && c->pieces >= c->stop_after;
}

static fl_generate_options greedy(collected *c, int64_t tokens)
{
    fl_generate_options o = FL_GENERATE_OPTIONS_INIT;
    o.sampler.temperature = 0;
    o.max_tokens = tokens;
    o.text = collect;
    o.text_user = c;
    return o;
}

static const char *text_of(const collected *c)
{
    return c->text.data ? c->text.data : "";
}

/* ---- against the records ---------------------------------------------------------------------------------------- */

static void check_case(const fl_model *model, const fl_tokenizer *t, const json_t *golden)
{
    const char *prompt = json_string_value(json_object_get(golden, "prompt"));
    const char *text = json_string_value(json_object_get(golden, "text"));
    const json_t *prompt_ids = json_object_get(golden, "prompt_ids"), *ids = json_object_get(golden, "ids");
    int64_t before = (int64_t)json_array_size(prompt_ids), count = (int64_t)json_array_size(ids);
    int64_t stop = json_integer_value(json_object_get(golden, "stop"));
    fl_session *s = session_with(model, t, prompt, 0);
    assert_int_equal(fl_session_tokens(s), before);
    for (int64_t i = 0; i < before; i++)
        assert_int_equal(fl_session_ids(s)[i], json_integer_value(json_array_get(prompt_ids, (size_t)i)));

    collected c = {0};
    fl_generate_options o = greedy(&c, count);
    fl_generate_result result;
    o.ignore_eos = true;
    must(fl_generate(s, t, &o, &result));
    assert_int_equal(result.tokens, count);
    assert_int_equal(result.finish, FL_FINISH_LENGTH);
    assert_true(result.seconds > 0);
    assert_int_equal(fl_session_tokens(s), before + count);
    for (int64_t i = 0; i < count; i++)
        assert_int_equal(fl_session_ids(s)[before + i], json_integer_value(json_array_get(ids, (size_t)i)));
    fl_buffer_clear(&c.text);

    /* As a user sees it: up to the end of the text, which is BOS or EOS. */
    must(fl_session_truncate(s, before - 1));
    must(fl_session_read(s, fl_session_ids(s) + before - 1, 1));
    o.ignore_eos = false;
    must(fl_generate(s, t, &o, &result));
    assert_int_equal(result.finish, stop < 0 ? FL_FINISH_LENGTH : FL_FINISH_EOS);
    assert_int_equal(result.tokens, stop < 0 ? count : stop);
    assert_int_equal(fl_session_tokens(s), before + result.tokens);
    assert_string_equal(text_of(&c), text + strlen(prompt));
    fl_buffer_free(&c.text);
    fl_session_destroy(s);
}

static void check_cases(const fl_model *model, const fl_tokenizer *t, const char *record)
{
    json_t *root = json_load_file(record, 0, NULL);
    assert_non_null(root);
    const json_t *cases = json_object_get(root, "cases");
    assert_true(json_array_size(cases) >= 3);
    for (size_t i = 0; i < json_array_size(cases); i++)
        check_case(model, t, json_array_get(cases, i));
    json_decref(root);
}

static void test_greedy_text(void **state)
{
    (void)state;
    check_cases(stories, tokenizer, FL_TEST_DATA "/golden/stories260K/greedy.json");
    fl_model *model = model_of(engine, AIDREAMS);
    fl_tokenizer *own;
    must(fl_tokenizer_load(&own, NULL, model));
    check_cases(model, own, FL_TEST_DATA "/golden/aidreams260K/greedy.json");
    fl_tokenizer_close(own);
    fl_model_close(model);
}

/* ---- what ends it ----------------------------------------------------------------------------------------------- */

#define PROMPT "Once upon a time"
/* The greedy text begins ", there was a little girl named Lily. She loved to play outside in the park. One day, she" */

static void check_stop(const char *const *stop, int count, const char *expected)
{
    collected c = {0};
    fl_session *s = session_with(stories, tokenizer, PROMPT, 0);
    fl_generate_options o = greedy(&c, 60);
    fl_generate_result result;
    o.stop = stop;
    o.stop_count = count;
    must(fl_generate(s, tokenizer, &o, &result));
    assert_string_equal(text_of(&c), expected);
    assert_int_equal(result.finish, FL_FINISH_STOP);
    /* Every generated token has been read, the stop string's too. */
    assert_int_equal(fl_session_tokens(s), 5 + result.tokens);
    assert_non_null(fl_session_logits(s));
    fl_buffer_free(&c.text);
    fl_session_destroy(s);
}

static void test_stop_strings(void **state)
{
    (void)state;
    /* Within a token, over several, at once, the first of two, one that begins like the text but is another. */
    check_stop((const char *const[]){"ittl"}, 1, ", there was a l");
    check_stop((const char *const[]){"girl named Lily. She"}, 1, ", there was a little ");
    check_stop((const char *const[]){","}, 1, "");
    check_stop((const char *const[]){"park", "Lily"}, 2, ", there was a little girl named ");
    check_stop((const char *const[]){"little girl named Tom", "One day"}, 2,
               ", there was a little girl named Lily. She loved to play outside in the park. ");
}

/* What was held back because a stop string could have begun there is still text when the generation ends. */
static void test_held_text_is_delivered(void **state)
{
    (void)state;
    collected plain = {0}, held = {0};
    for (int64_t tokens = 1; tokens < 24; tokens++) {
        fl_session *s = session_with(stories, tokenizer, PROMPT, 0);
        fl_session *fork;
        must(fl_session_fork(&fork, s));
        fl_generate_options o = greedy(&plain, tokens);
        fl_generate_result result;
        must(fl_generate(s, tokenizer, &o, &result));
        o.text_user = &held;
        o.stop = (const char *const[]){", there was a little girl named Lily. She loved to play outside in the sun"};
        o.stop_count = 1;
        must(fl_generate(fork, tokenizer, &o, &result));
        assert_int_equal(result.finish, FL_FINISH_LENGTH);
        assert_string_equal(text_of(&plain), text_of(&held));
        fl_buffer_clear(&plain.text);
        fl_buffer_clear(&held.text);
        fl_session_destroy(fork);
        fl_session_destroy(s);
    }
    fl_buffer_free(&plain.text);
    fl_buffer_free(&held.text);
}

static void test_limits(void **state)
{
    (void)state;
    collected c = {0};
    fl_session *s = session_with(stories, tokenizer, PROMPT, 20);
    fl_generate_options o = greedy(&c, 0);
    fl_generate_result result = {.tokens = 7};
    must(fl_generate(s, tokenizer, &o, &result)); /* nothing asked for */
    assert_int_equal(result.tokens, 0);
    assert_int_equal(result.finish, FL_FINISH_LENGTH);
    o.max_tokens = -1;
    must(fl_generate(s, tokenizer, &o, &result)); /* until the context is full: 5 of 20 are the prompt */
    assert_int_equal(result.tokens, 15);
    assert_int_equal(result.finish, FL_FINISH_CONTEXT);
    assert_int_equal(fl_session_tokens(s), 20);
    must(fl_generate(s, tokenizer, &o, &result));
    assert_int_equal(result.tokens, 0);
    assert_int_equal(result.finish, FL_FINISH_CONTEXT);
    fl_buffer_free(&c.text);
    fl_session_destroy(s);
}

static void test_in_parts(void **state)
{
    (void)state;
    collected whole = {0}, parts = {0};
    fl_session *s = session_with(stories, tokenizer, PROMPT, 0), *fork;
    must(fl_session_fork(&fork, s));
    fl_generate_options o = greedy(&whole, 40);
    must(fl_generate(s, tokenizer, &o, NULL));
    o.text_user = &parts;
    static const int64_t tokens[] = {1, 2, 30, 7};
    for (int i = 0; i < 4; i++) {
        o.max_tokens = tokens[i];
        must(fl_generate(fork, tokenizer, &o, NULL));
    }
    assert_string_equal(text_of(&whole), text_of(&parts));
    assert_same_bits(fl_session_logits(s), fl_session_logits(fork), stories->config.vocab);
    fl_buffer_free(&whole.text);
    fl_buffer_free(&parts.text);
    fl_session_destroy(fork);
    fl_session_destroy(s);
}

static void test_caller_stops(void **state)
{
    (void)state;
    collected c = {.stop_after = 3};
    fl_session *s = session_with(stories, tokenizer, PROMPT, 0);
    fl_generate_options o = greedy(&c, 60);
    fl_generate_result result;
    must(fl_generate(s, tokenizer, &o, &result));
    assert_int_equal(result.finish, FL_FINISH_CALLER);
    assert_int_equal(c.pieces, 3);
    assert_int_equal(fl_session_tokens(s), 5 + result.tokens);
    fl_buffer_free(&c.text);
    fl_session_destroy(s);
}

static void test_cancelled(void **state)
{
    (void)state;
    collected c = {0};
    fl_session *s = session_with(stories, tokenizer, PROMPT, 0);
    c.cancel = s;
    fl_generate_options o = greedy(&c, 60);
    fl_generate_result result = {.tokens = 77};
    assert_int_equal(fl_generate(s, tokenizer, &o, &result), FL_ERR_CANCELLED);
    assert_int_equal(result.tokens, 77); /* outputs are untouched */
    assert_int_equal(c.pieces, 1);
    assert_int_equal(fl_session_tokens(s), 5);
    c.cancel = NULL;
    fl_buffer_clear(&c.text);
    must(fl_generate(s, tokenizer, &o, &result));
    assert_int_equal(result.tokens, 60);
    assert_true(!strncmp(text_of(&c), ", there was a little girl", 25));
    fl_buffer_free(&c.text);
    fl_session_destroy(s);
}

/* ---- sampling --------------------------------------------------------------------------------------------------- */

static char *sampled(const fl_model *model, uint64_t seed)
{
    collected c = {0};
    fl_session *s = session_with(model, tokenizer, PROMPT, 0);
    fl_generate_options o = greedy(&c, 40);
    o.sampler = (fl_sampler_options)FL_SAMPLER_OPTIONS_INIT;
    o.sampler.seed = seed;
    must(fl_generate(s, tokenizer, &o, NULL));
    fl_session_destroy(s);
    return c.text.data;
}

static void test_seed(void **state)
{
    (void)state;
    fl_engine *single = engine_of(1, NULL, NULL);
    fl_model *model = model_of(single, STORIES);
    char *a = sampled(stories, 1), *b = sampled(model, 1), *other = sampled(stories, 2);
    assert_string_equal(a, b);
    assert_string_not_equal(a, other);
    free(a);
    free(b);
    free(other);
    fl_model_close(model);
    fl_engine_destroy(single);
}

/* A strong penalty over everything read: no token comes back while there are others. */
static void test_penalty_looks_at_the_session(void **state)
{
    (void)state;
    fl_session *s = session_with(stories, tokenizer, PROMPT, 0);
    fl_generate_options o = greedy(NULL, 60);
    o.text = NULL;
    o.sampler.repeat_penalty = 1e3;
    o.sampler.repeat_last = -1;
    must(fl_generate(s, NULL, &o, NULL)); /* without text no tokenizer is needed */
    int64_t count = fl_session_tokens(s);
    assert_int_equal(count, 65);
    for (int64_t i = 0; i < count; i++)
        for (int64_t j = 0; j < i; j++)
            assert_int_not_equal(fl_session_ids(s)[i], fl_session_ids(s)[j]);
    fl_session_destroy(s);
}

/* ---- misuse ----------------------------------------------------------------------------------------------------- */

static void test_arguments(void **state)
{
    (void)state;
    collected c = {0};
    fl_session *s = session_of(stories, 0, 0);
    fl_generate_options o = greedy(&c, 5);
    assert_int_equal(fl_generate(s, tokenizer, &o, NULL), FL_ERR_STATE); /* nothing read yet */
    must(fl_session_read(s, (const int32_t[]){1}, 1));
    assert_int_equal(fl_generate(NULL, tokenizer, &o, NULL), FL_ERR_ARGUMENT);
    assert_int_equal(fl_generate(s, tokenizer, NULL, NULL), FL_ERR_ARGUMENT);
    assert_int_equal(fl_generate(s, NULL, &o, NULL), FL_ERR_ARGUMENT); /* text without a tokenizer */
    o.max_tokens = -2;
    assert_int_equal(fl_generate(s, tokenizer, &o, NULL), FL_ERR_ARGUMENT);
    o.max_tokens = 5;
    o.stop = (const char *const[]){""};
    o.stop_count = 1;
    assert_int_equal(fl_generate(s, tokenizer, &o, NULL), FL_ERR_ARGUMENT);
    o.stop_count = 0;
    o.sampler.top_k = -1;
    assert_int_equal(fl_generate(s, tokenizer, &o, NULL), FL_ERR_ARGUMENT);
    o.size = 3;
    assert_int_equal(fl_generate(s, tokenizer, &o, NULL), FL_ERR_ARGUMENT);
    assert_int_equal(fl_session_tokens(s), 1);
    assert_null(c.text.data);
    fl_session_destroy(s);
}

static void test_tokenizer_calls(void **state)
{
    (void)state;
    int64_t count = -1;
    must(fl_tokenize(tokenizer, PROMPT, strlen(PROMPT), true, true, NULL, 0, &count));
    assert_int_equal(count, 5);
    int32_t ids[6] = {0, 0, 0, 0, 0, -7};
    must(fl_tokenize(tokenizer, PROMPT, strlen(PROMPT), true, true, ids, 4, &count));
    assert_int_equal(count, 5);
    assert_int_equal(ids[0], 0); /* too small: nothing is written */
    must(fl_tokenize(tokenizer, PROMPT, strlen(PROMPT), true, true, ids, 5, &count));
    assert_memory_equal(ids, ((const int32_t[]){1, 403, 407, 261, 378, -7}), sizeof ids);
    must(fl_tokenize(tokenizer, NULL, 0, false, true, NULL, 0, &count));
    assert_int_equal(count, 0);

    char text[32] = "................";
    size_t length = 0;
    must(fl_detokenize(tokenizer, ids, 5, false, NULL, 0, &length));
    assert_int_equal(length, strlen(PROMPT));
    must(fl_detokenize(tokenizer, ids, 5, false, text, sizeof text, &length));
    assert_memory_equal(text, PROMPT, length);

    assert_int_equal(fl_tokenize(NULL, PROMPT, 1, true, true, ids, 5, &count), FL_ERR_ARGUMENT);
    assert_int_equal(fl_tokenize(tokenizer, NULL, 1, true, true, ids, 5, &count), FL_ERR_ARGUMENT);
    assert_int_equal(fl_tokenize(tokenizer, PROMPT, 1, true, true, ids, -1, &count), FL_ERR_ARGUMENT);
    assert_int_equal(fl_detokenize(tokenizer, NULL, 1, true, text, sizeof text, &length), FL_ERR_ARGUMENT);

    fl_tokenizer *t = NULL;
    assert_int_equal(fl_tokenizer_load(&t, NULL, NULL), FL_ERR_ARGUMENT);
    fl_model *bare = model_of(engine, TINY "llama");
    assert_int_equal(fl_tokenizer_load(&t, NULL, bare), FL_ERR_ARGUMENT);
    assert_non_null(strstr(fl_error_message(), "--tokenizer"));
    assert_int_equal(fl_tokenizer_load(&t, "/nonexistent", bare), FL_ERR_IO);
    assert_null(t);
    fl_model_close(bare);
}

/* The caller's own ids end a text as the model's do: at the first of them, with all text before it delivered, also what
 * might have begun a stop string. */
static void test_stop_ids(void **state)
{
    (void)state;
    collected c = {0};
    fl_generate_options o = greedy(&c, 20);
    fl_generate_result result;
    fl_session *s = session_with(stories, tokenizer, "Once upon a time", 0);
    int64_t before = fl_session_tokens(s);
    must(fl_generate(s, tokenizer, &o, &result));
    int32_t ids[20];
    memcpy(ids, fl_session_ids(s) + before, sizeof ids);
    int64_t first = 12;
    for (int64_t i = 0; i < 12; i++)
        if (ids[i] == ids[12] && i < first) first = i;
    char want[256];
    size_t length;
    must(fl_detokenize(tokenizer, fl_session_ids(s), before + first, false, want, sizeof want - 1, &length));
    want[length] = 0;
    const char last[2] = {want[length - 1], 0}, *stop[1];
    char held[8];
    snprintf(held, sizeof held, "%s\n\n", last); /* begins with the last character: it is held back */
    stop[0] = held;
    const int32_t stop_ids[] = {511, ids[12]};
    for (int k = 0; k < 2; k++) {
        fl_buffer_clear(&c.text);
        must(fl_session_truncate(s, before - 1));
        must(fl_session_read(s, fl_session_ids(s) + before - 1, 1));
        o.stop_ids = stop_ids;
        o.stop_id_count = 2;
        o.ignore_eos = k;
        o.stop = stop;
        o.stop_count = 1;
        must(fl_generate(s, tokenizer, &o, &result));
        assert_int_equal(result.finish, FL_FINISH_EOS);
        assert_int_equal(result.tokens, first);
        assert_int_equal(fl_session_tokens(s), before + first);
        assert_string_equal(text_of(&c), want + strlen("Once upon a time"));
    }
    const int32_t none[] = {512};
    o.stop_ids = none;
    o.stop_id_count = 1;
    assert_int_equal(fl_generate(s, tokenizer, &o, &result), FL_ERR_ARGUMENT);
    assert_non_null(strstr(fl_error_message(), "stop_ids[0] = 512: the vocabulary has ids 0 to 511"));
    o.stop_ids = NULL;
    assert_int_equal(fl_generate(s, tokenizer, &o, &result), FL_ERR_ARGUMENT);
    fl_buffer_free(&c.text);
    fl_session_destroy(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy_text),
        cmocka_unit_test(test_stop_strings),
        cmocka_unit_test(test_held_text_is_delivered),
        cmocka_unit_test(test_stop_ids),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_in_parts),
        cmocka_unit_test(test_caller_stops),
        cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_seed),
        cmocka_unit_test(test_penalty_looks_at_the_session),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_tokenizer_calls),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
