/* Ids and decoded texts against those of the sentencepiece and tokenizers packages, on golden files made by
 * tools/oracle/tokenizer_golden.py (format there). With arguments: those golden files instead of the committed ones. */
#define _GNU_SOURCE /* memmem */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/file.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

#define FIELDS 6
#define SHOWN_FAILURES 5

typedef struct golden {
    const char *file;
    fl_tokenizer *tokenizer;
    bool parses_special; /* the package knows spellings of special tokens: the tokenizers library does */
    int64_t lines, failures;
} golden;

static void unescape(const char *s, fl_buffer *out)
{
    fl_buffer_clear(out);
    fl_buffer_append(out, "", 0);
    for (; *s; s++) {
        char c = *s;
        if (c == '\\') {
            assert_true(s[1] == 'x' && isxdigit((unsigned char)s[2]) && isxdigit((unsigned char)s[3]));
            c = (char)strtol((char[]){s[2], s[3], 0}, NULL, 16);
            s += 3;
        }
        fl_buffer_append(out, &c, 1);
    }
}

static void parse_ids(const char *s, fl_tokens *out)
{
    out->count = 0;
    for (char *end; *s; s = *end == ' ' ? end + 1 : end)
        assert_int_equal(fl_tokens_push(out, (int32_t)strtol(s, &end, 10)), FL_OK);
}

static void show_ids(const char *name, const fl_tokens *t)
{
    fl_buffer text = {0};
    for (int64_t i = 0; i < t->count && i < 200; i++)
        fl_buffer_format(&text, " %d", t->id[i]);
    print_message("  %s:%s\n", name, text.data ? text.data : "");
    fl_buffer_free(&text);
}

/* Count a failure, and show the first ones. */
static bool failed(golden *g, const char *what, const char *line)
{
    bool show = g->failures++ < SHOWN_FAILURES;
    if (show) print_message("%s: %s differs for: %s\n", g->file, what, line);
    return show;
}

static void check_ids(golden *g, const char *what, const fl_buffer *text, bool parse_special, const fl_tokens *expected,
                      const char *line)
{
    fl_tokens ids = {0};
    fl_status status = fl_tokenizer_encode(g->tokenizer, text->data, text->size, false, parse_special, &ids);
    bool same = status == FL_OK && ids.count == expected->count &&
                (ids.count == 0 || memcmp(ids.id, expected->id, (size_t)ids.count * sizeof(int32_t)) == 0);
    if (!same && failed(g, what, line)) {
        if (status != FL_OK) print_message("  %s\n", fl_error_message());
        show_ids("expected", expected);
        show_ids("got     ", &ids);
    }
    fl_tokens_free(&ids);
}

static void check_text(golden *g, const char *what, const fl_tokens *ids, bool show_special, const fl_buffer *expected,
                       const char *line)
{
    fl_buffer whole = {0}, streamed = {0};
    fl_buffer_append(&whole, "", 0);
    fl_buffer_append(&streamed, "", 0);
    assert_int_equal(fl_tokenizer_decode(g->tokenizer, ids->id, ids->count, show_special, &whole), FL_OK);
    bool same = whole.size == expected->size && memcmp(whole.data, expected->data, whole.size) == 0;
    if (!same && failed(g, what, line)) {
        print_message("  expected: %s\n", expected->data);
        print_message("  got     : %s\n", whole.data);
    }
    /* One token at a time: never half a character, and in the end the same text. Where bytes had to be repaired the
     * tokenizers library looks at whole runs of byte tokens, which a stream cannot. */
    fl_detokenizer d;
    fl_detokenizer_init(&d, g->tokenizer, show_special);
    bool complete = true;
    for (int64_t i = 0; i <= ids->count; i++) {
        size_t before = streamed.size;
        if (i < ids->count)
            assert_int_equal(fl_detokenizer_push(&d, ids->id[i], &streamed), FL_OK);
        else
            fl_detokenizer_finish(&d, &streamed);
        complete = complete && fl_utf8_valid(streamed.data + before, streamed.size - before);
    }
    if (!complete) failed(g, "a streamed part is not UTF-8", line);
    bool repaired = memmem(whole.data, whole.size, FL_REPLACEMENT, strlen(FL_REPLACEMENT)) != NULL;
    if (!repaired && (whole.size != streamed.size || memcmp(whole.data, streamed.data, whole.size)) &&
        failed(g, "streamed text", line)) {
        print_message("  whole   : %s\n", whole.data);
        print_message("  streamed: %s\n", streamed.data);
    }
    fl_buffer_free(&whole);
    fl_buffer_free(&streamed);
}

