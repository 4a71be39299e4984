#include "text/regex.h"

#include <string.h>

#include "base/alloc.h"
#include "base/buffer.h"
#include "text/utf8.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* Backtracking steps allowed per search: a fixed part, and some for each byte that one greedy repeat may give back. */
#define STEPS 10000000u
#define STEPS_PER_BYTE 16u
#define HEAP_KIB (512u << 10)
#define PATTERN_BYTES 65536

/* White_Space; PCRE2's own \s also has U+180E. Word characters: PCRE2's own \w lacks marks. */
#define SPACES "\\t-\\r \\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}"
#define WORDS "\\p{L}\\p{M}\\p{N}\\p{Pc}"

struct fl_regex {
    pcre2_code *code;
    char *pattern;
};

static fl_status unsupported(size_t offset, const char *what)
{
    return fl_fail(FL_ERR_UNSUPPORTED, "pattern offset %zu: %s is not supported; use a pattern without it", offset,
                   what);
}

/* Rewrite what the two dialects read differently and can be said in PCRE2, refuse the rest. */
static fl_status translate(const char *pattern, fl_buffer *out)
{
    bool in_class = false;
    for (size_t i = 0; pattern[i]; i++) {
        char c = pattern[i];
        if (c == '\\') {
            char next = pattern[++i];
            if (next == 0) return fl_fail(FL_ERR_FORMAT, "pattern offset %zu: ends after a backslash", i);
            if (next == 's' || next == 'w') {
                fl_buffer_format(out, in_class ? "%s" : "[%s]", next == 's' ? SPACES : WORDS);
            } else if ((next == 'S' || next == 'W') && !in_class) {
                fl_buffer_format(out, "[^%s]", next == 'S' ? SPACES : WORDS);
            } else if (strchr("SWhHRXKGbByYQECzZAkgu", next)) {
                return unsupported(i - 1, "this escape");
            } else {
                fl_buffer_append(out, &c, 1);
                fl_buffer_append(out, &next, 1);
            }
            continue;
        }
        if (in_class) {
            if (c == '[') return unsupported(i, "a class inside a class");
            if (c == '&' && pattern[i + 1] == '&') return unsupported(i, "an intersection of classes");
            if (c == ']') in_class = false;
        } else if (c == '[') {
            in_class = true;
            fl_buffer_append(out, &c, 1);
            if (pattern[i + 1] == '^') fl_buffer_append(out, &pattern[++i], 1);
            if (pattern[i + 1] == ']') return unsupported(i, "a class that begins with ]");
            continue;
        } else if (c == '(' && pattern[i + 1] == '?' && !strchr(":=!<>i", pattern[i + 2])) {
            return unsupported(i, "this group");
        }
        fl_buffer_append(out, &c, 1);
    }
    return out->failed ? FL_ERR_MEMORY : FL_OK;
}

fl_status fl_regex_compile(fl_regex **out, const char *pattern)
{
    if (strlen(pattern) > PATTERN_BYTES || !*pattern)
        return fl_fail(FL_ERR_FORMAT, "a pattern of %zu bytes; from 1 to %d are taken", strlen(pattern), PATTERN_BYTES);
    fl_buffer translated = {0};
    fl_status status = translate(pattern, &translated);
    fl_regex *r = status == FL_OK ? fl_calloc(1, sizeof(*r)) : NULL;
    if (r) r->pattern = fl_strdup(pattern);
    if (status == FL_OK && (!r || !r->pattern)) status = FL_ERR_MEMORY;
    pcre2_compile_context *context = status == FL_OK ? pcre2_compile_context_create(NULL) : NULL;
    if (context) {
        int code = 0;
        PCRE2_SIZE offset = 0;
        pcre2_set_newline(context, PCRE2_NEWLINE_LF);
        pcre2_set_parens_nest_limit(context, 64);
        /* Ruby's ^ and $ stand at line ends. */
        r->code =
            pcre2_compile((PCRE2_SPTR)translated.data, translated.size,
                          PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code, &offset, context);
        if (!r->code) {
            PCRE2_UCHAR text[128] = {0};
            pcre2_get_error_message(code, text, sizeof(text));
            status = fl_fail(FL_ERR_FORMAT, "pattern: %s", (const char *)text);
        }
        pcre2_compile_context_free(context);
    } else if (status == FL_OK) {
        status = fl_fail(FL_ERR_MEMORY, "no memory for a pattern");
    }
    fl_buffer_free(&translated);
    if (status == FL_OK)
        *out = r;
    else
        fl_regex_free(r);
    return status;
}

void fl_regex_free(fl_regex *r)
{
    if (!r) return;
    pcre2_code_free(r->code);
    fl_free(r->pattern);
    fl_free(r);
}

const char *fl_regex_pattern(const fl_regex *r)
{
    return r->pattern;
}

fl_status fl_regex_begin(fl_regex_scan *s, const fl_regex *r, const char *text, size_t length)
{
    *s = (fl_regex_scan){.regex = r, .text = text, .length = length, .last_end = SIZE_MAX};
    /* Once here, and not again in every search. Only a damaged character map can make such a text. */
    if (!fl_utf8_valid(text, length))
        return fl_fail(FL_ERR_FORMAT, "tokenizer: its normalizer makes text that is not UTF-8");
    s->match = pcre2_match_data_create(1, NULL);
    s->context = pcre2_match_context_create(NULL);
    if (!s->match || !s->context) {
        fl_regex_end(s);
        return fl_fail(FL_ERR_MEMORY, "tokenizer: no memory to match a pattern");
    }
    uint64_t steps = STEPS + (uint64_t)STEPS_PER_BYTE * length;
    pcre2_set_match_limit(s->context, steps < UINT32_MAX ? (uint32_t)steps : UINT32_MAX);
    pcre2_set_heap_limit(s->context, HEAP_KIB);
    return FL_OK;
}

fl_status fl_regex_next(fl_regex_scan *s, bool *found, size_t *start, size_t *end)
{
    for (;;) {
        *found = false;
        if (s->at > s->length) return FL_OK;
        int rc = pcre2_match(s->regex->code, (PCRE2_SPTR)s->text, s->length, s->at, PCRE2_NO_UTF_CHECK, s->match,
                             s->context);
        if (rc == PCRE2_ERROR_NOMATCH) return FL_OK;
        if (rc == PCRE2_ERROR_MATCHLIMIT || rc == PCRE2_ERROR_HEAPLIMIT || rc == PCRE2_ERROR_DEPTHLIMIT)
            return fl_fail(FL_ERR_UNSUPPORTED,
                           "tokenizer: its split pattern backtracks past the limit at byte %zu of a text of %zu; "
                           "split the text into smaller ones",
                           s->at, s->length);
        if (rc < 0) return fl_fail(FL_ERR_FORMAT, "tokenizer: matching its split pattern failed (PCRE2 error %d)", rc);
        const PCRE2_SIZE *span = pcre2_get_ovector_pointer(s->match);
        *start = span[0];
        *end = span[1];
        if (*end < *start) return fl_fail(FL_ERR_FORMAT, "tokenizer: its split pattern matches backwards");
        if (*start == *end && *end == s->last_end) {
            /* No empty match right behind a match. */
            s->at += s->at < s->length ? fl_utf8_step(s->text + s->at, s->length - s->at) : 1;
            continue;
        }
        s->at = s->last_end = *end;
        *found = true;
        return FL_OK;
    }
}

void fl_regex_end(fl_regex_scan *s)
{
    pcre2_match_data_free(s->match);
    pcre2_match_context_free(s->context);
    s->match = s->context = NULL;
}
