/* A PEFT folder as a GGUF adapter. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "file/gguf_write.h"
#include "model/lora_adapter.h"

typedef struct written {
    fl_file_tensor *tensor;
    char (*name)[FL_GGUF_HF_NAME];
    float **values; /* owned */
    int64_t count;
} written;

static void put_tensor(written *w, const fl_file_tensor *like, float *values, const char *name, const char *end)
{
    snprintf(w->name[w->count], FL_GGUF_HF_NAME, "%s%s", name, end);
    w->values[w->count] = values;
    w->tensor[w->count] = (fl_file_tensor){w->name[w->count], FL_F32, 2, {like->dim[0], like->dim[1]}, values};
    w->count++;
}

static fl_status collect(written *w, const fl_adapter *a, const fl_checkpoint *c)
{
    const fl_config *config = fl_checkpoint_config(c);
    int64_t count = fl_adapter_count(a);
    w->tensor = fl_calloc((size_t)count + 1, sizeof *w->tensor);
    w->name = fl_calloc((size_t)count + 1, sizeof *w->name);
    w->values = fl_calloc((size_t)count + 1, sizeof *w->values);
    if (!w->tensor || !w->name || !w->values) return FL_ERR_MEMORY;
    for (int64_t i = 0; i < count; i++) {
        fl_adapter_pair p;
        char name[FL_GGUF_HF_NAME];
        float *values;
        FL_TRY(fl_adapter_pair_at(&p, a, c, i));
        if (!p.weight) continue;
        /* Sixteen bytes are more than the ends and the zero need. */
        if (!fl_gguf_name_of_hf(a->family, p.weight->name, config->layers, name) ||
            strlen(name) + 16 > FL_GGUF_NAME_LIMIT)
            return fl_fail(FL_ERR_UNSUPPORTED, "%s: %s has no name in GGUF", a->path, p.weight->name);
        FL_TRY(fl_adapter_copy(&values, p.down));
        put_tensor(w, p.down, values, name, fl_adapter_gguf.down);
        double factor = a->divisor == FL_ALPHA_BY_ROOT ? sqrt((double)p.up->dim[1]) : 1; /* readers divide by r */
        FL_TRY(fl_adapter_up(&values, a, config, (fl_lora_order){a->family->interleaved, false}, factor, p.up,
                             p.weight->name));
        put_tensor(w, p.up, values, name, fl_adapter_gguf.up);
    }
    return w->count ? FL_OK : fl_fail(FL_ERR_FORMAT, "%s: holds no adapter", a->path);
}

static fl_status write_gguf(const fl_adapter *a, const fl_checkpoint *c, const char *path)
{
    written w = {0};
    fl_gguf_keys keys = {0};
    fl_status s = collect(&w, a, c);
    if (s == FL_OK) {
        fl_gguf_put_string(&keys, "general.architecture", a->family->arch);
        fl_gguf_put_string(&keys, "general.type", "adapter");
        fl_gguf_put_string(&keys, "adapter.type", "lora");
        fl_gguf_put_f32(&keys, "adapter.lora.alpha", a->strength);
        s = fl_gguf_write_file(path, &keys, w.tensor, w.count);
    }
    fl_gguf_keys_free(&keys);
    for (int64_t i = 0; i < w.count; i++)
        fl_free_aligned(w.values[i]);
    fl_free(w.tensor);
    fl_free(w.name);
    fl_free(w.values);
    return s;
}

fl_status fl_convert_lora(const char *model, const char *lora, const char *path)
{
    if (!model || !lora || !path) return fl_fail(FL_ERR_ARGUMENT, "fl_convert_lora: an argument is NULL");
    if (fl_file_exists(lora) && !fl_file_is_folder(lora))
        return fl_fail(FL_ERR_ARGUMENT, "%s: is a file: give a folder with adapter_config.json", lora);
    fl_checkpoint *c;
    FL_TRY(fl_checkpoint_open(&c, model));
    const fl_config *config = fl_checkpoint_config(c);
    fl_adapter a = {0};
    fl_status s = fl_checkpoint_need_rows(c, "the model of an adapter that is written");
    if (s == FL_OK) s = fl_adapter_open(&a, config, lora, 1);
    a.family = fl_gguf_family_of_config(config);
    if (s == FL_OK && !a.family)
        s = fl_fail(FL_ERR_UNSUPPORTED, "%s: family %s has no name in GGUF", model, config->family);
    if (s == FL_OK && a.strength == 0)
        s = fl_fail(FL_ERR_UNSUPPORTED, "%s: lora_alpha = 0: means another thing in GGUF", lora);
    if (s == FL_OK && a.saves)
        s = fl_fail(FL_ERR_UNSUPPORTED,
                    "%s: modules_to_save: whole tensors have no place in a GGUF adapter: merge it "
                    "(convert -m MODEL --lora FOLDER)",
                    lora);
    if (s == FL_OK) s = write_gguf(&a, c, path);
    fl_adapter_close(&a);
    fl_checkpoint_close(c);
    return s;
}
