/* ROUGE-1, ROUGE-2 and ROUGE-L (Lin 2004), as the Python package rouge_score 0.1.2 computes them without stemming:
 * texts in lower case, words are runs of a-z and 0-9. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/size.h"
#include "base/status.h"

/* Words of a text as numbers: equal words have equal numbers in both texts of a pair. */
typedef struct words {
    int32_t *id;
    int64_t count;
} words;

typedef struct dictionary {
    char *text;      /* both texts, words zero-terminated */
    const char **at; /* [count] each word */
    int64_t count;
} dictionary;

static char folded(char c)
{
    if (c >= 'A' && c <= 'Z') return (char)(c - 'A' + 'a');
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ? c : 0;
}

/* Words of `text` are put behind those that the dictionary has; at and text must have the room. The Kelvin sign is the
 * one letter outside ASCII whose lower case is inside, beside the dotted capital I. */
static char *split(dictionary *d, char *to, const char *text)
{
    bool inside = false;
    for (; *text; text++) {
        char c = folded(*text);
        size_t skip = 0;
        if (!strncmp(text, "\xe2\x84\xaa", 3)) c = 'k', skip = 2;
        if (!strncmp(text, "\xc4\xb0", 2)) c = 'i', skip = 1;
        if (c && !inside) d->at[d->count++] = to;
        if (c) *to++ = c;
        if (!c && inside) *to++ = 0;
        /* What the dotted capital I leaves behind, a combining dot, is no letter. */
        inside = c != 0 && !(skip == 1);
        if (c && !inside) *to++ = 0;
        text += skip;
    }
    *to++ = 0;
    return to;
}

static int compare_words(const void *a, const void *b)
{
    const char *const *x = *(const char *const *const *)a, *const *y = *(const char *const *const *)b;
    int order = strcmp(*x, *y);
    return order ? order : (x > y) - (x < y);
}

/* The same number for the same word. */
static fl_status number(const dictionary *d, int32_t *id)
{
    const char *const **sorted = fl_calloc((size_t)d->count + 1, sizeof *sorted);
    if (!sorted) return FL_ERR_MEMORY;
    for (int64_t i = 0; i < d->count; i++)
        sorted[i] = (const char *const *)&d->at[i];
    qsort((void *)(uintptr_t)sorted, (size_t)d->count, sizeof *sorted, compare_words);
    int32_t last = -1;
    for (int64_t i = 0; i < d->count; i++) {
        if (!i || strcmp(*sorted[i], *sorted[i - 1])) last++;
        id[sorted[i] - (const char *const *)d->at] = last;
    }
    fl_free((void *)(uintptr_t)sorted);
    return FL_OK;
}

static fl_rouge score(int64_t common, int64_t reference, int64_t candidate)
{
    fl_rouge r = {0};
    if (candidate > 0) r.precision = (double)common / (double)candidate;
    if (reference > 0) r.recall = (double)common / (double)reference;
    if (r.precision + r.recall > 0) r.f = 2 * r.precision * r.recall / (r.precision + r.recall);
    return r;
}

static int compare_grams(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int64_t *grams(const words *w, int n)
{
    int64_t count = fl_max64(0, w->count - n + 1);
    int64_t *gram = fl_calloc((size_t)count + 1, sizeof *gram);
    for (int64_t i = 0; gram && i < count; i++)
        gram[i] = n == 1 ? w->id[i] : (int64_t)w->id[i] << 32 | w->id[i + 1];
    if (gram) qsort(gram, (size_t)count, sizeof *gram, compare_grams);
    return gram;
}

/* n-grams of both texts, each as often as in the text that has it more rarely. */
static fl_status rouge_n(fl_rouge *out, const words *reference, const words *candidate, int n)
{
    int64_t *a = grams(reference, n), *b = grams(candidate, n);
    int64_t x = fl_max64(0, reference->count - n + 1), y = fl_max64(0, candidate->count - n + 1), common = 0;
    bool fine = a && b;
    for (int64_t i = 0, j = 0; fine && i < x && j < y;) {
        bool same = a[i] == b[j], before = a[i] < b[j];
        common += same;
        i += same || before;
        j += same || !before;
    }
    fl_free(a);
    fl_free(b);
    *out = score(common, x, y);
    return fine ? FL_OK : FL_ERR_MEMORY;
}

/* Longest common subsequence of words. */
static fl_status rouge_l(fl_rouge *out, const words *reference, const words *candidate)
{
    int64_t *row = fl_calloc((size_t)candidate->count + 1, sizeof *row);
    if (!row) return FL_ERR_MEMORY;
    for (int64_t i = 0; i < reference->count; i++) {
        int64_t diagonal = 0;
        for (int64_t j = 0; j < candidate->count; j++) {
            int64_t above = row[j + 1];
            row[j + 1] = reference->id[i] == candidate->id[j] ? diagonal + 1 : fl_max64(above, row[j]);
            diagonal = above;
        }
    }
    *out = score(row[candidate->count], reference->count, candidate->count);
    fl_free(row);
    return FL_OK;
}

fl_status fl_eval_rouge(fl_rouge rouge[3], const char *reference, const char *candidate)
{
    if (!rouge || !reference || !candidate) return fl_fail(FL_ERR_ARGUMENT, "fl_eval_rouge: an argument is NULL");
    /* A word of one letter needs a letter of text and a separator, but for the last one and the dotted capital I. */
    size_t bytes = 2 * (strlen(reference) + strlen(candidate)) + 4;
    dictionary d = {.text = fl_calloc(bytes, 1), .at = fl_calloc(bytes, sizeof *d.at)};
    int32_t *id = fl_calloc(bytes, sizeof *id);
    fl_status s = d.text && d.at && id ? FL_OK : FL_ERR_MEMORY;
    words a = {0}, b = {0};
    if (s == FL_OK) {
        char *to = split(&d, d.text, reference);
        a = (words){id, d.count};
        split(&d, to, candidate);
        b = (words){id + a.count, d.count - a.count};
        s = number(&d, id);
    }
    if (s == FL_OK) s = rouge_n(&rouge[0], &a, &b, 1);
    if (s == FL_OK) s = rouge_n(&rouge[1], &a, &b, 2);
    if (s == FL_OK) s = rouge_l(&rouge[2], &a, &b);
    fl_free(d.text);
    fl_free((void *)(uintptr_t)d.at);
    fl_free(id);
    return s;
}
