#include "eval/divergence.h"

#include <math.h>

#include "base/alloc.h"
#include "base/size.h"

#define LOGITS_HELD (INT64_C(1) << 22) /* of each model, 16 MiB */
#define MOST_ROWS 256

static double log_sum(const float *x, int64_t n)
{
    double most = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, x[i]);
    for (int64_t i = 0; i < n; i++)
        sum += exp(x[i] - most);
    return most + log(sum);
}

double fl_divergence_row(const float *p, const float *q, int64_t n)
{
    double zp = log_sum(p, n), zq = log_sum(q, n), kl = 0;
    for (int64_t i = 0; i < n; i++) {
        double log_p = p[i] - zp;
        kl += exp(log_p) * (log_p - (q[i] - zq));
    }
    return kl;
}

/* Rows of logits on both sides; what each finds most likely. */
typedef struct piece {
    float *p, *q, *reference_nll;
    int32_t *best_p, *best_q;
} piece;

static void add(fl_divergence *out, const piece *x, int64_t n, int64_t vocab)
{
    for (int64_t i = 0; i < n; i++) {
        double kl = fl_divergence_row(x->p + i * vocab, x->q + i * vocab, vocab);
        out->kl += kl;
        out->squares += kl * kl;
        out->most = fmax(out->most, kl);
        out->agree += x->best_p[i] == x->best_q[i];
        out->reference_nll += x->reference_nll[i];
    }
    out->tokens += n;
}

/* ids[begin .. begin+n] of a text of `count` tokens, those from `from` on judged. */
static fl_status run_piece(fl_divergence *out, fl_scorer *model, fl_scorer *reference, const piece *x,
                           const int32_t *ids, int64_t count, int64_t begin, int64_t from, int64_t n, float *nll)
{
    fl_score p = {.first = from - begin, .length = count, .nll = x->reference_nll, .argmax = x->best_p, .logits = x->p};
    fl_score q = {.first = from - begin, .length = count, .nll = nll, .argmax = x->best_q, .logits = x->q};
    FL_TRY(fl_scorer_piece(model, ids + begin, n + 1, &q));
    int64_t done = model->done;
    FL_TRY(fl_scorer_piece(reference, ids + begin, n + 1, &p));
    model->done = done;
    add(out, x, begin + n + 1 - from, model->model->config.vocab);
    return fl_progress_update(&model->progress, model->done);
}

static fl_status run_text(fl_divergence *out, fl_scorer *model, fl_scorer *reference, const piece *x, int64_t rows,
                          const int32_t *ids, int64_t count, int64_t first, float *nll)
{
    FL_TRY(fl_scorer_start(model));
    FL_TRY(fl_scorer_start(reference));
    for (int64_t begin = 0, judged = 0; first + judged < count;) {
        int64_t n = fl_min64(rows, count - first - judged), from = first + judged, end = from + n - 1;
        FL_TRY(run_piece(out, model, reference, x, ids, count, begin, from, end - begin, nll + judged));
        judged += n;
        begin = end;
    }
    return FL_OK;
}

fl_status fl_divergence_text(fl_divergence *out, fl_scorer *model, fl_scorer *reference, const int32_t *ids,
                             int64_t count, int64_t first, float *nll)
{
    int64_t vocab = model->model->config.vocab, rows = fl_max64(1, fl_min64(MOST_ROWS, LOGITS_HELD / vocab));
    piece x = {.p = fl_calloc((size_t)(rows * vocab), sizeof(float)),
               .q = fl_calloc((size_t)(rows * vocab), sizeof(float)),
               .reference_nll = fl_calloc((size_t)rows, sizeof(float)),
               .best_p = fl_calloc((size_t)rows, sizeof(int32_t)),
               .best_q = fl_calloc((size_t)rows, sizeof(int32_t))};
    bool fine = x.p && x.q && x.reference_nll && x.best_p && x.best_q;
    *out = (fl_divergence){0};
    fl_status s = fine ? run_text(out, model, reference, &x, rows, ids, count, first, nll) : FL_ERR_MEMORY;
    fl_free(x.p);
    fl_free(x.q);
    fl_free(x.reference_nll);
    fl_free(x.best_p);
    fl_free(x.best_q);
    return s;
}
