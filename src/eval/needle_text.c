#include "eval/needle.h"

#include <string.h>

/* Where in piece[0 .. n-1] a sentence begins, not after `at`. */
static size_t sentence_before(const char *piece, size_t at)
{
    for (size_t i = at; i > 1; i--)
        if (piece[i - 1] == ' ' && strchr(".!?", piece[i - 2])) return i;
    return 0;
}

void fl_needle_write(fl_buffer *out, const fl_needle_text *t, size_t *prompt)
{
    fl_buffer piece = {0};
    bool space = true;
    for (size_t i = 0, at = t->start; i < t->haystack_bytes + t->bytes && piece.size < t->bytes; i++, at++) {
        char c = t->haystack[at % t->haystack_bytes];
        bool blank = c == ' ' || c == '\n' || c == '\t' || c == '\r';
        if (!blank || !space) fl_buffer_append(&piece, blank ? " " : &c, 1);
        space = blank;
    }
    /* A word that was cut is left out. */
    while (piece.size && piece.data[piece.size - 1] != ' ')
        piece.size--;
    size_t at = t->depth >= 1 ? piece.size : sentence_before(piece.data, (size_t)(t->depth * (double)piece.size));
    fl_buffer_clear(out);
    if (at) fl_buffer_append(out, piece.data, at);
    fl_buffer_text(out, t->needle);
    if (at < piece.size) fl_buffer_text(out, " ");
    if (at < piece.size) fl_buffer_append(out, piece.data + at, piece.size - at);
    while (out->size && out->data[out->size - 1] == ' ')
        out->data[--out->size] = 0;
    fl_buffer_format(out, "\n\n%s", t->question);
    *prompt = out->size;
    fl_buffer_format(out, " %s", t->answer);
    out->failed = out->failed || piece.failed;
    fl_buffer_free(&piece);
}
