#include "file/snapshot.h"

#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/map.h"
#include "base/size.h"
#include "file/checksum.h"

#define MAGIC "FLMEMORY"
#define VERSION 2
#define ENDIANNESS 0x01020304u
#define HEADER_BYTES 72
#define LAYER_BYTES 24
#define MOST_IDENTITY 4096
#define PAGE_ALIGNMENT 64

/* Where things lie; the same for writing and for checking what was read. */
typedef struct layout {
    size_t identity, ids, pages, checksum, size;
    int64_t pages_per_layer;
} layout;

static bool lay_out(layout *out, const fl_memory *m, size_t identity_bytes, uint64_t tokens, uint64_t ids)
{
    layout l;
    size_t n;
    if (tokens > INT64_MAX / 2 || ids > INT64_MAX / 2) return false;
    l.pages_per_layer = (int64_t)(tokens / FL_PAGE_TOKENS + (tokens % FL_PAGE_TOKENS != 0));
    l.identity = HEADER_BYTES + LAYER_BYTES * (size_t)fl_memory_layers(m);
    if (!fl_size_add(l.identity, identity_bytes, &n) || !fl_size_align(n, 4, &l.ids) || ids > SIZE_MAX / 4 ||
        !fl_size_add(l.ids, (size_t)ids * 4, &n) || !fl_size_align(n, PAGE_ALIGNMENT, &l.pages))
        return false;
    l.checksum = l.pages;
    for (int i = 0; i < fl_memory_layers(m); i++) {
        fl_kv_shape shape = fl_memory_view(m, i).shape;
        if (!fl_size_mul(fl_kv_page_bytes(&shape), (size_t)l.pages_per_layer, &n) ||
            !fl_size_add(l.checksum, n, &l.checksum))
            return false;
    }
    if (!fl_size_add(l.checksum, 8, &l.size)) return false;
    *out = l;
    return true;
}

