/* What the session's own files share beyond the public header. */
#ifndef FL_SESSION_SESSION_H
#define FL_SESSION_SESSION_H

#include "model/model.h"

const fl_model *fl_session_model(const fl_session *session);
/* Read with a training model's present numbers, borrowed; for a session that has read nothing. */
void fl_session_set_overlay(fl_session *session, const fl_overlay *overlay);
/* Tokens that may still be read: what is left of the context, near INT64_MAX under other policies than ERROR. */
int64_t fl_session_room(const fl_session *session);

/* What to judge while a text is read. Entry i of an array is about ids[first + i]; any array may be NULL. */
typedef struct fl_score {
    int64_t first;   /* 1 .. count-1: a token is predicted from one that is read in the same call */
    int64_t length;  /* tokens of the whole text, for schedules that depend on it; 0: those held after the call */
    float *nll;      /* [count - first] -ln p(ids[i] | all tokens before it) */
    int32_t *argmax; /* [count - first] the most likely token, lowest id among equals */
    float *logits;   /* [count - first, vocab] */
} fl_score;

/* Read ids[0 .. count-2] as fl_session_read does and judge ids[first .. count-1]; the last one is predicted, not read.
 * The numbers are the same however a text is cut into calls. Positions past the model's window give no warning: whoever
 * judges there means to. The session has no logits afterwards. */
fl_status fl_session_score(fl_session *session, const int32_t *ids, int64_t count, const fl_score *score);

/* One line of text that differs when the model, its position scheme or the attention window differ: keys and values
 * made under one identity mean nothing under another. Weights are sampled (the first bytes of each tensor), not read in
 * full. NULL with FL_ERR_MEMORY recorded; fl_free. */
char *fl_session_identity(const fl_model *model, const fl_scheme *scheme);
/* All that what a session computes depends on, but for the tokens: the identity, the types of keys and values, the
 * overflow policy. NULL with FL_ERR_MEMORY recorded; fl_free. */
char *fl_session_reading(const fl_session *session);

#endif
