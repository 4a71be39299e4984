/* A memory as a file: what a model has read, to go on from later or elsewhere.
 *
 * The numbers of the header and the checksum are little-endian.
 *    0  "FLMEMORY"
 *    8  u32 version, 2
 *   12  u32 0x01020304 in the byte order of the token ids and the pages
 *   16  u64 bytes of the whole file
 *   24  u32 layers                    28  u32 bytes of the identity
 *   32  u64 tokens held by the memory 40  u64 token ids
 *   48  u32 tokens per page           52  u32 keys per tile
 *   56  u64 tokens evicted            64  u64 the first of them (memory/memory.h); both 0: none
 *   72  layers x {u32 kv_heads, u32 head_dim, char k_type[8], char v_type[8]}
 *       identity, zeros to a multiple of 4
 *       i32 token ids, zeros to a multiple of 64
 *       pages: layer after layer, whole pages; what lies beyond the last token is zero
 *       u64 XXH64 of everything before */
#ifndef FL_FILE_SNAPSHOT_H
#define FL_FILE_SNAPSHOT_H

#include "memory/memory.h"

/* Write memory m (nothing pending) to path, atomically. identity says which weights and positions the keys and values
 * were computed with; ids[count] are the tokens read, or whatever the caller needs to go on. */
fl_status fl_snapshot_save(const char *path, const fl_memory *m, const char *identity, const int32_t *ids,
                           int64_t count);

/* Fill m, which holds no tokens and has the shapes of the caller's model, from a snapshot of the same identity, shapes
 * and types. ids must lie in 0 .. vocab-1. *ids (fl_free) and *count receive them. On failure m is as it was.
 * FL_ERR_STATE: the snapshot belongs to another model. */
fl_status fl_snapshot_load(const char *path, fl_memory *m, const char *identity, int64_t vocab, int32_t **ids,
                           int64_t *count);
/* The same from the bytes of a file called `file` in messages. */
fl_status fl_snapshot_parse(const char *file, const void *bytes, size_t size, fl_memory *m, const char *identity,
                            int64_t vocab, int32_t **ids, int64_t *count);

#endif
