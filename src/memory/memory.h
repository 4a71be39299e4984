/* What a model keeps of the tokens it has read: keys and values in reference-counted pages of 256 tokens.
 * Storage only. Writes are begin / commit / rollback over all layers, so a cancelled chunk leaves nothing behind.
 *
 * One page holds 256 tokens of one layer:
 *   keys    for each kv head, for each tile of 64 tokens: [head_dim][64], transposed so that one query row and a
 *           thousand run the same product in the same order of sums
 *   values  for each kv head: [256][head_dim]
 * Only F32 exists so far for both. */
#ifndef FL_MEMORY_MEMORY_H
#define FL_MEMORY_MEMORY_H

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

typedef struct fl_memory fl_memory;

/* shape[layers] is copied. Nothing is allocated until tokens come. A memory belongs to one thread at a time; forks that
 * share pages may be used by different threads at once. */
fl_status fl_memory_create(fl_memory **out, int layers, const fl_kv_shape *shape);
void fl_memory_destroy(fl_memory *m);

int fl_memory_layers(const fl_memory *m);
int64_t fl_memory_tokens(const fl_memory *m);  /* committed */
int64_t fl_memory_pending(const fl_memory *m); /* begun and not committed */
size_t fl_memory_bytes(const fl_memory *m);    /* pages held, shared ones counted in full */

/* Make room for `tokens` more in every layer (a shared last page is copied first). On failure (FL_ERR_MEMORY, or
 * FL_ERR_STATE when tokens are pending already) nothing has changed. Between begin and commit, views include the pending
 * tokens, whose keys and values are undefined until written. */
fl_status fl_memory_begin(fl_memory *m, int64_t tokens);
void fl_memory_commit(fl_memory *m);
void fl_memory_rollback(fl_memory *m);
void fl_memory_truncate(fl_memory *m, int64_t tokens); /* keep the first `tokens`; pending ones are rolled back */

/* A second memory with the same committed tokens, pages shared until one of the two writes. */
fl_status fl_memory_fork(fl_memory **out, const fl_memory *m);

/* Valid until the next begin, rollback, truncate or destroy of this memory. */
fl_kv_view fl_memory_view(const fl_memory *m, int layer);

/* For snapshots: `page` of `layer` as bytes (those of unwritten tokens are undefined), NULL if there is none; the
 * second copies a shared page first and returns NULL with FL_ERR_MEMORY recorded when that fails. */
const void *fl_memory_page(const fl_memory *m, int layer, int64_t page);
void *fl_memory_page_for_write(fl_memory *m, int layer, int64_t page);

#endif
