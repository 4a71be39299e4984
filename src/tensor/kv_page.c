#include "tensor/kv_page.h"

static size_t type_bytes(fl_dtype type)
{
    return fl_dtype_get(type)->block_bytes;
}

size_t fl_kv_key_offset(const fl_kv_shape *s, int kv_head, int tile)
{
    size_t tile_bytes = (size_t)s->head_dim * FL_TILE_KEYS * type_bytes(s->k_type);
    return ((size_t)kv_head * FL_PAGE_TILES + (size_t)tile) * tile_bytes;
}

size_t fl_kv_value_offset(const fl_kv_shape *s, int kv_head, int token)
{
    size_t row_bytes = (size_t)s->head_dim * type_bytes(s->v_type);
    return fl_kv_key_offset(s, s->kv_heads, 0) + ((size_t)kv_head * FL_PAGE_TOKENS + (size_t)token) * row_bytes;
}

size_t fl_kv_page_bytes(const fl_kv_shape *s)
{
    return fl_kv_value_offset(s, s->kv_heads, 0);
}
