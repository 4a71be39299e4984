/* Finding, telling apart and asking tokenizers; tokenizer_config.json; special tokens; the streaming decoder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "text/tokenizer.h"

#define DATA FL_TEST_DATA "/tokenizers/"
#define TOK512 FL_SOURCE_DIR "/models/stories260K/tok512.bin"

static fl_tokenizer *open_one(const char *path)
{
    fl_tokenizer *t = NULL;
    if (fl_tokenizer_open(&t, path) != FL_OK) fail_msg("%s", fl_error_message());
    return t;
}

static void check_encode(const fl_tokenizer *t, const char *text, bool add_special, bool parse_special,
                         const char *expected)
{
    fl_tokens ids = {0};
    fl_buffer got = {0};
    assert_int_equal(fl_tokenizer_encode(t, text, strlen(text), add_special, parse_special, &ids), FL_OK);
    fl_buffer_text(&got, "");
    for (int64_t i = 0; i < ids.count; i++)
        fl_buffer_format(&got, i ? " %d" : "%d", ids.id[i]);
    assert_string_equal(got.data, expected);
    fl_buffer_free(&got);
    fl_tokens_free(&ids);
}

static void check_decode(const fl_tokenizer *t, const int32_t *id, int64_t count, bool show_special,
                         const char *expected)
{
    fl_buffer whole = {0}, streamed = {0};
    fl_detokenizer d;
    fl_buffer_text(&whole, "");
    fl_buffer_text(&streamed, "");
    assert_int_equal(fl_tokenizer_decode(t, id, count, show_special, &whole), FL_OK);
    assert_string_equal(whole.data, expected);
    fl_detokenizer_init(&d, t, show_special);
    for (int64_t i = 0; i < count; i++)
        assert_int_equal(fl_detokenizer_push(&d, id[i], &streamed), FL_OK);
    fl_detokenizer_finish(&d, &streamed);
    assert_string_equal(streamed.data, expected);
    fl_buffer_free(&whole);
    fl_buffer_free(&streamed);
}
#define IDS(...) (const int32_t[]){__VA_ARGS__}, sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t)

static void questions(void **state)
{
    (void)state;
    static const struct {
        const char *path, *kind;
        int64_t vocab;
        int32_t bos, eos, unk;
        bool adds_bos;
    } file[] = {
        {DATA "gpt2.json", "bpe", 50257, 50256, 50256, -1, false},
        {DATA "neox.json", "bpe", 50277, 0, 0, -1, false},
        {DATA "bytes_llama3.json", "bpe", 902, 900, 901, -1, true},
        {DATA "llama_prepend.json", "bpe", 1002, 1, 2, 0, true},
        {DATA "unigram.json", "unigram", 801, 1, 2, 0, false},
        {DATA "mistral.model", "sentencepiece-bpe", 32000, 1, 2, 0, true},
        {DATA "sentencepiece.model", "sentencepiece-unigram", 1000, 1, 2, 0, true},
        {DATA "bpe_plain.model", "sentencepiece-bpe", 700, -1, 2, 0, false},
        {TOK512, "llama2c-bpe", 512, 1, 2, 0, true},
    };
    for (size_t i = 0; i < sizeof(file) / sizeof(file[0]); i++) {
        fl_tokenizer *t = open_one(file[i].path);
        assert_string_equal(fl_tokenizer_kind(t), file[i].kind);
        assert_int_equal(fl_tokenizer_vocab(t), file[i].vocab);
        assert_int_equal(fl_tokenizer_bos(t), file[i].bos);
        assert_int_equal(fl_tokenizer_eos(t), file[i].eos);
        assert_int_equal(fl_tokenizer_unk(t), file[i].unk);
        assert_int_equal(fl_tokenizer_adds_bos(t), file[i].adds_bos);
        assert_null(fl_tokenizer_piece(t, -1, NULL));
        assert_null(fl_tokenizer_piece(t, (int32_t)file[i].vocab, NULL));
        int64_t named = 0;
        for (int32_t id = 0; id < file[i].vocab; id++) {
            size_t length = 0;
            const char *piece = fl_tokenizer_piece(t, id, &length);
            assert_non_null(piece);
            assert_int_equal(strlen(piece), length);
            assert_int_equal(fl_tokenizer_id(t, piece), id);
            named++;
        }
        assert_int_equal(named, file[i].vocab);
        assert_int_equal(fl_tokenizer_id(t, "no such piece"), -1);
        fl_tokenizer_close(t);
    }
    fl_tokenizer_close(NULL);
}

/* What is there already stays, and comes back after a failure. */
static void results_are_appended(void **state)
{
    (void)state;
    fl_tokenizer *t = open_one(DATA "gpt2.json");
    fl_tokens ids = {0};
    fl_buffer text = {0};
    assert_int_equal(fl_tokens_push(&ids, 7), FL_OK);
    assert_int_equal(fl_tokenizer_encode(t, "Hello world", 11, true, false, &ids), FL_OK);
    assert_int_equal(ids.count, 3);
    assert_int_equal(ids.id[0], 7);
    assert_int_equal(ids.id[1], 15496);
    assert_int_equal(ids.id[2], 995);
    assert_int_equal(fl_tokenizer_encode(t, "", 0, true, true, &ids), FL_OK);
    assert_int_equal(ids.count, 3);
    fl_buffer_text(&text, "> ");
    assert_int_equal(fl_tokenizer_decode(t, ids.id + 1, 2, false, &text), FL_OK);
    assert_string_equal(text.data, "> Hello world");
    assert_int_equal(fl_tokenizer_decode(t, IDS(15496, 50257), false, &text), FL_ERR_ARGUMENT);
    assert_non_null(strstr(fl_error_message(), "id = 50257"));
    assert_int_equal(fl_tokenizer_decode(t, IDS(-1), false, &text), FL_ERR_ARGUMENT);
    assert_string_equal(text.data, "> Hello world");
    fl_detokenizer d;
    fl_detokenizer_init(&d, t, false);
    assert_int_equal(fl_detokenizer_push(&d, 50257, &text), FL_ERR_ARGUMENT);
    fl_buffer_free(&text);
    fl_tokens_free(&ids);
    fl_tokenizer_close(t);
}

