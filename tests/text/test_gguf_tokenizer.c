/* Tokenizers written as GGUF keys, SentencePiece and llama2.c files and read again: the same ids as before, which
 * golden files of other packages hold; and GGUF files that are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "file/gguf_build.h"
#include "text/gguf_tokenizer.h"
#include "text/tokenizer_write.h"

#define TOKENIZERS FL_TEST_DATA "/tokenizers/"
#define STORIES FL_SOURCE_DIR "/models/stories260K/tok512.bin"

static char scratch[] = "/tmp/furlong-gguf-tokenizer-XXXXXX";
static char file[64];

static const char *named(const char *name)
{
    snprintf(file, sizeof file, "%s/%s", scratch, name);
    return file;
}

static int make_scratch(void **state)
{
    (void)state;
    return mkdtemp(scratch) ? 0 : -1;
}

static int remove_scratch(void **state)
{
    static const char *const names[] = {"t.gguf", "tokenizer.model", "tokenizer.bin"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlink(named(names[i]));
    return rmdir(scratch);
}

static fl_tokenizer *open_path(const char *path)
{
    fl_tokenizer *t = NULL;
    if (fl_tokenizer_open(&t, path) != FL_OK) fail_msg("%s", fl_error_message());
    return t;
}

static fl_tokenizer *through_gguf(const fl_tokenizer *t, int64_t vocab)
{
    fl_gguf_keys keys = {0};
    const char *path = named("t.gguf");
    if (fl_tokenizer_put_gguf(&keys, t, vocab) != FL_OK) fail_msg("%s", fl_error_message());
    fl_gguf_put_string(&keys, "general.architecture", "llama");
    if (fl_tokenizer_bos(t) >= 0) fl_gguf_put_u32(&keys, "tokenizer.ggml.bos_token_id", (uint32_t)fl_tokenizer_bos(t));
    if (fl_tokenizer_eos(t) >= 0) fl_gguf_put_u32(&keys, "tokenizer.ggml.eos_token_id", (uint32_t)fl_tokenizer_eos(t));
    assert_int_equal(fl_gguf_write_file(path, &keys, NULL, 0), FL_OK);
    fl_gguf_keys_free(&keys);
    return open_path(path);
}

static void same_ids(const fl_tokenizer *a, const fl_tokenizer *b, const char *text, size_t length)
{
    fl_tokens x = {0}, y = {0};
    assert_int_equal(fl_tokenizer_encode(a, text, length, true, true, &x), FL_OK);
    assert_int_equal(fl_tokenizer_encode(b, text, length, true, true, &y), FL_OK);
    if (x.count != y.count || memcmp(x.id, y.id, (size_t)x.count * sizeof *x.id))
        fail_msg("%s: other ids for: %.*s", fl_tokenizer_kind(b), (int)length, text);
    fl_tokens_free(&x);
    fl_tokens_free(&y);
}

/* Stories, and words put together from characters of many scripts. llama2.c knows no other spelling of a space. */
static void same_texts(const fl_tokenizer *a, const fl_tokenizer *b)
{
    static const char *const part[] = {"a",
                                       "the",
                                       " ",
                                       "  ",
                                       "\n",
                                       "1",
                                       "2345",
                                       "'s",
                                       "'LL",
                                       "\xC3\xA9",
                                       "!?",
                                       "<s>",
                                       "\t",
                                       "\xF0\x9F\xA6\x99",
                                       "Zeb",
                                       "(",
                                       "<|endoftext|>",
                                       "\xE4\xB8\xAD",
                                       "\xE2\x96\x81"};
    const bool llama2c = !strcmp(fl_tokenizer_kind(a), "llama2c-bpe");
    const size_t parts = sizeof part / sizeof *part - llama2c;
    fl_buffer text = {0};
    assert_int_equal(fl_file_read(&text, FL_TEST_DATA "/text/stories.txt", 1 << 24), FL_OK);
    assert_int_equal(fl_tokenizer_bos(a), fl_tokenizer_bos(b));
    assert_int_equal(fl_tokenizer_eos(a), fl_tokenizer_eos(b));
    same_ids(a, b, text.data, 20000);
    uint64_t seed = 1;
    for (int i = 0; i < 500; i++) {
        fl_buffer_clear(&text);
        for (int k = 0; k < 12; k++) {
            seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            fl_buffer_text(&text, part[(seed >> 33) % parts]);
        }
        same_ids(a, b, text.data, text.size);
    }
    fl_buffer_free(&text);
}

