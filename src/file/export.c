#include "file/export.h"

#include <string.h>

#include "base/alloc.h"
#include "base/size.h"

#define STEP 8192 /* values converted at a time, a multiple of every block */

fl_status fl_export_open(fl_export *e, const fl_config *config, const fl_file_tensor *tensor, int64_t count,
                         const fl_checkpoint *source)
{
    int64_t *index = fl_file_tensor_index(tensor, count);
    if (!index) return FL_ERR_MEMORY;
    for (int64_t i = 1; i < count; i++)
        if (!strcmp(tensor[index[i - 1]].name, tensor[index[i]].name)) {
            fl_status status =
                fl_fail(FL_ERR_ARGUMENT, "tensor %.200s: is given more than once", tensor[index[i]].name);
            fl_free(index);
            return status;
        }
    *e = (fl_export){config, tensor, count, index, source};
    return FL_OK;
}

void fl_export_close(fl_export *e)
{
    fl_free(e->index);
    *e = (fl_export){0};
}

/* Heads of a tensor whose rows are rotated, 0 for any other. */
static int64_t rotated_heads(const fl_config *c, const char *name)
{
    if (!c->rotary) return 0;
    if (strstr(name, ".self_attn.q_proj.")) return c->heads;
    if (strstr(name, ".self_attn.k_proj.")) return c->kv_heads;
    return 0;
}

fl_export_item fl_export_find(const fl_export *e, const char *name, fl_row_order order)
{
    fl_export_item item = {.order = order};
    const fl_config *c = e->config;
    int64_t i = fl_file_tensor_find(e->tensor, e->index, e->count, name);
    if (i >= 0) {
        item.tensor = &e->tensor[i];
    } else if (e->source) {
        item.tensor = fl_checkpoint_find(e->source, name);
        c = fl_checkpoint_config(e->source);
    }
    bool interleaved = order == FL_ROWS_INTERLEAVED;
    item.permuted = item.tensor && c->rope_interleaved != interleaved && rotated_heads(c, name);
    return item;
}

/* n values from value `first` on, converted through fp32 unless the type stays. */
static void convert(const fl_file_tensor *t, size_t first, size_t n, fl_dtype type, float *between, void *to)
{
    const fl_dtype_info *info = fl_dtype_get(t->type);
    const char *from = (const char *)t->data + first / (size_t)info->block * info->block_bytes;
    if (t->type == type) {
        memcpy(to, from, n / (size_t)info->block * info->block_bytes);
        return;
    }
    fl_to_f32(t->type, from, between, (int64_t)n);
    fl_from_f32(type, between, to, (int64_t)n);
}

static fl_status write_permuted(const fl_export *e, const fl_export_item *item, fl_dtype type, fl_writer *w)
{
    const fl_file_tensor *t = item->tensor;
    int64_t rows = t->rank ? t->dim[0] : 0, head_dim = e->config->head_dim;
    size_t columns;
    if (rows != rotated_heads(e->config, t->name) * head_dim || !fl_size_product(t->dim + 1, t->rank - 1, &columns) ||
        columns % (size_t)fl_dtype_get(t->type)->block)
        return fl_fail(FL_ERR_SHAPE, "tensor %.200s: %lld rows: the config has heads and head_dim for %lld", t->name,
                       (long long)rows, (long long)(rotated_heads(e->config, t->name) * head_dim));
    size_t row_bytes;
    if (!fl_dtype_bytes(type, columns, &row_bytes)) return fl_file_tensor_bytes(t, &row_bytes);
    float *between = fl_calloc(columns, sizeof *between);
    void *row = fl_calloc(row_bytes, 1);
    fl_status status = between && row ? FL_OK : FL_ERR_MEMORY;
    for (int64_t r = 0; status == FL_OK && r < rows; r++) {
        int64_t from = fl_permuted_row(r, head_dim, e->config->rope.dim, item->order);
        convert(t, (size_t)from * columns, columns, type, between, row);
        fl_writer_write(w, row, row_bytes);
        status = w->status;
    }
    fl_free(row);
    fl_free(between);
    return status;
}

fl_status fl_export_values(const fl_export *e, const fl_export_item *item, fl_dtype type, fl_writer *w)
{
    const fl_file_tensor *t = item->tensor;
    if (!fl_dtype_get(t->type)->real) type = t->type;
    if (item->permuted) return write_permuted(e, item, type, w);
    size_t values, bytes;
    FL_TRY(fl_file_tensor_values(t, &values));
    FL_TRY(fl_file_tensor_bytes(t, &bytes));
    if (t->type == type) {
        fl_writer_write(w, t->data, bytes);
        return w->status;
    }
    float between[STEP];
    uint32_t converted[STEP]; /* the widest type written is fp32 */
    for (size_t first = 0; first < values && w->status == FL_OK; first += STEP) {
        size_t n = values - first < STEP ? values - first : STEP;
        convert(t, first, n, type, between, converted);
        fl_dtype_bytes(type, n, &bytes);
        fl_writer_write(w, converted, bytes);
    }
    return w->status;
}
