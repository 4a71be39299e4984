#include "file/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/map.h"
#include "base/size.h"
#include "file/json.h"

/* As the reference implementation: a header is at most 100 MB. Twelve JSON values describe a tensor of four
 * dimensions, so this admits more than 300,000 tensors in one file. */
#define HEADER_LIMIT 100000000
static const fl_json_limits header_limits = {.bytes = HEADER_LIMIT, .values = 4000000, .depth = 3};

struct fl_safetensors {
    const char *file; /* for messages */
    fl_map map;       /* empty when the bytes are the caller's */
    json_t *header;   /* keeps names and metadata */
    fl_file_tensor *tensor;
    int64_t count;
    int64_t *index;
    size_t *offset;
    void **copy; /* aligned copies of misaligned tensors */
    int64_t copies;
};

/* A header entry with its place in the data, before the order is known. */
typedef struct entry {
    fl_file_tensor tensor;
    size_t begin, end;
} entry;

/* ---- one entry ---------------------------------------------------------------------------------------------- */

static fl_status read_dtype(const fl_json_at *at, fl_dtype *out)
{
    static const fl_dtype known[] = {FL_F32, FL_F16, FL_BF16, FL_F64, FL_I32, FL_I64, FL_U8, FL_BOOL};
    static const char *const foreign[] = {"I8",      "I16",     "U16",         "U32",        "U64",
                                          "F4",      "F6_E2M3", "F6_E3M2",     "F8_E5M2",    "F8_E4M3",
                                          "F8_E8M0", "C64",     "F8_E4M3FNUZ", "F8_E5M2FNUZ"};
    const char *name = NULL;
    FL_TRY(fl_json_need(at, "dtype"));
    FL_TRY(fl_json_string(at, "dtype", &name));
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(name, fl_dtype_get(known[i])->name)) {
            *out = known[i];
            return FL_OK;
        }
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (!strcmp(name, foreign[i]))
            return fl_json_fail(FL_ERR_UNSUPPORTED, at, "dtype",
                                "this storage type is not read; convert the model to F32, F16 or BF16");
    return fl_json_fail(FL_ERR_FORMAT, at, "dtype", "no such storage type");
}

static fl_status read_shape(const fl_json_at *at, fl_file_tensor *t)
{
    FL_TRY(fl_json_need(at, "shape"));
    const json_t *shape = json_object_get(at->object, "shape");
    if (!json_is_array(shape)) return fl_json_fail(FL_ERR_FORMAT, at, "shape", "is not a list");
    size_t rank = json_array_size(shape);
    if (rank > FL_MAX_RANK)
        return fl_json_fail(FL_ERR_UNSUPPORTED, at, "shape", "more dimensions than the four that are read");
    t->rank = (int)rank;
    for (size_t i = 0; i < rank; i++) {
        const json_t *dim = json_array_get(shape, i);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return fl_json_fail(FL_ERR_FORMAT, at, "shape", "a dimension is not a whole number of at least 0");
        t->dim[i] = json_integer_value(dim);
    }
    return FL_OK;
}

static fl_status read_offsets(const fl_json_at *at, size_t data_bytes, entry *e)
{
    FL_TRY(fl_json_need(at, "data_offsets"));
    const json_t *offsets = json_object_get(at->object, "data_offsets");
    if (!json_is_array(offsets) || json_array_size(offsets) != 2)
        return fl_json_fail(FL_ERR_FORMAT, at, "data_offsets", "is not a list of two numbers");
    size_t offset[2];
    for (size_t i = 0; i < 2; i++) {
        const json_t *value = json_array_get(offsets, i);
        if (!json_is_integer(value) || json_integer_value(value) < 0)
            return fl_json_fail(FL_ERR_FORMAT, at, "data_offsets", "is not a pair of whole numbers of at least 0");
        /* Compared in 64 bits: size_t may be narrower. */
        if ((uint64_t)json_integer_value(value) > data_bytes) {
            char why[128];
            snprintf(why, sizeof why, "outside the file, which holds %zu bytes of data; is it cut short?", data_bytes);
            return fl_json_fail(FL_ERR_FORMAT, at, "data_offsets", why);
        }
        offset[i] = (size_t)json_integer_value(value);
    }
    if (offset[0] > offset[1]) return fl_json_fail(FL_ERR_FORMAT, at, "data_offsets", "ends before it begins");
    e->begin = offset[0];
    e->end = offset[1];

    size_t bytes;
    fl_status status = fl_file_tensor_bytes(&e->tensor, &bytes);
    if (status != FL_OK) return fl_fail_within(status, "%s", at->file);
    if (bytes != e->end - e->begin) {
        char why[128];
        snprintf(why, sizeof why, "%zu bytes, but dtype and shape ask for %zu", e->end - e->begin, bytes);
        return fl_json_fail(FL_ERR_FORMAT, at, "data_offsets", why);
    }
    return FL_OK;
}

