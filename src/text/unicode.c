#include "text/unicode.h"

#include <stdlib.h>
#include <utf8proc.h>

#include "base/alloc.h"
#include "text/utf8.h"

typedef struct range {
    uint32_t first, last;
} range;

/* Letters and numbers of Unicode 15.1 and 16 (UnicodeData.txt), which utf8proc 2.8 (Unicode 15.0) does not know yet and
 * the regular expressions of the tokenizers library (Oniguruma 6.9.10) do. */
static const range LATE_LETTERS[] = {
    {0x1C89, 0x1C8A},   {0xA7CB, 0xA7CD},   {0xA7DA, 0xA7DC},   {0x105C0, 0x105F3}, {0x10D4A, 0x10D65},
    {0x10D6F, 0x10D85}, {0x10EC2, 0x10EC4}, {0x11380, 0x11389}, {0x1138B, 0x1138B}, {0x1138E, 0x1138E},
    {0x11390, 0x113B5}, {0x113B7, 0x113B7}, {0x113D1, 0x113D1}, {0x113D3, 0x113D3}, {0x11BC0, 0x11BE0},
    {0x13460, 0x143FA}, {0x16100, 0x1611D}, {0x16D40, 0x16D6C}, {0x18CFF, 0x18CFF}, {0x1E5D0, 0x1E5ED},
    {0x1E5F0, 0x1E5F0}, {0x2EBF0, 0x2EE5D},
};
static const range LATE_NUMBERS[] = {
    {0x10D40, 0x10D49}, {0x116D0, 0x116E3}, {0x11BF0, 0x11BF9}, {0x16130, 0x16139},
    {0x16D70, 0x16D79}, {0x1CCF0, 0x1CCF9}, {0x1E5F1, 0x1E5FA},
};
static const range LATE_MARKS[] = {
    {0x897, 0x897},     {0x10D69, 0x10D6D}, {0x10EFC, 0x10EFC}, {0x113B8, 0x113C0}, {0x113C2, 0x113C2},
    {0x113C5, 0x113C5}, {0x113C7, 0x113CA}, {0x113CC, 0x113D0}, {0x113D2, 0x113D2}, {0x113E1, 0x113E2},
    {0x11F5A, 0x11F5A}, {0x1611E, 0x1612F}, {0x1E5EE, 0x1E5EF},
};
/* Digits asks Rust's standard library, which is a version further. */
static const range NUMBERS_OF_UNICODE_17[] = {{0x11DE0, 0x11DE9}, {0x16FF4, 0x16FF6}};

/* Punctuation asks a table of Unicode 8: these came later, and two characters left the category. */
static const range LATE_PUNCTUATION[] = {
    {0x61D, 0x61D},     {0x9FD, 0x9FD},     {0xA76, 0xA76},     {0xC77, 0xC77},     {0xC84, 0xC84},
    {0x1B7D, 0x1B7E},   {0x2E43, 0x2E4F},   {0x2E52, 0x2E5D},   {0x10EAD, 0x10EAD}, {0x10F55, 0x10F59},
    {0x10F86, 0x10F89}, {0x1144B, 0x1144F}, {0x1145A, 0x1145D}, {0x11660, 0x1166C}, {0x116B9, 0x116B9},
    {0x1183B, 0x1183B}, {0x11944, 0x11946}, {0x119E2, 0x119E2}, {0x11A3F, 0x11A46}, {0x11A9A, 0x11AA2},
    {0x11B00, 0x11B09}, {0x11C41, 0x11C45}, {0x11C70, 0x11C71}, {0x11EF7, 0x11EF8}, {0x11F43, 0x11F4F},
    {0x11FFF, 0x11FFF}, {0x12FF1, 0x12FF2}, {0x16E97, 0x16E9A}, {0x16FE2, 0x16FE2}, {0x1E95E, 0x1E95F},
};

/* Characters with a decomposition or a combining class that came after Unicode 9. The normaliser of the tokenizers
 * library still has the tables of Unicode 9 and leaves them alone; models were trained on its output. */
