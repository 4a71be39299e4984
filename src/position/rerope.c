/* ReRoPE and leaky ReRoPE (Su, Rectified Rotary Position Embeddings, 2023; code github.com/bojone/rerope): distances
 * below `near` are exact; beyond, ReRoPE keeps them at `near`, the leaky form lets them grow on by 1/leak. */
#include <math.h>
#include <stdio.h>

#include "base/size.h"
#include "position/passes.h"

static double far_query(const fl_passes *s, int64_t p)
{
    return s->leak > 0 ? (double)(p - s->near) / s->leak + (double)s->near : (double)s->near;
}

static void compile(const fl_passes *s, int64_t p, fl_pass *pass)
{
    int64_t edge = fl_max64(0, p - s->near + 1);
    pass[0] = (fl_pass){edge, p + 1, (double)p};
    pass[1] = (fl_pass){0, edge, far_query(s, p)};
}

static double stored(const fl_passes *s, int64_t key)
{
    return s->leak > 0 ? (double)key / s->leak : 0;
}

static int64_t span(const fl_passes *s, int64_t length)
{
    return length <= s->near ? length : (int64_t)ceil(far_query(s, length - 1)) + 1;
}

static fl_status check(const fl_passes *s, int64_t trained)
{
    if (s->near < 1 || s->near >= trained)
        return fl_fail(FL_ERR_ARGUMENT,
                       "--rerope-window %lld: the exact part must be at least 1 and less than the trained window of "
                       "%lld",
                       (long long)s->near, (long long)trained);
    if (s->leak != 0 && !(s->leak >= 1 && s->leak <= 1e9))
        return fl_fail(FL_ERR_ARGUMENT, "--rerope-leak %g: so many positions count as one, from 1 on; 0 is ReRoPE",
                       s->leak);
    return FL_OK;
}

static void describe(const fl_passes *s, char *text, size_t capacity)
{
    if (s->leak > 0)
        snprintf(text, capacity, "exact below %lld tokens, then 1/%g as fast", (long long)s->near, s->leak);
    else
        snprintf(text, capacity, "exact below %lld tokens, then %lld", (long long)s->near, (long long)s->near);
}

const fl_passes_method fl_rerope = {"rerope", 2, {true, false}, false, compile, stored, span, check, describe};
