/* The loop of generation: choose a token, hand its text on, read it. */
#include "base/clock.h"
#include "base/size.h"
#include "session/sampler.h"
#include "session/session.h"
#include "session/stop.h"
#include "text/tokenizer.h"

typedef struct generation {
    fl_session *session;
    const fl_model *model;
    const fl_tokenizer *tokenizer;
    const fl_generate_options *options;
    fl_sampler sampler;
    fl_stop stop;
    fl_detokenizer detokenizer;
    fl_buffer piece;
    fl_generate_result result;
    bool ended;
} generation;

static fl_status options_check(const fl_session *session, const fl_tokenizer *tokenizer, const fl_generate_options *o)
{
    if (!session || !o || o->size != sizeof *o)
        return fl_fail(FL_ERR_ARGUMENT,
                       "fl_generate: an argument is NULL or options.size is not %zu: start from "
                       "FL_GENERATE_OPTIONS_INIT",
                       sizeof(fl_generate_options));
    if (!tokenizer && (o->text || o->stop_count))
        return fl_fail(FL_ERR_ARGUMENT, "fl_generate: text and stop strings need a tokenizer");
    if (o->stop_id_count < 0 || (o->stop_id_count && !o->stop_ids))
        return fl_fail(FL_ERR_ARGUMENT, "fl_generate: stop_ids is NULL or stop_id_count = %d", o->stop_id_count);
    int64_t vocab = fl_session_model(session)->config.vocab;
    for (int i = 0; i < o->stop_id_count; i++)
        if (o->stop_ids[i] < 0 || o->stop_ids[i] >= vocab)
            return fl_fail(FL_ERR_ARGUMENT, "stop_ids[%d] = %d: the vocabulary has ids 0 to %lld", i, o->stop_ids[i],
                           (long long)vocab - 1);
    if (o->max_tokens < -1)
        return fl_fail(FL_ERR_ARGUMENT, "max_tokens = %lld: give 0 or more, or -1 for no limit",
                       (long long)o->max_tokens);
    if (!fl_session_logits(session))
        return fl_fail(FL_ERR_STATE, "fl_generate: the session has no logits; read at least one token first");
    return FL_OK;
}

static void end(generation *g, fl_finish why)
{
    g->ended = true;
    g->result.finish = why;
}

static bool is_end_of_text(const generation *g, int32_t id)
{
    const fl_config *c = &g->model->config;
    for (int i = 0; i < c->eos_count; i++)
        if (id == c->eos[i]) return true;
    return c->eos_count == 0 && g->tokenizer && id == fl_tokenizer_eos(g->tokenizer);
}

static bool is_end(const generation *g, int32_t id)
{
    const fl_generate_options *o = g->options;
    for (int i = 0; i < o->stop_id_count; i++)
        if (id == o->stop_ids[i]) return true;
    return !o->ignore_eos && is_end_of_text(g, id);
}

static void deliver(generation *g, size_t ready)
{
    if (ready && g->options->text && g->options->text(g->stop.held.data, ready, g->options->text_user))
        end(g, FL_FINISH_CALLER);
    fl_stop_take(&g->stop, ready);
}

/* Text of what g->piece holds, as far as no stop string can begin in it. */
static fl_status deliver_piece(generation *g)
{
    size_t ready;
    if (g->piece.failed) return FL_ERR_MEMORY;
    bool stopped = fl_stop_push(&g->stop, g->piece.data ? g->piece.data : "", g->piece.size, &ready);
    if (g->stop.held.failed) return FL_ERR_MEMORY;
    fl_buffer_clear(&g->piece);
    deliver(g, ready);
    if (!stopped) return FL_OK;
    fl_buffer_clear(&g->stop.held);
    end(g, FL_FINISH_STOP);
    return FL_OK;
}

/* What was held back turns out to be text. */
static fl_status deliver_rest(generation *g)
{
    if (!g->tokenizer || g->result.finish == FL_FINISH_STOP || g->result.finish == FL_FINISH_CALLER) return FL_OK;
    fl_finish why = g->result.finish;
    fl_detokenizer_finish(&g->detokenizer, &g->piece);
    FL_TRY(deliver_piece(g));
    if (g->result.finish == why) deliver(g, g->stop.held.size);
    return FL_OK;
}

/* The text goes on where the session's ends: once a token with text has been read, spaces at the start are real. */
static fl_status continue_text(generation *g)
{
    const int32_t *ids = fl_session_ids(g->session);
    int64_t count = fl_session_tokens(g->session) - fl_session_ids_begin(g->session);
    fl_detokenizer_init(&g->detokenizer, g->tokenizer, false);
    for (int64_t i = 0; i < count && !g->detokenizer.started; i++)
        FL_TRY(fl_detokenizer_push(&g->detokenizer, ids[i], &g->piece));
    g->detokenizer.pending_count = 0;
    fl_buffer_clear(&g->piece);
    return FL_OK;
}

static fl_status step(generation *g)
{
    if (g->options->max_tokens >= 0 && g->result.tokens >= g->options->max_tokens) {
        end(g, FL_FINISH_LENGTH);
        return FL_OK;
    }
    if (fl_session_room(g->session) < 1) {
        end(g, FL_FINISH_CONTEXT);
        return FL_OK;
    }
    int32_t id;
    FL_TRY(fl_sampler_next(&g->sampler, fl_session_logits(g->session), fl_session_ids(g->session),
                           fl_session_tokens(g->session) - fl_session_ids_begin(g->session), &id));
    if (is_end(g, id)) {
        end(g, FL_FINISH_EOS);
        return FL_OK;
    }
    g->result.tokens++;
    if (g->tokenizer) {
        FL_TRY(fl_detokenizer_push(&g->detokenizer, id, &g->piece));
        FL_TRY(deliver_piece(g));
    }
    return fl_session_read(g->session, &id, 1);
}

static fl_status run(generation *g)
{
    if (g->tokenizer) FL_TRY(continue_text(g));
    while (!g->ended)
        FL_TRY(step(g));
    return deliver_rest(g);
}

fl_status fl_generate(fl_session *session, const fl_tokenizer *tokenizer, const fl_generate_options *options,
                      fl_generate_result *result)
{
    FL_TRY(options_check(session, tokenizer, options));
    double start = fl_clock_seconds();
    generation g = {.session = session, .model = fl_session_model(session), .tokenizer = tokenizer, .options = options};
    FL_TRY(fl_stop_init(&g.stop, options->stop, options->stop_count));
    FL_TRY(fl_sampler_init(&g.sampler, &options->sampler, g.model->config.vocab));
    fl_status s = run(&g);
    fl_sampler_free(&g.sampler);
    fl_stop_free(&g.stop);
    fl_buffer_free(&g.piece);
    if (s != FL_OK) return s;
    g.result.seconds = fl_clock_seconds() - start;
    if (result) *result = g.result;
    return FL_OK;
}