static void check_line(golden *g, char *const field[FIELDS], const char *line)
{
    fl_buffer text = {0}, shown = {0};
    fl_tokens ids = {0}, raw = {0};
    bool encodes = field[0][0] == 'E';
    const char *source = encodes ? field[1] : NULL, *id = field[encodes ? 2 : 1], *decoded = field[encodes ? 4 : 2],
               *all = field[encodes ? 5 : 3];
    if (encodes) {
        unescape(source, &text);
        if (strcmp(id, "-") != 0) {
            parse_ids(id, &ids);
            check_ids(g, "encode", &text, g->parses_special, &ids, line);
        }
        if (strcmp(field[3], "-") != 0) {
            parse_ids(strcmp(field[3], "=") ? field[3] : id, &raw);
            check_ids(g, "encode without special", &text, false, &raw, line);
            if (strcmp(id, "-") == 0) parse_ids(field[3], &ids);
        }
    } else {
        parse_ids(id, &ids);
    }
    if (strcmp(decoded, "-") != 0) {
        unescape(encodes && strcmp(decoded, "=") == 0 ? source : decoded, &shown);
        check_text(g, "decode", &ids, false, &shown, line);
        if (strcmp(all, "-") != 0) {
            if (strcmp(all, "=") != 0) unescape(all, &shown);
            check_text(g, "decode with special", &ids, true, &shown, line);
        }
    }
    fl_buffer_free(&text);
    fl_buffer_free(&shown);
    fl_tokens_free(&ids);
    fl_tokens_free(&raw);
}

/* R text times count hash */
static void check_run(golden *g, char *const field[FIELDS], const char *line)
{
    fl_buffer unit = {0}, text = {0};
    fl_tokens ids = {0};
    unescape(field[1], &unit);
    for (long i = strtol(field[2], NULL, 10); i > 0; i--)
        fl_buffer_append(&text, unit.data, unit.size);
    assert_int_equal(fl_tokenizer_encode(g->tokenizer, text.data, text.size, false, g->parses_special, &ids), FL_OK);
    uint64_t hash = UINT64_C(0xCBF29CE484222325);
    for (int64_t i = 0; i < ids.count; i++)
        for (int k = 0; k < 4; k++)
            hash = (hash ^ ((uint32_t)ids.id[i] >> 8 * k & 0xFF)) * UINT64_C(0x100000001B3);
    if (ids.count != strtoll(field[3], NULL, 10) || hash != strtoull(field[4], NULL, 16)) failed(g, "a long run", line);
    fl_tokens_free(&ids);
    fl_buffer_free(&unit);
    fl_buffer_free(&text);
}

/* "# around 1 2|3": what add_special puts before and after a text. */
static void check_around(golden *g, char *spec)
{
    fl_tokens plain = {0}, with = {0}, prefix = {0}, suffix = {0};
    if (strcmp(spec, "-") == 0) return;
    char *bar = strchr(spec, '|');
    assert_non_null(bar);
    *bar = 0;
    parse_ids(spec, &prefix);
    parse_ids(bar + 1, &suffix);
    assert_int_equal(fl_tokenizer_encode(g->tokenizer, "abc", 3, false, true, &plain), FL_OK);
    assert_int_equal(fl_tokenizer_encode(g->tokenizer, "abc", 3, true, true, &with), FL_OK);
    assert_int_equal(with.count, prefix.count + plain.count + suffix.count);
    assert_memory_equal(with.id, prefix.id ? prefix.id : with.id, (size_t)prefix.count * sizeof(int32_t));
    assert_memory_equal(with.id + prefix.count, plain.id, (size_t)plain.count * sizeof(int32_t));
    for (int64_t i = 0; i < suffix.count; i++)
        assert_int_equal(with.id[prefix.count + plain.count + i], suffix.id[i]);
    assert_int_equal(fl_tokenizer_adds_bos(g->tokenizer), prefix.count > 0);
    fl_tokens_free(&plain);
    fl_tokens_free(&with);
    fl_tokens_free(&prefix);
    fl_tokens_free(&suffix);
}