static fl_status read_entry(const fl_safetensors *s, const char *name, const json_t *value, size_t data_bytes, entry *e)
{
    char shown[FL_SHOWN], prefix[FL_SHOWN + 1];
    snprintf(prefix, sizeof prefix, "%s.", fl_show_text(shown, name));
    fl_json_at at = {value, s->file, prefix};
    if (!json_is_object(value))
        return fl_fail(FL_ERR_FORMAT, "%s: %s: is not an object {dtype, shape, data_offsets}", s->file, shown);
    const char *key;
    json_t *ignored;
    json_object_foreach((json_t *)(uintptr_t)value, key, ignored)
    {
        if (strcmp(key, "dtype") && strcmp(key, "shape") && strcmp(key, "data_offsets"))
            return fl_json_fail(FL_ERR_FORMAT, &at, key, "is not a key of a tensor (dtype, shape, data_offsets)");
    }
    e->tensor.name = name;
    FL_TRY(read_dtype(&at, &e->tensor.type));
    FL_TRY(read_shape(&at, &e->tensor));
    return read_offsets(&at, data_bytes, e);
}

static fl_status check_metadata(const fl_safetensors *s, const json_t *metadata)
{
    if (!json_is_object(metadata))
        return fl_fail(FL_ERR_FORMAT, "%s: __metadata__: is not an object of strings", s->file);
    fl_json_at at = {metadata, s->file, "__metadata__."};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)metadata, key, value)
    {
        if (!json_is_string(value)) return fl_json_fail(FL_ERR_FORMAT, &at, key, "is not a string");
    }
    return FL_OK;
}

/* ---- all of them -------------------------------------------------------------------------------------------- */

static int compare_places(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1;
    return strcmp(x->tensor.name, y->tensor.name); /* empty tensors may share a place: keep one order */
}

static fl_status check_places(const fl_safetensors *s, const entry *e, int64_t count, size_t data_bytes)
{
    size_t reached = 0;
    char name[FL_SHOWN], before[FL_SHOWN];
    for (int64_t i = 0; i < count; i++) {
        fl_show_text(name, e[i].tensor.name);
        if (e[i].begin < reached)
            return fl_fail(FL_ERR_FORMAT, "%s: %s.data_offsets = [%zu,%zu]: overlaps %s, which ends at %zu", s->file,
                           name, e[i].begin, e[i].end, fl_show_text(before, e[i - 1].tensor.name), reached);
        if (e[i].begin > reached)
            return fl_fail(FL_ERR_FORMAT, "%s: %s.data_offsets = [%zu,%zu]: leaves a hole of %zu bytes before it",
                           s->file, name, e[i].begin, e[i].end, e[i].begin - reached);
        reached = e[i].end;
    }
    if (reached != data_bytes)
        return fl_fail(FL_ERR_FORMAT, "%s: offset %zu of the data: %zu bytes after the last tensor", s->file, reached,
                       data_bytes - reached);
    return FL_OK;
}

/* Kernels read values at their own alignment; a file that breaks it costs a copy. */
static fl_status align_tensor(fl_safetensors *s, fl_file_tensor *t, size_t bytes)
{
    if ((uintptr_t)t->data % fl_dtype_get(t->type)->block_bytes == 0) return FL_OK;
    void *copy = fl_alloc_aligned(bytes);
    if (!copy) return fl_fail_within(FL_ERR_MEMORY, "%s: %.100s", s->file, t->name);
    if (bytes) memcpy(copy, t->data, bytes);
    s->copy[s->copies++] = copy;
    t->data = copy;
    return FL_OK;
}

