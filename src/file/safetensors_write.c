#include <string.h>

#include "base/size.h"
#include "file/json.h"
#include "file/safetensors.h"

static json_t *list_of(const int64_t *value, int count)
{
    json_t *list = json_array();
    for (int i = 0; list && i < count; i++)
        if (json_array_append_new(list, json_integer(value[i]))) {
            json_decref(list);
            list = NULL;
        }
    return list;
}

static fl_status add_tensor(json_t *header, const fl_file_tensor *t, size_t *place)
{
    const fl_dtype_info *info = fl_dtype_get(t->type);
    if (!info || info->block != 1)
        return fl_fail(FL_ERR_UNSUPPORTED, "tensor %.200s: dtype = %s: safetensors files do not hold this type",
                       t->name, info ? info->name : "?");
    size_t bytes, end;
    FL_TRY(fl_file_tensor_bytes(t, &bytes));
    if (!fl_size_add(*place, bytes, &end) || end > INT64_MAX)
        return fl_fail(FL_ERR_ARGUMENT, "tensor %.200s: the file would be larger than any file can be", t->name);
    if (!strcmp(t->name, "__metadata__") || json_object_get(header, t->name))
        return fl_fail(FL_ERR_ARGUMENT, "tensor %.200s: this name is taken already", t->name);

    json_t *entry = json_object();
    const int64_t offsets[2] = {(int64_t)*place, (int64_t)end};
    int failed = json_object_set_new(entry, "dtype", json_string(info->name));
    failed |= json_object_set_new(entry, "shape", list_of(t->dim, t->rank));
    failed |= json_object_set_new(entry, "data_offsets", list_of(offsets, 2));
    if (failed) {
        json_decref(entry);
        return fl_fail(FL_ERR_MEMORY, "tensor %.200s: no memory for its header entry", t->name);
    }
    if (json_object_set_new(header, t->name, entry))
        return fl_fail(FL_ERR_ARGUMENT, "tensor %.200s: its name cannot become JSON: not valid UTF-8, or no memory",
                       t->name);
    *place = end;
    return FL_OK;
}

static fl_status fill_header(json_t *header, const fl_file_tensor *tensor, int64_t count, const fl_metadata *metadata,
                             int64_t metadata_count)
{
    if (metadata_count > 0) {
        json_t *strings = json_object();
        if (json_object_set_new(header, "__metadata__", strings))
            return fl_fail(FL_ERR_MEMORY, "safetensors: no memory for the header");
        for (int64_t i = 0; i < metadata_count; i++)
            if (json_object_set_new(strings, metadata[i].key, json_string(metadata[i].value)))
                return fl_fail(FL_ERR_ARGUMENT, "metadata %.100s: cannot become JSON: not valid UTF-8, or no memory",
                               metadata[i].key);
    }
    size_t place = 0;
    for (int64_t i = 0; i < count; i++)
        FL_TRY(add_tensor(header, &tensor[i], &place));
    return FL_OK;
}

fl_status fl_safetensors_write_header(fl_writer *w, const fl_file_tensor *tensor, int64_t count,
                                      const fl_metadata *metadata, int64_t metadata_count)
{
    json_t *header = json_object();
    if (!header) return w->status = fl_fail(FL_ERR_MEMORY, "safetensors: no memory for the header");
    fl_status status = fill_header(header, tensor, count, metadata, metadata_count);
    char *text = status == FL_OK ? json_dumps(header, JSON_COMPACT) : NULL;
    json_decref(header);
    if (status != FL_OK) return w->status = status;
    if (!text) return w->status = fl_fail(FL_ERR_MEMORY, "safetensors: no memory for the header");

    /* The data begin at a multiple of 64, as packed models need it and as maps are read fastest. */
    static const char spaces[] = "                                                               ";
    size_t length = strlen(text), padding = (64 - (8 + length) % 64) % 64;
    uint8_t prefix[8];
    for (int i = 0; i < 8; i++)
        prefix[i] = (uint8_t)((uint64_t)(length + padding) >> (8 * i));
    fl_writer_write(w, prefix, sizeof prefix);
    fl_writer_write(w, text, length);
    fl_writer_write(w, spaces, padding);
    fl_json_free_text(text);
    return w->status;
}

fl_status fl_safetensors_write(const char *path, const fl_file_tensor *tensor, int64_t count,
                               const fl_metadata *metadata, int64_t metadata_count)
{
    fl_writer w;
    FL_TRY(fl_writer_open(&w, path));
    fl_status status = fl_safetensors_write_header(&w, tensor, count, metadata, metadata_count);
    for (int64_t i = 0; status == FL_OK && i < count; i++) {
        size_t bytes;
        status = fl_file_tensor_bytes(&tensor[i], &bytes);
        if (status == FL_OK) fl_writer_write(&w, tensor[i].data, bytes);
    }
    if (status == FL_OK) return fl_writer_finish(&w);
    fl_writer_abandon(&w);
    return fl_fail_within(status, "%s", path);
}
