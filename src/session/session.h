/* What the session's own files share beyond the public header. */
#ifndef FL_SESSION_SESSION_H
#define FL_SESSION_SESSION_H

#include "model/model.h"

const fl_model *fl_session_model(const fl_session *session);
/* Tokens that may still be read: what is left of the context, INT64_MAX under FL_OVERFLOW_EXTEND. */
int64_t fl_session_room(const fl_session *session);

/* One line of text that differs when the model, its rotary schedule or the attention window differ: keys and values
 * made under one identity mean nothing under another. Weights are sampled (the first bytes of each tensor), not read in
 * full. NULL with FL_ERR_MEMORY recorded; fl_free. */
char *fl_session_identity(const fl_model *model, const fl_scheme *scheme);

#endif
