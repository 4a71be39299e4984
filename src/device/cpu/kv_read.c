/* Rows out of the pages of a memory: for keys that are rotated again on use, and for conversions. */
#include "device/cpu/cpu.h"

void fl_cpu_kv_read(fl_device *d, const fl_kv_view *kv, int64_t first_token, fl_tensor *k, fl_tensor *v)
{
    (void)d;
    int dim = kv->shape.head_dim;
    int64_t rows = k ? k->rows : v ? v->rows : 0;
    for (int64_t i = 0; i < rows; i++) {
        int64_t token = first_token + i;
        const char *page = kv->page[token / FL_PAGE_TOKENS];
        int within = (int)(token % FL_PAGE_TOKENS);
        for (int h = 0; h < kv->shape.kv_heads; h++) {
            const char *tile = page + fl_kv_key_offset(&kv->shape, h, within / FL_TILE_KEYS);
            char key[FL_KV_ROW_BYTES_MAX];
            if (k) {
                fl_kv_get_key(&kv->shape, tile, within % FL_TILE_KEYS, key);
                fl_to_f32(kv->shape.k_type, key, fl_row(k, i) + h * dim, dim);
            }
            if (v)
                fl_to_f32(kv->shape.v_type, page + fl_kv_value_offset(&kv->shape, h, within), fl_row(v, i) + h * dim,
                          dim);
        }
    }
}