static void test_gguf(void **state)
{
    (void)state;
    static const char *const paths[] = {
        TOKENIZERS "gpt2.json",          TOKENIZERS "neox.json",          TOKENIZERS "bytes_llama3.json",
        TOKENIZERS "bytes_qwen2.json",   TOKENIZERS "mistral.model",      TOKENIZERS "bpe_plain.model",
        TOKENIZERS "unigram_user.model", TOKENIZERS "llama_prepend.json", STORIES,
    };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        print_message("%s\n", paths[i]);
        fl_tokenizer *t = open_path(paths[i]), *again = through_gguf(t, fl_tokenizer_vocab(t) + 3);
        assert_int_equal(fl_tokenizer_vocab(again), fl_tokenizer_vocab(t)); /* padding is left out */
        same_texts(t, again);
        fl_tokenizer_close(again);
        fl_tokenizer_close(t);
    }
}

static void test_sentencepiece(void **state)
{
    (void)state;
    static const char *const paths[] = {TOKENIZERS "mistral.model", TOKENIZERS "sentencepiece.model",
                                        TOKENIZERS "unigram_user.model", TOKENIZERS "llama_prepend.json", STORIES};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        print_message("%s\n", paths[i]);
        fl_tokenizer *t = open_path(paths[i]);
        if (fl_tokenizer_write_sentencepiece(t, named("tokenizer.model")) != FL_OK) fail_msg("%s", fl_error_message());
        fl_tokenizer *again = open_path(named("tokenizer.model"));
        same_texts(t, again);
        fl_tokenizer_close(again);
        fl_tokenizer_close(t);
    }
}

/* Through GGUF and back the file is the same to the byte. */
static void test_llama2c(void **state)
{
    (void)state;
    fl_buffer a = {0}, b = {0};
    fl_tokenizer *t = open_path(STORIES), *through = through_gguf(t, 512);
    assert_int_equal(fl_tokenizer_write_llama2c(through, named("tokenizer.bin"), 512), FL_OK);
    assert_int_equal(fl_file_read(&a, STORIES, 1 << 20), FL_OK);
    assert_int_equal(fl_file_read(&b, named("tokenizer.bin"), 1 << 20), FL_OK);
    assert_int_equal(a.size, b.size);
    assert_memory_equal(a.data, b.data, a.size);
    fl_buffer_free(&a);
    fl_buffer_free(&b);
    fl_tokenizer_close(through);
    fl_tokenizer_close(t);
    /* A larger one is filled up so that it opens. */
    t = open_path(TOKENIZERS "mistral.model");
    assert_int_equal(fl_tokenizer_write_llama2c(t, named("tokenizer.bin"), 32010), FL_OK);
    assert_int_equal(fl_tokenizer_open_sized(&through, named("tokenizer.bin"), 32010), FL_OK);
    fl_buffer text = {0};
    assert_int_equal(fl_file_read(&text, FL_TEST_DATA "/text/stories.txt", 1 << 24), FL_OK);
    same_ids(t, through, text.data, 5000);
    fl_buffer_free(&text);
    fl_tokenizer_close(through);
    fl_tokenizer_close(t);
}

static void refuses(fl_status status, fl_status expected, const char *part)
{
    assert_int_equal(status, expected);
    if (!strstr(fl_error_message(), part)) fail_msg("\"%s\" lacks \"%s\"", fl_error_message(), part);
}

