/* StreamingLLM (Xiao et al., Efficient Streaming Language Models with Attention Sinks, arXiv 2309.17453), per token: a
 * query sees the first `sinks` tokens and the last `window`, itself included, and positions are places inside that
 * cache. Among the recent tokens these differ as the true positions do, so the true ones serve; to the sinks the query
 * is at the end of the cache. Hence no key is ever rotated again, and what a query sees does not depend on chunks:
 * memory beyond the window may be given up at any time. */
#include <stdio.h>

#include "base/size.h"
#include "position/passes.h"

static int64_t span(const fl_passes *s, int64_t length)
{
    return fl_min64(length, s->sinks + s->window);
}

static void compile(const fl_passes *s, int64_t p, fl_pass *pass)
{
    int64_t edge = fl_max64(0, p - s->window + 1);
    pass[0] = (fl_pass){edge, p + 1, (double)p};
    pass[1] = (fl_pass){0, fl_min64(s->sinks, edge), (double)(span(s, p + 1) - 1)};
}

static fl_status check(const fl_passes *s, int64_t trained)
{
    if (s->sinks < 0 || s->window < 1 || s->window > trained || s->sinks > trained - s->window)
        return fl_fail(FL_ERR_ARGUMENT,
                       "--overflow stream --sinks %lld --window %lld: both together must fit the model's window of "
                       "%lld tokens, since positions run inside the cache",
                       (long long)s->sinks, (long long)s->window, (long long)trained);
    return FL_OK;
}

static void describe(const fl_passes *s, char *text, size_t capacity)
{
    snprintf(text, capacity, "the first %lld tokens and the last %lld", (long long)s->sinks, (long long)s->window);
}

const fl_passes_method fl_streaming = {"stream", 2, {false}, false, compile, NULL, span, check, describe};
