#include "eval/passkey.h"

#include <string.h>

static const char description[] = "There is an important info hidden inside a lot of irrelevant text. Find it and "
                                  "memorize them. I will quiz you about the important information there.";
static const char sentences[] = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back "
                                "again.";
static const char question[] = "What is the pass key? The pass key is";

/* Bytes [from, from + n) of "S S S ...". */
static void literal_filler(fl_buffer *out, size_t n)
{
    size_t period = sizeof sentences; /* a space stands for the zero */
    while (n) {
        size_t part = n < period ? n : period;
        fl_buffer_append(out, sentences, part < period ? part : period - 1);
        if (part == period) fl_buffer_text(out, " ");
        n -= part;
    }
}

/* About n bytes from `at` on, runs of spaces and line ends made one space, whole words only; returns where it stopped.
 */
static size_t book_filler(fl_buffer *out, const fl_passkey_text *t, size_t at, size_t n)
{
    size_t begin = out->size, word = out->size, stopped = at; /* where the last whole word ends, there and here */
    bool space = true;
    for (size_t turn = 0; turn < t->filler_bytes + n && out->size - begin < n; turn++, at++) {
        char c = t->filler[at % t->filler_bytes];
        bool blank = c == ' ' || c == '\n' || c == '\t' || c == '\r';
        if (blank && !space) {
            word = out->size;
            stopped = at;
        }
        if (!blank || !space) fl_buffer_append(out, blank ? " " : &c, 1);
        space = blank;
    }
    if (out->failed) return stopped;
    /* A word that was cut is left out. */
    out->size = word;
    if (out->data) out->data[word] = 0;
    return stopped;
}

static void join(fl_buffer *out)
{
    if (out->size && out->data[out->size - 1] != ' ') fl_buffer_text(out, " ");
}

void fl_passkey_write(fl_buffer *out, const fl_passkey_text *t, size_t *key_at, size_t *prompt)
{
    size_t at = 0;
    fl_buffer_clear(out);
    if (t->filler)
        at = book_filler(out, t, t->start, t->before);
    else {
        fl_buffer_format(out, "%s\n", description);
        literal_filler(out, t->before);
        fl_buffer_text(out, "\n");
    }
    if (t->filler) join(out);
    *key_at = out->size;
    fl_buffer_format(out, "The pass key is %s. Remember it. %s is the pass key.%s", t->key, t->key,
                     t->filler ? "" : "\n");
    if (t->filler) {
        join(out);
        book_filler(out, t, at, t->after);
        join(out);
    } else {
        literal_filler(out, t->after);
        fl_buffer_text(out, "\n");
    }
    fl_buffer_text(out, question);
    *prompt = out->size;
    fl_buffer_format(out, " %s", t->key);
}