static void test_unfit(void **state)
{
    (void)state;
    fl_gguf_keys keys = {0};
    fl_tokenizer *t = open_path(TOKENIZERS "gpt2.json");
    refuses(fl_tokenizer_write_llama2c(t, named("tokenizer.bin"), 50257), FL_ERR_UNSUPPORTED, "byte fallback");
    refuses(fl_tokenizer_write_sentencepiece(t, named("tokenizer.model")), FL_ERR_UNSUPPORTED, "--no-tokenizer");
    refuses(fl_tokenizer_put_gguf(&keys, t, 100), FL_ERR_SHAPE, "50257 pieces, but the model has 100");
    fl_tokenizer_close(t);
    t = open_path(TOKENIZERS "bytes_behaviors.json");
    refuses(fl_tokenizer_put_gguf(&keys, t, 100000), FL_ERR_UNSUPPORTED, "--no-tokenizer");
    fl_tokenizer_close(t);
    t = open_path(TOKENIZERS "bytes_starcoder.json");
    refuses(fl_tokenizer_put_gguf(&keys, t, 100000), FL_ERR_UNSUPPORTED, "add_prefix_space");
    fl_tokenizer_close(t);
    t = open_path(TOKENIZERS "bpe_user.model");
    refuses(fl_tokenizer_put_gguf(&keys, t, 100000), FL_ERR_UNSUPPORTED, "precompiled_charsmap");
    fl_tokenizer_close(t);
    t = open_path(TOKENIZERS "sentencepiece.model");
    refuses(fl_tokenizer_write_llama2c(t, named("tokenizer.bin"), 1000), FL_ERR_UNSUPPORTED, "unigram");
    fl_tokenizer_close(t);
    fl_gguf_keys_free(&keys);
}

static const fl_gguf_text five[] = {{"<unk>", 5}, {"<s>", 3}, {"</s>", 4}, {"a", 1}, {"b", 1}};

static void put_five(fl_gguf_keys *k, const char *model)
{
    const int32_t types[] = {2, 3, 3, 1, 1};
    const float scores[] = {0, 0, 0, -1, -2};
    fl_gguf_put_string(k, "tokenizer.ggml.model", model);
    fl_gguf_put_strings(k, "tokenizer.ggml.tokens", five, 5);
    fl_gguf_put_ints(k, "tokenizer.ggml.token_type", types, 5);
    fl_gguf_put_floats(k, "tokenizer.ggml.scores", scores, 5);
}

static void refused(fl_gguf_keys *k, fl_status expected, const char *part)
{
    fl_tokenizer *t = NULL;
    assert_int_equal(fl_gguf_write_file(named("t.gguf"), k, NULL, 0), FL_OK);
    refuses(fl_tokenizer_open(&t, named("t.gguf")), expected, part);
    assert_null(t);
    fl_gguf_keys_free(k);
}

