/* A session that judges one text after another: negative log-likelihoods and most likely tokens, read in the way that
 * session options say (types of keys and values, window, sinks, overflow). */
#ifndef FL_EVAL_SCORER_H
#define FL_EVAL_SCORER_H

#include "base/progress.h"
#include "session/session.h"

typedef struct fl_scorer {
    const fl_model *model;
    fl_session *session;
    bool shares;          /* a text may keep what it has in common with the one before */
    int64_t computed;     /* tokens passed through the model so far */
    fl_progress progress; /* of the whole evaluation, in tokens of texts; the caller may start it anew */
    int64_t done;
} fl_scorer;

/* reading: NULL, or how texts are read; its context and progress are not looked at. longest: tokens of the longest
 * text. The scorer must stay where it is while it lives. FL_ERR_UNSUPPORTED when the model cannot read that far. */
fl_status fl_scorer_create(fl_scorer *s, const fl_model *model, const fl_session_options *reading, int64_t longest);
void fl_scorer_destroy(fl_scorer *s);

/* What is judged of ids[first .. count-1], 1 <= first < count, as one text of `count` tokens from position 0; nothing
 * of earlier texts is seen. nll, argmax: [count - first] or NULL. A beginning that the text shares with the last one is
 * not computed again where the result has the same bits. */
fl_status fl_scorer_text(fl_scorer *s, const int32_t *ids, int64_t count, int64_t first, float *nll, int32_t *argmax);

/* Read count >= 1 ids as the beginning of a text that the session then goes on with; shared beginnings as above. */
fl_status fl_scorer_read(fl_scorer *s, const int32_t *ids, int64_t count);

/* One text in pieces: start, then consecutive pieces as for fl_session_score, each beginning with the token that was
 * the last one of the piece before. */
fl_status fl_scorer_start(fl_scorer *s);
fl_status fl_scorer_piece(fl_scorer *s, const int32_t *ids, int64_t count, const fl_score *score);

#endif
