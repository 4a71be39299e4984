/* The container: header, key-values and tensor descriptions, each checked against the file before it is used. */
#include "file/gguf.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/map.h"
#include "base/size.h"
#include "file/gguf_bytes.h"
#include "file/json.h"
#include "tensor/ggml_type.h"

#define KEY_LIMIT 65535
#define ALIGNMENT_LIMIT (1 << 20)
#define LEAST_PAIR 14   /* bytes of the shortest key-value: a length, one letter, a type, one byte */
#define LEAST_TENSOR 33 /* of the shortest description: a length, one letter, one dimension, type, offset */

struct fl_gguf {
    char *file; /* for messages */
    fl_map map; /* empty when the bytes are the caller's */
    fl_gguf_value *value;
    int64_t values, *value_order; /* sorted by key */
    fl_file_tensor *tensor;
    int64_t tensors, *tensor_order;
    size_t **strings; /* the places of string arrays, one block for each key-value that has some */
};

/* Read position in the file. */
typedef struct reader {
    const char *file;
    const uint8_t *bytes;
    size_t size, place;
} reader;

static const size_t type_bytes[FL_GGUF_TYPE_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 0, 8, 8, 8}; /* a string: its length */

/* ---- fields ------------------------------------------------------------------------------------------------- */

static fl_status cut_short(const reader *r, const char *what)
{
    return fl_fail(FL_ERR_FORMAT, "%s: offset %zu: the file ends inside %s; is it cut short?", r->file, r->place, what);
}

static fl_status read_u32(reader *r, const char *what, uint32_t *out)
{
    if (r->size - r->place < 4) return cut_short(r, what);
    *out = (uint32_t)fl_le(r->bytes + r->place, 4);
    r->place += 4;
    return FL_OK;
}

static fl_status read_u64(reader *r, const char *what, uint64_t *out)
{
    if (r->size - r->place < 8) return cut_short(r, what);
    *out = fl_le(r->bytes + r->place, 8);
    r->place += 8;
    return FL_OK;
}

/* A key or a tensor's name, as a zero-terminated copy for fl_free. */
static fl_status read_name(reader *r, const char *what, uint64_t limit, const char **out)
{
    uint64_t length;
    size_t at = r->place;
    FL_TRY(read_u64(r, what, &length));
    if (length == 0 || length > limit)
        return fl_fail(FL_ERR_FORMAT, "%s: offset %zu: length of %s = %llu: must be between 1 and %llu bytes", r->file,
                       at, what, (unsigned long long)length, (unsigned long long)limit);
    if (length > r->size - r->place) return cut_short(r, what);
    if (memchr(r->bytes + r->place, 0, (size_t)length))
        return fl_fail(FL_ERR_FORMAT, "%s: offset %zu: %s holds a zero byte", r->file, r->place, what);
    *out = fl_strndup((const char *)r->bytes + r->place, (size_t)length);
    r->place += (size_t)length;
    return *out ? FL_OK : FL_ERR_MEMORY;
}

/* ---- key-values --------------------------------------------------------------------------------------------- */

static fl_status bad_value(const reader *r, const fl_gguf_value *v, size_t at, fl_status code, const char *why)
{
    char shown[FL_SHOWN];
    return fl_fail(code, "%s: %s (offset %zu): %s", r->file, fl_show_text(shown, v->key), at, why);
}

static fl_status read_strings(reader *r, fl_gguf_value *v, size_t **places)
{
    if (v->count > (r->size - r->place) / 8)
        return bad_value(r, v, r->place, FL_ERR_FORMAT, "more strings than the file has room for; is it cut short?");
    size_t *place = *places = fl_calloc((size_t)v->count, sizeof *place);
    if (!place) return FL_ERR_MEMORY;
    size_t begin = r->place;
    for (size_t i = 0; i < v->count; i++) {
        place[i] = r->place - begin;
        uint64_t length;
        if (r->size - r->place < 8)
            return bad_value(r, v, r->place, FL_ERR_FORMAT, "the file ends inside its strings; is it cut short?");
        FL_TRY(read_u64(r, "a string", &length));
        if (length > r->size - r->place)
            return bad_value(r, v, r->place - 8, FL_ERR_FORMAT,
                             "a string is longer than the rest of the file; is it cut short?");
        r->place += (size_t)length;
    }
    v->string = place;
    return FL_OK;
}

