/* How keys and values of tokens lie in memory: pages of 256 tokens of one layer, keys and values each in F32, F16,
 * BF16, Q8_0 or Q4_0.
 *
 *   keys    for each kv head, for each tile of 64 tokens, transposed so that one query row and a thousand run the same
 *           product in the same order of sums:
 *             F32, F16, BF16  [head_dim][64]
 *             Q8_0            F16 scales [blocks][64], then int8 [blocks][32][64]
 *             Q4_0            F16 scales [blocks][64], then bytes [blocks][16][64]: byte i of a block holds
 *                             value i in its low and value i + 16 in its high nibble, each plus 8
 *   values  for each kv head: [256] rows of head_dim values of the type, as in any tensor (ggml's blocks)
 *
 * A block is 32 values of one head of one token; zeros fill the last block of a head of another size, such as 48 or 80.
 * A key takes the bytes of a row of its type; a page of n kv heads 256 n (bytes of a key + bytes of a value), nothing
 * between or after. */
#ifndef FL_TENSOR_KV_PAGE_H
#define FL_TENSOR_KV_PAGE_H

#include "tensor/dtype.h"

#define FL_PAGE_TOKENS 256
#define FL_TILE_KEYS 64
#define FL_PAGE_TILES (FL_PAGE_TOKENS / FL_TILE_KEYS)
#define FL_EVICT_TOKENS 1024 /* tokens leave a memory in whole blocks, a multiple of those that attention sums in */
#define FL_HEAD_DIM_MAX 1024 /* attention keeps whole rows of a block of queries in scratch memory */
#define FL_KV_ROW_BYTES_MAX (FL_HEAD_DIM_MAX * sizeof(float))

typedef struct fl_kv_shape {
    int kv_heads, head_dim;
    fl_dtype k_type, v_type;
} fl_kv_shape;

/* FL_ERR_UNSUPPORTED for a type that is not one of the five, or whose blocks are larger than a head; `what` begins the
 * message, as in "keys". */
fl_status fl_kv_type_check(fl_dtype type, int head_dim, const char *what);

/* Values of a row as it is kept: head_dim, up to whole blocks of the type. At most FL_HEAD_DIM_MAX. */
int fl_kv_row_values(fl_dtype type, int head_dim);

/* Byte offsets inside a page. */
size_t fl_kv_key_offset(const fl_kv_shape *s, int kv_head, int tile);    /* -> a tile */
size_t fl_kv_value_offset(const fl_kv_shape *s, int kv_head, int token); /* -> a row */
size_t fl_kv_page_bytes(const fl_kv_shape *s);

/* Keys `key` .. key+n-1 of a tile from rows of k_type, and one key of a tile to such a row. */
void fl_kv_put_keys(const fl_kv_shape *s, void *tile, int key, int n, const void *const *row);
void fl_kv_get_key(const fl_kv_shape *s, const void *tile, int key, void *row);
/* Zero the part of a page that belongs to tokens from `used` on. */
void fl_kv_clear_from(const fl_kv_shape *s, void *page, int used);

/* Keys and values of one sequence in one layer, as attention reads them: page[j / 256] holds token j. */
typedef struct fl_kv_view {
    fl_kv_shape shape;
    void *const *page;
    int64_t keys; /* tokens written so far */
} fl_kv_view;

#endif
