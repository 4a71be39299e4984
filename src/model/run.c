/* The driver: one pass of a batch through a model, with the memories of its sequences kept consistent. */
#include "model/model.h"

static const fl_scheme *scheme_of(const fl_model *m, const fl_batch *b)
{
    return b->scheme ? b->scheme : &m->scheme;
}

const fl_scheme *fl_model_scheme(const fl_model *m, const fl_run *r)
{
    return scheme_of(m, r->batch);
}

static fl_status begin_memories(const fl_batch *b, int *begun)
{
    for (*begun = 0; *begun < b->sequences; ++*begun)
        if (b->seq[*begun].memory) FL_TRY(fl_memory_begin(b->seq[*begun].memory, b->seq[*begun].rows));
    return FL_OK;
}

static void end_memories(const fl_scheme *scheme, const fl_batch *b, int begun, bool keep)
{
    for (int i = 0; i < begun; i++) {
        if (!b->seq[i].memory) continue;
        if (keep) {
            fl_memory_commit(b->seq[i].memory);
            fl_attention_evict(scheme, b->seq[i].memory);
        } else {
            fl_memory_rollback(b->seq[i].memory);
        }
    }
}

fl_status fl_model_pass(const fl_model *m, fl_run *r, const fl_batch *batch, const fl_overlay *overlay, bool recording,
                        const fl_head_spec *spec)
{
    int begun;
    fl_status s = begin_memories(batch, &begun);
    if (s == FL_OK) {
        fl_engine_lock(m->engine);
        fl_run_begin(r, batch, overlay, recording);
        fl_tensor *h = m->arch->forward(r, m);
        if (spec && spec->n > 0) fl_head(r, h, m->head, m->head_bias, spec);
        if (recording) fl_run_backward(r);
        s = fl_run_status(r);
        fl_engine_unlock(m->engine);
    }
    end_memories(scheme_of(m, batch), batch, begun, s == FL_OK);
    return s;
}
