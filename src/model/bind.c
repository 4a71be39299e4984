/* From named tensors of a file to weights of a model: found, shape-checked, packed. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/size.h"
#include "model/model.h"

static fl_status append(fl_model *m, fl_weight *w, const fl_file_tensor *source)
{
    if (m->weights == m->weight_capacity) {
        int capacity = m->weight_capacity ? 2 * m->weight_capacity : 64;
        fl_weight **weight = fl_realloc(m->weight, (size_t)capacity, sizeof *weight);
        if (!weight) return FL_ERR_MEMORY;
        m->weight = weight;
        const fl_file_tensor **sources = fl_realloc(m->source, (size_t)capacity, sizeof *sources);
        if (!sources) return FL_ERR_MEMORY;
        m->source = sources;
        m->weight_capacity = capacity;
    }
    w->index = m->weights;
    m->source[m->weights] = source;
    m->weight[m->weights++] = w;
    return FL_OK;
}

/* The part of a tensor that the query names, as strides over the file's bytes. */
static fl_stored slice(const fl_file_tensor *t, const fl_weight_query *q)
{
    bool vector = q->use == FL_WEIGHT_VECTOR, transposed = q->use == FL_WEIGHT_MATRIX_T;
    int64_t total = q->total ? q->total : vector ? q->cols : q->rows;
    fl_stored s = {t->type, q->rows, q->cols, 0, 1, NULL};
    s.row_stride = vector ? q->cols : transposed ? 1 : q->cols;
    s.col_stride = transposed ? total : 1;
    int64_t skipped = vector ? q->first : q->first * s.row_stride;
    const fl_dtype_info *info = fl_dtype_get(t->type);
    s.data = (const char *)t->data + (size_t)(skipped / info->block) * info->block_bytes;
    return s;
}

static fl_status check(const fl_model *m, const fl_file_tensor *t, const fl_weight_query *q)
{
    bool vector = q->use == FL_WEIGHT_VECTOR;
    int64_t total = q->total ? q->total : vector ? q->cols : q->rows;
    int64_t want[2] = {total, q->cols};
    if (q->use == FL_WEIGHT_MATRIX_T) want[0] = q->cols, want[1] = total;
    bool fits =
        vector ? t->rank == 1 && t->dim[0] == total : t->rank == 2 && t->dim[0] == want[0] && t->dim[1] == want[1];
    if (!fits) {
        char have[128] = "", *end = have;
        for (int i = 0; i < t->rank; i++)
            end += snprintf(end, (size_t)(have + sizeof have - end), "%s%lld", i ? ", " : "", (long long)t->dim[i]);
        if (vector)
            return fl_fail(FL_ERR_SHAPE, "%s: %s is [%s] but the config asks for [%lld]",
                           fl_checkpoint_path(m->checkpoint), t->name, have, (long long)total);
        return fl_fail(FL_ERR_SHAPE, "%s: %s is [%s] but the config asks for [%lld, %lld]",
                       fl_checkpoint_path(m->checkpoint), t->name, have, (long long)want[0], (long long)want[1]);
    }
    if (!fl_dtype_get(t->type)->real)
        return fl_fail(FL_ERR_UNSUPPORTED, "%s: %s has type %s, which holds no real numbers",
                       fl_checkpoint_path(m->checkpoint), t->name, fl_dtype_get(t->type)->name);
    return FL_OK;
}

/* Types that come in blocks have whole rows of blocks only: no transposes, no slices of vectors. */
static fl_status check_blocks(const fl_model *m, const fl_file_tensor *t, const fl_weight_query *q)
{
    int block = fl_dtype_get(t->type)->block;
    bool slice_of_vector = q->use == FL_WEIGHT_VECTOR && q->total;
    if (block == 1 || (q->use != FL_WEIGHT_MATRIX_T && !slice_of_vector && q->cols % block == 0)) return FL_OK;
    return fl_fail(FL_ERR_UNSUPPORTED, "%s: %s has type %s, whose blocks of %d do not fit its use: convert it to F16",
                   fl_checkpoint_path(m->checkpoint), t->name, fl_dtype_get(t->type)->name, block);
}

