/* A session: one model reading one text. Whatever fails, what the session held before a chunk is what it holds. */
#include "session/session.h"

#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/progress.h"
#include "base/size.h"
#include "file/snapshot.h"

#define DEFAULT_CHUNK 512
#define LONGEST_CHUNK (1 << 20)
#define LONGEST_TEXT (INT64_C(1) << 40)

struct fl_session {
    const fl_model *model;
    fl_session_options options;
    fl_scheme scheme;  /* the model's, with this session's window */
    fl_kv_shape shape; /* of each layer */
    int64_t context, chunk, bytes_per_token, most_bytes;
    fl_run *run;
    fl_memory *memory;
    int32_t *ids;      /* [capacity], what was read from token ids_begin on */
    int64_t ids_begin; /* not 0 only under FL_OVERFLOW_STREAM */
    int64_t capacity;
    float *logits; /* [vocab] */
    bool has_logits, warned;
    atomic_bool cancel;
    const fl_overlay *overlay; /* a training model's numbers in place of the opened ones; NULL: none */
};

static fl_status options_check(const fl_model *m, const fl_session_options *o)
{
    const fl_config *c = &m->config;
    if (o->context < 0 || o->context > LONGEST_TEXT)
        return fl_fail(FL_ERR_ARGUMENT, "context = %lld: give a number of tokens, or 0 for the model's window of %lld",
                       (long long)o->context, (long long)fl_model_window(m));
    if (o->chunk < 0 || o->chunk > LONGEST_CHUNK)
        return fl_fail(FL_ERR_ARGUMENT, "chunk = %lld: give 1 to %d tokens, or 0 for %d", (long long)o->chunk,
                       LONGEST_CHUNK, DEFAULT_CHUNK);
    if (o->sliding_window < 0 || o->sinks < (o->overflow == FL_OVERFLOW_STREAM ? -1 : 0))
        return fl_fail(FL_ERR_ARGUMENT, "window = %lld, sinks = %lld: neither may be negative",
                       (long long)o->sliding_window, (long long)o->sinks);
    if (o->sinks > 0 && !o->sliding_window && !c->sliding_window && o->overflow != FL_OVERFLOW_STREAM)
        return fl_fail(FL_ERR_ARGUMENT,
                       "sinks = %lld without a sliding window: every token is visible already; give "
                       "the window as well",
                       (long long)o->sinks);
    if (o->overflow != FL_OVERFLOW_ERROR && o->overflow != FL_OVERFLOW_EXTEND && o->overflow != FL_OVERFLOW_STREAM)
        return fl_fail(FL_ERR_ARGUMENT, "overflow = %d: unknown policy", (int)o->overflow);
    if (o->overflow == FL_OVERFLOW_STREAM && c->passes.kind != FL_PASSES_PLAIN)
        return fl_fail(FL_ERR_UNSUPPORTED,
                       "overflow = stream: the model is opened with --rope-scaling %s; choose one of the two",
                       fl_passes_name(&c->passes));
    if (o->overflow == FL_OVERFLOW_STREAM && m->scheme.passes.block)
        return fl_fail(FL_ERR_UNSUPPORTED, "overflow = stream with --blockwise: choose one of the two");
    if (o->overflow == FL_OVERFLOW_STREAM && c->positions != FL_POSITIONS_ROTARY)
        return fl_fail(FL_ERR_UNSUPPORTED,
                       "overflow = stream: this model of family %s has %s positions; streams are for rotary ones",
                       c->family, fl_positions_name(c->positions));
    if (c->positions != FL_POSITIONS_LEARNED) return FL_OK;
    if (o->overflow == FL_OVERFLOW_EXTEND)
        return fl_fail(FL_ERR_UNSUPPORTED,
                       "overflow = extend: family %s has learned positions for %lld tokens and "
                       "none beyond",
                       c->family, (long long)c->window);
    if (o->context > c->window)
        return fl_fail(FL_ERR_UNSUPPORTED,
                       "context = %lld: family %s has learned positions for %lld tokens and none "
                       "beyond",
                       (long long)o->context, c->family, (long long)c->window);
    return FL_OK;
}

