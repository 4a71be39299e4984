#include "text/overlap.h"

#include <string.h>
#include <utf8proc.h>

#include "base/alloc.h"
#include "base/progress.h"
#include "text/unicode.h"
#include "text/utf8.h"
#include "text/vocab.h"

#define SEEN (UINT64_C(1) << 63)
#define BASE UINT64_C(0x9E3779B97F4A7C15) /* of the rolling hash; odd */

/* ---- a set of hashes, each with a mark --------------------------------------------------------------------------- */

typedef struct gram_set {
    uint64_t *slot; /* open addressing; 0: empty, else the hash with SEEN as the mark */
    uint64_t mask;
    int64_t used;
} gram_set;

static uint64_t *find(const gram_set *set, uint64_t gram)
{
    uint64_t i = gram & set->mask;
    while (set->slot[i] && (set->slot[i] & ~SEEN) != gram)
        i = (i + 1) & set->mask;
    return &set->slot[i];
}

static fl_status grow(gram_set *set)
{
    gram_set larger = {.mask = set->slot ? 2 * set->mask + 1 : 1023};
    larger.slot = fl_calloc((size_t)larger.mask + 1, sizeof *larger.slot);
    if (!larger.slot) return FL_ERR_MEMORY;
    for (uint64_t i = 0; set->slot && i <= set->mask; i++)
        if (set->slot[i]) *find(&larger, set->slot[i] & ~SEEN) = set->slot[i];
    larger.used = set->used;
    fl_free(set->slot);
    *set = larger;
    return FL_OK;
}

static fl_status insert(gram_set *set, uint64_t gram)
{
    if (!set->slot || (uint64_t)set->used * 10 > set->mask * 7) FL_TRY(grow(set));
    uint64_t *slot = find(set, gram);
    set->used += *slot == 0;
    *slot |= gram;
    return FL_OK;
}

/* ---- words and n-grams of a text --------------------------------------------------------------------------------- */

typedef struct words {
    const char *text;
    size_t size, at;
    fl_buffer word; /* the present one, normalised */
} words;

/* False at the end. What punctuation alone made a word of is none. */
static bool next_word(words *w)
{
    fl_buffer_clear(&w->word);
    while (w->at < w->size) {
        uint32_t character;
        w->at += fl_utf8_decode(w->text + w->at, w->size - w->at, &character);
        if (fl_unicode_is_space(character)) {
            if (w->word.size) return true;
        } else if (!fl_unicode_is_punctuation(character)) {
            char bytes[4];
            size_t n = fl_utf8_encode((uint32_t)utf8proc_tolower((utf8proc_int32_t)character), bytes);
            fl_buffer_append(&w->word, bytes, n);
        }
    }
    return w->word.size > 0;
}

typedef struct scan {
    int n;
    uint64_t last; /* BASE^n: takes the oldest word out */
    gram_set set;
    int64_t words, grams, seen; /* of the present document */
} scan;

/* What a pass does with each n-gram. */
typedef fl_status (*gram_fn)(scan *s, uint64_t gram);

static fl_status collect(scan *s, uint64_t gram)
{
    return insert(&s->set, gram);
}

static fl_status mark(scan *s, uint64_t gram)
{
    if (!s->set.slot) return FL_OK;
    uint64_t *slot = find(&s->set, gram);
    if (*slot) *slot |= SEEN;
    return FL_OK;
}

static fl_status count(scan *s, uint64_t gram)
{
    s->seen += (*find(&s->set, gram) & SEEN) != 0;
    return FL_OK;
}

/* The polynomial of the last n words' hashes, mixed; never 0. */
static fl_status scan_document(scan *s, const fl_corpus_document *document, fl_buffer *word, gram_fn fn)
{
    words w = {.text = document->text, .size = document->size, .word = *word};
    uint64_t window[FL_OVERLAP_LARGEST] = {0}, hash = 0;
    fl_status status = FL_OK;
    s->words = s->grams = s->seen = 0;
    while (status == FL_OK && next_word(&w)) {
        if (w.word.failed) {
            status = FL_ERR_MEMORY;
            break;
        }
        uint64_t *oldest = &window[s->words++ % s->n];
        uint64_t newest = fl_text_hash(w.word.data, w.word.size, 0);
        hash = hash * BASE + newest - *oldest * s->last;
        *oldest = newest;
        if (s->words < s->n) continue;
        s->grams++;
        uint64_t gram = fl_text_mix(hash) & ~SEEN;
        status = fn(s, gram ? gram : 1);
    }
    *word = w.word;
    return status;
}

