#include "model/lora.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "model/lora_adapter.h"

static fl_stored matrix(const float *data, int64_t rows, int64_t cols, int64_t row_stride, int64_t col_stride)
{
    return (fl_stored){FL_F32, rows, cols, row_stride, col_stride, data};
}

static void replace(fl_lora *l, const fl_file_tensor *w, float *values)
{
    l->tensor[l->count] = *w;
    l->tensor[l->count].type = FL_F32;
    l->tensor[l->count].data = values;
    l->replaced[l->count++] = w;
}

static fl_status merge_pair(fl_lora *l, fl_device *d, const fl_adapter *a, const fl_config *c, const fl_file_tensor *w,
                            const fl_file_tensor *down, const fl_file_tensor *up)
{
    float *merged = NULL, *low = NULL, *high = NULL;
    int64_t rank = down->dim[0], in = down->dim[1], out = up->dim[0];
    double factor = a->strength;
    if (a->divisor != FL_ALPHA_BY_NOTHING) factor /= a->divisor == FL_ALPHA_BY_ROOT ? sqrt((double)rank) : (double)rank;
    fl_status s = fl_adapter_copy(&merged, w);
    if (s == FL_OK) s = fl_adapter_copy(&low, down);
    if (s == FL_OK)
        s = fl_adapter_up(&high, a, c, (fl_lora_order){c->rope_interleaved, c->qkv_by_head}, factor, up, w->name);
    if (s == FL_OK) {
        fl_stored by_input = matrix(low, in, rank, 1, in), by_output = matrix(high, out, rank, rank, 1);
        d->table->matmul(d, a->transposed ? &by_input : &by_output, a->transposed ? &by_output : &by_input, merged,
                         w->dim[1], true);
        replace(l, w, merged);
        merged = NULL;
    }
    fl_free_aligned(merged);
    fl_free_aligned(low);
    fl_free_aligned(high);
    return s;
}

static bool same_values(const fl_file_tensor *a, const fl_file_tensor *b)
{
    size_t bytes;
    return a->type == b->type && a->rank == b->rank && !memcmp(a->dim, b->dim, sizeof a->dim) &&
           fl_file_tensor_bytes(a, &bytes) == FL_OK && !memcmp(a->data, b->data, bytes);
}

/* A head that the model shares with its embedding must stay the same as it. */
static fl_status check_tied(const fl_adapter *a, const fl_checkpoint *c, const fl_file_tensor *head)
{
    for (int64_t i = 0; i < fl_adapter_count(a); i++) {
        const fl_file_tensor *t = fl_safetensors_at(a->file, i);
        if (t != head && fl_adapter_is_table(t->name) && same_values(t, head)) return FL_OK;
    }
    return fl_fail(FL_ERR_UNSUPPORTED,
                   "%s: %s is not the embedding, which the head of %s is: merge the adapter with PEFT", a->path,
                   head->name, fl_checkpoint_path(c));
}

/* A whole tensor in place of the checkpoint's (modules_to_save); with a scale, that share of the way from it. */
static fl_status merge_whole(fl_lora *l, const fl_adapter *a, const fl_checkpoint *c, const fl_file_tensor *t)
{
    const fl_config *config = fl_checkpoint_config(c);
    const char *name = t->name + strlen(a->form->prefix);
    if (config->tied_head && fl_adapter_is_head(name)) return check_tied(a, c, t);
    const fl_file_tensor *w = fl_checkpoint_find(c, name);
    if (!w || w->rank != t->rank || memcmp(w->dim, t->dim, sizeof w->dim))
        return fl_fail(w ? FL_ERR_SHAPE : FL_ERR_FORMAT,
                       "%s: tensor %s replaces no tensor of %s of its shape: the "
                       "adapter belongs to another model",
                       a->path, t->name, fl_checkpoint_path(c));
    if (!fl_dtype_get(t->type)->real || !fl_dtype_get(w->type)->real)
        return fl_fail(FL_ERR_UNSUPPORTED, "%s: %s has type %s, which holds no real numbers", a->path, t->name,
                       fl_dtype_get(t->type)->name);
    float *values, *old = NULL;
    size_t count;
    FL_TRY(fl_file_tensor_values(t, &count));
    FL_TRY(fl_adapter_copy(&values, t));
    FL_TRY(fl_adapter_reordered(&values, values, a, config,
                                (fl_lora_order){config->rope_interleaved, config->qkv_by_head}, t, name));
    fl_status s = a->scale != 1 ? fl_adapter_copy(&old, w) : FL_OK;
    for (size_t i = 0; old && i < count; i++)
        values[i] = (float)((double)old[i] + a->scale * ((double)values[i] - (double)old[i]));
    fl_free_aligned(old);
    if (s == FL_OK)
        replace(l, w, values);
    else
        fl_free_aligned(values);
    return s;
}

static fl_status merge_all(fl_lora *l, fl_device *d, const fl_adapter *a, const fl_checkpoint *c)
{
    int64_t count = fl_adapter_count(a);
    l->tensor = fl_calloc((size_t)count + 1, sizeof *l->tensor);
    l->replaced = fl_calloc((size_t)count + 1, sizeof *l->replaced);
    if (!l->tensor || !l->replaced) return FL_ERR_MEMORY;
    for (int64_t i = 0; i < count; i++) {
        const fl_file_tensor *t = fl_adapter_at(a, i);
        if (fl_adapter_whole(a, t)) {
            FL_TRY(merge_whole(l, a, c, t));
            continue;
        }
        fl_adapter_pair p;
        FL_TRY(fl_adapter_pair_at(&p, a, c, i));
        if (p.weight) FL_TRY(merge_pair(l, d, a, fl_checkpoint_config(c), p.weight, p.down, p.up));
    }
    return l->count ? FL_OK : fl_fail(FL_ERR_FORMAT, "%s: holds no adapter", a->path);
}

fl_status fl_lora_merge(fl_lora *out, fl_device *d, const fl_checkpoint *c, const char *path, double scale)
{
    fl_adapter a;
    if (!isfinite(scale)) return fl_fail(FL_ERR_ARGUMENT, "%s: lora_scale = %g: give a number", path, scale);
    fl_status s = fl_adapter_open(&a, fl_checkpoint_config(c), path, scale);
    if (s == FL_OK) s = merge_all(out, d, &a, c);
    fl_adapter_close(&a);
    return s;
}

void fl_lora_free(fl_lora *l)
{
    for (int64_t i = 0; i < l->count; i++)
        fl_free_aligned((void *)(uintptr_t)l->tensor[i].data);
    fl_free(l->tensor);
    fl_free(l->replaced);
    *l = (fl_lora){0};
}

const fl_file_tensor *fl_lora_applied(const fl_lora *l, const fl_file_tensor *t)
{
    for (int64_t i = 0; i < l->count; i++)
        if (l->replaced[i] == t) return &l->tensor[i];
    return t;
}
