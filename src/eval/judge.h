/* One prompt and its answer, judged. */
#ifndef FL_EVAL_JUDGE_H
#define FL_EVAL_JUDGE_H

#include "eval/items.h"
#include "eval/prompt.h"
#include "eval/scorer.h"

typedef struct fl_verdict {
    int64_t tokens, right; /* of the answer; those that were the most likely one after what stands before them */
    double nll;            /* sum over the answer */
} fl_verdict;

/* The answer is ids[first .. count-1]. */
fl_status fl_judge(fl_verdict *out, fl_scorer *s, const int32_t *ids, int64_t count, int64_t first);

/* {"answer_tokens", "right", "nll"} and back. */
json_t *fl_verdict_json(const fl_verdict *v);
fl_verdict fl_verdict_of(const json_t *item);

/* A digest of ids of documents, for a setting. */
fl_status fl_documents_digest(char out[17], const fl_document *document, int count, int32_t bos);

/* Which documents have at least so many tokens: *which [*fits], fl_free in every case. FL_ERR_ARGUMENT if none has. */
fl_status fl_documents_fitting(int **which, int *fits, const fl_document *document, int count, int64_t tokens);

#endif
