#include "eval/blocks.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/size.h"

fl_status fl_blocks_create(fl_blocks *b, const fl_document *text, int32_t bos, int64_t longest, int64_t score,
                           int64_t count)
{
    *b = (fl_blocks){.tokens = text->count + (bos >= 0), .score = score, .count = count};
    if (score < 1 || count < 2 || longest <= score)
        return fl_fail(FL_ERR_ARGUMENT,
                       "--score %lld --blocks %lld: score at least 1 token, fewer than each length, in at "
                       "least 2 blocks",
                       (long long)score, (long long)count);
    size_t need = 0;
    if (!fl_size_mul((size_t)score, (size_t)(count - 1), &need) || !fl_size_add(need, (size_t)longest, &need) ||
        b->tokens < (int64_t)need)
        return fl_fail(
            FL_ERR_ARGUMENT,
            "the text has %lld tokens but %lld blocks of %lld with contexts up to %lld need %zu: give a longer "
            "text, smaller lengths or fewer blocks",
            (long long)b->tokens, (long long)count, (long long)score, (long long)longest, need);
    b->ids = fl_calloc((size_t)b->tokens, sizeof *b->ids);
    b->end = fl_calloc((size_t)count, sizeof *b->end);
    if (!b->ids || !b->end) {
        fl_blocks_destroy(b);
        return FL_ERR_MEMORY;
    }
    if (bos >= 0) b->ids[0] = bos;
    memcpy(b->ids + (bos >= 0), text->ids, (size_t)text->count * sizeof *b->ids);
    double step = (double)(b->tokens - longest) / (double)(count - 1);
    for (int64_t i = 0; i < count; i++)
        b->end[i] = longest + (int64_t)((double)i * step);
    return FL_OK;
}

void fl_blocks_destroy(fl_blocks *b)
{
    fl_free(b->ids);
    fl_free(b->end);
    *b = (fl_blocks){0};
}

fl_status fl_blocks_judge(const fl_blocks *b, fl_scorer *scorer, int64_t length, double *nll)
{
    float *one = fl_calloc((size_t)b->score, sizeof *one);
    fl_status s = one ? FL_OK : FL_ERR_MEMORY;
    for (int64_t i = 0; i < b->count && s == FL_OK; i++) {
        double sum = 0;
        s = fl_scorer_text(scorer, b->ids + b->end[i] - length, length, length - b->score, one, NULL);
        for (int64_t j = 0; j < b->score; j++)
            sum += one[j];
        nll[i] = sum / (double)b->score;
        if (s == FL_OK && !isfinite(nll[i]))
            s = fl_fail(FL_ERR_NUMERIC, "the loss with %lld tokens of context is not finite", (long long)length);
    }
    fl_free(one);
    return s;
}

void fl_paired(const double *a, const double *b, int64_t n, double *mean, double *error)
{
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++)
        sum += a[i] - (b ? b[i] : 0);
    *mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++) {
        double d = a[i] - (b ? b[i] : 0) - *mean;
        squares += d * d;
    }
    *error = sqrt(squares / (double)(n - 1) / (double)n);
}