static const range UNKNOWN_TO_NORMALIZER[] = {
    {0x7FD, 0x7FD},     {0x898, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},     {0xC3C, 0xC3C},
    {0xD3B, 0xD3C},     {0xEBA, 0xEBA},     {0x1715, 0x1715},   {0x1ABF, 0x1ACE},   {0x1DF6, 0x1DFA},
    {0x32FF, 0x32FF},   {0xA7F2, 0xA7F4},   {0xA82C, 0xA82C},   {0xAB69, 0xAB69},   {0x10781, 0x107BA},
    {0x10D24, 0x10D27}, {0x10EAB, 0x10EAC}, {0x10EFD, 0x10EFF}, {0x10F46, 0x10F50}, {0x10F82, 0x10F85},
    {0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x1145E, 0x1145E}, {0x11839, 0x1183A}, {0x11930, 0x11943},
    {0x119E0, 0x119E0}, {0x11A34, 0x11A34}, {0x11A47, 0x11A47}, {0x11A99, 0x11A99}, {0x11D42, 0x11D42},
    {0x11D44, 0x11D45}, {0x11D97, 0x11D97}, {0x11F41, 0x11F42}, {0x16FF0, 0x16FF1}, {0x1E030, 0x1E06D},
    {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF},
    {0x1F16C, 0x1F16C}, {0x1FBF0, 0x1FBF9},
};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static bool within(const range *table, size_t count, uint32_t cp)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (cp > table[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && cp >= table[low].first;
}

bool fl_unicode_is_space(uint32_t cp)
{
    if (cp < 0x80) return cp == ' ' || (cp >= '\t' && cp <= '\r');
    return cp == 0x85 || cp == 0xA0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 || cp == 0x2029 ||
           cp == 0x202F || cp == 0x205F || cp == 0x3000;
}

fl_char_class fl_unicode_class(uint32_t cp)
{
    if (cp < 0x80) {
        if ((cp | 0x20) >= 'a' && (cp | 0x20) <= 'z') return FL_CHAR_LETTER;
        if (cp >= '0' && cp <= '9') return FL_CHAR_NUMBER;
        return fl_unicode_is_space(cp) ? FL_CHAR_SPACE : FL_CHAR_OTHER;
    }
    if (fl_unicode_is_space(cp)) return FL_CHAR_SPACE;
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)cp);
    if (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO) return FL_CHAR_LETTER;
    if (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO) return FL_CHAR_NUMBER;
    if (category == UTF8PROC_CATEGORY_CN) {
        if (within(LATE_LETTERS, COUNT(LATE_LETTERS), cp)) return FL_CHAR_LETTER;
        if (within(LATE_NUMBERS, COUNT(LATE_NUMBERS), cp)) return FL_CHAR_NUMBER;
    }
    return FL_CHAR_OTHER;
}

bool fl_unicode_is_word(uint32_t cp)
{
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    case UTF8PROC_CATEGORY_SO: /* the symbols among Other_Alphabetic: circled and squared Latin letters */
        return (cp >= 0x24B6 && cp <= 0x24E9) || (cp >= 0x1F130 && cp <= 0x1F149) || (cp >= 0x1F150 && cp <= 0x1F169) ||
               (cp >= 0x1F170 && cp <= 0x1F189);
    case UTF8PROC_CATEGORY_CF:
        return cp == 0x200C || cp == 0x200D;
    default: /* unknown to utf8proc */
        return within(LATE_LETTERS, COUNT(LATE_LETTERS), cp) || within(LATE_NUMBERS, COUNT(LATE_NUMBERS), cp) ||
               within(LATE_MARKS, COUNT(LATE_MARKS), cp);
    }
}

bool fl_unicode_is_numeric(uint32_t cp)
{
    return fl_unicode_class(cp) == FL_CHAR_NUMBER || within(NUMBERS_OF_UNICODE_17, COUNT(NUMBERS_OF_UNICODE_17), cp);
}

bool fl_unicode_is_punctuation(uint32_t cp)
{
    if (cp < 0x80)
        return (cp >= '!' && cp <= '/') || (cp >= ':' && cp <= '@') || (cp >= '[' && cp <= '`') ||
               (cp >= '{' && cp <= '~');
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)cp);
    bool now = category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
    return (now && !within(LATE_PUNCTUATION, COUNT(LATE_PUNCTUATION), cp)) || cp == 0x166D || cp == 0x111C9;
}

/* ---- normalisation ------------------------------------------------------------------------------------------ */

/* A character that never changes and never takes part in a composition or a reordering. */
static bool inert(uint32_t cp)
{
    if (cp < 0x80) return false; /* may take a combining mark: decided by the caller */
    const utf8proc_property_t *p = utf8proc_get_property((utf8proc_int32_t)cp);
    bool hangul = (cp >= 0x1100 && cp <= 0x11FF) || (cp >= 0xAC00 && cp <= 0xD7A3);
    return (p->combining_class == 0 && p->decomp_seqindex == UINT16_MAX && p->comb_index == UINT16_MAX && !hangul) ||
           within(UNKNOWN_TO_NORMALIZER, COUNT(UNKNOWN_TO_NORMALIZER), cp);
}

typedef struct mark {
    int32_t cp;
    uint32_t order; /* combining class in the high byte, place in the run below: makes any sort a stable one */
} mark;

typedef struct work {
    int32_t *cp;
    size_t count, capacity;
    mark *marks;
    size_t mark_capacity;
} work;

