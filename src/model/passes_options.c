#include "model/passes_options.h"

#include <math.h>
#include <string.h>

#include "base/size.h"
#include "model/rope_options.h"

typedef struct request {
    fl_passes_kind kind;
    bool leaky;
    bool named;     /* by rope.scaling, whose scale then is this method's */
    int64_t window; /* L: in force without the method */
    int64_t target; /* tokens wanted, 0: not said */
} request;

static const struct {
    const char *name;
    fl_passes_kind kind;
    bool leaky;
} names[] = {{"self-extend", FL_PASSES_SELF_EXTEND, false},
             {"rerope", FL_PASSES_REROPE, false},
             {"leaky-rerope", FL_PASSES_REROPE, true},
             {"dual-chunk", FL_PASSES_DUAL_CHUNK, false}};

static fl_status find_kind(request *q, const fl_model_options *o)
{
    const char *scaling = o->rope.scaling;
    if (scaling && !strcmp(scaling, "stream"))
        return fl_fail(FL_ERR_ARGUMENT, "--rope-scaling stream: a way to read, not to scale: give --overflow stream");
    for (size_t i = 0; scaling && i < sizeof names / sizeof *names; i++)
        if (!strcmp(scaling, names[i].name)) {
            q->kind = names[i].kind;
            q->leaky = names[i].leaky;
            q->named = true;
        }
    if (o->passes.group > 1 && !q->named) q->kind = FL_PASSES_SELF_EXTEND;
    return FL_OK;
}

/* A number without its method would be ignored. */
static fl_status check_belongs(const request *q, const fl_passes_options *o)
{
    const struct {
        const char *flag, *method;
        double value;
        bool fits;
    } list[] = {{"--grp-attn-n", "self-extend", o->group > 1 ? (double)o->group : o->group < 0,
                 q->kind == FL_PASSES_SELF_EXTEND},
                {"--grp-attn-w", "self-extend", (double)o->group_window, q->kind == FL_PASSES_SELF_EXTEND},
                {"--rerope-window", "rerope or leaky-rerope", (double)o->rerope_window, q->kind == FL_PASSES_REROPE},
                {"--rerope-leak", "leaky-rerope", o->rerope_leak, q->kind == FL_PASSES_REROPE && q->leaky},
                {"--dual-chunk-size", "dual-chunk", (double)o->chunk_size, q->kind == FL_PASSES_DUAL_CHUNK},
                {"--dual-chunk-local", "dual-chunk", (double)o->chunk_local, q->kind == FL_PASSES_DUAL_CHUNK}};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (list[i].value != 0 && !list[i].fits)
            return fl_fail(FL_ERR_ARGUMENT, "%s %g goes with --rope-scaling %s", list[i].flag, list[i].value,
                           list[i].method);
    return FL_OK;
}

static fl_status how_far(const char *method, const char *flag)
{
    return fl_fail(FL_ERR_ARGUMENT, "%s: say how far with --rope-scale S or --ctx-size N, or give %s", method, flag);
}

/* The smallest group that reaches the target; a window not given shrinks to a multiple of it. */
static fl_status self_extend(fl_passes *s, const request *q, const fl_passes_options *o)
{
    int64_t near = o->group_window ? o->group_window : fl_max64(1, q->window / 4);
    s->near = near;
    if (o->group) {
        s->group = o->group;
        if (!o->group_window && s->group > 0) s->near = fl_max64(1, near / s->group) * s->group;
        return FL_OK;
    }
    if (!q->target) return how_far("self-extend", "--grp-attn-n G");
    for (s->group = 2; s->group <= near; s->group++) {
        s->near = o->group_window ? near : near / s->group * s->group;
        if (s->near % s->group == 0 && fl_passes_reach(s, q->window) >= q->target) return FL_OK;
    }
    return fl_fail(FL_ERR_ARGUMENT, "self-extend: no --grp-attn-n up to %lld reaches %lld tokens from a window of %lld",
                   (long long)near, (long long)q->target, (long long)q->window);
}

