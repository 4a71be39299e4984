/* What a model keeps of the tokens it has read: keys and values in reference-counted pages of 256 tokens.
 * Storage only. Writes are begin / commit / rollback over all layers, so a cancelled chunk leaves nothing behind. */
#ifndef FL_MEMORY_MEMORY_H
#define FL_MEMORY_MEMORY_H

#include "tensor/kv_page.h"

typedef struct fl_memory fl_memory;

/* shape[layers] is copied. Nothing is allocated until tokens come. A memory belongs to one thread at a time; forks that
 * share pages may be used by different threads at once. */
fl_status fl_memory_create(fl_memory **out, int layers, const fl_kv_shape *shape);
/* The same for counting runs: `tokens` are held from the start, and all pages are one that must not be touched. */
fl_status fl_memory_create_counting(fl_memory **out, int layers, const fl_kv_shape *shape, int64_t tokens);
void fl_memory_destroy(fl_memory *m);

int fl_memory_layers(const fl_memory *m);
int64_t fl_memory_tokens(const fl_memory *m);  /* committed, evicted ones included */
int64_t fl_memory_pending(const fl_memory *m); /* begun and not committed */
int64_t fl_memory_evicted(const fl_memory *m); /* of those committed, no longer held */
int64_t fl_memory_hole(const fl_memory *m);    /* the first evicted token; the tokens before it are held */
size_t fl_memory_bytes(const fl_memory *m);    /* pages held, shared ones counted in full */

/* Make room for `tokens` more in every layer (a shared last page is copied first). On failure (FL_ERR_MEMORY, or
 * FL_ERR_STATE when tokens are pending already) nothing has changed. Between begin and commit, views include the
 * pending tokens, whose keys and values are undefined until written. */
fl_status fl_memory_begin(fl_memory *m, int64_t tokens);
void fl_memory_commit(fl_memory *m);
void fl_memory_rollback(fl_memory *m);
/* Keep the first `tokens`; pending ones are rolled back. A cut among evicted tokens keeps those before the hole. */
void fl_memory_truncate(fl_memory *m, int64_t tokens);

/* Give up tokens from keep_first (the same in every call, rounded up to a page) to before keep_from, as many whole
 * blocks of FL_EVICT_TOKENS as lie there. What is held moves together: views number the tokens after the hole from
 * there on, and the blocks in which attention sums stay the same. Nothing may be pending. */
void fl_memory_evict(fl_memory *m, int64_t keep_first, int64_t keep_from);
/* For snapshots: the tokens held, all of them committed, are what an eviction of `evicted` tokens from `hole` on left.
 * FL_ERR_ARGUMENT where none could have left that. */
fl_status fl_memory_set_evicted(fl_memory *m, int64_t hole, int64_t evicted);

/* A second memory with the same committed tokens, pages shared until one of the two writes. */
fl_status fl_memory_fork(fl_memory **out, const fl_memory *m);

/* Valid until the next begin, rollback, truncate or destroy of this memory. */
fl_kv_view fl_memory_view(const fl_memory *m, int layer);

/* For snapshots: `page` of `layer` as bytes (those of unwritten tokens are undefined), NULL if there is none; the
 * second copies a shared page first and returns NULL with FL_ERR_MEMORY recorded when that fails. */
const void *fl_memory_page(const fl_memory *m, int layer, int64_t page);
void *fl_memory_page_for_write(fl_memory *m, int layer, int64_t page);

#endif
