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

const fl_layout fl_layout_hf = {FL_ROWS_HALF_SPLIT, true, false};
const fl_layout fl_layout_llama2c = {FL_ROWS_INTERLEAVED, true, false};

/* Heads of a tensor whose rows are rotated, 0 for any other. */
static int64_t rotated_heads(const fl_config *c, const char *name)
{
    if (!c->rotary) return 0;
    if (strstr(name, ".self_attn.q_proj.")) return c->heads;
    if (strstr(name, ".self_attn.k_proj.")) return c->kv_heads;
    return 0;
}

/* What must be done to a tensor of a model with config c. */
static fl_move find_move(const fl_config *c, const fl_file_tensor *t, fl_layout layout)
{
    bool interleaved = layout.order == FL_ROWS_INTERLEAVED;
    if (c->rope_interleaved != interleaved && rotated_heads(c, t->name)) return FL_MOVE_ROTATED;
    if (!strcmp(c->family, "gpt_neox") && c->qkv_by_head != layout.qkv_by_head &&
        strstr(t->name, ".attention.query_key_value."))
        return FL_MOVE_QKV;
    bool conv1d = strstr(t->name, ".c_attn.") || strstr(t->name, ".c_proj.") || strstr(t->name, ".c_fc.");
    if (!strcmp(c->family, "gpt2") && c->by_output != layout.by_output && t->rank == 2 && conv1d)
        return FL_MOVE_TRANSPOSE;
    return FL_MOVE_NONE;
}

fl_export_item fl_export_find(const fl_export *e, const char *name, fl_layout layout)
{
    fl_export_item item = {.layout = layout};
    const fl_config *c = e->config;
    int64_t i = fl_file_tensor_find(e->tensor, e->index, e->count, name);
    if (i >= 0) {
        item.tensor = &e->tensor[i];
    } else if (e->source) {
        item.tensor = fl_checkpoint_find(e->source, name);
        c = fl_checkpoint_config(e->source);
    }
    if (item.tensor) item.move = find_move(c, item.tensor, layout);
    return item;
}

fl_file_tensor fl_export_shape(const fl_export_item *item)
{
    fl_file_tensor t = *item->tensor;
    if (item->move == FL_MOVE_TRANSPOSE) {
        t.dim[0] = item->tensor->dim[1];
        t.dim[1] = item->tensor->dim[0];
    }
    return t;
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

/* Heads whose rows change places, and rows of each, which the tensor must have. */
static int64_t moved_rows(const fl_config *c, const fl_export_item *item)
{
    int64_t heads = item->move == FL_MOVE_QKV ? 3 * c->heads : rotated_heads(c, item->tensor->name);
    return heads * c->head_dim;
}

/* The row of the tensor that belongs into row r of what is written. */
static int64_t source_row(const fl_config *c, const fl_export_item *item, int64_t r)
{
    if (item->move == FL_MOVE_ROTATED) return fl_permuted_row(r, c->head_dim, c->rope.dim, item->layout.order);
    int64_t outer = item->layout.qkv_by_head ? 3 : c->heads; /* counts of what the written rows have inside */
    int64_t inner = item->layout.qkv_by_head ? c->heads : 3, block = r / c->head_dim;
    return (block % outer * inner + block / outer) * c->head_dim + r % c->head_dim;
}

static fl_status write_moved(const fl_export *e, const fl_export_item *item, fl_dtype type, fl_writer *w)
{
    const fl_file_tensor *t = item->tensor;
    int64_t rows = t->rank ? t->dim[0] : 0;
    size_t columns;
    if (rows != moved_rows(e->config, item) || !fl_size_product(t->dim + 1, t->rank - 1, &columns) ||
        columns % (size_t)fl_dtype_get(t->type)->block)
        return fl_fail(FL_ERR_SHAPE, "tensor %.200s: %lld rows: the config has heads and head_dim for %lld", t->name,
                       (long long)rows, (long long)moved_rows(e->config, item));
    size_t row_bytes;
    if (!fl_dtype_bytes(type, columns, &row_bytes)) return fl_file_tensor_bytes(t, &row_bytes);
    float *between = fl_calloc(columns, sizeof *between);
    void *row = fl_calloc(row_bytes, 1);
    fl_status status = between && row ? FL_OK : FL_ERR_MEMORY;
    for (int64_t r = 0; status == FL_OK && r < rows; r++) {
        convert(t, (size_t)source_row(e->config, item, r) * columns, columns, type, between, row);
        fl_writer_write(w, row, row_bytes);
        status = w->status;
    }
    fl_free(row);
    fl_free(between);
    return status;
}

static fl_status write_transposed(const fl_export_item *item, fl_dtype type, fl_writer *w)
{
    const fl_file_tensor *t = item->tensor;
    size_t values, row_bytes;
    FL_TRY(fl_file_tensor_values(t, &values));
    int64_t rows = t->dim[1], columns = t->dim[0]; /* of what is written */
    if (!fl_dtype_bytes(type, (size_t)columns, &row_bytes)) return fl_file_tensor_bytes(t, &row_bytes);
    float *all = fl_calloc(values, sizeof *all), *between = fl_calloc((size_t)columns, sizeof *between);
    void *row = fl_calloc(row_bytes, 1);
    fl_status status = all && between && row ? FL_OK : FL_ERR_MEMORY;
    if (status == FL_OK) fl_to_f32(t->type, t->data, all, (int64_t)values);
    for (int64_t r = 0; status == FL_OK && r < rows; r++) {
        for (int64_t i = 0; i < columns; i++)
            between[i] = all[i * rows + r];
        fl_from_f32(type, between, row, columns);
        fl_writer_write(w, row, row_bytes);
        status = w->status;
    }
    fl_free(row);
    fl_free(between);
    fl_free(all);
    return status;
}

fl_status fl_export_values(const fl_export *e, const fl_export_item *item, fl_dtype type, fl_writer *w)
{
    const fl_file_tensor *t = item->tensor;
    if (!fl_dtype_get(t->type)->real) type = t->type;
    if (item->move == FL_MOVE_TRANSPOSE) return write_transposed(item, type, w);
    if (item->move != FL_MOVE_NONE) return write_moved(e, item, type, w);
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
