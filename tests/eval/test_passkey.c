/* Passkey prompts byte for byte against the landmark-attention protocol (tools/oracle/evaluation.py), how they are
 * fitted to a length, Wilson's intervals, and that a run goes on where it was stopped. */
#include "eval_case.h"

#include "eval/judge.h"
#include "eval/passkey.h"
#include "eval/statistics.h"

static void test_literal_text(void **state)
{
    (void)state;
    json_t *golden = golden_json(FL_TEST_DATA "/golden/eval/passkey.json"), *list = json_object_get(golden, "passkey");
    assert_int_equal(json_array_size(list), 5);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *c = json_array_get(list, i);
        const char *expected = json_string_value(json_object_get(c, "text"));
        fl_passkey_text t = {.key = json_string_value(json_object_get(c, "key")),
                             .before = (size_t)json_integer_value(json_object_get(c, "before")),
                             .after = (size_t)json_integer_value(json_object_get(c, "after"))};
        fl_buffer out = {0};
        size_t key_at, prompt;
        fl_passkey_write(&out, &t, &key_at, &prompt);
        assert_int_equal(prompt, strlen(expected));
        assert_memory_equal(out.data, expected, prompt);
        assert_int_equal(out.data[prompt], ' ');
        assert_string_equal(out.data + prompt + 1, t.key);
        assert_int_equal(strncmp(out.data + key_at, "The pass key is ", 16), 0);
        fl_buffer_free(&out);
    }
    json_decref(golden);
}

static void test_book_text(void **state)
{
    (void)state;
    static const char book[] = "One two\n\nthree  four five. ";
    fl_passkey_text t = {
        .key = "iron", .filler = book, .filler_bytes = sizeof book - 1, .start = 4, .before = 16, .after = 20};
    fl_buffer out = {0};
    size_t key_at, prompt;
    fl_passkey_write(&out, &t, &key_at, &prompt);
    assert_string_equal(out.data,
                        "two three four The pass key is iron. Remember it. iron is the pass key. five. One two "
                        "three What is the pass key? The pass key is iron");
    fl_buffer_free(&out);
}

static void test_wilson(void **state)
{
    (void)state;
    json_t *golden = golden_json(FL_TEST_DATA "/golden/eval/passkey.json"), *list = json_object_get(golden, "wilson");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *c = json_array_get(list, i), *interval = json_object_get(c, "interval");
        double low, high;
        fl_wilson(json_integer_value(json_object_get(c, "hits")), json_integer_value(json_object_get(c, "trials")),
                  &low, &high);
        /* The same formula in double. */
        assert_true(fabs(low - json_number_value(json_array_get(interval, 0))) < 1e-12);
        assert_true(fabs(high - json_number_value(json_array_get(interval, 1))) < 1e-12);
    }
    json_decref(golden);
}

static fl_passkey_options options_of(int64_t length)
{
    fl_passkey_options o = FL_PASSKEY_OPTIONS_INIT;
    o.length = length;
    o.distances = 8;
    o.trials = 2;
    o.run.seed = 3;
    return o;
}

/* What is written of the items is the truth: prompts as long as asked, the answer judged as reading them anew does. */
static void check_items(int64_t length, const int64_t *least)
{
    FILE *f = fopen(scratch, "rb");
    char line[512];
    int count = 0;
    assert_non_null(f);
    for (; fgets(line, sizeof line, f); count++) {
        json_t *o = json_loads(line, 0, NULL);
        int64_t tokens = json_integer_value(json_object_get(o, "tokens"));
        int64_t distance = json_integer_value(json_object_get(o, "distance"));
        int64_t asked = length * atoi(json_string_value(json_object_get(o, "item"))) / 8;
        assert_true(tokens <= length && tokens > length - 8);
        assert_true(distance <= length - least[0]);
        if (asked >= least[1] && asked <= length - 2 * least[0]) assert_in_range(distance + 8, asked, asked + 16);
        json_decref(o);
    }
    assert_int_equal(count, 16);
    fclose(f);
}

