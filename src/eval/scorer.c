#include "eval/scorer.h"

#include "base/alloc.h"
#include "base/size.h"

/* The session reports within one text; the evaluation counts all of them. */
static int report(const char *stage, int64_t done, int64_t total, double seconds_left, void *user)
{
    fl_scorer *s = user;
    (void)stage, (void)total, (void)seconds_left;
    return fl_progress_update(&s->progress, s->done + done) != FL_OK;
}

fl_status fl_scorer_create(fl_scorer *s, const fl_model *model, const fl_session_options *reading, int64_t longest)
{
    *s = (fl_scorer){.model = model};
    fl_session_options options = FL_SESSION_OPTIONS_INIT;
    if (reading && reading->size != sizeof *reading)
        return fl_fail(FL_ERR_ARGUMENT, "session options have size %zu, not %zu: start from FL_SESSION_OPTIONS_INIT",
                       reading->size, sizeof *reading);
    if (reading) options = *reading;
    options.context = longest;
    options.progress = report;
    options.progress_user = s;
    /* What was computed for one length, or a memory that has let go of tokens, are of no use to another text. */
    s->shares = !(model->scheme.rope && fl_rope_depends_on_length(model->scheme.rope)) &&
                model->scheme.logn != FL_LOGN_LENGTH &&
                (options.overflow == FL_OVERFLOW_ERROR || options.overflow == FL_OVERFLOW_EXTEND);
    return fl_session_create(&s->session, model, &options);
}

void fl_scorer_destroy(fl_scorer *s)
{
    fl_session_destroy(s->session);
    *s = (fl_scorer){0};
}

fl_status fl_scorer_start(fl_scorer *s)
{
    return fl_session_truncate(s->session, 0);
}

fl_status fl_scorer_piece(fl_scorer *s, const int32_t *ids, int64_t count, const fl_score *score)
{
    FL_TRY(fl_session_score(s->session, ids, count, score));
    s->computed += count - 1;
    s->done += count - 1;
    return FL_OK;
}

/* Tokens that ids[0 .. most-1] has in common with what the session holds. */
static int64_t common(const fl_scorer *s, const int32_t *ids, int64_t most)
{
    const int32_t *held = fl_session_ids(s->session);
    int64_t n = 0, limit = fl_min64(most, fl_session_tokens(s->session));
    while (n < limit && held[n] == ids[n])
        n++;
    return n;
}

fl_status fl_scorer_read(fl_scorer *s, const int32_t *ids, int64_t count)
{
    int64_t kept = s->shares ? common(s, ids, count - 1) : 0;
    FL_TRY(fl_session_truncate(s->session, kept));
    FL_TRY(fl_session_read(s->session, ids + kept, count - kept));
    s->computed += count - kept;
    s->done += count;
    return FL_OK;
}

fl_status fl_scorer_text(fl_scorer *s, const int32_t *ids, int64_t count, int64_t first, float *nll, int32_t *argmax)
{
    int64_t kept = s->shares ? common(s, ids, first - 1) : 0, done = s->done;
    fl_score score = {.first = first - kept, .length = count, .nll = nll, .argmax = argmax};
    FL_TRY(fl_session_truncate(s->session, kept));
    s->done += kept;
    FL_TRY(fl_scorer_piece(s, ids + kept, count - kept, &score));
    s->done = done + count;
    return fl_progress_update(&s->progress, s->done);
}