static fl_status read_header(fl_safetensors *s, const uint8_t *bytes, size_t header_bytes, size_t data_bytes, entry *e)
{
    int64_t count = 0;
    const char *name;
    json_t *value;
    json_object_foreach(s->header, name, value)
    {
        if (!strcmp(name, "__metadata__"))
            FL_TRY(check_metadata(s, value));
        else
            FL_TRY(read_entry(s, name, value, data_bytes, &e[count++]));
    }
    qsort(e, (size_t)count, sizeof *e, compare_places);
    FL_TRY(check_places(s, e, count, data_bytes));

    s->tensor = fl_calloc((size_t)count, sizeof *s->tensor);
    s->offset = fl_calloc((size_t)count, sizeof *s->offset);
    s->copy = fl_calloc((size_t)count, sizeof *s->copy);
    if (!s->tensor || !s->offset || !s->copy) return FL_ERR_MEMORY;
    for (int64_t i = 0; i < count; i++) {
        s->offset[i] = header_bytes + e[i].begin;
        s->tensor[i] = e[i].tensor;
        s->tensor[i].data = bytes + s->offset[i];
        FL_TRY(align_tensor(s, &s->tensor[i], e[i].end - e[i].begin));
    }
    s->count = count;
    s->index = fl_file_tensor_index(s->tensor, count);
    return s->index ? FL_OK : FL_ERR_MEMORY;
}

static fl_status parse(fl_safetensors *s, const uint8_t *bytes, size_t size)
{
    if (size < 8)
        return fl_fail(FL_ERR_FORMAT, "%s: offset 0: %zu bytes hold no header length; is the file cut short?", s->file,
                       size);
    uint64_t length = 0;
    for (int i = 7; i >= 0; i--)
        length = length << 8 | bytes[i];
    if (length > HEADER_LIMIT)
        return fl_fail(FL_ERR_FORMAT,
                       "%s: offset 0: header length = %llu: at most %d is read; is this a safetensors file?", s->file,
                       (unsigned long long)length, HEADER_LIMIT);
    if (length > size - 8)
        return fl_fail(FL_ERR_FORMAT, "%s: offset 0: header length = %llu: the file holds only %zu bytes after it",
                       s->file, (unsigned long long)length, size - 8);
    const char *text = (const char *)bytes + 8;
    if (length == 0 || text[0] != '{')
        return fl_fail(FL_ERR_FORMAT, "%s: offset 8: the header does not begin with '{'; is this a safetensors file?",
                       s->file);
    FL_TRY(fl_json_parse(&s->header, s->file, text, (size_t)length, header_limits));

    entry *e = fl_calloc(json_object_size(s->header), sizeof *e);
    if (!e) return FL_ERR_MEMORY;
    fl_status status = read_header(s, bytes, 8 + (size_t)length, size - 8 - (size_t)length, e);
    fl_free(e);
    return status;
}

fl_status fl_safetensors_parse(fl_safetensors **out, const char *name, const void *bytes, size_t size)
{
    fl_safetensors *s = fl_calloc(1, sizeof *s);
    if (!s) return FL_ERR_MEMORY;
    s->file = name;
    fl_status status = parse(s, bytes, size);
    s->file = NULL;
    if (status == FL_OK)
        *out = s;
    else
        fl_safetensors_close(s);
    return status;
}

fl_status fl_safetensors_open(fl_safetensors **out, const char *path)
{
    fl_map map = {0};
    FL_TRY(fl_map_open(&map, path));
    fl_safetensors *s = NULL;
    fl_status status = fl_safetensors_parse(&s, path, map.data, map.size);
    if (status != FL_OK) {
        fl_map_close(&map);
        return status;
    }
    s->map = map;
    *out = s;
    return FL_OK;
}

void fl_safetensors_release(const fl_safetensors *s)
{
    fl_map_release(&s->map);
}

void fl_safetensors_close(fl_safetensors *s)
{
    if (!s) return;
    for (int64_t i = 0; i < s->copies; i++)
        fl_free_aligned(s->copy[i]);
    fl_free(s->copy);
    fl_free(s->offset);
    fl_free(s->index);
    fl_free(s->tensor);
    json_decref(s->header);
    fl_map_close(&s->map);
    fl_free(s);
}

int64_t fl_safetensors_count(const fl_safetensors *s)
{
    return s->count;
}

size_t fl_safetensors_offset(const fl_safetensors *s, int64_t i)
{
    return s->offset[i];
}

const fl_file_tensor *fl_safetensors_at(const fl_safetensors *s, int64_t i)
{
    return i >= 0 && i < s->count ? &s->tensor[i] : NULL;
}

const fl_file_tensor *fl_safetensors_find(const fl_safetensors *s, const char *name)
{
    int64_t i = fl_file_tensor_find(s->tensor, s->index, s->count, name);
    return i >= 0 ? &s->tensor[i] : NULL;
}

const char *fl_safetensors_metadata(const fl_safetensors *s, const char *key)
{
    return json_string_value(json_object_get(json_object_get(s->header, "__metadata__"), key));
}