#define RELEASE_BYTES                                                                                                  \
    ((int64_t)32 << 20) /* of the file stay resident at most, beside the tensor that is being packed */

static fl_status pack(fl_model *m, fl_weight *w)
{
    fl_device *d = m->engine->device;
    FL_TRY(d->table->pack(d, &w->stored, &w->packed));
    int64_t bytes = (int64_t)d->table->panels(d, w->packed).bytes;
    m->weight_bytes += bytes;
    m->bytes_since_release += bytes;
    if (m->bytes_since_release > RELEASE_BYTES) {
        fl_checkpoint_release(m->checkpoint);
        m->bytes_since_release = 0;
    }
    return FL_OK;
}

/* What a packed file has of outputs [first, first + rows) of a tensor, used where it lies. */
static fl_status map_panels(fl_model *m, fl_weight *w, int64_t place)
{
    const fl_packed_model *file = fl_checkpoint_packed(m->checkpoint);
    const fl_panels *p = &file->panels[place];
    const char *path = fl_checkpoint_path(m->checkpoint);
    fl_device *d = m->engine->device;
    size_t offset;
    const char *entry = fl_packed_model_entry(file, place, &offset);
    if (p->rows != w->stored.rows || p->cols != w->stored.cols)
        return fl_fail(FL_ERR_SHAPE, "%s: offset %zu: panels %s are [%lld, %lld] but the config asks for [%lld, %lld]",
                       path, offset, entry, (long long)p->rows, (long long)p->cols, (long long)w->stored.rows,
                       (long long)w->stored.cols);
    fl_status s = d->table->packed_from(d, p, &w->packed);
    if (s != FL_OK) return fl_fail_within(s, "%s: offset %zu: panels %s", path, offset, entry);
    m->weight_bytes += (int64_t)p->bytes;
    m->mapped_bytes += (int64_t)p->bytes;
    return FL_OK;
}

static fl_status find_panels(int64_t *place, const fl_model *m, const char *name, int64_t first, int64_t rows)
{
    char entry[FL_PACKED_NAME];
    fl_packed_name(entry, name, first, rows);
    *place = fl_packed_model_find(fl_checkpoint_packed(m->checkpoint), entry);
    if (*place >= 0) return FL_OK;
    return fl_fail(FL_ERR_FORMAT, "%s: panels %s are missing (family %s needs them)", fl_checkpoint_path(m->checkpoint),
                   entry, m->config.family);
}

static fl_status fill(fl_model *m, fl_weight *w, const fl_weight_query *q)
{
    m->parameters += w->stored.rows * w->stored.cols;
    if (q->use == FL_WEIGHT_VECTOR) {
        float *values = fl_alloc_aligned((size_t)q->cols * sizeof *values);
        if (!values) return FL_ERR_MEMORY;
        fl_to_f32(w->stored.type, w->stored.data, values, q->cols);
        w->values = values;
        m->weight_bytes += q->cols * (int64_t)sizeof *values;
        return FL_OK;
    }
    if (q->use == FL_WEIGHT_TABLE) {
        size_t bytes;
        if (!fl_dtype_bytes(w->stored.type, (size_t)(q->rows * q->cols), &bytes)) return FL_OK;
        m->weight_bytes += (int64_t)bytes;
        if (fl_checkpoint_packed(m->checkpoint)) m->mapped_bytes += (int64_t)bytes;
        return FL_OK;
    }
    return pack(m, w);
}

