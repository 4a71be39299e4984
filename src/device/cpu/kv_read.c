/* Rows out of the pages of a memory: for keys that are rotated again on use, and for conversions. */
#include <string.h>

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
            const float *key =
                (const float *)(const void *)(page + fl_kv_key_offset(&kv->shape, h, within / FL_TILE_KEYS));
            const float *value = (const float *)(const void *)(page + fl_kv_value_offset(&kv->shape, h, within));
            for (int c = 0; k && c < dim; c++)
                fl_row(k, i)[h * dim + c] = key[c * FL_TILE_KEYS + within % FL_TILE_KEYS];
            if (v) memcpy(fl_row(v, i) + h * dim, value, (size_t)dim * sizeof(float));
        }
    }
}
