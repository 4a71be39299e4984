/* An opened model as a packed file (file/packed_model.h). */
#include <string.h>

#include "base/alloc.h"
#include "model/export.h"
#include "text/model_tokenizer.h"

typedef struct packing {
    const fl_model *m;
    fl_packed_entry *panels;
    char (*name)[FL_PACKED_NAME];
    fl_file_tensor *tensor;
    int64_t panels_count, count;
} packing;

static void add_panels(packing *p, int i)
{
    const fl_device *d = p->m->engine->device;
    const fl_weight *w = p->m->weight[i];
    char *name = p->name[p->panels_count];
    int64_t first = fl_model_weight_first(p->m, i) / w->stored.row_stride;
    fl_packed_name(name, p->m->source[i]->name, first, w->stored.rows);
    p->panels[p->panels_count++] = (fl_packed_entry){name, d->table->panels(d, w->packed)};
}

/* A fused vector is whole in the file, once for all its parts. */
static fl_status add_tensor(packing *p, const fl_file_tensor *source)
{
    for (int64_t i = 0; i < p->count; i++)
        if (!strcmp(p->tensor[i].name, source->name)) return FL_OK;
    if (source->rank != 2 && fl_dtype_get(source->type)->block > 1)
        return fl_fail(FL_ERR_UNSUPPORTED, "%s: vector %s has type %s: convert the model to F16 before it is packed",
                       fl_checkpoint_path(p->m->checkpoint), source->name, fl_dtype_get(source->type)->name);
    p->tensor[p->count++] = *source;
    return FL_OK;
}

static fl_status add_weights(packing *p)
{
    const fl_model *m = p->m;
    size_t most = (size_t)m->weights;
    p->panels = fl_calloc(most, sizeof *p->panels);
    p->name = fl_calloc(most, sizeof *p->name);
    p->tensor = fl_calloc(most, sizeof *p->tensor);
    if (!p->panels || !p->name || !p->tensor) return FL_ERR_MEMORY;
    for (int i = 0; i < m->weights; i++) {
        const fl_weight *w = m->weight[i];
        if (w->packed) add_panels(p, i);
        if (!w->packed || w == m->embed) FL_TRY(add_tensor(p, m->source[i]));
    }
    return FL_OK;
}

static fl_packed_bytes bytes_of(const fl_buffer *b)
{
    return (fl_packed_bytes){b->size ? b->data : NULL, b->size};
}

fl_status fl_model_pack(const fl_model *m, const char *path, const fl_pack_options *options)
{
    const fl_pack_options standard = FL_PACK_OPTIONS_INIT;
    if (!options) options = &standard;
    if (!m || !path || options->size != sizeof *options)
        return fl_fail(FL_ERR_ARGUMENT, "fl_model_pack: an argument is NULL or options.size is not %zu",
                       sizeof *options);
    FL_TRY(fl_checkpoint_need_rows(m->checkpoint, "packed again"));
    packing p = {.m = m};
    fl_carried_tokenizer t = {0};
    fl_status s = FL_OK;
    if (!options->no_tokenizer) s = fl_carried_tokenizer_gather(&t, m->checkpoint, options->tokenizer);
    if (s == FL_OK) s = add_weights(&p);
    if (s == FL_OK)
        s = fl_packed_model_write(path, &(fl_packed_parts){.config = &m->config,
                                                           .weights = fl_model_weights_sum(m),
                                                           .panels = p.panels,
                                                           .panels_count = p.panels_count,
                                                           .tensor = p.tensor,
                                                           .count = p.count,
                                                           .tokenizer = bytes_of(&t.tokenizer),
                                                           .tokenizer_config = bytes_of(&t.config),
                                                           .chat_template = bytes_of(&t.chat_template)});
    fl_carried_tokenizer_free(&t);
    fl_free(p.panels);
    fl_free(p.name);
    fl_free(p.tensor);
    return s;
}
