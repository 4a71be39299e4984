#include "train/evaluate.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/size.h"
#include "eval/perplexity.h"

#define CHUNK 512 /* tokens that a session reads at once */
#define NAME 40

static fl_status log_results(fl_train_log *log, int64_t step, const fl_ppl_result *result, int count)
{
    char(*name)[NAME] = fl_calloc((size_t)count * 2, sizeof *name);
    fl_log_value *value = fl_calloc((size_t)count * 2, sizeof *value);
    fl_status s = name && value ? FL_OK : FL_ERR_MEMORY;
    for (int i = 0; s == FL_OK && i < count; i++) {
        snprintf(name[2 * i], NAME, "nll_%lld", (long long)result[i].length);
        snprintf(name[2 * i + 1], NAME, "ppl_%lld", (long long)result[i].length);
        value[2 * i] = (fl_log_value){name[2 * i], result[i].nll};
        value[2 * i + 1] = (fl_log_value){name[2 * i + 1], result[i].ppl};
    }
    if (s == FL_OK) s = fl_train_log_write(log, step, value, 2 * count);
    fl_free(name);
    fl_free(value);
    return s;
}

fl_status fl_trainer_evaluate(const fl_trainer *t, fl_train_log *log)
{
    const fl_train_eval *e = t->options.eval;
    if (!e) return FL_OK;
    int count = e->options->length_count;
    fl_ppl_result *result = fl_calloc((size_t)count, sizeof *result);
    if (!result) return FL_ERR_MEMORY;
    fl_status s =
        fl_eval_ppl_training(result, t->model, &t->parameters.overlay, e->document, e->documents, e->bos, e->options);
    if (s == FL_OK) s = log_results(log, t->step, result, count);
    if (s == FL_OK && e->on_eval) e->on_eval(t->step, result, count, e->user);
    fl_free(result);
    return s;
}

fl_status fl_train_eval_bytes(int64_t *out, const fl_model *m, const fl_overlay *overlay, const fl_train_eval *e)
{
    *out = 0;
    if (!e) return FL_OK;
    if (e->every < 1 || !e->options || !e->options->lengths || e->options->length_count < 1)
        return fl_fail(FL_ERR_ARGUMENT, "fl_train_eval: give every >= 1 and options with lengths");
    int64_t longest = 0;
    for (int i = 0; i < e->options->length_count; i++)
        longest = fl_max64(longest, e->options->lengths[i]);
    int32_t tokens[CHUNK] = {0};
    fl_kv_shape shape = fl_model_kv_shape(m);
    fl_run *run;
    FL_TRY(fl_run_create(&run, m->engine, (size_t)1 << 46, true));
    fl_batch_seq seq = {.rows = CHUNK};
    fl_batch batch = {.sequences = 1, .seq = &seq, .rows = CHUNK, .tokens = tokens};
    fl_head_spec spec = {.n = CHUNK};
    fl_status s = fl_model_pass(m, run, &batch, overlay, false, &spec);
    *out = (int64_t)(fl_arena_peak(run->data) + fl_arena_peak(run->nodes)) +
           (longest + FL_PAGE_TOKENS - 1) / FL_PAGE_TOKENS * m->config.layers * (int64_t)fl_kv_page_bytes(&shape);
    fl_run_destroy(run);
    return s;
}