static void test_fit(void **state)
{
    (void)state;
    static const int64_t least[] = {80, 80}; /* tokens of what stands before the key, and after it, roughly */
    fl_passkey_result r;
    fl_passkey_point point[8];
    fl_passkey_options o = options_of(700);
    o.run.items = scratch;
    must(fl_eval_passkey(&r, point, model, tokenizer, &o));
    check_items(700, least);
    assert_int_equal(r.length, 700);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(point[i].distance, 700 * (i + 1) / 8);
        assert_int_equal(point[i].trials, 2);
        assert_true(point[i].nll > 0 && point[i].low >= 0 && point[i].high <= 1);
    }
    unlink(scratch);
    /* Too short for the fixed parts: an error that says how many tokens they have. */
    o.length = 50;
    assert_int_equal(fl_eval_passkey(&r, point, model, tokenizer, &o), FL_ERR_ARGUMENT);
    assert_non_null(strstr(fl_error_message(), "without any filler has"));
    unlink(scratch);
}

static void same(const fl_passkey_point *a, const fl_passkey_point *b, int count)
{
    for (int i = 0; i < count; i++)
        assert_true(a[i].hits == b[i].hits && a[i].nll == b[i].nll && a[i].measured == b[i].measured);
}

/* Stopped after some items, in the middle of a line, and gone on with: the same numbers to the bit, which do not depend
 * on the chunks that prompts are read in either. */
static void test_resume(void **state)
{
    (void)state;
    fl_passkey_result r;
    fl_passkey_point whole[8], resumed[8];
    fl_passkey_options o = options_of(256);
    must(fl_eval_passkey(&r, whole, model, tokenizer, &o));
    o.run.items = scratch;
    must(fl_eval_passkey(&r, resumed, model, tokenizer, &o));
    assert_int_equal(r.reused, 0);
    same(whole, resumed, 8);
    cut_scratch(5, 20);
    fl_session_options reading = FL_SESSION_OPTIONS_INIT;
    reading.chunk = 100;
    o.run.session = &reading;
    must(fl_eval_passkey(&r, resumed, model, tokenizer, &o));
    assert_int_equal(r.reused, 5);
    same(whole, resumed, 8);
    must(fl_eval_passkey(&r, resumed, model, tokenizer, &o));
    assert_int_equal(r.reused, 16);
    /* Other settings are other runs. */
    o.run.seed = 4;
    must(fl_eval_passkey(&r, resumed, model, tokenizer, &o));
    assert_int_equal(r.reused, 0);
    reading.type_k = "f16";
    must(fl_eval_passkey(&r, resumed, model, tokenizer, &o));
    assert_int_equal(r.reused, 0);
    assert_true(resumed[0].nll != whole[0].nll);
    FILE *f = fopen(scratch, "ab");
    fputs("not a result\n", f);
    fclose(f);
    assert_int_equal(fl_eval_passkey(&r, resumed, model, tokenizer, &o), FL_ERR_FORMAT);
    assert_non_null(strstr(fl_error_message(), ":49: is not a line of results"));
    unlink(scratch);
}

/* Prompts that grow are as long as the distance asks; keys may be words, in a text of one's own. */
static void test_forms(void **state)
{
    (void)state;
    static const char *const words[] = {"apple", "stone", "river"};
    fl_buffer book = golden_file(FL_TEST_DATA "/text/stories.txt");
    fl_passkey_result r;
    fl_passkey_point point[8];
    fl_passkey_options o = options_of(512);
    o.grow = true;
    o.filler = book.data;
    o.filler_bytes = book.size;
    o.words = words;
    o.word_count = 3;
    o.run.items = scratch;
    must(fl_eval_passkey(&r, point, model, tokenizer, &o));
    for (int i = 1; i < 8; i++)
        assert_true(point[i].measured < 512 && fabs(point[i].measured - (double)point[i].distance) < 16);
    FILE *f = fopen(scratch, "rb");
    char line[512];
    while (fgets(line, sizeof line, f)) {
        json_t *item = json_loads(line, 0, NULL);
        const char *key = json_string_value(json_object_get(item, "key"));
        assert_true(!strcmp(key, "apple") || !strcmp(key, "stone") || !strcmp(key, "river"));
        assert_true(json_integer_value(json_object_get(item, "tokens")) <=
                    json_integer_value(json_object_get(item, "distance")) + 12);
        json_decref(item);
    }
    fclose(f);
    unlink(scratch);
    fl_buffer_free(&book);
}

