/* The table of schemes, the plain one, and what all share: a sliding window cuts every pass. */
#include "position/passes.h"

#include <string.h>

#include "base/size.h"

static void plain_compile(const fl_passes *s, int64_t p, fl_pass *pass)
{
    (void)s;
    pass[0] = (fl_pass){0, p + 1, (double)p};
}

static int64_t plain_span(const fl_passes *s, int64_t length)
{
    (void)s;
    return length;
}

static fl_status plain_check(const fl_passes *s, int64_t trained)
{
    (void)s, (void)trained;
    return FL_OK;
}

static void plain_describe(const fl_passes *s, char *text, size_t capacity)
{
    (void)s;
    if (capacity) *text = 0;
}

static const fl_passes_method plain = {"plain", 1,          {false},     true,          plain_compile,
                                       NULL,    plain_span, plain_check, plain_describe};

static const fl_passes_method *const methods[FL_PASSES_KIND_COUNT] = {[FL_PASSES_PLAIN] = &plain,
                                                                      [FL_PASSES_SELF_EXTEND] = &fl_self_extend,
                                                                      [FL_PASSES_REROPE] = &fl_rerope,
                                                                      [FL_PASSES_DUAL_CHUNK] = &fl_dual_chunk,
                                                                      [FL_PASSES_STREAM] = &fl_streaming};

const fl_passes_method *fl_passes_method_of(const fl_passes *s)
{
    return methods[s->kind];
}

int fl_passes_count(const fl_passes *s)
{
    return methods[s->kind]->passes + (s->kind == FL_PASSES_PLAIN && s->window > 0 && s->sinks > 0);
}

void fl_passes_compile(const fl_passes *s, int64_t p, fl_pass pass[FL_PASSES_MAX])
{
    const fl_passes_method *m = methods[s->kind];
    m->compile(s, p, pass);
    for (int i = 0; s->block > 0 && i < m->passes; i++)
        pass[i].lo = fl_max64(pass[i].lo, (p / s->block - 1) * s->block);
    if (s->kind == FL_PASSES_STREAM || s->window <= 0) return;
    int64_t edge = fl_max64(0, p - s->window + 1);
    for (int i = 0; i < m->passes; i++)
        pass[i].lo = fl_max64(pass[i].lo, edge);
    if (fl_passes_count(s) > m->passes) pass[m->passes] = (fl_pass){0, fl_min64(s->sinks, edge), (double)p};
}

const char *fl_passes_name(const fl_passes *s)
{
    return s->kind == FL_PASSES_REROPE && s->leak > 0 ? "leaky-rerope" : methods[s->kind]->name;
}

const char *fl_logn_name(fl_logn logn)
{
    static const char *const names[] = {[FL_LOGN_OFF] = "off",
                                        [FL_LOGN_BEYOND] = "beyond",
                                        [FL_LOGN_EVERYWHERE] = "everywhere",
                                        [FL_LOGN_LENGTH] = "length"};
    return names[logn];
}

bool fl_logn_parse(fl_logn *out, const char *name)
{
    for (fl_logn i = FL_LOGN_OFF; i <= FL_LOGN_LENGTH; i++)
        if (!strcmp(name, fl_logn_name(i))) {
            *out = i;
            return true;
        }
    return false;
}

fl_status fl_passes_check(const fl_passes *s, int64_t trained)
{
    if (s->window < 0 || s->sinks < 0)
        return fl_fail(FL_ERR_ARGUMENT, "window = %lld, sinks = %lld: neither may be negative", (long long)s->window,
                       (long long)s->sinks);
    if (s->kind != FL_PASSES_PLAIN && s->kind != FL_PASSES_STREAM && s->sinks > 0)
        return fl_fail(FL_ERR_UNSUPPORTED,
                       "sinks = %lld with %s: choose one of them; sinks go with a plain window or "
                       "with --overflow stream",
                       (long long)s->sinks, fl_passes_name(s));
    return methods[s->kind]->check(s, trained);
}

int64_t fl_passes_span(const fl_passes *s, int64_t length)
{
    return methods[s->kind]->span(s, length);
}

int64_t fl_passes_reach(const fl_passes *s, int64_t trained)
{
    const int64_t most = INT64_C(1) << 50; /* above any text; positions stay exact in double precision */
    if (fl_passes_span(s, most) <= trained) return INT64_MAX;
    int64_t good = 0, bad = most; /* span ascends with the length */
    while (bad - good > 1) {
        int64_t middle = good + (bad - good) / 2;
        if (fl_passes_span(s, middle) <= trained)
            good = middle;
        else
            bad = middle;
    }
    return good;
}
