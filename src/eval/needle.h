/* The text of one needle trial. */
#ifndef FL_EVAL_NEEDLE_H
#define FL_EVAL_NEEDLE_H

#include "base/buffer.h"

typedef struct fl_needle_text {
    const char *haystack; /* taken from `start` on and around again */
    size_t haystack_bytes, start, bytes;
    double depth; /* 0 to 1 */
    const char *needle, *question, *answer;
} fl_needle_text;

/* Haystack with the needle behind the last sentence that ends before depth * bytes (at depth 1: at the end), an empty
 * line and the question. *prompt: bytes before the answer, which is a space and the answer. */
void fl_needle_write(fl_buffer *out, const fl_needle_text *t, size_t *prompt);

#endif