static void test_refused(void **state)
{
    (void)state;
    fl_gguf_keys k = {0};
    refused(&k, FL_ERR_UNSUPPORTED, "tokenizer.ggml.model");
    put_five(&k, "rwkv");
    refused(&k, FL_ERR_UNSUPPORTED, "tokenizer.ggml.model");
    fl_gguf_put_string(&k, "tokenizer.ggml.model", "llama");
    refused(&k, FL_ERR_FORMAT, "tokenizer.ggml.tokens");
    put_five(&k, "llama");
    fl_gguf_put_u32(&k, "tokenizer.ggml.bos_token_id", 5);
    refused(&k, FL_ERR_FORMAT, "tokenizer.ggml.bos_token_id");
    put_five(&k, "gpt2");
    refused(&k, FL_ERR_FORMAT, "tokenizer.ggml.merges");
    put_five(&k, "gpt2");
    fl_gguf_put_strings(&k, "tokenizer.ggml.merges", &(fl_gguf_text){"ab", 2}, 1);
    refused(&k, FL_ERR_FORMAT, "tokenizer.ggml.merges");
    put_five(&k, "gpt2");
    fl_gguf_put_strings(&k, "tokenizer.ggml.merges", &(fl_gguf_text){"a b", 3}, 1);
    refused(&k, FL_ERR_FORMAT, "not in the vocabulary");
    put_five(&k, "gpt2");
    fl_gguf_put_string(&k, "tokenizer.ggml.pre", "of-tomorrow");
    refused(&k, FL_ERR_UNSUPPORTED, "tokenizer.ggml.pre");
    fl_gguf_put_string(&k, "tokenizer.ggml.model", "llama");
    fl_gguf_put_strings(&k, "tokenizer.ggml.tokens", (const fl_gguf_text[]){{"a", 1}, {"a", 1}}, 2);
    refused(&k, FL_ERR_FORMAT, "tokenizer.ggml.tokens");
    fl_gguf_put_string(&k, "tokenizer.ggml.model", "llama");
    fl_gguf_put_strings(&k, "tokenizer.ggml.tokens", (const fl_gguf_text[]){{"a", 1}, {"\xFF", 1}}, 2);
    refused(&k, FL_ERR_FORMAT, "[1]: is not UTF-8 text");
    fl_gguf_put_string(&k, "tokenizer.ggml.model", "llama");
    fl_gguf_put_strings(&k, "tokenizer.ggml.tokens", five, 5);
    fl_gguf_put_floats(&k, "tokenizer.ggml.scores", (const float[]){0}, 1);
    refused(&k, FL_ERR_FORMAT, "tokenizer.ggml.scores");
    /* The same five are fine when nothing is wrong; a file without merge scores too. */
    fl_tokenizer *t;
    put_five(&k, "llama");
    assert_int_equal(fl_gguf_write_file(named("t.gguf"), &k, NULL, 0), FL_OK);
    t = open_path(named("t.gguf"));
    assert_true(fl_tokenizer_adds_bos(t));
    fl_tokenizer_close(t);
    fl_gguf_keys_free(&k);
}

/* Every key of a tokenizer wrong in turn, of each kind. */
static void test_every_key_wrong(void **state)
{
    (void)state;
    static const char *const paths[] = {STORIES, TOKENIZERS "bytes_llama3.json", TOKENIZERS "unigram_user.model"};
    int wrong = 0;
    for (size_t p = 0; p < sizeof paths / sizeof *paths; p++) {
        fl_tokenizer *t = open_path(paths[p]);
        fl_tokenizer_close(through_gguf(t, fl_tokenizer_vocab(t)));
        fl_tokenizer_close(t);
        fl_buffer good = {0};
        fl_gguf *g;
        assert_int_equal(fl_file_read(&good, named("t.gguf"), 1 << 24), FL_OK);
        assert_int_equal(fl_gguf_parse(&g, "good.gguf", good.data, good.size), FL_OK);
        for (int64_t i = 0; i < fl_gguf_key_count(g); i++) {
            const char *key = fl_gguf_at(g, i)->key;
            if (strncmp(key, "tokenizer.", 10)) continue;
            fl_buffer b = {0};
            build_wrong_type(&b, g, good.data, good.size, i);
            void *bytes = build_exact(&b);
            fl_gguf *bad;
            assert_int_equal(fl_gguf_parse(&bad, "bad.gguf", bytes, b.size), FL_OK);
            assert_refused(key, fl_tokenizer_open_gguf(&t, bad), FL_ERR_FORMAT, "bad.gguf", key);
            fl_gguf_close(bad);
            free(bytes);
            fl_buffer_free(&b);
            wrong++;
        }
        fl_gguf_close(g);
        fl_buffer_free(&good);
    }
    assert_true(wrong > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gguf),  cmocka_unit_test(test_sentencepiece), cmocka_unit_test(test_llama2c),
        cmocka_unit_test(test_unfit), cmocka_unit_test(test_refused),       cmocka_unit_test(test_every_key_wrong),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
