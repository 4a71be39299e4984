/* Encoding takes time that grows like the text, also for the texts on which tokenizers stall: one megabyte against two.
 * Elementary steps are counted, not seconds, so that a busy machine does not matter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "text/tokenizer_internal.h"

#define SIZE 1000000
/* n log n at this size doubles to at most 2 * 21/20; hash tables and blocks leave a little more. */
#define RATIO 2.2
/* A linear algorithm with a large constant would pass the ratio: no byte may cost more than this. The short merge looks
 * at each of at most 64 symbols once per merge. */
#define STEPS_PER_BYTE 80

static int64_t count_steps(const fl_tokenizer *t, const char *unit, size_t size)
{
    size_t length = strlen(unit), n = size / length * length;
    char *text = malloc(n);
    int64_t steps = 0;
    fl_tokens ids = {0};
    for (size_t i = 0; i < n; i++)
        text[i] = unit[i % length];
    if (fl_tokenizer_encode_counted(t, text, n, false, true, &ids, &steps) != FL_OK) fail_msg("%s", fl_error_message());
    fl_tokens_free(&ids);
    free(text);
    return steps;
}

static void grows_like_the_text(void **state)
{
    static const char *const units[] = {"a", " ", "\n", "ab", " \n", "1", "\xCC\x81", "a b"};
    const char *path = *state;
    fl_tokenizer *t = NULL;
    if (fl_tokenizer_open(&t, path) != FL_OK) fail_msg("%s", fl_error_message());
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        int64_t once = count_steps(t, units[i], SIZE), twice = count_steps(t, units[i], 2 * SIZE);
        if ((double)twice > RATIO * (double)once || once > STEPS_PER_BYTE * (int64_t)SIZE || once < SIZE / 8)
            fail_msg("%s, unit %zu: %lld steps for one megabyte, %lld for two", path, i, (long long)once,
                     (long long)twice);
    }
    fl_tokenizer_close(t);
}

/* Random letters make one word without a place to cut and candidates in any order: the queue's worst case. */
static void random_letters(void **state)
{
    (void)state;
    static const char *const paths[] = {FL_TEST_DATA "/tokenizers/gpt2.json", FL_TEST_DATA "/tokenizers/mistral.model"};
    for (int p = 0; p < 2; p++) {
        fl_tokenizer *t = NULL;
        int64_t steps[2];
        assert_int_equal(fl_tokenizer_open(&t, paths[p]), FL_OK);
        for (int k = 0; k < 2; k++) {
            size_t n = SIZE * (size_t)(k + 1);
            char *text = malloc(n);
            uint32_t state_of_generator = 1;
            fl_tokens ids = {0};
            for (size_t i = 0; i < n; i++) {
                state_of_generator = state_of_generator * 1664525 + 1013904223;
                text[i] = (char)('a' + (state_of_generator >> 24) % 26);
            }
            assert_int_equal(fl_tokenizer_encode_counted(t, text, n, false, false, &ids, &steps[k]), FL_OK);
            fl_tokens_free(&ids);
            free(text);
        }
        assert_true((double)steps[1] <= RATIO * (double)steps[0]);
        assert_true(steps[0] <= STEPS_PER_BYTE * (int64_t)SIZE);
        fl_tokenizer_close(t);
    }
}

int main(void)
{
#define ONE(name)                                                                                                      \
    {                                                                                                                  \
        name, grows_like_the_text, NULL, NULL, (void *)(FL_TEST_DATA "/tokenizers/" name)                              \
    }
    const struct CMUnitTest tests[] = {
        ONE("gpt2.json"),
        ONE("bytes_llama3.json"),
        ONE("bytes_qwen2.json"),
        ONE("bytes_o200k.json"),
        ONE("llama_prepend.json"),
        ONE("unigram.json"),
        ONE("mistral.model"),
        ONE("sentencepiece.model"),
        ONE("bpe_unused.model"),
        {"tok512.bin", grows_like_the_text, NULL, NULL, (void *)(FL_SOURCE_DIR "/models/stories260K/tok512.bin")},
        cmocka_unit_test(random_letters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
