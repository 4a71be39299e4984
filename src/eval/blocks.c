#include "eval/blocks.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/size.h"

static fl_status too_short(int number, int64_t tokens, int64_t count, int64_t score, int64_t longest, int64_t need)
{
    return fl_fail(
        FL_ERR_ARGUMENT,
        "document %d has %lld tokens but %lld blocks of %lld with contexts up to %lld need %lld: give longer "
        "texts, smaller lengths or fewer blocks, or leave out short ones with --skip-short",
        number, (long long)tokens, (long long)count, (long long)score, (long long)longest, (long long)need);
}

/* The text's ids with BOS in front, behind those of the texts before, and where its targets end. */
static void add_text(fl_blocks *b, const fl_document *text, int32_t bos, int64_t longest, int64_t count)
{
    int64_t tokens = text->count + (bos >= 0);
    int32_t *ids = b->ids + b->tokens;
    double step = (double)(tokens - longest) / (double)(count - 1);
    if (bos >= 0) ids[0] = bos;
    memcpy(ids + (bos >= 0), text->ids, (size_t)text->count * sizeof *ids);
    for (int64_t i = 0; i < count; i++)
        b->end[b->count++] = b->tokens + longest + (int64_t)((double)i * step);
    b->tokens += tokens;
}

fl_status fl_blocks_create(fl_blocks *b, const fl_document *text, int texts, int32_t bos, int64_t longest,
                           int64_t score, int64_t count, bool skip_short)
{
    int64_t need = 0, tokens = 0;
    *b = (fl_blocks){.score = score};
    if (score < 1 || count < 2 || longest <= score)
        return fl_fail(FL_ERR_ARGUMENT,
                       "--score %lld --blocks %lld: score at least 1 token, fewer than each length, in at "
                       "least 2 blocks",
                       (long long)score, (long long)count);
    if (count > (INT64_C(1) << 60) / score || longest > INT64_C(1) << 60)
        return fl_fail(FL_ERR_ARGUMENT, "--score %lld --blocks %lld, lengths up to %lld: too many tokens",
                       (long long)score, (long long)count, (long long)longest);
    need = score * (count - 1) + longest - (bos >= 0); /* ids of a text */
    for (int i = 0; i < texts; i++) {
        if (text[i].count < need && !skip_short)
            return too_short(i + 1, text[i].count + (bos >= 0), count, score, longest, need + (bos >= 0));
        b->texts += text[i].count >= need;
        tokens += text[i].count >= need ? text[i].count + (bos >= 0) : 0;
    }
    if (!b->texts)
        return fl_fail(FL_ERR_ARGUMENT, "none of %d documents has the %lld tokens that this needs", texts,
                       (long long)need);
    size_t ends;
    if (!fl_size_mul((size_t)b->texts, (size_t)count, &ends)) return FL_ERR_MEMORY;
    b->ids = fl_calloc((size_t)tokens, sizeof *b->ids);
    b->end = fl_calloc(ends, sizeof *b->end);
    if (!b->ids || !b->end) {
        fl_blocks_destroy(b);
        return FL_ERR_MEMORY;
    }
    for (int i = 0; i < texts; i++)
        if (text[i].count >= need) add_text(b, &text[i], bos, longest, count);
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