static fl_status rerope(fl_passes *s, const request *q, const fl_passes_options *o)
{
    s->near = o->rerope_window ? o->rerope_window : fl_max64(1, q->window / 2);
    if (!q->leaky) return FL_OK;
    s->leak = o->rerope_leak;
    if (s->leak != 0) return FL_OK;
    if (!q->target) return how_far("leaky-rerope", "--rerope-leak K");
    /* The last query of the target lands on the window's last position, or just before. */
    s->leak = fmax(1, ceil((double)(q->target - 1 - s->near) / (double)fl_max64(1, q->window - 1 - s->near)));
    return FL_OK;
}

static fl_status dual_chunk(fl_passes *s, const request *q, const fl_passes_options *o)
{
    s->last = o->chunk_size ? o->chunk_size : q->window - 1;
    int64_t local = o->chunk_local ? o->chunk_local : o->chunk_size ? s->last / 6 : s->last - 3 * q->window / 4;
    s->chunk = local < 0 ? 0 : s->last - local; /* refused by its check */
    return FL_OK;
}

static fl_status apply_passes(fl_config *c, request *q, const fl_passes_options *o)
{
    fl_passes *s = &c->passes;
    *s = (fl_passes){.kind = q->kind};
    if (q->kind == FL_PASSES_SELF_EXTEND) FL_TRY(self_extend(s, q, o));
    if (q->kind == FL_PASSES_REROPE) FL_TRY(rerope(s, q, o));
    if (q->kind == FL_PASSES_DUAL_CHUNK) FL_TRY(dual_chunk(s, q, o));
    FL_TRY(fl_passes_check(s, q->window));
    int64_t reach = fl_passes_reach(s, q->window);
    c->window = reach == INT64_MAX ? fl_max64(q->window, q->target) : reach;
    return FL_OK;
}

static fl_status apply_logn(fl_config *c, const fl_passes_options *o)
{
    fl_logn before = c->logn;
    if (o->logn && !fl_logn_parse(&c->logn, o->logn))
        return fl_fail(FL_ERR_ARGUMENT, "--logn %s: choose off, beyond, everywhere or length", o->logn);
    if (o->logn_window && c->logn == FL_LOGN_OFF)
        return fl_fail(FL_ERR_ARGUMENT, "--logn-window %lld goes with --logn beyond or everywhere",
                       (long long)o->logn_window);
    if (c->logn == FL_LOGN_OFF) return FL_OK;
    if (!o->logn_window && before != FL_LOGN_OFF) return FL_OK; /* the file's window */
    c->logn_window = o->logn_window ? o->logn_window : c->rotary ? c->rope.original_window : c->window;
    if (c->logn_window < 2)
        return fl_fail(FL_ERR_ARGUMENT, "--logn-window %lld: must be at least 2", (long long)c->logn_window);
    return FL_OK;
}

fl_status fl_position_options_apply(fl_config *c, const fl_model_options *options)
{
    request q = {.kind = FL_PASSES_PLAIN};
    fl_rope_options rope = options->rope;
    FL_TRY(find_kind(&q, options));
    FL_TRY(check_belongs(&q, &options->passes));
    double scale = rope.scale;
    if (q.named) {
        rope.scaling = NULL;
        rope.scale = 0;
        if (rope.freq_scale != 0)
            return fl_fail(FL_ERR_ARGUMENT, "--rope-freq-scale with %s: give the length wanted with --rope-scale",
                           options->rope.scaling);
    }
    FL_TRY(fl_rope_options_apply(c, &rope, options->context));
    FL_TRY(apply_logn(c, &options->passes));
    if (q.kind == FL_PASSES_PLAIN)
        return c->passes.kind == FL_PASSES_PLAIN ? FL_OK : fl_passes_check(&c->passes, c->window);
    if (c->positions != FL_POSITIONS_ROTARY)
        return fl_fail(FL_ERR_UNSUPPORTED,
                       "this model of family %s has %s positions: --rope-scaling %s is for rotary positions", c->family,
                       fl_positions_name(c->positions), fl_passes_name(&(fl_passes){.kind = q.kind}));
    if (q.named && scale != 0 && !(scale >= 1 && scale <= 1e6))
        return fl_fail(FL_ERR_ARGUMENT, "--rope-scale %g: the window wanted, as a multiple from 1 on", scale);
    q.window = fl_max64(c->window, fl_rope_scaled_window(&c->rope));
    if (q.named && scale > 1) q.target = (int64_t)floor(scale * (double)q.window + 0.5);
    if (!q.target && options->context > q.window) q.target = options->context;
    return apply_passes(c, &q, &options->passes);
}