/* Spellings of special tokens in a text: text, unless the caller asks for the tokens. */
static void special_tokens(void **state)
{
    (void)state;
    fl_tokenizer *t = open_one(DATA "gpt2.json");
    check_encode(t, "a<|endoftext|>", false, true, "64 50256");
    check_encode(t, "a<|endoftext|>", false, false, "64 27 91 437 1659 5239 91 29");
    fl_tokenizer_close(t);
    t = open_one(DATA "mistral.model");
    /* sentencepiece 0.2.3: encode("Hello") = 22557, encode("<s>") = 523 28713 28767 */
    check_encode(t, "Hello</s>Hello", true, true, "1 22557 2 22557");
    check_encode(t, "<s>", false, false, "523 28713 28767");
    check_encode(t, "<s>", false, true, "1");
    check_decode(t, IDS(1, 22557, 2), false, "Hello");
    check_decode(t, IDS(1, 22557, 2), true, "<s> Hello</s>");
    fl_tokenizer_close(t);
    t = open_one(TOK512);
    check_encode(t, "<s>", false, true, "1");
    check_decode(t, IDS(1, 403), true, "\n<s>\nOnce");
    fl_tokenizer_close(t);
}

/* Bytes that arrive one at a time, come out as characters or not at all. */
static void streaming(void **state)
{
    (void)state;
    fl_tokenizer *t = open_one(DATA "mistral.model"); /* bytes are ids 3 to 258 */
    fl_detokenizer d;
    fl_buffer out = {0};
    fl_detokenizer_init(&d, t, false);
    fl_buffer_text(&out, "");
    const int32_t smile[] = {0xF0 + 3, 0x9F + 3, 0x98 + 3, 0x80 + 3}; /* U+1F600 */
    for (int i = 0; i < 4; i++) {
        assert_string_equal(out.data, "");
        assert_int_equal(fl_detokenizer_push(&d, smile[i], &out), FL_OK);
    }
    assert_string_equal(out.data, "\xF0\x9F\x98\x80");
    fl_buffer_clear(&out);
    /* The beginning of a character, then something else: hopeless now. */
    assert_int_equal(fl_detokenizer_push(&d, 0xE2 + 3, &out), FL_OK);
    assert_int_equal(fl_detokenizer_push(&d, 0x82 + 3, &out), FL_OK);
    assert_int_equal(out.size, 0);
    assert_int_equal(fl_detokenizer_push(&d, 22557, &out), FL_OK);
    assert_string_equal(out.data, "\uFFFD\uFFFD Hello");
    fl_buffer_clear(&out);
    /* A byte that begins nothing is known to be wrong at once; what is pending at the end, at the end. */
    assert_int_equal(fl_detokenizer_push(&d, 0xFF + 3, &out), FL_OK);
    assert_string_equal(out.data, "\uFFFD");
    assert_int_equal(fl_detokenizer_push(&d, 0xC3 + 3, &out), FL_OK);
    assert_string_equal(out.data, "\uFFFD");
    fl_detokenizer_finish(&d, &out);
    assert_string_equal(out.data, "\uFFFD\uFFFD");
    fl_detokenizer_finish(&d, &out);
    assert_string_equal(out.data, "\uFFFD\uFFFD");
    fl_buffer_free(&out);
    /* A control piece between two bytes keeps them apart, also when it is not shown. */
    check_decode(t, IDS(0xC3 + 3, 1, 0xA9 + 3), false, "\uFFFD\uFFFD");
    check_decode(t, IDS(0xC3 + 3, 0xA9 + 3), false, "é");
    fl_tokenizer_close(t);
}

