/* The text of one passkey trial. */
#ifndef FL_EVAL_PASSKEY_H
#define FL_EVAL_PASSKEY_H

#include "base/buffer.h"

typedef struct fl_passkey_text {
    const char *key;
    const char *filler; /* NULL: the literal protocol; else any text, taken from `start` on and around again */
    size_t filler_bytes, start;
    size_t before, after; /* bytes of filler on either side of the key */
} fl_passkey_text;

/* Literal protocol (Mohtashami and Jaggi 2023, landmark attention): description, filler, key, filler and question, each
 * on a line, the filler cut at any letter. With a filler of its own: filler, key, filler and question, joined by
 * spaces, the filler cut at spaces. *key_at: where the line with the key begins; *prompt: bytes before the answer,
 * which is a space and the key. */
void fl_passkey_write(fl_buffer *out, const fl_passkey_text *t, size_t *key_at, size_t *prompt);

#endif
