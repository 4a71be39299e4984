#include "model/lora_write.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/size.h"
#include "file/json.h"
#include "file/safetensors.h"
#include "model/export.h"
#include "model/lora_rows.h"

#define NAME 320 /* longest name of a tensor (256, model/bind.c) and what PEFT puts around it */

typedef struct contents {
    const fl_model *model;
    const fl_overlay *overlay;
    fl_file_tensor *tensor; /* with names and data of its own */
    int64_t count;
    json_t *saved; /* modules held whole */
} contents;

/* Length of the module's part of a tensor's name: without ".weight" or ".bias". */
static size_t module_length(const char *name)
{
    const char *end = strrchr(name, '.');
    return end ? (size_t)(end - name) : strlen(name);
}

static bool same_module(const char *a, const char *b)
{
    size_t n = module_length(a);
    return module_length(b) == n && !strncmp(a, b, n);
}

/* Takes values (fl_free_aligned), [rows, cols], or [rows] when cols is 0. */
static fl_status put(contents *c, const char *name, size_t length, const char *end, int64_t rows, int64_t cols,
                     float *values)
{
    char full[NAME];
    snprintf(full, sizeof full, "base_model.model.%.*s%s", (int)length, name, end);
    char *copy = fl_strdup(full);
    if (!copy) {
        fl_free_aligned(values);
        return FL_ERR_MEMORY;
    }
    c->tensor[c->count++] = (fl_file_tensor){copy, FL_F32, cols ? 2 : 1, {rows, cols}, values};
    return FL_OK;
}

static fl_status copy_values(float **out, const float *from, size_t count)
{
    size_t bytes;
    *out = fl_size_mul(count, sizeof **out, &bytes) ? fl_alloc_aligned(bytes) : NULL;
    if (!*out) return fl_fail(FL_ERR_MEMORY, "an adapter of %zu values is too large", count);
    memcpy(*out, from, bytes);
    return FL_OK;
}

/* Into the order of Hugging Face, which is also PEFT's. */
static fl_status in_file_order(const contents *c, float **values, const char *name, int64_t rows, int64_t cols)
{
    const fl_config *config = &c->model->config;
    return fl_lora_reorder(values, config, name, rows, cols,
                           (fl_lora_order){config->rope_interleaved, config->qkv_by_head},
                           (fl_lora_order){false, true});
}

/* The pair of the tensor that weight i begins; parts of a fused tensor share A, and their rows of B lie in order. */
static fl_status put_pair(contents *c, int i)
{
    const fl_file_tensor *t = c->model->source[i];
    const fl_stored *s = &c->model->weight[i]->stored;
    const fl_adapter *a = &c->overlay->adapter[i];
    int64_t out = s->col_stride != 1 ? t->dim[1] : t->dim[0];
    size_t length = module_length(t->name);
    float *down = NULL, *up = NULL;
    FL_TRY(copy_values(&down, a->down, (size_t)(a->rank * s->cols)));
    FL_TRY(put(c, t->name, length, ".lora_A.weight", a->rank, s->cols, down));
    FL_TRY(copy_values(&up, a->up, (size_t)(out * a->rank)));
    fl_status status = in_file_order(c, &up, t->name, out, a->rank);
    if (status == FL_OK) return put(c, t->name, length, ".lora_B.weight", out, a->rank, up);
    fl_free_aligned(up);
    return status;
}

static fl_status put_whole(contents *c, const fl_file_tensor *t, const char *name)
{
    float *trained, *values;
    size_t count;
    FL_TRY(fl_file_tensor_values(t, &count));
    fl_status s = fl_model_trained_copy(c->model, c->overlay, t, &trained);
    if (s == FL_OK && !trained) {
        trained = fl_calloc(count, sizeof *trained);
        if (trained) fl_to_f32(t->type, t->data, trained, (int64_t)count);
        s = trained ? FL_OK : FL_ERR_MEMORY;
    }
    if (s == FL_OK) s = copy_values(&values, trained, count);
    fl_free(trained);
    FL_TRY(s);
    int64_t cols = t->rank == 2 ? t->dim[1] : 1;
    s = in_file_order(c, &values, t->name, t->dim[0], cols);
    if (s == FL_OK) return put(c, name, strlen(name), "", t->dim[0], t->rank == 2 ? cols : 0, values);
    fl_free_aligned(values);
    return s;
}

