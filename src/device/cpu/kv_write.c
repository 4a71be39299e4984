/* Rows of keys and values into the pages of a memory, in its types, keys transposed. */
#include <string.h>

#include "base/size.h"
#include "device/cpu/cpu.h"
#include "device/cpu/range.h"

typedef struct kv_write {
    const fl_kv_view *kv;
    const fl_tensor *k, *v;
    int64_t first_token, tokens, first_row;
} kv_write;

/* Tokens that are written together: their reads are one cache line's width of the tile apart. */
#define TOGETHER 8

/* A row of a head as it is kept, its last block filled with zeros. */
static void convert_row(fl_dtype type, int head_dim, const float *from, void *to)
{
    float whole[FL_HEAD_DIM_MAX];
    int n = fl_kv_row_values(type, head_dim);
    if (n > head_dim) {
        memcpy(whole, from, (size_t)head_dim * sizeof *whole);
        memset(whole + head_dim, 0, (size_t)(n - head_dim) * sizeof *whole);
        from = whole;
    }
    fl_from_f32(type, from, to, n);
}

/* Tiles first .. end-1, counted from the one that holds the first token. */
static void write_tiles(void *context, int64_t first, int64_t end)
{
    const kv_write *w = context;
    const fl_kv_shape *s = &w->kv->shape;
    int64_t base = w->first_token / FL_TILE_KEYS;
    int64_t token = fl_max64(w->first_token, (base + first) * FL_TILE_KEYS);
    int64_t stop = fl_min64(w->first_token + w->tokens, (base + end) * FL_TILE_KEYS);
    while (token < stop) {
        int within = (int)(token % FL_PAGE_TOKENS), key = within % FL_TILE_KEYS;
        int n = (int)fl_min64(fl_min64(TOGETHER, FL_TILE_KEYS - key), stop - token);
        int64_t row = w->first_row + (token - w->first_token);
        char *page = w->kv->page[token / FL_PAGE_TOKENS];
        for (int h = 0; h < s->kv_heads; h++) {
            char *values = page + fl_kv_value_offset(s, h, within);
            size_t value_bytes = fl_kv_value_offset(s, h, 1) - fl_kv_value_offset(s, h, 0);
            char converted[TOGETHER][FL_KV_ROW_BYTES_MAX];
            const void *keys[TOGETHER];
            for (int i = 0; i < n; i++) {
                keys[i] = fl_row(w->k, row + i) + (ptrdiff_t)h * s->head_dim;
                if (s->k_type != FL_F32) {
                    convert_row(s->k_type, s->head_dim, keys[i], converted[i]);
                    keys[i] = converted[i];
                }
                const float *value = fl_row(w->v, row + i) + (ptrdiff_t)h * s->head_dim;
                convert_row(s->v_type, s->head_dim, value, values + (size_t)i * value_bytes);
            }
            fl_kv_put_keys(s, page + fl_kv_key_offset(s, h, within / FL_TILE_KEYS), key, n, keys);
        }
        token += n;
    }
}

void fl_cpu_kv_write(fl_device *d, const fl_kv_view *kv, int64_t first_token, const fl_tensor *k, const fl_tensor *v,
                     int64_t first_row, int64_t rows)
{
    if (rows <= 0) return;
    kv_write w = {kv, k, v, first_token, rows, first_row};
    int64_t tiles = (first_token + rows - 1) / FL_TILE_KEYS - first_token / FL_TILE_KEYS + 1;
    int64_t elements = (int64_t)kv->shape.kv_heads * kv->shape.head_dim * 2;
    fl_cpu_ranges(d, tiles, elements * fl_min64(rows, FL_TILE_KEYS), write_tiles, &w);
}