static void open_tokenizer(golden *g, const char *name)
{
    fl_buffer path = {0};
    const char *slash = strrchr(g->file, '/');
    if (name[0] != '/' && slash) fl_buffer_append(&path, g->file, (size_t)(slash - g->file) + 1);
    fl_buffer_text(&path, name);
    fl_status status = fl_tokenizer_open(&g->tokenizer, path.data);
    if (status != FL_OK) fail_msg("%s", fl_error_message());
    fl_buffer_free(&path);
}

static void check_file(const char *file)
{
    golden g = {.file = file};
    fl_buffer content = {0};
    assert_int_equal(fl_file_read(&content, file, (size_t)1 << 30), FL_OK);
    for (char *line = content.data, *next; *line; line = next) {
        char *end = strchr(line, '\n');
        next = end ? end + 1 : line + strlen(line);
        if (end) *end = 0;
        if (strncmp(line, "# tokenizer ", 12) == 0) open_tokenizer(&g, line + 12);
        if (strncmp(line, "# from tokenizers ", 18) == 0) g.parses_special = true;
        if (strncmp(line, "# around ", 9) == 0) check_around(&g, line + 9);
        if (line[0] == '#') continue;
        char *copy = fl_strdup(line), *field[FIELDS] = {0}, *at = copy;
        for (int i = 0; i < FIELDS && at; i++) {
            field[i] = at;
            at = strchr(at, '\t');
            if (at) *at++ = 0;
        }
        assert_non_null(field[line[0] == 'E' ? 5 : line[0] == 'R' ? 4 : 3]);
        if (line[0] == 'R')
            check_run(&g, field, line);
        else
            check_line(&g, field, line);
        g.lines++;
        fl_free(copy);
    }
    fl_buffer_free(&content);
    fl_tokenizer_close(g.tokenizer);
    assert_true(g.lines > 0);
    if (g.failures) fail_msg("%s: %lld of %lld lines differ", file, (long long)g.failures, (long long)g.lines);
}

static void test_file(void **state)
{
    check_file(*state);
}

int main(int argc, char **argv)
{
    static const char *const names[] = {
        "gpt2",
        "neox",
        "bytes_llama3",
        "bytes_qwen2",
        "bytes_o200k",
        "bytes_falcon",
        "bytes_starcoder",
        "bytes_behaviors",
        "llama_prepend",
        "llama_metaspace",
        "unigram",
        "unigram_bytes",
        "unknown",
        "mistral",
        "sentencepiece",
        "unigram_user",
        "unigram_suffix",
        "bpe_user",
        "bpe_unused",
        "bpe_plain",
        "tok512",
        "llama_cpp_gpt2",
        "llama_cpp_neox",
    };
    enum { COUNT = sizeof(names) / sizeof(names[0]) };
    struct CMUnitTest test[COUNT];
    char path[COUNT][256];
    if (argc > 1) {
        int files = 0;
        for (int i = 1; i < argc; i++) {
            const struct CMUnitTest one[] = {{argv[i], test_file, NULL, NULL, argv[i]}};
            files += cmocka_run_group_tests_name(argv[i], one, NULL, NULL) != 0;
        }
        return files;
    }
    for (int i = 0; i < COUNT; i++) {
        snprintf(path[i], sizeof(path[i]), "%s/tokenizers/%s.golden", FL_TEST_DATA, names[i]);
        test[i] = (struct CMUnitTest){names[i], test_file, NULL, NULL, path[i]};
    }
    return cmocka_run_group_tests_name("tokenizer golden", test, NULL, NULL);
}