/* A model that can: what is called a hit is what greedy decoding writes, inside its window and beyond it. */
static void test_greedy(void **state)
{
    (void)state;
    fl_model_options open = FL_MODEL_OPTIONS_INIT;
    fl_session_options reading = FL_SESSION_OPTIONS_INIT;
    fl_model *m;
    fl_tokenizer *t;
    fl_scorer scorer;
    fl_session *session;
    int hits = 0, misses = 0;
    must(fl_model_open(&m, engine, FL_SOURCE_DIR "/models/base-s", &open));
    must(fl_tokenizer_load(&t, NULL, m));
    must(fl_scorer_create(&scorer, m, NULL, 1200));
    reading.context = 1200;
    must(fl_session_create(&session, m, &reading));
    static const size_t before[] = {0, 200, 100, 2000, 2500}, after[] = {100, 0, 300, 1000, 50};
    for (int i = 0; i < 5; i++) {
        fl_passkey_text text = {.key = i % 2 ? "40917" : "68253", .before = before[i], .after = after[i]};
        fl_buffer out = {0};
        fl_tokens whole = {0};
        fl_verdict v;
        size_t key_at, prompt;
        int64_t first;
        fl_passkey_write(&out, &text, &key_at, &prompt);
        must(fl_prompt_encode(&whole, t, out.data, prompt, out.size, &first));
        must(fl_judge(&v, &scorer, whole.id, whole.count, first));
        fl_generate_options o = FL_GENERATE_OPTIONS_INIT;
        o.max_tokens = v.tokens;
        o.ignore_eos = true;
        o.sampler.temperature = 0;
        must(fl_session_truncate(session, 0));
        must(fl_session_read(session, whole.id, first));
        must(fl_generate(session, NULL, &o, NULL));
        bool written = !memcmp(fl_session_ids(session) + first, whole.id + first, (size_t)v.tokens * sizeof *whole.id);
        assert_int_equal(v.right == v.tokens, written);
        hits += written;
        misses += !written;
        fl_buffer_free(&out);
        fl_tokens_free(&whole);
    }
    assert_true(hits >= 3 && misses >= 1);
    fl_session_destroy(session);
    fl_scorer_destroy(&scorer);
    /* The evaluation as a whole: this model's gate. */
    fl_passkey_result r;
    fl_passkey_point point[4];
    fl_passkey_options o = options_of(256);
    o.distances = 4;
    must(fl_eval_passkey(&r, point, m, t, &o));
    assert_int_equal(r.k_max, 256);
    assert_int_equal(r.k_max_80, 256);
    fl_tokenizer_close(t);
    fl_model_close(m);
}

static void test_cancel(void **state)
{
    (void)state;
    fl_passkey_result r = {.length = -1};
    fl_passkey_point point[8];
    fl_passkey_options o = options_of(256);
    int64_t limit = 1;
    o.run.progress = stop_at;
    o.run.progress_user = &limit;
    o.run.items = scratch;
    assert_int_equal(fl_eval_passkey(&r, point, model, tokenizer, &o), FL_ERR_CANCELLED);
    assert_int_equal(r.length, -1);
    unlink(scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_literal_text), cmocka_unit_test(test_book_text),
                                       cmocka_unit_test(test_wilson),       cmocka_unit_test(test_fit),
                                       cmocka_unit_test(test_resume),       cmocka_unit_test(test_forms),
                                       cmocka_unit_test(test_greedy),       cmocka_unit_test(test_cancel)};
    return cmocka_run_group_tests(tests, start, end);
}