/* The model's scheme with this session's window and sinks; under STREAM also its context, the size of the cache. */
static fl_status scheme_of(fl_session *s, const fl_model *m, const fl_session_options *o)
{
    fl_passes *p = &s->scheme.passes;
    s->scheme = m->scheme;
    if (o->sliding_window) p->window = o->sliding_window;
    p->sinks = o->sinks ? o->sinks : p->sinks;
    s->context = o->context ? o->context : fl_model_window(m);
    if (o->overflow == FL_OVERFLOW_STREAM) {
        p->kind = FL_PASSES_STREAM;
        p->sinks = o->sinks < 0 ? 0 : o->sinks ? o->sinks : FL_STREAM_SINKS;
        int64_t room = fl_min64(s->context, fl_model_window(m)) - p->sinks;
        if (!o->sliding_window) p->window = p->window ? fl_min64(p->window, room) : room;
    }
    FL_TRY(fl_passes_check(p, p->kind == FL_PASSES_STREAM ? fl_model_window(m) : INT64_MAX));
    if (p->kind == FL_PASSES_STREAM) s->context = p->sinks + p->window; /* no overflow: the check bounds both */
    return FL_OK;
}

static fl_status memory_create(fl_session *s)
{
    int64_t layers = s->model->config.layers;
    fl_kv_shape *shape = fl_calloc((size_t)layers, sizeof *shape);
    if (!shape) return FL_ERR_MEMORY;
    for (int64_t i = 0; i < layers; i++)
        shape[i] = s->shape;
    fl_status status = fl_memory_create(&s->memory, (int)layers, shape);
    fl_free(shape);
    return status;
}

/* Everything but the memory. */
static fl_status session_new(fl_session **out, const fl_model *m, const fl_session_options *o)
{
    fl_kv_shape shape;
    FL_TRY(fl_model_kv_types(m, o->type_k, o->type_v, &shape));
    fl_session *s = fl_calloc(1, sizeof *s);
    if (!s) return FL_ERR_MEMORY;
    s->model = m;
    s->options = *o;
    s->shape = shape;
    s->options.type_k = fl_model_kv_type_name(shape.k_type); /* the caller's text may be gone when this is forked */
    s->options.type_v = fl_model_kv_type_name(shape.v_type);
    s->chunk = o->chunk ? o->chunk : DEFAULT_CHUNK;
    s->bytes_per_token = m->config.layers * (int64_t)(fl_kv_page_bytes(&shape) / FL_PAGE_TOKENS);
    s->most_bytes = fl_physical_bytes();
    atomic_init(&s->cancel, false);
    s->logits = fl_calloc((size_t)m->config.vocab, sizeof *s->logits);
    fl_status status = s->logits ? scheme_of(s, m, o) : FL_ERR_MEMORY;
    if (status == FL_OK) status = fl_run_create(&s->run, m->engine, 0, false);
    if (status != FL_OK) {
        fl_session_destroy(s);
        return status;
    }
    s->run->cancel = &s->cancel;
    *out = s;
    return FL_OK;
}

fl_status fl_session_create(fl_session **out, const fl_model *model, const fl_session_options *options)
{
    if (!out || !model || !options || options->size != sizeof *options)
        return fl_fail(FL_ERR_ARGUMENT,
                       "fl_session_create: an argument is NULL or options.size is not %zu: start from "
                       "FL_SESSION_OPTIONS_INIT",
                       sizeof(fl_session_options));
    FL_TRY(options_check(model, options));
    fl_session *s;
    FL_TRY(session_new(&s, model, options));
    fl_status status = memory_create(s);
    if (status != FL_OK) {
        fl_session_destroy(s);
        return status;
    }
    *out = s;
    return FL_OK;
}

void fl_session_destroy(fl_session *s)
{
    if (!s) return;
    fl_run_destroy(s->run);
    fl_memory_destroy(s->memory);
    fl_free(s->ids);
    fl_free(s->logits);
    fl_free(s);
}

/* ---- questions -------------------------------------------------------------------------------------------------- */

