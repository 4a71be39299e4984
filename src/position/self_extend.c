/* Self-Extend (Jin et al., LLM Maybe LongLM: Self-Extend LLM Context Window Without Tuning, arXiv 2401.01325):
 * distances below `near` are exact; beyond, positions are floored to groups, and the query is moved so that the two
 * meet. With near a multiple of group this is also what llama.cpp's --grp-attn-n and --grp-attn-w do. */
#include <stdio.h>

#include "base/size.h"
#include "position/passes.h"

static void compile(const fl_passes *s, int64_t p, fl_pass *pass)
{
    int64_t edge = fl_max64(0, p - s->near + 1);
    pass[0] = (fl_pass){edge, p + 1, (double)p};
    pass[1] = (fl_pass){0, edge, (double)(p / s->group + s->near - s->near / s->group)};
}

static double stored(const fl_passes *s, int64_t key)
{
    return (double)(key / s->group);
}

static int64_t span(const fl_passes *s, int64_t length)
{
    return length <= s->near ? length : (length - 1) / s->group + s->near - s->near / s->group + 1;
}

static fl_status check(const fl_passes *s, int64_t trained)
{
    if (s->group < 1)
        return fl_fail(FL_ERR_ARGUMENT, "--grp-attn-n %lld: a group has at least 1 position", (long long)s->group);
    if (s->near < 1 || s->near >= trained)
        return fl_fail(FL_ERR_ARGUMENT,
                       "--grp-attn-w %lld: the exact part must be at least 1 and less than the trained window of %lld",
                       (long long)s->near, (long long)trained);
    if (s->near % s->group)
        return fl_fail(FL_ERR_ARGUMENT,
                       "--grp-attn-w %lld is no multiple of --grp-attn-n %lld: groups and exact "
                       "distances would not meet",
                       (long long)s->near, (long long)s->group);
    return FL_OK;
}

static void describe(const fl_passes *s, char *text, size_t capacity)
{
    snprintf(text, capacity, "groups of %lld beyond %lld tokens", (long long)s->group, (long long)s->near);
}

const fl_passes_method fl_self_extend = {"self-extend", 2,    {true, false}, false,   compile,
                                         stored,        span, check,         describe};
