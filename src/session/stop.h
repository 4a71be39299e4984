/* Stop strings in a stream of text: what may be the beginning of one is held back until it is certain. */
#ifndef FL_SESSION_STOP_H
#define FL_SESSION_STOP_H

#include "base/buffer.h"

typedef struct fl_stop {
    const char *const *string; /* the caller's */
    int count;
    fl_buffer held; /* text not handed on yet */
} fl_stop;

/* FL_ERR_ARGUMENT for a string that is NULL, empty, or begins inside a UTF-8 character: it could cut one in two. */
fl_status fl_stop_init(fl_stop *s, const char *const *string, int count);
void fl_stop_free(fl_stop *s);

/* Append text to what is held. *ready: how many bytes of s->held may be handed on; the caller then calls fl_stop_take.
 * True when a stop string is complete: it begins at *ready. FL_ERR_MEMORY shows as s->held.failed. */
bool fl_stop_push(fl_stop *s, const char *text, size_t length, size_t *ready);
void fl_stop_take(fl_stop *s, size_t ready);

#endif
