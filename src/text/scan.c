#include "text/scan.h"

#include <string.h>

#include "text/unicode.h"
#include "text/utf8.h"

const char *const FL_GPT2_PATTERN =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

#define TAIL "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define HEAD "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
static const char LLAMA3_PATTERN[] = HEAD "\\p{N}{1,3}" TAIL;
static const char QWEN2_PATTERN[] = HEAD "\\p{N}" TAIL;

fl_scanner fl_scan_known(const char *pattern)
{
    if (strcmp(pattern, FL_GPT2_PATTERN) == 0) return FL_SCAN_GPT2;
    if (strcmp(pattern, LLAMA3_PATTERN) == 0) return FL_SCAN_LLAMA3;
    if (strcmp(pattern, QWEN2_PATTERN) == 0) return FL_SCAN_QWEN2;
    return FL_SCAN_NONE;
}

/* Class of the character at s[at] and, in *next, the place behind it. */
static fl_char_class class_at(const char *s, size_t n, size_t at, size_t *next)
{
    uint32_t cp = 0;
    size_t length = fl_utf8_decode(s + at, n - at, &cp);
    *next = at + (length ? length : 1);
    return length ? fl_unicode_class(cp) : FL_CHAR_OTHER;
}

/* End of the run of characters of one class from `at` on. */
static size_t run(const char *s, size_t n, size_t at, fl_char_class class)
{
    for (size_t next; at < n && class_at(s, n, at, &next) == class;)
        at = next;
    return at;
}

/* Length of 's 't 're 've 'm 'll 'd at s, 0 for none. Without regard to case also ſ (U+017F) is an s. */
static size_t contraction(const char *s, size_t n, bool any_case)
{
    if (n < 2 || s[0] != '\'') return 0;
    const char fold = any_case ? 0x20 : 0; /* makes ASCII letters small; other characters stay no letters */
    char a = (char)(s[1] | fold), b = n > 2 ? (char)(s[2] | fold) : 0;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return 3;
    return any_case && n > 2 && memcmp(s + 1, "\xC5\xBF", 2) == 0 ? 3 : 0;
}

/* \s+(?!\S)|\s+ : the whole run at the end of the text, else all but its last character, which goes with the word. */
static size_t spaces(const char *s, size_t n, size_t at)
{
    size_t last = at, next = at, end = at;
    while (end < n && class_at(s, n, end, &next) == FL_CHAR_SPACE) {
        last = end;
        end = next;
    }
    return end == n || last == at ? end : last;
}

static size_t scan_gpt2(const char *s, size_t n, size_t at)
{
    size_t length = contraction(s + at, n - at, false), next;
    if (length) return at + length;
    fl_char_class class = class_at(s, n, at, &next);
    if (s[at] == ' ' && next < n) {
        size_t after;
        class = class_at(s, n, next, &after);
        if (class != FL_CHAR_SPACE) return run(s, n, after, class);
    }
    return class == FL_CHAR_SPACE ? spaces(s, n, at) : run(s, n, next, class);
}

static bool is_line_end(char c)
{
    return c == '\r' || c == '\n';
}

static size_t scan_llama3(const char *s, size_t n, size_t at, int digits)
{
    size_t length = contraction(s + at, n - at, true), next, after = 0;
    if (length) return at + length;
    fl_char_class class = class_at(s, n, at, &next);
    if (class == FL_CHAR_LETTER) return run(s, n, next, FL_CHAR_LETTER);
    if (class == FL_CHAR_NUMBER) {
        for (int i = 1; i < digits && next < n && class_at(s, n, next, &after) == FL_CHAR_NUMBER; i++)
            next = after;
        return next;
    }
    fl_char_class second = next < n ? class_at(s, n, next, &after) : FL_CHAR_SPACE;
    if (!is_line_end(s[at]) && second == FL_CHAR_LETTER) return run(s, n, after, FL_CHAR_LETTER);
    if (class == FL_CHAR_OTHER || (s[at] == ' ' && second == FL_CHAR_OTHER)) {
        size_t end = run(s, n, next, FL_CHAR_OTHER);
        while (end < n && is_line_end(s[end]))
            end++;
        return end;
    }
    /* \s*[\r\n]+ : up to the last line end of the run. */
    size_t end = 0;
    for (size_t i = at; i < n && class_at(s, n, i, &after) == FL_CHAR_SPACE; i = after)
        if (is_line_end(s[i])) end = after;
    return end ? end : spaces(s, n, at);
}

size_t fl_scan(fl_scanner scanner, const char *s, size_t n, size_t at)
{
    switch (scanner) {
    case FL_SCAN_LLAMA3:
        return scan_llama3(s, n, at, 3);
    case FL_SCAN_QWEN2:
        return scan_llama3(s, n, at, 1);
    default:
        return scan_gpt2(s, n, at);
    }
}