static fl_status read_value(reader *r, fl_gguf_value *v, size_t **places)
{
    uint32_t type;
    FL_TRY(read_name(r, "a key", KEY_LIMIT, &v->key));
    size_t at = r->place;
    FL_TRY(read_u32(r, "a key's type", &type));
    v->count = 1;
    if (type == FL_GGUF_ARRAY) {
        v->array = true;
        at = r->place;
        FL_TRY(read_u32(r, "an array's type", &type));
        if (type == FL_GGUF_ARRAY)
            return bad_value(r, v, at, FL_ERR_UNSUPPORTED, "arrays of arrays are not read; write it flat");
        FL_TRY(read_u64(r, "an array's length", &v->count));
    }
    if (type >= FL_GGUF_TYPE_COUNT) return bad_value(r, v, at, FL_ERR_FORMAT, "its type is none of GGUF's 0 to 12");
    v->type = (fl_gguf_type)type;
    v->data = r->bytes + r->place;
    if (v->type == FL_GGUF_STRING) {
        FL_TRY(read_strings(r, v, places));
    } else {
        if (v->count > (r->size - r->place) / type_bytes[type])
            return bad_value(r, v, r->place, FL_ERR_FORMAT,
                             v->array ? "more elements than the file has room for; is it cut short?"
                                      : "the file ends inside its value; is it cut short?");
        r->place += (size_t)v->count * type_bytes[type];
    }
    v->end = r->bytes + r->place;
    for (const uint8_t *b = v->data; type == FL_GGUF_BOOL && b < v->end; b++)
        if (*b > 1) return bad_value(r, v, (size_t)(b - r->bytes), FL_ERR_FORMAT, "a bool is neither 0 nor 1");
    return FL_OK;
}

/* ---- sorted orders ------------------------------------------------------------------------------------------ */

typedef struct named {
    const char *name;
    int64_t place;
} named;

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const named *)a)->name, ((const named *)b)->name);
}

static fl_status sort_keys(fl_gguf *g)
{
    named *n = fl_calloc((size_t)g->values, sizeof *n);
    g->value_order = fl_calloc((size_t)g->values, sizeof *g->value_order);
    if (!n || !g->value_order) {
        fl_free(n);
        return FL_ERR_MEMORY;
    }
    for (int64_t i = 0; i < g->values; i++)
        n[i] = (named){g->value[i].key, i};
    qsort(n, (size_t)g->values, sizeof *n, compare_names);
    const char *twice = NULL;
    for (int64_t i = 0; i < g->values; i++) {
        g->value_order[i] = n[i].place;
        if (i && !strcmp(n[i - 1].name, n[i].name)) twice = n[i].name;
    }
    fl_free(n);
    return twice ? fl_gguf_fail(FL_ERR_FORMAT, g, twice, "the key is there more than once") : FL_OK;
}

static fl_status sort_tensors(fl_gguf *g)
{
    g->tensor_order = fl_file_tensor_index(g->tensor, g->tensors);
    if (!g->tensor_order) return FL_ERR_MEMORY;
    for (int64_t i = 1; i < g->tensors; i++) {
        const char *name = g->tensor[g->tensor_order[i]].name;
        if (!strcmp(g->tensor[g->tensor_order[i - 1]].name, name))
            return fl_gguf_fail(FL_ERR_FORMAT, g, name, "the tensor is there more than once");
    }
    return FL_OK;
}

/* ---- tensors ------------------------------------------------------------------------------------------------ */

/* A tensor's range, relative to the data, before the order is known. */
typedef struct range {
    uint64_t begin, end;
    int64_t tensor;
} range;

static fl_status read_tensor(reader *r, fl_file_tensor *t, range *place)
{
    char shown[FL_SHOWN];
    FL_TRY(read_name(r, "a tensor's name", FL_GGUF_NAME_LIMIT, &t->name));
    fl_show_text(shown, t->name);
    uint32_t rank, type;
    size_t at = r->place, bytes;
    FL_TRY(read_u32(r, "a tensor's description", &rank));
    if (rank < 1 || rank > FL_MAX_RANK)
        return fl_fail(FL_ERR_FORMAT, "%s: %s (offset %zu): %lu dimensions; GGUF has 1 to 4", r->file, shown, at,
                       (unsigned long)rank);
    t->rank = (int)rank;
    for (int i = t->rank - 1; i >= 0; i--) { /* the file has the fastest first */
        uint64_t dim;
        at = r->place;
        FL_TRY(read_u64(r, "a tensor's dimensions", &dim));
        if (dim < 1 || dim > INT64_MAX)
            return fl_fail(FL_ERR_FORMAT, "%s: %s (offset %zu): a dimension of %llu is not possible", r->file, shown,
                           at, (unsigned long long)dim);
        t->dim[i] = (int64_t)dim;
    }
    at = r->place;
    FL_TRY(read_u32(r, "a tensor's type", &type));
    fl_status status = fl_dtype_from_ggml(&t->type, type);
    if (status != FL_OK) return fl_fail_within(status, "%s: %s (offset %zu)", r->file, shown, at);
    if (t->dim[t->rank - 1] % fl_dtype_get(t->type)->block)
        return fl_fail(FL_ERR_FORMAT, "%s: %s (offset %zu): rows of %lld values are no whole number of %s blocks of %d",
                       r->file, shown, at, (long long)t->dim[t->rank - 1], fl_dtype_get(t->type)->name,
                       fl_dtype_get(t->type)->block);
    status = fl_file_tensor_bytes(t, &bytes);
    if (status != FL_OK) return fl_fail_within(status, "%s: offset %zu", r->file, at);
    at = r->place;
    FL_TRY(read_u64(r, "a tensor's offset", &place->begin));
    if (__builtin_add_overflow(place->begin, (uint64_t)bytes, &place->end))
        return fl_fail(FL_ERR_FORMAT, "%s: %s (offset %zu): offset = %llu: its data would end beyond any file", r->file,
                       shown, at, (unsigned long long)place->begin);
    return FL_OK;
}