static int compare_marks(const void *a, const void *b)
{
    uint32_t x = ((const mark *)a)->order, y = ((const mark *)b)->order;
    return x < y ? -1 : x > y;
}

static uint32_t combining_class(int32_t cp)
{
    return (uint32_t)utf8proc_get_property(cp)->combining_class;
}

static bool grow(void *array, size_t *capacity, size_t needed, size_t size)
{
    void **p = array;
    if (needed <= *capacity) return true;
    size_t larger = *capacity * 2 > needed ? *capacity * 2 : needed + 64;
    void *q = fl_realloc(*p, larger, size);
    if (!q) return false;
    *p = q;
    *capacity = larger;
    return true;
}

/* Canonical ordering: sort each run of characters with a combining class by that class, keeping equals in order.
 * utf8proc's own ordering takes quadratic time on long runs. */
static bool order_marks(work *w)
{
    for (size_t i = 0; i < w->count;) {
        uint32_t class = combining_class(w->cp[i]);
        if (class == 0) {
            i++;
            continue;
        }
        size_t end = i + 1;
        bool sorted = true;
        for (uint32_t next; end < w->count && (next = combining_class(w->cp[end])) != 0; end++) {
            if (next < class) sorted = false;
            class = next;
        }
        if (!sorted) {
            /* Places are kept in 24 bits: a longer run is sorted in stretches of that length. */
            for (size_t from = i; from < end; from += 1 << 24) {
                size_t n = end - from < 1 << 24 ? end - from : 1 << 24;
                if (!grow(&w->marks, &w->mark_capacity, n, sizeof(mark))) return false;
                for (size_t k = 0; k < n; k++)
                    w->marks[k] = (mark){w->cp[from + k], combining_class(w->cp[from + k]) << 24 | (uint32_t)k};
                qsort(w->marks, n, sizeof(mark), compare_marks);
                for (size_t k = 0; k < n; k++)
                    w->cp[from + k] = w->marks[k].cp;
            }
        }
        i = end;
    }
    return true;
}

/* Normalise a stretch of valid UTF-8 that shares no composition with its neighbours. */
static bool normalize_stretch(work *w, const char *s, size_t n, fl_normal_form form, fl_buffer *out)
{
    bool compose = form == FL_NFC || form == FL_NFKC;
    int how = UTF8PROC_DECOMPOSE | (form == FL_NFKC || form == FL_NFKD ? UTF8PROC_COMPAT : 0);
    w->count = 0;
    for (size_t i = 0; i < n;) {
        uint32_t cp = 0;
        i += fl_utf8_decode(s + i, n - i, &cp);
        int boundary = 0;
        int32_t parts[32]; /* the longest compatibility decomposition has 18 characters */
        utf8proc_ssize_t k = utf8proc_decompose_char((utf8proc_int32_t)cp, parts, 32, how, &boundary);
        if (k < 1 || k > 32) continue;
        if (!grow(&w->cp, &w->capacity, w->count + (size_t)k, sizeof(int32_t))) return false;
        for (utf8proc_ssize_t j = 0; j < k; j++)
            w->cp[w->count++] = parts[j];
    }
    if (!order_marks(w)) return false;
    if (compose) {
        utf8proc_ssize_t k =
            utf8proc_normalize_utf32(w->cp, (utf8proc_ssize_t)w->count, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
        if (k >= 0) w->count = (size_t)k;
    }
    for (size_t i = 0; i < w->count; i++) {
        char bytes[4];
        fl_buffer_append(out, bytes, fl_utf8_encode((uint32_t)w->cp[i], bytes));
    }
    return true;
}

fl_status fl_unicode_normalize(const char *s, size_t n, fl_normal_form form, fl_buffer *out)
{
    work w = {0};
    bool ok = true;
    size_t i = 0, from = 0; /* [from, i): copied as it is */
    while (ok && i < n) {
        uint32_t cp = 0;
        size_t length = fl_utf8_decode(s + i, n - i, &cp);
        bool plain = length == 0 || (cp < 0x80 && (i + 1 >= n || (uint8_t)s[i + 1] < 0x80)) || inert(cp);
        if (plain) {
            i += length ? length : 1;
            continue;
        }
        /* A stretch to work on: from a character that may change or combine to the next one that cannot. */
        size_t end = i + length;
        while (end < n) {
            length = fl_utf8_decode(s + end, n - end, &cp);
            if (length == 0 || cp < 0x80 || inert(cp)) break;
            end += length;
        }
        fl_buffer_append(out, s + from, i - from);
        ok = normalize_stretch(&w, s + i, end - i, form, out);
        i = from = end;
    }
    fl_buffer_append(out, s + from, n - from);
    fl_free(w.cp);
    fl_free(w.marks);
    return ok && !out->failed ? FL_OK : FL_ERR_MEMORY;
}