const fl_model *fl_session_model(const fl_session *s)
{
    return s->model;
}
const float *fl_session_logits(const fl_session *s)
{
    return s->has_logits ? s->logits : NULL;
}
int64_t fl_session_tokens(const fl_session *s)
{
    return fl_memory_tokens(s->memory);
}
int64_t fl_session_context(const fl_session *s)
{
    return s->context;
}
int64_t fl_session_bytes(const fl_session *s)
{
    return (int64_t)fl_memory_bytes(s->memory);
}
const int32_t *fl_session_ids(const fl_session *s)
{
    return s->ids;
}

int64_t fl_session_ids_begin(const fl_session *s)
{
    return s->ids_begin;
}

int64_t fl_session_room(const fl_session *s)
{
    if (s->options.overflow != FL_OVERFLOW_ERROR) return LONGEST_TEXT - fl_session_tokens(s);
    return fl_max64(0, s->context - fl_session_tokens(s));
}

char *fl_session_reading(const fl_session *s)
{
    char *identity = fl_session_identity(s->model, &s->scheme);
    fl_buffer text = {0};
    if (!identity) return NULL;
    fl_buffer_format(&text, "%s, keys %s, values %s, overflow %d", identity, s->options.type_k, s->options.type_v,
                     (int)s->options.overflow);
    fl_free(identity);
    if (text.failed) fl_buffer_free(&text);
    return text.data;
}