/* ---- passes over files ------------------------------------------------------------------------------------------ */

static fl_status add_document(fl_overlap *o, int64_t *capacity, const scan *s, const fl_corpus_document *d)
{
    if (o->documents == *capacity) {
        int64_t larger = *capacity ? 2 * *capacity : 64;
        fl_overlap_document *document = fl_realloc(o->document, (size_t)larger, sizeof *document);
        if (!document) return FL_ERR_MEMORY;
        o->document = document;
        *capacity = larger;
    }
    if (o->files == 0 || strcmp(o->file[o->files - 1], d->file)) {
        char **file = fl_realloc(o->file, (size_t)o->files + 1, sizeof *file);
        if (!file) return FL_ERR_MEMORY;
        o->file = file;
        if (!(file[o->files] = fl_strdup(d->file))) return FL_ERR_MEMORY;
        o->files++;
    }
    o->document[o->documents++] = (fl_overlap_document){o->file[o->files - 1], d->line, s->words, s->grams, s->seen};
    o->grams += s->grams;
    o->seen += s->seen;
    o->touched += s->seen > 0;
    o->shorter += s->grams == 0;
    return FL_OK;
}

typedef struct pass {
    scan *scan;
    gram_fn fn;
    fl_overlap *out;
    fl_progress *progress;
    int64_t before; /* bytes of earlier passes */
} pass;

static fl_status run_pass(pass *p, fl_corpus *corpus)
{
    fl_corpus_document document;
    fl_buffer word = {0};
    int64_t capacity = 0, done, total;
    fl_status s;
    while ((s = fl_corpus_next(corpus, &document)) == FL_OK && document.file) {
        s = scan_document(p->scan, &document, &word, p->fn);
        if (s == FL_OK && p->fn == count) s = add_document(p->out, &capacity, p->scan, &document);
        p->out->training_documents += p->fn == mark;
        p->out->training_words += p->fn == mark ? p->scan->words : 0;
        fl_corpus_position(corpus, &done, &total);
        if (s == FL_OK) s = fl_progress_update(p->progress, p->before + done);
        if (s != FL_OK) break;
    }
    fl_corpus_position(corpus, &done, &total);
    p->before += done;
    fl_buffer_free(&word);
    return s;
}

static fl_status check(const fl_corpus_options *evaluation, int n)
{
    if (n < 1 || n > FL_OVERLAP_LARGEST)
        return fl_fail(FL_ERR_ARGUMENT, "n-grams of %d words: give 1 to %d", n, FL_OVERLAP_LARGEST);
    for (int i = 0; i < evaluation->paths; i++)
        if (!strcmp(evaluation->path[i], "-"))
            return fl_fail(FL_ERR_ARGUMENT,
                           "overlap: the evaluation text is read twice, which standard input cannot be");
    return FL_OK;
}

fl_status fl_overlap_measure(fl_overlap *out, const fl_corpus_options *training, const fl_corpus_options *evaluation,
                             int n, fl_progress_fn progress, void *user)
{
    *out = (fl_overlap){.n = n};
    FL_TRY(check(evaluation, n));
    scan s = {.n = n, .last = 1};
    for (int i = 0; i < n; i++)
        s.last *= BASE;
    const fl_corpus_options *const options[3] = {evaluation, training, evaluation};
    static const gram_fn fn[3] = {collect, mark, count};
    fl_corpus *corpus[3] = {NULL, NULL, NULL};
    fl_progress bar;
    int64_t all = 0;
    fl_status status = FL_OK;
    for (int i = 0; i < 3 && status == FL_OK; i++) {
        int64_t done, total = 0;
        status = fl_corpus_open(&corpus[i], options[i]);
        if (status == FL_OK) fl_corpus_position(corpus[i], &done, &total);
        all += total;
    }
    pass p = {.scan = &s, .out = out, .progress = &bar};
    fl_progress_start(&bar, progress, user, "overlap", all);
    for (int i = 0; i < 3 && status == FL_OK; i++) {
        p.fn = fn[i];
        status = run_pass(&p, corpus[i]);
    }
    out->distinct = s.set.used;
    fl_free(s.set.slot);
    for (int i = 0; i < 3; i++)
        fl_corpus_close(corpus[i]);
    return status;
}

void fl_overlap_free(fl_overlap *o)
{
    for (int i = 0; i < o->files; i++)
        fl_free(o->file[i]);
    fl_free(o->file);
    fl_free(o->document);
    *o = (fl_overlap){0};
}
