/* Dual Chunk Attention (An et al., Training-Free Long-Context Scaling of Large Language Models, arXiv 2402.17463):
 * positions of keys begin again in each chunk; a query has three, one for its own chunk, one for the chunk before, one
 * for all older ones. The paper has chunks of 3/4 of the trained window c and a largest position of c - 1; the form
 * with chunk_size and local_size that Qwen2.5-1M's files name has chunks of chunk_size - local_size and that chunk_size
 * as its largest position. */
#include <stdio.h>

#include "base/size.h"
#include "position/passes.h"

/* That of a query to all older chunks: what the last token of a chunk has to the chunk before. */
static int64_t farthest(const fl_passes *s)
{
    return fl_min64(2 * s->chunk - 1, s->last);
}

static void compile(const fl_passes *s, int64_t p, fl_pass *pass)
{
    int64_t within = p % s->chunk, begin = p - within, before = fl_max64(0, begin - s->chunk);
    pass[0] = (fl_pass){begin, p + 1, (double)within};
    pass[1] = (fl_pass){before, begin, (double)fl_min64(within + s->chunk, s->last)};
    pass[2] = (fl_pass){0, before, (double)farthest(s)};
}

static double stored(const fl_passes *s, int64_t key)
{
    return (double)(key % s->chunk);
}

static int64_t span(const fl_passes *s, int64_t length)
{
    return fl_min64(length, farthest(s) + 1);
}

static fl_status check(const fl_passes *s, int64_t trained)
{
    if (s->last < 1 || s->last > trained)
        return fl_fail(FL_ERR_ARGUMENT,
                       "--dual-chunk-size %lld: the largest position must lie between 1 and the trained window of %lld",
                       (long long)s->last, (long long)trained);
    if (s->chunk < 1 || s->chunk > s->last)
        return fl_fail(FL_ERR_ARGUMENT,
                       "--dual-chunk-local %lld: must lie between 0 and %lld, one less than --dual-chunk-size",
                       (long long)(s->last - s->chunk), (long long)(s->last - 1));
    return FL_OK;
}

static void describe(const fl_passes *s, char *text, size_t capacity)
{
    snprintf(text, capacity, "chunks of %lld, queries up to position %lld", (long long)s->chunk, (long long)s->last);
}

const fl_passes_method fl_dual_chunk = {"dual-chunk", 3, {false}, false, compile, stored, span, check, describe};
