/* How keys and values of tokens lie in memory: pages of 256 tokens of one layer.
 *
 *   keys    for each kv head, for each tile of 64 tokens: [head_dim][64], transposed so that one query row and a
 *           thousand run the same product in the same order of sums
 *   values  for each kv head: [256][head_dim]
 * Only F32 exists so far for both. */
#ifndef FL_TENSOR_KV_PAGE_H
#define FL_TENSOR_KV_PAGE_H

#include "tensor/dtype.h"

#define FL_PAGE_TOKENS 256
#define FL_TILE_KEYS 64
#define FL_PAGE_TILES (FL_PAGE_TOKENS / FL_TILE_KEYS)
#define FL_HEAD_DIM_MAX 1024 /* attention keeps whole rows of a block of queries in scratch memory */

typedef struct fl_kv_shape {
    int kv_heads, head_dim;
    fl_dtype k_type, v_type;
} fl_kv_shape;

/* Byte offsets inside a page. */
size_t fl_kv_key_offset(const fl_kv_shape *s, int kv_head, int tile);    /* -> [head_dim][64] */
size_t fl_kv_value_offset(const fl_kv_shape *s, int kv_head, int token); /* -> [head_dim] */
size_t fl_kv_page_bytes(const fl_kv_shape *s);

/* Keys and values of one sequence in one layer, as attention reads them: page[j / 256] holds token j. */
typedef struct fl_kv_view {
    fl_kv_shape shape;
    void *const *page;
    int64_t keys; /* tokens written so far */
} fl_kv_view;

#endif