/* Whether something of weight i's module trains as a whole. */
static bool trains_whole(const contents *c, int i)
{
    for (int j = 0; j < c->model->weights; j++)
        if (c->overlay->master[j] && same_module(c->model->source[j]->name, c->model->source[i]->name)) return true;
    return false;
}

static fl_status save_module(contents *c, const char *name)
{
    char module[NAME];
    snprintf(module, sizeof module, "%.*s", (int)module_length(name), name);
    for (size_t i = 0; i < json_array_size(c->saved); i++)
        if (!strcmp(json_string_value(json_array_get(c->saved, i)), module)) return FL_OK;
    return json_array_append_new(c->saved, json_string(module)) == 0 ? FL_OK : FL_ERR_MEMORY;
}

static fl_status collect(contents *c)
{
    const fl_model *m = c->model;
    for (int i = 0; i < m->weights; i++) {
        const fl_file_tensor *t = m->source[i];
        if (fl_model_weight_first(m, i) > 0) continue; /* a further part of a fused tensor */
        if (trains_whole(c, i)) {
            FL_TRY(put_whole(c, t, t->name));
            FL_TRY(save_module(c, t->name));
        } else if (c->overlay->adapter && c->overlay->adapter[i].rank) {
            FL_TRY(put_pair(c, i));
        }
        if (m->weight[i] != m->embed || m->head != m->embed || !trains_whole(c, i)) continue;
        /* PEFT would leave the head that shares this matrix as it was. */
        const char *head = !strcmp(m->config.family, "gpt_neox") ? "embed_out.weight" : "lm_head.weight";
        FL_TRY(put_whole(c, t, head));
        FL_TRY(save_module(c, head));
    }
    return FL_OK;
}

static fl_status write_config(const contents *c, const char *path, const char *targets, int64_t rank, double alpha)
{
    json_t *modules = json_array();
    for (const char *p = targets; p && *p;) {
        size_t n = strcspn(p, ",");
        json_array_append_new(modules, json_stringn(p, n));
        p += n + (p[n] == ',');
    }
    bool gpt2 = !strcmp(c->model->config.family, "gpt2");
    json_t *config =
        json_pack("{ss ss ss sI sf sf ss so sO sb sb sb}", "peft_type", "LORA", "task_type", "CAUSAL_LM",
                  "base_model_name_or_path", fl_checkpoint_path(c->model->checkpoint), "r", (json_int_t)rank,
                  "lora_alpha", alpha, "lora_dropout", 0.0, "bias", "none", "target_modules", modules,
                  "modules_to_save", c->saved, "fan_in_fan_out", gpt2, "use_rslora", false, "inference_mode", true);
    fl_status s = config ? fl_json_write(path, config) : fl_fail(FL_ERR_MEMORY, "%s: no memory for the JSON", path);
    json_decref(config);
    return s;
}

fl_status fl_lora_write(const fl_model *m, const fl_overlay *overlay, const char *folder, const char *targets,
                        int64_t rank, double alpha)
{
    contents c = {.model = m, .overlay = overlay, .saved = json_array()};
    /* Two tensors of a pair per weight, and a tied head. */
    c.tensor = fl_calloc((size_t)m->weights * 2 + 1, sizeof *c.tensor);
    char *weights = fl_path_join(folder, "adapter_model.safetensors"),
         *config = fl_path_join(folder, "adapter_config.json");
    static const fl_metadata format = {"format", "pt"};
    fl_status s = c.saved && c.tensor && weights && config ? fl_folder_make(folder) : FL_ERR_MEMORY;
    if (s == FL_OK) s = collect(&c);
    if (s == FL_OK) s = fl_safetensors_write(weights, c.tensor, c.count, &format, 1);
    if (s == FL_OK) s = write_config(&c, config, targets, rank, alpha);
    for (int64_t i = 0; c.tensor && i < c.count; i++) {
        fl_free((void *)(uintptr_t)c.tensor[i].name);
        fl_free_aligned((void *)(uintptr_t)c.tensor[i].data);
    }
    fl_free(c.tensor);
    json_decref(c.saved);
    fl_free(weights);
    fl_free(config);
    return s;
}