static void put(uint8_t *to, int bytes, uint64_t value)
{
    for (int i = 0; i < bytes; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get(const uint8_t *from, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value |= (uint64_t)from[i] << (8 * i);
    return value;
}

/* A type by its name, filled up with zeros. */
static void put_type(uint8_t to[8], fl_dtype type)
{
    const char *name = fl_dtype_get(type)->name;
    size_t length = strlen(name);
    memset(to, 0, 8);
    memcpy(to, name, length < 8 ? length : 8);
}

/* Tokens in a page of a memory of that many. */
static int used_in_page(int64_t tokens, int64_t page)
{
    return (int)fl_min64(tokens - page * FL_PAGE_TOKENS, FL_PAGE_TOKENS);
}

static int64_t held_by(const fl_memory *m)
{
    return fl_memory_tokens(m) - fl_memory_evicted(m);
}

/* ---- saving ------------------------------------------------------------------------------------------------- */

typedef struct saver {
    fl_writer file;
    fl_checksum sum;
} saver;

static void save(saver *s, const void *bytes, size_t n)
{
    fl_checksum_add(&s->sum, bytes, n);
    fl_writer_write(&s->file, bytes, n);
}

static void save_padding(saver *s, size_t n)
{
    static const uint8_t zeros[PAGE_ALIGNMENT] = {0};
    save(s, zeros, n);
}

static void save_header(saver *s, const fl_memory *m, const layout *l, size_t identity_bytes, int64_t ids)
{
    uint8_t header[HEADER_BYTES] = MAGIC;
    uint32_t endianness = ENDIANNESS;
    put(header + 8, 4, VERSION);
    memcpy(header + 12, &endianness, 4);
    put(header + 16, 8, l->size);
    put(header + 24, 4, (uint64_t)fl_memory_layers(m));
    put(header + 28, 4, identity_bytes);
    put(header + 32, 8, (uint64_t)held_by(m));
    put(header + 56, 8, (uint64_t)fl_memory_evicted(m));
    put(header + 64, 8, (uint64_t)(fl_memory_evicted(m) ? fl_memory_hole(m) : 0));
    put(header + 40, 8, (uint64_t)ids);
    put(header + 48, 4, FL_PAGE_TOKENS);
    put(header + 52, 4, FL_TILE_KEYS);
    save(s, header, sizeof header);
    for (int i = 0; i < fl_memory_layers(m); i++) {
        fl_kv_shape shape = fl_memory_view(m, i).shape;
        uint8_t layer[LAYER_BYTES] = {0};
        put(layer, 4, (uint64_t)shape.kv_heads);
        put(layer + 4, 4, (uint64_t)shape.head_dim);
        put_type(layer + 8, shape.k_type);
        put_type(layer + 16, shape.v_type);
        save(s, layer, sizeof layer);
    }
}

static fl_status save_pages(saver *s, const fl_memory *m, const layout *l)
{
    for (int i = 0; i < fl_memory_layers(m); i++) {
        fl_kv_shape shape = fl_memory_view(m, i).shape;
        size_t bytes = fl_kv_page_bytes(&shape);
        for (int64_t p = 0; p < l->pages_per_layer; p++) {
            int used = used_in_page(held_by(m), p);
            const void *page = fl_memory_page(m, i, p);
            if (used == FL_PAGE_TOKENS) {
                save(s, page, bytes);
                continue;
            }
            /* What was never written must not reach a file. */
            void *copy = fl_alloc_aligned(bytes);
            if (!copy) return FL_ERR_MEMORY;
            memcpy(copy, page, bytes);
            fl_kv_clear_from(&shape, copy, used);
            save(s, copy, bytes);
            fl_free_aligned(copy);
        }
    }
    return s->file.status;
}

fl_status fl_snapshot_save(const char *path, const fl_memory *m, const char *identity, const int32_t *ids,
                           int64_t count)
{
    size_t identity_bytes = strlen(identity);
    layout l;
    if (fl_memory_pending(m))
        return fl_fail(FL_ERR_STATE, "%s: %lld tokens are begun and not committed", path,
                       (long long)fl_memory_pending(m));
    if (identity_bytes > MOST_IDENTITY)
        return fl_fail(FL_ERR_ARGUMENT, "%s: identity of %zu bytes: at most %d are kept", path, identity_bytes,
                       MOST_IDENTITY);
    if (count < 0 || !lay_out(&l, m, identity_bytes, (uint64_t)held_by(m), (uint64_t)count))
        return fl_fail(FL_ERR_ARGUMENT, "%s: %lld token ids: the file would have no size", path, (long long)count);

    saver s;
    fl_checksum_start(&s.sum);
    FL_TRY(fl_writer_open(&s.file, path));
    save_header(&s, m, &l, identity_bytes, count);
    save(&s, identity, identity_bytes);
    save_padding(&s, l.ids - l.identity - identity_bytes);
    save(&s, ids, (size_t)count * 4);
    save_padding(&s, l.pages - l.ids - (size_t)count * 4);
    fl_status status = save_pages(&s, m, &l);
    if (status != FL_OK) {
        fl_writer_abandon(&s.file);
        return fl_fail_within(status, "%s", path);
    }
    uint8_t sum[8];
    put(sum, 8, fl_checksum_value(&s.sum));
    fl_writer_write(&s.file, sum, sizeof sum);
    return fl_writer_finish(&s.file);
}

/* ---- loading ------------------------------------------------------------------------------------------------ */

static fl_status bad_field(fl_status code, const char *file, size_t offset, const char *field, uint64_t value,
                           const char *why)
{
    return fl_fail(code, "%s: offset %zu: %s = %llu: %s", file, offset, field, (unsigned long long)value, why);
}

static fl_status check_layer(const char *file, const uint8_t *at, size_t offset, int layer, const fl_kv_shape *s)
{
    const struct {
        const char *name;
        uint32_t at, wanted;
    } number[] = {{"kv_heads", 0, (uint32_t)s->kv_heads}, {"head_dim", 4, (uint32_t)s->head_dim}};
    const struct {
        const char *name;
        size_t at;
        fl_dtype wanted;
    } type[] = {{"k_type", 8, s->k_type}, {"v_type", 16, s->v_type}};
    for (int i = 0; i < 2; i++) {
        uint64_t value = get(at + number[i].at, 4);
        if (value != number[i].wanted)
            return fl_fail(FL_ERR_STATE, "%s: offset %zu: layer %d: %s = %llu: the model has %u", file,
                           offset + number[i].at, layer, number[i].name, (unsigned long long)value, number[i].wanted);
    }
    for (int i = 0; i < 2; i++) {
        uint8_t wanted[8];
        put_type(wanted, type[i].wanted);
        if (memcmp(at + type[i].at, wanted, sizeof wanted))
            return fl_fail(FL_ERR_STATE,
                           "%s: offset %zu: layer %d: %s: is not %.8s, in which the session stores; choose the type "
                           "the snapshot was made with",
                           file, offset + type[i].at, layer, type[i].name, (const char *)wanted);
    }
    return FL_OK;
}

static fl_status check_zeros(const char *file, const uint8_t *bytes, size_t begin, size_t end)
{
    for (size_t i = begin; i < end; i++)
        if (bytes[i]) return bad_field(FL_ERR_FORMAT, file, i, "padding", bytes[i], "is not zero");
    return FL_OK;
}

/* The fixed part: everything that decides where the rest lies. */
static fl_status check_header(const char *file, const uint8_t *b, size_t size, const fl_memory *m, layout *l)
{
    if (size < HEADER_BYTES)
        return fl_fail(FL_ERR_FORMAT, "%s: offset 0: %zu bytes are less than a header; is the file cut short?", file,
                       size);
    if (memcmp(b, MAGIC, 8)) return fl_fail(FL_ERR_FORMAT, "%s: offset 0: magic: is not a memory snapshot", file);
    uint64_t version = get(b + 8, 4);
    if (version != VERSION) return bad_field(FL_ERR_UNSUPPORTED, file, 8, "version", version, "only version 2 is read");
    uint32_t endianness;
    memcpy(&endianness, b + 12, 4);
    if (endianness == __builtin_bswap32(ENDIANNESS))
        return bad_field(FL_ERR_UNSUPPORTED, file, 12, "byte order", endianness,
                         "was written by a machine of the other byte order");
    if (endianness != ENDIANNESS)
        return bad_field(FL_ERR_FORMAT, file, 12, "byte order", endianness, "is not the mark");
    if (get(b + 16, 8) != size)
        return bad_field(FL_ERR_FORMAT, file, 16, "file size", get(b + 16, 8),
                         "is not the size of the file; is it cut short?");
    uint64_t layers = get(b + 24, 4), identity = get(b + 28, 4), tokens = get(b + 32, 8), ids = get(b + 40, 8);
    if (layers != (uint64_t)fl_memory_layers(m))
        return bad_field(FL_ERR_STATE, file, 24, "layers", layers, "the model has another number");
    if (identity > MOST_IDENTITY)
        return bad_field(FL_ERR_FORMAT, file, 28, "identity bytes", identity, "more than 4096");
    if (get(b + 48, 4) != FL_PAGE_TOKENS)
        return bad_field(FL_ERR_UNSUPPORTED, file, 48, "tokens per page", get(b + 48, 4), "only 256 are read");
    if (get(b + 52, 4) != FL_TILE_KEYS)
        return bad_field(FL_ERR_UNSUPPORTED, file, 52, "keys per tile", get(b + 52, 4), "only 64 are read");
    if (HEADER_BYTES + LAYER_BYTES * (size_t)layers > size)
        return bad_field(FL_ERR_FORMAT, file, 24, "layers", layers, "the file is too short for them");
    for (int i = 0; i < (int)layers; i++) {
        fl_kv_shape shape = fl_memory_view(m, i).shape;
        size_t offset = HEADER_BYTES + LAYER_BYTES * (size_t)i;
        FL_TRY(check_layer(file, b + offset, offset, i, &shape));
    }
    if (!lay_out(l, m, (size_t)identity, tokens, ids) || l->size != size)
        return fl_fail(FL_ERR_FORMAT,
                       "%s: offset 32: tokens = %llu, token ids = %llu: do not fill the %zu bytes of the file", file,
                       (unsigned long long)tokens, (unsigned long long)ids, size);
    FL_TRY(check_zeros(file, b, l->identity + (size_t)identity, l->ids));
    return check_zeros(file, b, l->ids + (size_t)ids * 4, l->pages);
}

static fl_status check_content(const char *file, const uint8_t *b, const layout *l, const char *identity, int64_t vocab)
{
    size_t identity_bytes = (size_t)get(b + 28, 4);
    if (identity_bytes != strlen(identity) || memcmp(b + l->identity, identity, identity_bytes))
        return fl_fail(FL_ERR_STATE,
                       "%s: offset %zu: identity: was made with another model or other positions; read the text again",
                       file, l->identity);
    int64_t ids = (int64_t)get(b + 40, 8);
    for (int64_t i = 0; i < ids; i++) {
        size_t offset = l->ids + 4 * (size_t)i;
        int32_t id;
        memcpy(&id, b + offset, 4);
        if (id < 0 || id >= vocab)
            return fl_fail(FL_ERR_FORMAT, "%s: offset %zu: token id = %d: outside the vocabulary of %lld", file, offset,
                           id, (long long)vocab);
    }
    fl_checksum sum;
    fl_checksum_start(&sum);
    fl_checksum_add(&sum, b, l->checksum);
    if (fl_checksum_value(&sum) != get(b + l->checksum, 8))
        return bad_field(FL_ERR_FORMAT, file, l->checksum, "checksum", get(b + l->checksum, 8),
                         "does not fit the content; the file is damaged");
    return FL_OK;
}

/* Fill the begun tokens of m. Beyond the last token a page must be zero: kernels may multiply what lies there by 0. */
static fl_status restore_pages(const char *file, const uint8_t *b, const layout *l, fl_memory *m, int64_t tokens)
{
    size_t place = l->pages;
    for (int i = 0; i < fl_memory_layers(m); i++) {
        fl_kv_shape shape = fl_memory_view(m, i).shape;
        size_t bytes = fl_kv_page_bytes(&shape);
        for (int64_t p = 0; p < l->pages_per_layer; p++, place += bytes) {
            void *page = fl_memory_page_for_write(m, i, p);
            if (!page) return FL_ERR_MEMORY;
            memcpy(page, b + place, bytes);
            int used = used_in_page(tokens, p);
            if (used == FL_PAGE_TOKENS) continue;
            fl_kv_clear_from(&shape, page, used);
            if (memcmp(page, b + place, bytes))
                return fl_fail(FL_ERR_FORMAT, "%s: offset %zu: page %lld of layer %d: is not zero after its last token",
                               file, place, (long long)p, i);
        }
    }
    return FL_OK;
}

fl_status fl_snapshot_parse(const char *file, const void *bytes, size_t size, fl_memory *m, const char *identity,
                            int64_t vocab, int32_t **ids, int64_t *count)
{
    const uint8_t *b = bytes;
    layout l;
    if (fl_memory_tokens(m) || fl_memory_pending(m))
        return fl_fail(FL_ERR_STATE, "%s: the memory to restore into holds tokens already", file);
    FL_TRY(check_header(file, b, size, m, &l));
    FL_TRY(check_content(file, b, &l, identity, vocab));

    int64_t tokens = (int64_t)get(b + 32, 8), n = (int64_t)get(b + 40, 8);
    int64_t evicted = (int64_t)get(b + 56, 8), hole = (int64_t)get(b + 64, 8);
    int32_t *list = fl_calloc((size_t)n, sizeof *list);
    if (!list) return FL_ERR_MEMORY;
    if (n) memcpy(list, b + l.ids, (size_t)n * 4);
    fl_status status = fl_memory_begin(m, tokens);
    if (status == FL_OK) {
        status = restore_pages(file, b, &l, m, tokens);
        if (status == FL_OK)
            fl_memory_commit(m);
        else
            fl_memory_rollback(m);
    }
    if (status == FL_OK && fl_memory_set_evicted(m, hole, evicted) != FL_OK) {
        fl_memory_truncate(m, 0);
        status = fl_fail_within(FL_ERR_FORMAT, "%s: offset 56", file);
    }
    if (status != FL_OK) {
        fl_free(list);
        return status;
    }
    *ids = list;
    *count = n;
    return FL_OK;
}

fl_status fl_snapshot_load(const char *path, fl_memory *m, const char *identity, int64_t vocab, int32_t **ids,
                           int64_t *count)
{
    fl_map map = {0};
    FL_TRY(fl_map_open(&map, path));
    fl_status status = fl_snapshot_parse(path, map.data, map.size, m, identity, vocab, ids, count);
    fl_map_close(&map);
    return status;
}
