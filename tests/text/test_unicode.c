/* Classes and normal forms of every character against the tokenizers library (tools/oracle/tokenizer_unicode.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "text/unicode.h"
#include "text/utf8.h"

#define POINTS 0x110000u

static fl_buffer golden;

static int setup(void **state)
{
    (void)state;
    return fl_file_read(&golden, FL_TEST_DATA "/tokenizers/unicode.golden", 1 << 20) != FL_OK;
}

static int teardown(void **state)
{
    (void)state;
    fl_buffer_free(&golden);
    return 0;
}

/* What follows "name " at the start of a line. */
static const char *find_line(const char *name, int skip)
{
    size_t length = strlen(name);
    for (const char *line = golden.data; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        if (strncmp(line, name, length) == 0 && line[length] == ' ' && skip-- == 0) return line + length + 1;
    fail_msg("no line %s", name);
    return NULL;
}

static bool letter(uint32_t cp)
{
    return fl_unicode_class(cp) == FL_CHAR_LETTER;
}
static bool number(uint32_t cp)
{
    return fl_unicode_class(cp) == FL_CHAR_NUMBER;
}

static void classes(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool (*is)(uint32_t cp);
    } class[] = {{"letter", letter},
                 {"number", number},
                 {"space", fl_unicode_is_space},
                 {"word", fl_unicode_is_word},
                 {"numeric", fl_unicode_is_numeric},
                 {"punctuation", fl_unicode_is_punctuation}};
    uint8_t *member = malloc(POINTS);
    for (size_t i = 0; i < sizeof(class) / sizeof(class[0]); i++) {
        memset(member, 0, POINTS);
        char *at = (char *)find_line(class[i].name, 0);
        do {
            unsigned long first = strtoul(at, &at, 16), last = strtoul(at + 1, &at, 16);
            assert_true(first <= last && last < POINTS);
            memset(member + first, 1, last - first + 1);
        } while (*at++ == ' ');
        for (uint32_t cp = 0; cp < POINTS; cp++)
            if (!(cp >= 0xD800 && cp <= 0xDFFF) && class[i].is(cp) != member[cp])
                fail_msg("U+%04X: %s: the library says %d", cp, class[i].name, member[cp]);
    }
    free(member);
}

static uint64_t fnv(uint64_t hash, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ (uint8_t)s[i]) * UINT64_C(0x100000001B3);
    return hash;
}

/* The pool of tokenizer_unicode.py. */
static const uint32_t POOL[] = {
    0x41,   0x61,   0x65,   0x6F,   0x71,   0x75,   0xC5,    0xE9,    0xF4,    0x1EA1,  0x3B9,   0x3CA,
    0x915,  0x928,  0x9C7,  0x1025, 0x304B, 0x30CF, 0x1100,  0x1112,  0x1161,  0x1175,  0x11A8,  0x11C2,
    0xAC00, 0xAC01, 0xD7A3, 0xFB01, 0xFDFA, 0x2126, 0x212B,  0x2F800, 0x1D15E, 0x11935, 0x4E00,  0x20,
    0x300,  0x301,  0x302,  0x303,  0x308,  0x30A,  0x316,   0x323,   0x327,   0x328,   0x331,   0x334,
    0x338,  0x342,  0x344,  0x345,  0x35C,  0x5B0,  0x5B8,   0x64B,   0x651,   0x93C,   0x94D,   0x9BE,
    0x9D7,  0x102E, 0x3099, 0x309A, 0x1DC0, 0x20D0, 0x1D165, 0x1D16E, 0x1ABF,  0x11930, 0x1E130, 0x200D,
};

static uint64_t generator;

static uint64_t draw(uint64_t below)
{
    generator = generator * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (generator >> 33) % below;
}

static uint64_t append_form(uint64_t hash, const char *s, size_t n, fl_normal_form form, fl_buffer *out)
{
    fl_buffer_clear(out);
    assert_int_equal(fl_unicode_normalize(s, n, form, out), FL_OK);
    hash = fnv(hash, out->data, out->size);
    return fnv(hash, "", 1);
}

