#include "eval/judge.h"

#include <math.h>

#include "base/alloc.h"
#include "base/buffer.h"

fl_status fl_judge(fl_verdict *out, fl_scorer *s, const int32_t *ids, int64_t count, int64_t first)
{
    int64_t n = count - first;
    *out = (fl_verdict){.tokens = n};
    float *nll = fl_calloc((size_t)n, sizeof *nll);
    int32_t *argmax = fl_calloc((size_t)n, sizeof *argmax);
    fl_status status = nll && argmax ? fl_scorer_text(s, ids, count, first, nll, argmax) : FL_ERR_MEMORY;
    for (int64_t i = 0; status == FL_OK && i < n; i++) {
        out->right += argmax[i] == ids[first + i];
        out->nll += nll[i];
    }
    fl_free(nll);
    fl_free(argmax);
    if (status == FL_OK && !isfinite(out->nll))
        return fl_fail(FL_ERR_NUMERIC, "the likelihood of an answer after %lld tokens is not finite", (long long)first);
    return status;
}

json_t *fl_verdict_json(const fl_verdict *v)
{
    return json_pack("{sI sI sf}", "answer_tokens", (json_int_t)v->tokens, "right", (json_int_t)v->right, "nll",
                     v->nll);
}

fl_verdict fl_verdict_of(const json_t *item)
{
    return (fl_verdict){.tokens = fl_item_integer(item, "answer_tokens"),
                        .right = fl_item_integer(item, "right"),
                        .nll = fl_item_real(item, "nll")};
}

fl_status fl_documents_digest(char out[17], const fl_document *document, int count, int32_t bos)
{
    fl_buffer all = {0};
    fl_buffer_format(&all, "%d:", bos);
    for (int i = 0; i < count; i++) {
        fl_buffer_format(&all, "%lld:", (long long)document[i].count);
        if (document[i].count)
            fl_buffer_append(&all, document[i].ids, (size_t)document[i].count * sizeof *document->ids);
    }
    if (!all.failed) fl_item_digest(out, all.data, all.size);
    fl_status s = all.failed ? fl_fail(FL_ERR_MEMORY, "no memory for a digest of %d documents", count) : FL_OK;
    fl_buffer_free(&all);
    return s;
}

fl_status fl_documents_fitting(int **which, int *fits, const fl_document *document, int count, int64_t tokens)
{
    *fits = 0;
    *which = fl_calloc((size_t)count + 1, sizeof **which);
    if (!*which) return FL_ERR_MEMORY;
    for (int i = 0; i < count; i++)
        if (document[i].count >= tokens) (*which)[(*fits)++] = i;
    if (*fits) return FL_OK;
    return fl_fail(FL_ERR_ARGUMENT, "none of %d documents has the %lld tokens that this needs", count,
                   (long long)tokens);
}
