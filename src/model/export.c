/* A model back to a Hugging Face folder, with trained copies of its weights in place of the opened ones. */
#include <string.h>

#include "base/alloc.h"
#include "base/size.h"
#include "file/hf_write.h"
#include "model/export.h"

int64_t fl_model_weight_first(const fl_model *m, int i)
{
    const fl_dtype_info *info = fl_dtype_get(m->source[i]->type);
    const char *from = m->weight[i]->stored.data, *all = m->source[i]->data;
    return (from - all) / (int64_t)info->block_bytes * info->block;
}

/* Copy a trained weight over the part of its tensor that it came from (a slice or a transpose of a fused one). */
static void scatter(const fl_stored *s, const float *master, float *out)
{
    for (int64_t n = 0; n < s->rows; n++)
        for (int64_t k = 0; k < s->cols; k++)
            out[n * s->row_stride + k * s->col_stride] = master[n * s->cols + k];
}

/* Add scale * B A to such a part. */
static fl_status merge(fl_device *d, const fl_stored *s, const fl_adapter *a, float *out)
{
    float *up = fl_calloc((size_t)(s->rows * a->rank), sizeof *up);
    if (!up) return FL_ERR_MEMORY;
    for (int64_t i = 0; i < s->rows * a->rank; i++)
        up[i] = a->scale * a->up[i];
    fl_stored by_output = {FL_F32, s->rows, a->rank, a->rank, 1, up};
    fl_stored by_input = {FL_F32, s->cols, a->rank, 1, s->cols, a->down};
    bool transposed = s->col_stride != 1;
    d->table->matmul(d, transposed ? &by_input : &by_output, transposed ? &by_output : &by_input, out,
                     transposed ? s->col_stride : s->row_stride, true);
    fl_free(up);
    return FL_OK;
}

fl_status fl_model_trained_copy(const fl_model *m, const fl_overlay *overlay, const fl_file_tensor *t, float **copy)
{
    *copy = NULL;
    for (int i = 0; overlay && i < m->weights; i++) {
        const fl_adapter *adapter = overlay->adapter && overlay->adapter[i].rank ? &overlay->adapter[i] : NULL;
        if (m->source[i] != t || (!overlay->master[i] && !adapter)) continue;
        size_t values;
        FL_TRY(fl_file_tensor_values(t, &values));
        if (!*copy) {
            *copy = fl_calloc(values, sizeof **copy);
            if (!*copy) return FL_ERR_MEMORY;
            fl_to_f32(t->type, t->data, *copy, (int64_t)values);
        }
        const fl_stored *s = &m->weight[i]->stored;
        float *part = *copy + fl_model_weight_first(m, i);
        if (overlay->master[i]) scatter(s, overlay->master[i], part);
        if (!adapter) continue;
        fl_engine_lock(m->engine);
        fl_status status = merge(m->engine->device, s, adapter, part);
        fl_engine_unlock(m->engine);
        FL_TRY(status);
    }
    return FL_OK;
}

static bool bound(const fl_model *m, const fl_file_tensor *t)
{
    for (int i = 0; i < m->weights; i++)
        if (m->source[i] == t) return true;
    return false;
}

fl_status fl_model_write(const fl_model *m, const fl_overlay *overlay, const char *folder, fl_dtype type)
{
    FL_TRY(fl_checkpoint_need_rows(m->checkpoint, "exported"));
    int64_t all = fl_checkpoint_count(m->checkpoint), count = 0;
    fl_file_tensor *tensor = fl_calloc((size_t)all, sizeof *tensor);
    float **copy = fl_calloc((size_t)all, sizeof *copy);
    fl_status s = tensor && copy ? FL_OK : FL_ERR_MEMORY;
    for (int64_t i = 0; i < all && s == FL_OK; i++) {
        const fl_file_tensor *t = fl_lora_applied(&m->lora, fl_checkpoint_at(m->checkpoint, i));
        if (!bound(m, t)) continue;
        tensor[count] = *t;
        s = fl_model_trained_copy(m, overlay, t, &copy[count]);
        if (copy[count]) {
            tensor[count].type = FL_F32;
            tensor[count].data = copy[count];
        }
        count++;
    }
    if (m->config.logn != FL_LOGN_OFF)
        fl_log_write(&m->engine->log, FL_LOG_WARN,
                     "%s: log-n scaling is written as logn_attention, which other programs do not read", folder);
    if (s == FL_OK) s = fl_hf_write(folder, &m->config, tensor, count, type, m->checkpoint);
    for (int64_t i = 0; copy && i < count; i++)
        fl_free(copy[i]);
    fl_free(copy);
    fl_free(tensor);
    return s;
}

fl_status fl_export_type(fl_dtype *out, const char *name)
{
    static const struct {
        const char *name;
        fl_dtype type;
    } types[] = {{"f32", FL_F32}, {"f16", FL_F16}, {"bf16", FL_BF16}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (name && !strcmp(types[i].name, name)) {
            *out = types[i].type;
            return FL_OK;
        }
    return fl_fail(FL_ERR_ARGUMENT, "--type %s: choose f32, f16 or bf16", name ? name : "(none)");
}

fl_status fl_model_export(const fl_model *m, const char *folder, const char *type)
{
    fl_dtype dtype = FL_F32;
    FL_TRY(fl_export_type(&dtype, type));
    return fl_model_write(m, NULL, folder, dtype);
}
