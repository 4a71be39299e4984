#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "file/packed_config.h"
#include "file/packed_model.h"

/* The file in the making: its tensors, with the bytes of each, and what its metadata say of them. */
typedef struct writing {
    fl_file_tensor *tensor;
    int64_t count;
    json_t *panels, *rows;
    bool failed; /* memory is out */
} writing;

static void put_bytes(writing *w, const char *name, const void *data, size_t bytes)
{
    w->tensor[w->count++] = (fl_file_tensor){name, FL_U8, 1, {(int64_t)bytes}, data};
}

static json_t *shape(fl_dtype type, int64_t rows, int64_t cols)
{
    return json_pack("{s:s, s:I, s:I}", "type", fl_dtype_get(type)->name, "rows", (json_int_t)rows, "cols",
                     (json_int_t)cols);
}

static void put_panels(writing *w, const fl_packed_entry *e)
{
    json_t *entry = shape(e->panels.type, e->panels.rows, e->panels.cols);
    if (json_object_set_new(entry, "layout", json_string(e->panels.layout)) ||
        json_object_set(w->panels, e->name, entry))
        w->failed = true;
    json_decref(entry);
    put_bytes(w, e->name, e->panels.data, e->panels.bytes);
}

static fl_status put_tensor(writing *w, const fl_file_tensor *t)
{
    size_t bytes;
    FL_TRY(fl_file_tensor_bytes(t, &bytes));
    if (fl_dtype_get(t->type)->block == 1) {
        w->tensor[w->count++] = *t;
        return FL_OK;
    }
    if (json_object_set_new(w->rows, t->name, shape(t->type, t->dim[0], t->dim[1]))) w->failed = true;
    put_bytes(w, t->name, t->data, bytes);
    return FL_OK;
}

/* By falling alignment: whole tensors follow each other without gaps, and none is off its own. */
static fl_status put_all(writing *w, const fl_packed_parts *parts)
{
    static const size_t alignment[] = {8, 4, 2, 0};
    for (int64_t i = 0; i < parts->panels_count; i++)
        put_panels(w, &parts->panels[i]);
    for (size_t a = 0; a < sizeof alignment / sizeof *alignment; a++)
        for (int64_t i = 0; i < parts->count; i++) {
            const fl_dtype_info *info = fl_dtype_get(parts->tensor[i].type);
            if ((info->block == 1 ? info->block_bytes : 0) == alignment[a]) FL_TRY(put_tensor(w, &parts->tensor[i]));
        }
    if (parts->tokenizer.data) put_bytes(w, "tokenizer", parts->tokenizer.data, parts->tokenizer.size);
    if (parts->tokenizer_config.data)
        put_bytes(w, "tokenizer_config.json", parts->tokenizer_config.data, parts->tokenizer_config.size);
    if (parts->chat_template.data) put_bytes(w, "chat_template", parts->chat_template.data, parts->chat_template.size);
    return FL_OK;
}

static fl_status describe(char **out, const writing *w, const fl_packed_parts *parts)
{
    char sum[17];
    json_t *config = NULL;
    snprintf(sum, sizeof sum, "%016" PRIx64, parts->weights);
    FL_TRY(fl_packed_config_write(&config, parts->config));
    json_t *root = json_pack("{s:i, s:s, s:o, s:O, s:O}", "version", FL_PACKED_VERSION, "weights", sum, "config",
                             config, "panels", w->panels, "rows", w->rows);
    *out = root && !w->failed ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    return *out ? FL_OK : fl_fail(FL_ERR_MEMORY, "no memory for the description of its tensors");
}

fl_status fl_packed_model_write(const char *path, const fl_packed_parts *parts)
{
    writing w = {.panels = json_object(), .rows = json_object()};
    char *text = NULL;
    w.tensor = fl_calloc((size_t)(parts->panels_count + parts->count) + 3, sizeof *w.tensor);
    fl_status status = w.tensor ? put_all(&w, parts) : FL_ERR_MEMORY;
    if (status == FL_OK) status = describe(&text, &w, parts);
    if (status == FL_OK) {
        const fl_metadata metadata[] = {{"format", "furlong"}, {"furlong_packed", text}};
        status = fl_safetensors_write(path, w.tensor, w.count, metadata, 2);
    } else {
        status = fl_fail_within(status, "%s", path);
    }
    fl_json_free_text(text);
    fl_free(w.tensor);
    json_decref(w.panels);
    json_decref(w.rows);
    return status;
}
