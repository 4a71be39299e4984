#include "file/packed_model.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "file/packed_config.h"

#define KEY "furlong_packed"

/* Six values describe an entry: this admits a hundred thousand of them. */
static const fl_json_limits limits = {.bytes = 64u << 20, .values = 2000000, .depth = 5};

bool fl_is_packed_model(const fl_safetensors *file)
{
    return fl_safetensors_metadata(file, KEY) != NULL;
}

/* ---- descriptions ------------------------------------------------------------------------------------------- */

typedef struct reader {
    fl_packed_model *m;
    const char *name;
    json_t *panels, *rows;
    size_t panels_found, rows_found;
} reader;

static fl_status known_keys(const fl_json_at *at, const char *const *keys)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)at->object, key, value)
    {
        const char *const *k = keys;
        while (*k && strcmp(*k, key))
            k++;
        if (!*k) return fl_json_fail(FL_ERR_UNSUPPORTED, at, key, "is not a key that is known here");
    }
    for (; *keys; keys++)
        FL_TRY(fl_json_need(at, *keys));
    return FL_OK;
}

static fl_status read_type(const fl_json_at *at, fl_dtype *out)
{
    const char *name = NULL;
    FL_TRY(fl_json_string(at, "type", &name));
    for (int t = 0; t < FL_DTYPE_COUNT; t++)
        if (fl_dtype_get((fl_dtype)t)->real && !strcmp(fl_dtype_get((fl_dtype)t)->name, name)) {
            *out = (fl_dtype)t;
            return FL_OK;
        }
    return fl_json_fail(FL_ERR_UNSUPPORTED, at, "type", "is no type of weights");
}

static fl_status read_shape(const fl_json_at *at, fl_panels *out)
{
    if (!json_is_object(at->object)) return fl_fail(FL_ERR_FORMAT, "%s: %s is not an object", at->file, at->prefix);
    FL_TRY(known_keys(at, out->layout ? (const char *const[]){"layout", "type", "rows", "cols", NULL}
                                      : (const char *const[]){"type", "rows", "cols", NULL}));
    if (out->layout) FL_TRY(fl_json_string(at, "layout", &out->layout));
    FL_TRY(read_type(at, &out->type));
    FL_TRY(fl_json_int(at, "rows", 1, FL_MOST_VOCAB, &out->rows, NULL));
    return fl_json_int(at, "cols", 1, FL_MOST_WIDTH, &out->cols, NULL);
}

/* The bytes of a tensor of U8, whatever its shape. */
static fl_status read_bytes(const reader *r, const fl_file_tensor *t, fl_packed_bytes *out)
{
    char shown[FL_SHOWN];
    if (t->type != FL_U8)
        return fl_fail(FL_ERR_FORMAT, "%s: %s.dtype = \"%s\": must be U8", r->name, fl_show_text(shown, t->name),
                       fl_dtype_get(t->type)->name);
    out->data = t->data;
    return fl_file_tensor_bytes(t, &out->size);
}

static fl_status read_panels(reader *r, int64_t i, const fl_json_at *at)
{
    fl_panels *p = &r->m->panels[i];
    fl_packed_bytes bytes;
    fl_panels found = {.layout = ""};
    size_t offset = fl_safetensors_offset(r->m->file, i);
    FL_TRY(read_shape(at, &found));
    FL_TRY(read_bytes(r, fl_safetensors_at(r->m->file, i), &bytes));
    if ((uintptr_t)bytes.data % FL_PANELS_ALIGNMENT)
        return fl_fail(FL_ERR_FORMAT,
                       "%s: offset %zu: %sdata: panels begin at multiples of %d; another program may have written the "
                       "file anew: pack the model again",
                       r->name, offset, at->prefix, FL_PANELS_ALIGNMENT);
    found.data = bytes.data;
    found.bytes = bytes.size;
    *p = found;
    r->panels_found++;
    return FL_OK;
}

static fl_status read_rows(reader *r, int64_t i, const fl_json_at *at)
{
    const fl_file_tensor *t = fl_safetensors_at(r->m->file, i);
    fl_panels shape = {.layout = NULL};
    fl_packed_bytes bytes;
    size_t wanted;
    FL_TRY(read_shape(at, &shape));
    FL_TRY(read_bytes(r, t, &bytes));
    fl_file_tensor table = {t->name, shape.type, 2, {shape.rows, shape.cols}, bytes.data};
    if (shape.cols % fl_dtype_get(shape.type)->block || fl_file_tensor_bytes(&table, &wanted) != FL_OK ||
        wanted != bytes.size || fl_dtype_get(shape.type)->block == 1)
        return fl_fail(FL_ERR_FORMAT, "%s: offset %zu: %sdata: %zu bytes are not [%lld, %lld] of blocks of %s", r->name,
                       fl_safetensors_offset(r->m->file, i), at->prefix, bytes.size, (long long)shape.rows,
                       (long long)shape.cols, fl_dtype_get(shape.type)->name);
    r->m->tensor[r->m->count++] = table;
    r->rows_found++;
    return FL_OK;
}

/* ---- tensors ------------------------------------------------------------------------------------------------ */