/* ---- folders ------------------------------------------------------------------------------------------------ */

static char folder[256];

static void folder_path(char out[512], const char *name)
{
    snprintf(out, 512, "%s/%s", folder, name);
}

static void write_file(const char *name, const char *text)
{
    char path[512];
    fl_writer w;
    folder_path(path, name);
    assert_int_equal(fl_writer_open(&w, path), FL_OK);
    fl_writer_write(&w, text, strlen(text));
    assert_int_equal(fl_writer_finish(&w), FL_OK);
}

static void link_file(const char *from, const char *name)
{
    char path[512];
    folder_path(path, name);
    unlink(path);
    assert_int_equal(symlink(from, path), 0);
}

static void remove_file(const char *name)
{
    char path[512];
    folder_path(path, name);
    unlink(path);
}

static int make_folder(void **state)
{
    (void)state;
    const char *temporary = getenv("TMPDIR");
    snprintf(folder, sizeof(folder), "%s/furlong_tokenizer_XXXXXX", temporary ? temporary : "/tmp");
    return mkdtemp(folder) ? 0 : 1;
}

static int remove_folder(void **state)
{
    (void)state;
    static const char *const names[] = {"tokenizer.json", "tokenizer.model", "spiece.model", "tokenizer.bin",
                                        "tokenizer_config.json"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        remove_file(names[i]);
    return rmdir(folder);
}

static void folders(void **state)
{
    (void)state;
    fl_tokenizer *t = NULL;
    assert_int_equal(fl_tokenizer_open(&t, folder), FL_ERR_IO);
    assert_non_null(strstr(fl_error_message(), folder));
    static const struct {
        const char *from, *name, *kind;
    } better[] = {{TOK512, "tokenizer.bin", "llama2c-bpe"},
                  {DATA "sentencepiece.model", "spiece.model", "sentencepiece-unigram"},
                  {DATA "mistral.model", "tokenizer.model", "sentencepiece-bpe"},
                  {DATA "bytes_llama3.json", "tokenizer.json", "bpe"}};
    for (size_t i = 0; i < 4; i++) {
        link_file(better[i].from, better[i].name);
        t = open_one(folder);
        assert_string_equal(fl_tokenizer_kind(t), better[i].kind);
        fl_tokenizer_close(t);
    }
}

static void check_config(const char *config, int32_t bos, int32_t eos, const char *expected)
{
    write_file("tokenizer_config.json", config);
    fl_tokenizer *t = open_one(folder);
    assert_int_equal(fl_tokenizer_bos(t), bos);
    assert_int_equal(fl_tokenizer_eos(t), eos);
    check_encode(t, "a", true, true, expected);
    fl_tokenizer_close(t);
}

static void configs(void **state)
{
    (void)state;
    fl_tokenizer *t = NULL;
    /* The file's own template: <|begin_of_text|> A <|end_of_text|>. */
    link_file(DATA "bytes_llama3.json", "tokenizer.json");
    check_config("{}", 900, 901, "900 64 901");
    check_config("{\"bos_token\": null, \"add_bos_token\": null, \"chat_template\": \"{{ x }}\"}", 900, 901,
                 "900 64 901");
    check_config("{\"add_bos_token\": true, \"add_eos_token\": true}", 900, 901, "900 64 901");
    check_config("{\"add_eos_token\": false}", 900, 901, "900 64");
    check_config("{\"add_bos_token\": false}", 900, 901, "64 901");
    check_config("{\"add_bos_token\": false, \"add_eos_token\": false}", 900, 901, "64");
    remove_file("tokenizer.json");
    link_file(DATA "gpt2.json", "tokenizer.json");
    check_config("{\"bos_token\": \"<|endoftext|>\", \"eos_token\": {\"content\": \"!\", \"lstrip\": false}}", 50256, 0,
                 "64");
    check_config("{\"bos_token\": \"<|endoftext|>\", \"add_bos_token\": true}", 50256, 50256, "50256 64");
    remove_file("tokenizer.json");
    link_file(DATA "mistral.model", "tokenizer.model");
    check_config("{}", 1, 2, "1 264");
    check_config("{\"add_bos_token\": false, \"add_eos_token\": true}", 1, 2, "264 2");

    static const struct {
        const char *config, *key;
    } bad[] = {{"[]", "tokenizer_config.json"},
               {"{\"bos_token\": 1}", "bos_token"},
               {"{\"bos_token\": \"<none>\"}", "bos_token"},
               {"{\"eos_token\": {\"content\": 3}}", "eos_token"},
               {"{\"add_bos_token\": 1}", "add_bos_token"},
               {"{\"add_bos_token\": true, \"add_bos_token\": true}", "add_bos_token"}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        write_file("tokenizer_config.json", bad[i].config);
        assert_int_equal(fl_tokenizer_open(&t, folder), FL_ERR_FORMAT);
        assert_non_null(strstr(fl_error_message(), "tokenizer_config.json"));
        assert_non_null(strstr(fl_error_message(), bad[i].key));
    }
    remove_file("tokenizer.model");
    link_file(DATA "bpe_plain.model", "tokenizer.model");
    write_file("tokenizer_config.json", "{\"add_bos_token\": true}");
    assert_int_equal(fl_tokenizer_open(&t, folder), FL_ERR_FORMAT); /* it has no BOS */
    assert_non_null(strstr(fl_error_message(), "add_bos_token"));
    assert_null(t);
}

static void llama2c_sizes(void **state)
{
    (void)state;
    fl_tokenizer *t = NULL;
    assert_int_equal(fl_tokenizer_open_sized(&t, TOK512, 512), FL_OK);
    assert_int_equal(fl_tokenizer_vocab(t), 512);
    fl_tokenizer_close(t);
    t = NULL;
    assert_int_equal(fl_tokenizer_open_sized(&t, TOK512, 511), FL_ERR_FORMAT);
    assert_non_null(strstr(fl_error_message(), "tok512.bin"));
    assert_int_equal(fl_tokenizer_open_sized(&t, TOK512, 513), FL_ERR_FORMAT);
    assert_non_null(strstr(fl_error_message(), "513"));
    assert_null(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(questions),
        cmocka_unit_test(results_are_appended),
        cmocka_unit_test(special_tokens),
        cmocka_unit_test(streaming),
        cmocka_unit_test_setup_teardown(folders, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(configs, make_folder, remove_folder),
        cmocka_unit_test(llama2c_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