static int compare_ranges(const void *a, const void *b)
{
    const range *x = a, *y = b;
    return x->begin < y->begin ? -1 : x->begin > y->begin ? 1 : x->tensor < y->tensor ? -1 : 1;
}

static fl_status bad_range(const fl_gguf *g, const range *p, const char *why)
{
    char shown[FL_SHOWN];
    return fl_fail(FL_ERR_FORMAT, "%s: %s: offset = %llu, %llu bytes: %s", g->file,
                   fl_show_text(shown, g->tensor[p->tensor].name), (unsigned long long)p->begin,
                   (unsigned long long)(p->end - p->begin), why);
}

/* Tensors follow one another with nothing but padding between them, each at a multiple of the alignment. */
static fl_status place_tensors(fl_gguf *g, const reader *r, range *place, size_t alignment)
{
    size_t data = r->place, reached = 0;
    if (g->tensors && (!fl_size_align(r->place, alignment, &data) || data > r->size))
        return fl_fail(FL_ERR_FORMAT, "%s: offset %zu: the file ends before the data of its tensors; is it cut short?",
                       g->file, r->place);
    size_t available = r->size - data;
    qsort(place, (size_t)g->tensors, sizeof *place, compare_ranges);
    for (int64_t i = 0; i < g->tensors; i++) {
        const range *p = &place[i];
        if (p->begin % alignment) return bad_range(g, p, "is no multiple of general.alignment");
        if (p->end > available) return bad_range(g, p, "reaches outside the file; is it cut short?");
        if (i && p->begin < place[i - 1].end) return bad_range(g, p, "overlaps the tensor before it");
        if (p->begin != reached) return bad_range(g, p, "leaves a hole before it");
        if (!fl_size_align((size_t)p->end, alignment, &reached)) return bad_range(g, p, "is too long");
        g->tensor[p->tensor].data = r->bytes + data + p->begin;
    }
    size_t most = reached;
    if (!g->tensors && fl_size_align(data, alignment, &most)) most -= data; /* padding of a file without tensors */
    if (available > most)
        return fl_fail(FL_ERR_FORMAT, "%s: offset %zu: %zu bytes after the last tensor", g->file, data + most,
                       available - most);
    return FL_OK;
}

/* ---- the whole ---------------------------------------------------------------------------------------------- */

static fl_status read_counts(reader *r, uint64_t *tensors, uint64_t *values)
{
    uint32_t version;
    if (r->size < 4 || memcmp(r->bytes, "GGUF", 4))
        return fl_fail(FL_ERR_FORMAT, "%s: offset 0: does not begin with \"GGUF\"; is this a GGUF file?", r->file);
    r->place = 4;
    FL_TRY(read_u32(r, "the version", &version));
    if (version == 0x02000000 || version == 0x03000000)
        return fl_fail(FL_ERR_UNSUPPORTED,
                       "%s: offset 4: is a big-endian GGUF file; only little-endian ones are read; convert it with "
                       "gguf-py's gguf_convert_endian.py",
                       r->file);
    if (version != 2 && version != 3)
        return fl_fail(FL_ERR_UNSUPPORTED,
                       "%s: offset 4: version = %lu: GGUF versions 2 and 3 are read; convert the "
                       "model again",
                       r->file, (unsigned long)version);
    FL_TRY(read_u64(r, "the number of tensors", tensors));
    FL_TRY(read_u64(r, "the number of key-values", values));
    size_t left = r->size - r->place;
    if (*tensors > left / LEAST_TENSOR)
        return fl_fail(FL_ERR_FORMAT, "%s: offset 8: tensors = %llu: more than the file's %zu bytes can describe",
                       r->file, (unsigned long long)*tensors, r->size);
    if (*values > left / LEAST_PAIR)
        return fl_fail(FL_ERR_FORMAT, "%s: offset 16: key-values = %llu: more than the file's %zu bytes can hold",
                       r->file, (unsigned long long)*values, r->size);
    return FL_OK;
}

