#include "tensor/kv_page.h"

#include <string.h>

#define SCALE_BYTES 2 /* of a block; its values follow */

int fl_kv_row_values(fl_dtype type, int head_dim)
{
    int block = fl_dtype_get(type)->block;
    return (head_dim + block - 1) / block * block;
}

static size_t row_bytes(fl_dtype type, int head_dim)
{
    const fl_dtype_info *info = fl_dtype_get(type);
    return (size_t)(fl_kv_row_values(type, head_dim) / info->block) * info->block_bytes;
}

fl_status fl_kv_type_check(fl_dtype type, int head_dim, const char *what)
{
    if (type != FL_F32 && type != FL_F16 && type != FL_BF16 && type != FL_Q8_0 && type != FL_Q4_0)
        return fl_fail(FL_ERR_UNSUPPORTED, "%s in %s: they are kept in F32, F16, BF16, Q8_0 or Q4_0", what,
                       (unsigned)type < FL_DTYPE_COUNT ? fl_dtype_get(type)->name : "an unknown type");
    const fl_dtype_info *info = fl_dtype_get(type);
    if (head_dim < info->block)
        return fl_fail(FL_ERR_UNSUPPORTED,
                       "%s in %s: blocks of %d values are larger than heads of %d; F32, F16 and BF16 fit", what,
                       info->name, info->block, head_dim);
    return FL_OK;
}

size_t fl_kv_key_offset(const fl_kv_shape *s, int kv_head, int tile)
{
    size_t tile_bytes = row_bytes(s->k_type, s->head_dim) * FL_TILE_KEYS;
    return ((size_t)kv_head * FL_PAGE_TILES + (size_t)tile) * tile_bytes;
}

size_t fl_kv_value_offset(const fl_kv_shape *s, int kv_head, int token)
{
    return fl_kv_key_offset(s, s->kv_heads, 0) +
           ((size_t)kv_head * FL_PAGE_TOKENS + (size_t)token) * row_bytes(s->v_type, s->head_dim);
}

size_t fl_kv_page_bytes(const fl_kv_shape *s)
{
    return fl_kv_value_offset(s, s->kv_heads, 0);
}

/* ---- keys of a tile --------------------------------------------------------------------------------------------- */

/* A tile is made of planes: one for each element of a row, of 64 keys. A row of blocks has elements of two sizes. */
typedef struct planes {
    int count;        /* elements in a run of equal ones */
    size_t size;      /* of each */
    size_t row, tile; /* where the run begins: byte of the row, byte of the tile */
} planes;

static int runs_of(const fl_kv_shape *s)
{
    int block = fl_dtype_get(s->k_type)->block;
    return block == 1 ? 1 : 2 * (fl_kv_row_values(s->k_type, s->head_dim) / block);
}

static planes run_at(const fl_kv_shape *s, int index)
{
    const fl_dtype_info *info = fl_dtype_get(s->k_type);
    if (info->block == 1) return (planes){s->head_dim, info->block_bytes, 0, 0};
    size_t blocks = (size_t)(fl_kv_row_values(s->k_type, s->head_dim) / info->block), block = (size_t)index / 2;
    size_t row = block * info->block_bytes, bytes = info->block_bytes - SCALE_BYTES;
    if (index % 2 == 0) return (planes){1, SCALE_BYTES, row, block * SCALE_BYTES * FL_TILE_KEYS};
    return (planes){(int)bytes, 1, row + SCALE_BYTES, (blocks * SCALE_BYTES + block * bytes) * FL_TILE_KEYS};
}

#define INLINE static inline __attribute__((always_inline))

/* The sizes and the full number are constants where it is called. */
INLINE void put_run(planes p, const size_t size, char *tile, int key, const int n, const void *const *row)
{
    char *to = tile + p.tile + (size_t)key * size;
    for (int c = 0; c < p.count; c++, to += FL_TILE_KEYS * size)
        for (int i = 0; i < n; i++)
            memcpy(to + (size_t)i * size, (const char *)row[i] + p.row + (size_t)c * size, size);
}

INLINE void put_some(planes p, char *tile, int key, const int n, const void *const *row)
{
    if (p.size == 4)
        put_run(p, 4, tile, key, n, row);
    else if (p.size == 2)
        put_run(p, 2, tile, key, n, row);
    else
        put_run(p, 1, tile, key, n, row);
}

void fl_kv_put_keys(const fl_kv_shape *s, void *tile, int key, int n, const void *const *row)
{
    for (int i = 0; i < runs_of(s); i++)
        if (n == 8)
            put_some(run_at(s, i), tile, key, 8, row);
        else
            put_some(run_at(s, i), tile, key, n, row);
}

void fl_kv_get_key(const fl_kv_shape *s, const void *tile, int key, void *row)
{
    for (int i = 0; i < runs_of(s); i++) {
        planes p = run_at(s, i);
        const char *from = (const char *)tile + p.tile + (size_t)key * p.size;
        for (int c = 0; c < p.count; c++)
            memcpy((char *)row + p.row + (size_t)c * p.size, from + (size_t)c * FL_TILE_KEYS * p.size, p.size);
    }
}

static void clear_keys(const fl_kv_shape *s, char *tile, int from)
{
    for (int i = 0; i < runs_of(s); i++) {
        planes p = run_at(s, i);
        for (int c = 0; c < p.count; c++)
            memset(tile + p.tile + ((size_t)c * FL_TILE_KEYS + (size_t)from) * p.size, 0,
                   (size_t)(FL_TILE_KEYS - from) * p.size);
    }
}

void fl_kv_clear_from(const fl_kv_shape *s, void *page, int used)
{
    for (int h = 0; h < s->kv_heads; h++) {
        for (int tile = 0; tile < FL_PAGE_TILES; tile++) {
            int keep = used - tile * FL_TILE_KEYS;
            if (keep < FL_TILE_KEYS) clear_keys(s, (char *)page + fl_kv_key_offset(s, h, tile), keep > 0 ? keep : 0);
        }
        size_t begin = fl_kv_value_offset(s, h, used), end = fl_kv_value_offset(s, h, FL_PAGE_TOKENS);
        memset((char *)page + begin, 0, end - begin);
    }
}