/* The whole tensor a query asks for, as a file would describe it. */
static fl_status add_to_list(fl_model *m, const fl_weight_query *q, const char *name)
{
    fl_tensor_list *list = m->listing;
    for (int64_t i = 0; i < list->count; i++)
        if (!strcmp(list->tensor[i].name, name)) return FL_OK;
    fl_file_tensor *tensor = fl_realloc(list->tensor, (size_t)list->count + 1, sizeof *tensor);
    char *copy = tensor ? fl_strdup(name) : NULL;
    if (tensor) list->tensor = tensor;
    if (!copy) return FL_ERR_MEMORY;
    bool vector = q->use == FL_WEIGHT_VECTOR, transposed = q->use == FL_WEIGHT_MATRIX_T;
    int64_t total = q->total ? q->total : vector ? q->cols : q->rows;
    fl_file_tensor t = {.name = copy, .type = FL_F32, .rank = vector ? 1 : 2, .dim = {total, q->cols}};
    if (vector) t.dim[1] = 0;
    if (transposed) t.dim[0] = q->cols, t.dim[1] = total;
    list->tensor[list->count++] = t;
    return FL_OK;
}

void fl_tensor_list_free(fl_tensor_list *list)
{
    for (int64_t i = 0; i < list->count; i++) {
        fl_free((void *)(uintptr_t)list->tensor[i].name);
        fl_free_aligned((void *)(uintptr_t)list->tensor[i].data);
    }
    fl_free(list->tensor);
    *list = (fl_tensor_list){0};
}

/* A matrix of a packed file: its panels, and no rows. */
static fl_status bind_panels(fl_model *m, fl_weight **out, const fl_weight_query *q, const char *name)
{
    int64_t place;
    size_t offset;
    FL_TRY(find_panels(&place, m, name, q->first, q->rows));
    const fl_packed_model *file = fl_checkpoint_packed(m->checkpoint);
    fl_weight *w = fl_calloc(1, sizeof *w);
    if (!w) return FL_ERR_MEMORY;
    w->name = fl_packed_model_entry(file, place, &offset);
    w->stored = (fl_stored){file->panels[place].type, q->rows, q->cols, q->cols, 1, NULL};
    fl_status s = append(m, w, NULL);
    if (s != FL_OK) {
        fl_free(w);
        return s;
    }
    *out = w;
    m->parameters += q->rows * q->cols;
    return map_panels(m, w, place);
}

fl_status fl_model_bind(fl_model *m, fl_weight **out, fl_weight_query query, const char *format, ...)
{
    char name[256];
    va_list list;
    va_start(list, format);
    vsnprintf(name, sizeof name, format, list);
    va_end(list);
    *out = NULL;
    if (m->listing) return query.optional ? FL_OK : add_to_list(m, &query, name);
    if (fl_checkpoint_packed(m->checkpoint) && (query.use == FL_WEIGHT_MATRIX || query.use == FL_WEIGHT_MATRIX_T))
        return bind_panels(m, out, &query, name);
    const fl_file_tensor *t = fl_checkpoint_find(m->checkpoint, name);
    if (!t && query.optional) return FL_OK;
    if (!t)
        return fl_fail(FL_ERR_FORMAT, "%s: tensor %s is missing (family %s needs it)",
                       fl_checkpoint_path(m->checkpoint), name, m->config.family);
    t = fl_lora_applied(&m->lora, t);
    FL_TRY(check(m, t, &query));
    FL_TRY(check_blocks(m, t, &query));
    fl_weight *w = fl_calloc(1, sizeof *w);
    if (!w) return FL_ERR_MEMORY;
    w->name = t->name;
    w->stored = slice(t, &query);
    fl_status s = append(m, w, t);
    if (s != FL_OK) {
        fl_free(w);
        return s;
    }
    *out = w;
    return fill(m, w, &query);
}

fl_status fl_model_tie_head(fl_model *m)
{
    m->head = m->embed;
    if (m->listing) return FL_OK;
    if (!fl_checkpoint_packed(m->checkpoint)) return pack(m, m->head);
    int64_t place;
    FL_TRY(find_panels(&place, m, m->head->name, 0, m->head->stored.rows));
    return map_panels(m, m->head, place);
}