static void forms(void **state)
{
    (void)state;
    static const char *const names[] = {"NFC", "NFD", "NFKC", "NFKD"}; /* in the order of fl_normal_form */
    for (int form = 0; form < 4; form++) {
        fl_buffer out = {0};
        uint64_t hash = UINT64_C(0xCBF29CE484222325);
        for (uint32_t cp = 1; cp < POINTS; cp++) {
            char bytes[4];
            if (cp >= 0xD800 && cp <= 0xDFFF) continue;
            hash = append_form(hash, bytes, fl_utf8_encode(cp, bytes), (fl_normal_form)form, &out);
        }
        assert_int_equal(hash, strtoull(find_line(names[form], 0), NULL, 16));

        char *at = (char *)find_line(names[form], 1);
        generator = strtoull(at, &at, 10);
        long count = strtol(at, &at, 10);
        hash = UINT64_C(0xCBF29CE484222325);
        for (long i = 0; i < count; i++) {
            char text[64];
            size_t n = 0;
            for (uint64_t length = 1 + draw(12); length; length--)
                n += fl_utf8_encode(POOL[draw(sizeof(POOL) / sizeof(POOL[0]))], text + n);
            hash = append_form(hash, text, n, (fl_normal_form)form, &out);
        }
        assert_int_equal(hash, strtoull(at, NULL, 16));
        fl_buffer_free(&out);
    }
}

/* Sorting marks must not take quadratic time: 2 million of them in the worst order, in a blink. */
static void long_run_of_marks(void **state)
{
    (void)state;
    const size_t pairs = 1000000;
    fl_buffer text = {0}, out = {0};
    for (size_t i = 0; i < pairs; i++)
        fl_buffer_text(&text, "\xCC\x81\xCC\x96"); /* class 230, then 220 */
    assert_int_equal(fl_unicode_normalize(text.data, text.size, FL_NFC, &out), FL_OK);
    assert_int_equal(out.size, text.size);
    for (size_t i = 0; i < 2 * pairs; i++)
        assert_memory_equal(out.data + 2 * i, i < pairs ? "\xCC\x96" : "\xCC\x81", 2);
    fl_buffer_free(&text);
    fl_buffer_free(&out);
}

static void utf8_edges(void **state)
{
    (void)state;
    /* Unicode 15, table 3-7: first and last of each row, and their neighbours outside. */
    static const struct {
        const char *bytes;
        size_t length;
        uint32_t cp;
    } row[] = {
        {"\x00", 1, 0},
        {"\x7F", 1, 0x7F},
        {"\x80", 0, 0},
        {"\xC1\xBF", 0, 0},
        {"\xC2\x80", 2, 0x80},
        {"\xDF\xBF", 2, 0x7FF},
        {"\xE0\x9F\xBF", 0, 0},
        {"\xE0\xA0\x80", 3, 0x800},
        {"\xED\x9F\xBF", 3, 0xD7FF},
        {"\xED\xA0\x80", 0, 0},
        {"\xEE\x80\x80", 3, 0xE000},
        {"\xEF\xBF\xBF", 3, 0xFFFF},
        {"\xF0\x8F\xBF\xBF", 0, 0},
        {"\xF0\x90\x80\x80", 4, 0x10000},
        {"\xF4\x8F\xBF\xBF", 4, 0x10FFFF},
        {"\xF4\x90\x80\x80", 0, 0},
        {"\xF5\x80\x80\x80", 0, 0},
        {"\xFF", 0, 0},
    };
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        uint32_t cp = 1;
        size_t n = row[i].bytes[0] ? strlen(row[i].bytes) : 1;
        assert_int_equal(fl_utf8_decode(row[i].bytes, n, &cp), row[i].length);
        assert_int_equal(cp, row[i].cp);
        for (size_t cut = 1; cut < row[i].length; cut++)
            assert_int_equal(fl_utf8_incomplete(row[i].bytes, cut), cut);
        assert_int_equal(fl_utf8_incomplete(row[i].bytes, n), 0);
    }
    /* The examples of Unicode 15, 3.9 (U+FFFD substitution of maximal subparts), tables 3-8 to 3-11. */
    static const struct {
        const char *bytes, *repaired;
    } table[] = {
        {"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\x41"},
        {"\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\x41"},
        {"\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\x41\uFFFD\uFFFD\x42"},
        {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", "\uFFFD\uFFFD\uFFFD\uFFFD\x41"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        fl_buffer out = {0};
        fl_utf8_repair(table[i].bytes, strlen(table[i].bytes), FL_REPAIR_SEQUENCE, &out);
        assert_string_equal(out.data, table[i].repaired);
        fl_buffer_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes),
        cmocka_unit_test(forms),
        cmocka_unit_test(long_run_of_marks),
        cmocka_unit_test(utf8_edges),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
