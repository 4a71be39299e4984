#include "eval/scorer.h"

#include "base/alloc.h"
#include "base/size.h"

#define CHUNK 512

fl_status fl_scorer_create(fl_scorer *s, const fl_model *model, const char *type_k, const char *type_v)
{
    *s = (fl_scorer){.model = model};
    fl_kv_shape shape;
    FL_TRY(fl_model_kv_types(model, type_k, type_v, &shape));
    fl_kv_shape *shapes = fl_calloc((size_t)model->config.layers, sizeof *shapes);
    if (!shapes) return FL_ERR_MEMORY;
    for (int64_t i = 0; i < model->config.layers; i++)
        shapes[i] = shape;
    fl_status status = fl_memory_create(&s->memory, (int)model->config.layers, shapes);
    fl_free(shapes);
    if (status == FL_OK) status = fl_run_create(&s->run, model->engine, 0, false);
    if (status != FL_OK) fl_scorer_destroy(s);
    return status;
}

void fl_scorer_destroy(fl_scorer *s)
{
    if (s->run) fl_run_destroy(s->run);
    if (s->memory) fl_memory_destroy(s->memory);
    *s = (fl_scorer){0};
}

/* Rows first .. of a chunk that begins at token `begin` and whose row i predicts token begin + i + 1. */
static fl_status score_chunk(fl_scorer *s, const int32_t *ids, int64_t count, int64_t begin, int64_t rows,
                             int64_t first, float *nll)
{
    int64_t skip = fl_max64(0, first - 1 - begin), row[CHUNK];
    int32_t target[CHUNK];
    fl_head_spec spec = {.n = fl_max64(0, rows - skip), .row = row, .target = target};
    for (int64_t i = 0; i < spec.n; i++) {
        row[i] = skip + i;
        target[i] = ids[begin + skip + i + 1];
    }
    if (spec.n) spec.nll = nll + (begin + skip + 1 - first);
    fl_batch_seq seq = {.memory = s->memory, .rows = rows, .first_position = begin, .length = count};
    fl_batch batch = {.sequences = 1, .seq = &seq, .rows = rows, .tokens = ids + begin};
    s->computed += rows;
    return fl_model_pass(s->model, s->run, &batch, NULL, false, &spec);
}

fl_status fl_scorer_window(fl_scorer *s, const int32_t *ids, int64_t count, int64_t first, float *nll)
{
    fl_memory_truncate(s->memory, 0);
    /* The last token is only a target. */
    for (int64_t begin = 0; begin < count - 1; begin += CHUNK)
        FL_TRY(score_chunk(s, ids, count, begin, fl_min64(CHUNK, count - 1 - begin), first, nll));
    return FL_OK;
}