void fl_session_cancel(fl_session *s)
{
    atomic_store_explicit(&s->cancel, true, memory_order_relaxed);
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

static fl_status ids_check(const fl_session *s, const int32_t *ids, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (ids[i] < 0 || ids[i] >= s->model->config.vocab)
            return fl_fail(FL_ERR_ARGUMENT,
                           "token %lld has id %d, outside the vocabulary of %lld: is this the model's "
                           "own tokenizer?",
                           (long long)i, ids[i], (long long)s->model->config.vocab);
    return FL_OK;
}

static fl_status room_check(const fl_session *s, int64_t count)
{
    int64_t held = fl_session_tokens(s), room = fl_session_room(s);
    if (count > room)
        return fl_fail(FL_ERR_WINDOW,
                       "the text is %lld tokens long but the context holds %lld (%lld of them in use): "
                       "shorten it, or set a larger context%s",
                       (long long)(held + count), (long long)s->context, (long long)held,
                       s->model->config.positions == FL_POSITIONS_LEARNED ? ""
                       : s->model->config.positions == FL_POSITIONS_ROTARY
                           ? " with a rope scaling, or overflow = extend"
                           : ", or overflow = extend");
    int64_t most = s->most_bytes / s->bytes_per_token, kept = held + count;
    /* The cache, what an eviction leaves beside it, and a chunk. */
    if (s->scheme.passes.kind == FL_PASSES_STREAM)
        kept = fl_min64(kept, s->context + FL_EVICT_TOKENS + 2 * FL_PAGE_TOKENS + s->chunk);
    if (s->most_bytes > 0 && kept > most)
        return fl_fail(FL_ERR_MEMORY,
                       "%lld tokens need %.1f GiB of keys and values; this machine has %.1f GiB, enough "
                       "for %lld tokens",
                       (long long)kept, (double)kept * (double)s->bytes_per_token / 0x1p30,
                       (double)s->most_bytes / 0x1p30, (long long)most);
    return FL_OK;
}

/* Room for the ids of the first `total` tokens, less those forgotten. */
static fl_status ids_reserve(fl_session *s, int64_t total)
{
    total -= s->ids_begin;
    if (total <= s->capacity) return FL_OK;
    int64_t capacity = fl_max64(total, fl_max64(256, s->capacity + s->capacity / 2));
    int32_t *ids = fl_realloc(s->ids, (size_t)capacity, sizeof *ids);
    if (!ids) return FL_ERR_MEMORY;
    s->ids = ids;
    s->capacity = capacity;
    return FL_OK;
}

void fl_session_set_overlay(fl_session *s, const fl_overlay *overlay)
{
    s->overlay = overlay;
}

/* Ids go when their keys have gone, many at a time. Not during a read: it may be one of the session's own ids. */
static void ids_forget(fl_session *s)
{
    int64_t first = fl_memory_evicted(s->memory) ? fl_memory_hole(s->memory) + fl_memory_evicted(s->memory) : 0;
    int64_t gone = first - s->ids_begin, kept = fl_session_tokens(s) - first;
    if (gone < FL_EVICT_TOKENS || gone < kept) return;
    memmove(s->ids, s->ids + gone, (size_t)kept * sizeof *s->ids);
    s->ids_begin = first;
}

static void warn_beyond_window(fl_session *s, int64_t total)
{
    int64_t window = fl_model_window(s->model);
    const fl_rope_spec *rope = s->scheme.rope;
    fl_positions positions = s->model->config.positions;
    if (s->warned || total <= window || positions == FL_POSITIONS_LEARNED || s->scheme.passes.kind == FL_PASSES_STREAM)
        return;
    if (fl_passes_reach(&s->scheme.passes, window) == INT64_MAX && s->scheme.passes.kind != FL_PASSES_PLAIN) return;
    s->warned = true;
    const fl_log *log = &s->model->engine->log;
    if (positions != FL_POSITIONS_ROTARY)
        fl_log_write(log, FL_LOG_WARN, "positions reach %lld but the model was trained on %lld, with %s positions",
                     (long long)total, (long long)window, fl_positions_name(positions));
    else if (s->scheme.passes.kind != FL_PASSES_PLAIN)
        fl_log_write(log, FL_LOG_WARN, "the text reaches %lld tokens but %s (%s) reaches %lld: expect nonsense beyond",
                     (long long)total, fl_passes_name(&s->scheme.passes), s->model->passes_text, (long long)window);
    else if (rope->kind == FL_ROPE_PLAIN)
        fl_log_write(log, FL_LOG_WARN,
                     "positions reach %lld but the model was trained on %lld and no rope scaling is "
                     "in force: expect nonsense beyond; choose one with --rope-scaling",
                     (long long)total, (long long)window);
    else
        fl_log_write(log, FL_LOG_WARN,
                     "positions reach %lld but the model, with rope scaling %s by %g in force, is "
                     "meant for %lld: expect nonsense beyond; choose a larger scale",
                     (long long)total, fl_rope_kind_name(rope->kind), rope->factor, (long long)window);
}

/* One pass. total: tokens held when the whole text is read, so that every chunk sees the same schedule. */
static fl_status read_chunk(fl_session *s, const int32_t *ids, int64_t rows, int64_t total, const fl_head_spec *head)
{
    int64_t held = fl_session_tokens(s);
    fl_batch_seq sequence = {
        .memory = s->memory, .first_row = 0, .rows = rows, .first_position = held, .length = total};
    fl_batch batch = {.sequences = 1, .seq = &sequence, .rows = rows, .tokens = ids, .scheme = &s->scheme};
    FL_TRY(fl_model_pass(s->model, s->run, &batch, s->overlay, false, head));
    /* ids may be the session's own, read again */
    memmove(s->ids + held - s->ids_begin, ids, (size_t)rows * sizeof *ids);
    s->has_logits = false;
    return FL_OK;
}

/* The last chunk of a text, whose last row gives the logits. */
static fl_status read_last_chunk(fl_session *s, const int32_t *ids, int64_t rows)
{
    int64_t row = rows - 1;
    fl_head_spec head = {.n = 1, .row = &row, .logits = s->logits};
    FL_TRY(read_chunk(s, ids, rows, fl_session_tokens(s) + rows, &head));
    s->has_logits = true;
    return FL_OK;
}

/* Tokens [begin, begin + rows) of ids, those judged that are predicted by them. row, target: [chunk]. */
static fl_status score_chunk(fl_session *s, const int32_t *ids, int64_t begin, int64_t rows, int64_t total,
                             const fl_score *score, int64_t *row, int32_t *target)
{
    int64_t skip = fl_max64(0, score->first - 1 - begin), out = begin + skip + 1 - score->first;
    fl_head_spec head = {.n = fl_max64(0, rows - skip), .row = row, .target = target};
    for (int64_t i = 0; i < head.n; i++) {
        row[i] = skip + i;
        target[i] = ids[begin + skip + i + 1];
    }
    if (head.n) {
        head.nll = score->nll ? score->nll + out : NULL;
        head.argmax = score->argmax ? score->argmax + out : NULL;
        head.logits = score->logits ? score->logits + out * s->model->config.vocab : NULL;
    }
    return read_chunk(s, ids + begin, rows, total, head.n ? &head : NULL);
}

/* score: NULL, or what to judge; ids then has one token more than are read. */
static fl_status read_all(fl_session *s, const int32_t *ids, int64_t count, const fl_score *score, int64_t *row,
                          int32_t *target)
{
    int64_t total = fl_session_tokens(s) + count;
    fl_progress progress;
    fl_progress_start(&progress, count > 1 ? s->options.progress : NULL, s->options.progress_user, "prefill", count);
    FL_TRY(fl_progress_update(&progress, 0));
    for (int64_t done = 0; done < count;) {
        int64_t rows = fl_min64(s->chunk, count - done);
        fl_status status = FL_OK;
        if (score)
            status = score_chunk(s, ids, done, rows, score->length ? score->length : total + 1, score, row, target);
        else if (done + rows == count)
            status = read_last_chunk(s, ids + done, rows);
        else
            status = read_chunk(s, ids + done, rows, total, NULL);
        if (status == FL_ERR_CANCELLED)
            return fl_fail(status, "prefill: cancelled at %lld of %lld tokens", (long long)done, (long long)count);
        FL_TRY(status);
        done += rows;
        FL_TRY(fl_progress_update(&progress, done));
    }
    return FL_OK;
}

fl_status fl_session_read(fl_session *s, const int32_t *ids, int64_t count)
{
    if (!s || count < 0 || count > LONGEST_TEXT || (count && !ids))
        return fl_fail(FL_ERR_ARGUMENT, "fl_session_read: an argument is NULL or count = %lld is no number of tokens",
                       (long long)count);
    if (!count) return FL_OK;
    FL_TRY(room_check(s, count));
    FL_TRY(ids_check(s, ids, count));
    FL_TRY(ids_reserve(s, fl_session_tokens(s) + count));
    warn_beyond_window(s, fl_session_tokens(s) + count);
    fl_status status = read_all(s, ids, count, NULL, NULL, NULL);
    ids_forget(s);
    /* One cancellation ends one read. A flag that came too late for this one stays for the next. */
    if (status == FL_ERR_CANCELLED) atomic_store_explicit(&s->cancel, false, memory_order_relaxed);
    return status;
}

fl_status fl_session_score(fl_session *s, const int32_t *ids, int64_t count, const fl_score *score)
{
    if (!s || !ids || !score || count > LONGEST_TEXT || score->first < 1 || score->first >= count)
        return fl_fail(FL_ERR_ARGUMENT, "fl_session_score: first = %lld of %lld tokens: judge 1 .. count-1",
                       score ? (long long)score->first : 0, (long long)count);
    FL_TRY(room_check(s, count));
    FL_TRY(ids_check(s, ids, count));
    FL_TRY(ids_reserve(s, fl_session_tokens(s) + count));
    int64_t *row = fl_calloc((size_t)s->chunk, sizeof *row);
    int32_t *target = fl_calloc((size_t)s->chunk, sizeof *target);
    fl_status status = row && target ? read_all(s, ids, count - 1, score, row, target) : FL_ERR_MEMORY;
    fl_free(row);
    fl_free(target);
    ids_forget(s);
    if (status == FL_ERR_CANCELLED) atomic_store_explicit(&s->cancel, false, memory_order_relaxed);
    return status;
}

/* ---- truncate, fork, save, restore ------------------------------------------------------------------------------ */

fl_status fl_session_truncate(fl_session *s, int64_t count)
{
    if (!s || count < 0 || count > fl_session_tokens(s))
        return fl_fail(FL_ERR_ARGUMENT, "fl_session_truncate: count = %lld of %lld tokens", (long long)count,
                       s ? (long long)fl_session_tokens(s) : 0);
    if (count == fl_session_tokens(s)) return FL_OK;
    int64_t begin = fl_memory_hole(s->memory) + fl_memory_evicted(s->memory);
    if (fl_memory_evicted(s->memory) && count > 0 && fl_max64(0, count + 1 - s->scheme.passes.window) < begin)
        return fl_fail(FL_ERR_STATE,
                       "fl_session_truncate: count = %lld: the next token would see some that have been forgotten, up "
                       "to token %lld; truncate to 0 and read again",
                       (long long)count, (long long)begin);
    fl_memory_truncate(s->memory, count);
    if (!count) s->ids_begin = 0;
    s->has_logits = false;
    return FL_OK;
}

static fl_status fork_parts(fl_session *copy, const fl_session *s)
{
    int64_t tokens = fl_session_tokens(s);
    FL_TRY(fl_memory_fork(&copy->memory, s->memory));
    copy->ids_begin = s->ids_begin;
    FL_TRY(ids_reserve(copy, tokens));
    if (tokens) memcpy(copy->ids, s->ids, (size_t)(tokens - s->ids_begin) * sizeof *s->ids);
    memcpy(copy->logits, s->logits, (size_t)s->model->config.vocab * sizeof *s->logits);
    copy->has_logits = s->has_logits;
    copy->warned = s->warned;
    return FL_OK;
}

fl_status fl_session_fork(fl_session **out, const fl_session *s)
{
    if (!out || !s) return fl_fail(FL_ERR_ARGUMENT, "fl_session_fork: an argument is NULL");
    fl_session *copy;
    FL_TRY(session_new(&copy, s->model, &s->options));
    fl_status status = fork_parts(copy, s);
    if (status != FL_OK) {
        fl_session_destroy(copy);
        return status;
    }
    *out = copy;
    return FL_OK;
}

fl_status fl_session_save(const fl_session *s, const char *path)
{
    if (!s || !path) return fl_fail(FL_ERR_ARGUMENT, "fl_session_save: an argument is NULL");
    char *identity = fl_session_identity(s->model, &s->scheme);
    if (!identity) return FL_ERR_MEMORY;
    fl_status status = fl_snapshot_save(path, s->memory, identity, s->ids, fl_session_tokens(s) - s->ids_begin);
    fl_free(identity);
    return status;
}

/* The last token is read again: that brings its logits back, to the bit. */
static fl_status restore_into(fl_session *fresh, const char *path, const char *identity)
{
    int64_t count;
    FL_TRY(memory_create(fresh));
    FL_TRY(fl_snapshot_load(path, fresh->memory, identity, fresh->model->config.vocab, &fresh->ids, &count));
    fresh->capacity = count;
    int64_t tokens = fl_session_tokens(fresh), least = tokens;
    if (fl_memory_evicted(fresh->memory)) least -= fl_memory_hole(fresh->memory) + fl_memory_evicted(fresh->memory);
    if (count < least || count > tokens)
        return fl_fail(FL_ERR_FORMAT, "%s: holds %lld token ids for a memory of %lld tokens", path, (long long)count,
                       (long long)tokens);
    if (!count) return FL_OK;
    fresh->ids_begin = tokens - count;
    int64_t room = fresh->options.overflow != FL_OVERFLOW_ERROR ? LONGEST_TEXT : fresh->context;
    if (tokens > room)
        return fl_fail(FL_ERR_WINDOW, "%s: holds %lld tokens but the context holds %lld: set a larger context", path,
                       (long long)tokens, (long long)fresh->context);
    fl_memory_truncate(fresh->memory, tokens - 1);
    return read_last_chunk(fresh, fresh->ids + count - 1, 1);
}

fl_status fl_session_restore(fl_session *s, const char *path)
{
    if (!s || !path) return fl_fail(FL_ERR_ARGUMENT, "fl_session_restore: an argument is NULL");
    char *identity = fl_session_identity(s->model, &s->scheme);
    fl_session *fresh = NULL;
    fl_status status = identity ? session_new(&fresh, s->model, &s->options) : FL_ERR_MEMORY;
    if (status == FL_OK) status = restore_into(fresh, path, identity);
    if (status == FL_OK) {
        fl_memory *memory = s->memory;
        int32_t *ids = s->ids;
        float *logits = s->logits;
        s->memory = fresh->memory, fresh->memory = memory;
        s->ids = fresh->ids, fresh->ids = ids;
        s->logits = fresh->logits, fresh->logits = logits;
        s->capacity = fresh->capacity;
        s->ids_begin = fresh->ids_begin;
        s->has_logits = fresh->has_logits;
    }
    fl_session_destroy(fresh);
    fl_free(identity);
    return status;
}