static fl_status read_values(fl_gguf *g, reader *r, uint64_t count)
{
    g->value = fl_calloc((size_t)count, sizeof *g->value);
    g->strings = fl_calloc((size_t)count, sizeof *g->strings);
    if (!g->value || !g->strings) return FL_ERR_MEMORY;
    for (uint64_t i = 0; i < count; i++) {
        g->values++;
        FL_TRY(read_value(r, &g->value[i], &g->strings[i]));
    }
    return sort_keys(g);
}

static fl_status read_tensors(fl_gguf *g, reader *r, uint64_t count, size_t alignment)
{
    g->tensor = fl_calloc((size_t)count, sizeof *g->tensor);
    range *place = fl_calloc((size_t)count, sizeof *place);
    fl_status status = g->tensor && place ? FL_OK : FL_ERR_MEMORY;
    for (uint64_t i = 0; status == FL_OK && i < count; i++) {
        place[i].tensor = g->tensors++;
        status = read_tensor(r, &g->tensor[i], &place[i]);
    }
    if (status == FL_OK) status = sort_tensors(g);
    if (status == FL_OK) status = place_tensors(g, r, place, alignment);
    fl_free(place);
    return status;
}

static fl_status read_alignment(const fl_gguf *g, size_t *out)
{
    static const char key[] = "general.alignment";
    int64_t alignment = 32;
    FL_TRY(fl_gguf_integer(g, key, 1, ALIGNMENT_LIMIT, &alignment));
    if (alignment % 8 || (alignment & (alignment - 1)))
        return fl_gguf_fail(FL_ERR_FORMAT, g, key, "is not a power of two that is a multiple of 8");
    *out = (size_t)alignment;
    return FL_OK;
}

static fl_status parse(fl_gguf *g, const void *bytes, size_t size)
{
    reader r = {.file = g->file, .bytes = bytes, .size = size};
    uint64_t tensors, values;
    size_t alignment = 0;
    FL_TRY(read_counts(&r, &tensors, &values));
    FL_TRY(read_values(g, &r, values));
    FL_TRY(read_alignment(g, &alignment));
    return read_tensors(g, &r, tensors, alignment);
}

fl_status fl_gguf_parse(fl_gguf **out, const char *name, const void *bytes, size_t size)
{
    fl_gguf *g = fl_calloc(1, sizeof *g);
    if (!g) return FL_ERR_MEMORY;
    g->file = fl_strdup(name);
    fl_status status = g->file ? parse(g, bytes, size) : FL_ERR_MEMORY;
    if (status == FL_OK)
        *out = g;
    else
        fl_gguf_close(g);
    return status;
}

fl_status fl_gguf_open(fl_gguf **out, const char *path)
{
    fl_map map = {0};
    FL_TRY(fl_map_open(&map, path));
    fl_gguf *g = NULL;
    fl_status status = fl_gguf_parse(&g, path, map.data, map.size);
    if (status != FL_OK) {
        fl_map_close(&map);
        return status;
    }
    g->map = map;
    *out = g;
    return FL_OK;
}

void fl_gguf_release(const fl_gguf *g)
{
    fl_map_release(&g->map);
}

void fl_gguf_close(fl_gguf *g)
{
    if (!g) return;
    for (int64_t i = 0; i < g->values; i++) {
        fl_free((void *)(uintptr_t)g->value[i].key);
        fl_free(g->strings[i]);
    }
    for (int64_t i = 0; i < g->tensors; i++)
        fl_free((void *)(uintptr_t)g->tensor[i].name);
    fl_free(g->tensor_order);
    fl_free(g->tensor);
    fl_free(g->value_order);
    fl_free(g->strings);
    fl_free(g->value);
    fl_map_close(&g->map);
    fl_free(g->file);
    fl_free(g);
}

const char *fl_gguf_name(const fl_gguf *g)
{
    return g->file;
}

int64_t fl_gguf_key_count(const fl_gguf *g)
{
    return g->values;
}

const fl_gguf_value *fl_gguf_at(const fl_gguf *g, int64_t i)
{
    return i >= 0 && i < g->values ? &g->value[i] : NULL;
}

const fl_gguf_value *fl_gguf_find(const fl_gguf *g, const char *key)
{
    int64_t low = 0, high = g->values;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        const fl_gguf_value *v = &g->value[g->value_order[middle]];
        int order = strcmp(v->key, key);
        if (order == 0) return v;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

int64_t fl_gguf_count(const fl_gguf *g)
{
    return g->tensors;
}

const fl_file_tensor *fl_gguf_tensor_at(const fl_gguf *g, int64_t i)
{
    return i >= 0 && i < g->tensors ? &g->tensor[i] : NULL;
}

const fl_file_tensor *fl_gguf_tensor(const fl_gguf *g, const char *name)
{
    int64_t i = fl_file_tensor_find(g->tensor, g->tensor_order, g->tensors, name);
    return i >= 0 ? &g->tensor[i] : NULL;
}
