/* Keys of a memory turned to other positions, tile by tile: for schemes that see one key at several positions, and for
 * schedules that depend on the length. Values are converted along, so that attention reads pages of one kind. */
#include "device/cpu/attend.h"
#include "device/cpu/range.h"
#include "kernel/kernel.h"

typedef struct kv_rotate {
    const fl_attend_kernels *kernels;
    const fl_kv_view *from, *to;
    int64_t first;
    const float *cos, *sin;
    int pairs;
    bool interleaved;
} kv_rotate;

/* a and b: the 64 keys' two components of one pair. */
static void rotate_pair(float *restrict a, float *restrict b, const float *restrict cos, const float *restrict sin)
{
    for (int j = 0; j < FL_TILE_KEYS; j++) {
        float x = a[j], y = b[j];
        a[j] = x * cos[j] - y * sin[j];
        b[j] = y * cos[j] + x * sin[j];
    }
}

static void rotate_tile(const kv_rotate *w, int64_t tile, int head)
{
    int64_t token = w->first + tile * FL_TILE_KEYS;
    int within = (int)(token % FL_PAGE_TOKENS), dim = w->from->shape.head_dim;
    const char *from = w->from->page[token / FL_PAGE_TOKENS];
    char *to = w->to->page[token / FL_PAGE_TOKENS];
    const fl_kv_shape *s = &w->from->shape;
    const char *k = from + fl_kv_key_offset(s, head, within / FL_TILE_KEYS);
    const char *v = from + fl_kv_value_offset(s, head, within);
    float *keys = (float *)(void *)(to + fl_kv_key_offset(&w->to->shape, head, within / FL_TILE_KEYS));
    float *values = (float *)(void *)(to + fl_kv_value_offset(&w->to->shape, head, within));
    w->kernels->unpack_keys(fl_attend_format_of(s->k_type), dim, k, keys);
    w->kernels->unpack_values(fl_attend_format_of(s->v_type), dim, v, values);

    int first = w->interleaved ? 2 : 1, second = w->interleaved ? 1 : w->pairs;
    const float *cos = w->cos + tile * w->pairs * FL_TILE_KEYS, *sin = w->sin + tile * w->pairs * FL_TILE_KEYS;
    for (int i = 0; i < w->pairs; i++) {
        float *a = keys + (ptrdiff_t)i * first * FL_TILE_KEYS;
        rotate_pair(a, a + (ptrdiff_t)second * FL_TILE_KEYS, cos + (ptrdiff_t)i * FL_TILE_KEYS,
                    sin + (ptrdiff_t)i * FL_TILE_KEYS);
    }
}

static void rotate_tiles(void *context, int64_t first, int64_t end)
{
    const kv_rotate *w = context;
    int heads = w->from->shape.kv_heads;
    for (int64_t i = first; i < end; i++)
        rotate_tile(w, i / heads, (int)(i % heads));
}

void fl_cpu_kv_rotate(fl_device *d, const fl_kv_view *from, int64_t first, const float *cos, const float *sin,
                      int pairs, bool interleaved, const fl_kv_view *to)
{
    if (first >= to->keys) return;
    kv_rotate job = {d->kernels->attend, from, to, first, cos, sin, pairs, interleaved};
    int64_t tiles = (to->keys - first + FL_TILE_KEYS - 1) / FL_TILE_KEYS;
    fl_cpu_ranges(d, tiles * from->shape.kv_heads, (int64_t)FL_TILE_KEYS * from->shape.head_dim * 2, rotate_tiles,
                  &job);
}