static fl_status read_tensor(reader *r, int64_t i)
{
    fl_packed_model *m = r->m;
    const fl_file_tensor *t = fl_safetensors_at(m->file, i);
    const json_t *panels = json_object_get(r->panels, t->name), *rows = json_object_get(r->rows, t->name);
    char shown[FL_SHOWN], prefix[FL_SHOWN + 32];
    snprintf(prefix, sizeof prefix, KEY ".%s.%s.", panels ? "panels" : "rows", fl_show_text(shown, t->name));
    fl_json_at at = {panels ? panels : rows, r->name, prefix};
    if (panels) return read_panels(r, i, &at);
    if (rows) return read_rows(r, i, &at);
    if (!strcmp(t->name, "tokenizer")) return read_bytes(r, t, &m->tokenizer);
    if (!strcmp(t->name, "tokenizer_config.json")) return read_bytes(r, t, &m->tokenizer_config);
    if (!strcmp(t->name, "chat_template")) return read_bytes(r, t, &m->chat_template);
    if (!fl_dtype_get(t->type)->real)
        return fl_fail(FL_ERR_FORMAT, "%s: offset %zu: tensor %s: " KEY " does not say what its bytes are", r->name,
                       fl_safetensors_offset(m->file, i), shown);
    m->tensor[m->count++] = *t;
    return FL_OK;
}

/* What is described must be there. */
static fl_status check_found(const reader *r, const json_t *described, size_t found, const char *kind)
{
    const char *key;
    json_t *value;
    char shown[FL_SHOWN];
    if (json_object_size(described) == found) return FL_OK;
    json_object_foreach((json_t *)(uintptr_t)described, key, value)
    {
        const fl_file_tensor *t = fl_safetensors_find(r->m->file, key);
        if (!t || (described == r->rows && json_object_get(r->panels, key)))
            return fl_fail(FL_ERR_FORMAT, "%s: " KEY ".%s.%s: the file has no tensor of this name for it", r->name,
                           kind, fl_show_text(shown, key));
    }
    return FL_OK;
}

/* ---- the whole ---------------------------------------------------------------------------------------------- */

static fl_status read_weights_sum(const fl_json_at *at, uint64_t *out)
{
    const char *digits = NULL;
    FL_TRY(fl_json_string(at, "weights", &digits));
    if (strlen(digits) != 16 || strspn(digits, "0123456789abcdef") != 16)
        return fl_json_fail(FL_ERR_FORMAT, at, "weights", "is not a number of 16 hexadecimal digits");
    *out = strtoull(digits, NULL, 16);
    return FL_OK;
}

static fl_status need_object(const fl_json_at *at, const char *key, json_t **out)
{
    *out = json_object_get(at->object, key);
    return json_is_object(*out) ? FL_OK : fl_json_fail(FL_ERR_FORMAT, at, key, "is not an object");
}

static fl_status read(fl_packed_model *m, const char *name)
{
    static const char *const keys[] = {"version", "weights", "config", "panels", "rows", NULL};
    const char *text = fl_safetensors_metadata(m->file, KEY);
    reader r = {.m = m, .name = name};
    int64_t version = 0;
    json_t *config;
    fl_status status = fl_json_parse(&m->json, KEY, text, strlen(text), limits);
    if (status != FL_OK) return fl_fail_within(status, "%s", name);
    fl_json_at at = {m->json, name, KEY "."};
    FL_TRY(fl_json_need(&at, "version"));
    FL_TRY(fl_json_int(&at, "version", INT64_MIN, INT64_MAX, &version, NULL));
    if (version != FL_PACKED_VERSION)
        return fl_json_fail(FL_ERR_UNSUPPORTED, &at, "version",
                            "written by another version of furlong; pack the model again with this one");
    FL_TRY(known_keys(&at, keys));
    FL_TRY(read_weights_sum(&at, &m->weights));
    FL_TRY(need_object(&at, "config", &config));
    FL_TRY(need_object(&at, "panels", &r.panels));
    FL_TRY(need_object(&at, "rows", &r.rows));
    FL_TRY(fl_packed_config_read(&m->config, &(fl_json_at){config, name, KEY ".config."}));

    m->places = fl_safetensors_count(m->file);
    m->tensor = fl_calloc((size_t)m->places, sizeof *m->tensor);
    m->panels = fl_calloc((size_t)m->places, sizeof *m->panels);
    if (!m->tensor || !m->panels) return FL_ERR_MEMORY;
    for (int64_t i = 0; i < m->places; i++)
        FL_TRY(read_tensor(&r, i));
    FL_TRY(check_found(&r, r.panels, r.panels_found, "panels"));
    return check_found(&r, r.rows, r.rows_found, "rows");
}

fl_status fl_packed_model_open(fl_packed_model *out, fl_safetensors *file, const char *name)
{
    fl_packed_model m = {.file = file};
    fl_status status = read(&m, name);
    if (status == FL_OK)
        *out = m;
    else
        fl_packed_model_close(&m);
    return status;
}

void fl_packed_model_close(fl_packed_model *m)
{
    fl_free(m->tensor);
    fl_free(m->panels);
    json_decref(m->json);
    fl_safetensors_close(m->file);
    *m = (fl_packed_model){0};
}

void fl_packed_name(char entry[FL_PACKED_NAME], const char *tensor, int64_t first, int64_t rows)
{
    snprintf(entry, FL_PACKED_NAME, "%.256s[%lld:%lld]", tensor, (long long)first, (long long)(first + rows));
}

int64_t fl_packed_model_find(const fl_packed_model *m, const char *entry)
{
    const fl_file_tensor *t = fl_safetensors_find(m->file, entry);
    int64_t i = t ? t - fl_safetensors_at(m->file, 0) : -1;
    return i >= 0 && m->panels[i].layout ? i : -1;
}

const char *fl_packed_model_entry(const fl_packed_model *m, int64_t i, size_t *offset)
{
    *offset = fl_safetensors_offset(m->file, i);
    return fl_safetensors_at(m->file, i)->name;
}
