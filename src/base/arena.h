/* Stack allocator for activations: address space is reserved once, pages are touched once and then reused.
 * A counting arena hands out no memory and only adds up bytes: that is how `measure` knows a plan exactly. */
#ifndef FL_BASE_ARENA_H
#define FL_BASE_ARENA_H

#include "base/status.h"

typedef struct fl_arena fl_arena;

/* limit_bytes: the most this arena may ever hold (0: all physical memory). counting: never touch memory. */
fl_status fl_arena_create(fl_arena **out, size_t limit_bytes, bool counting);
void fl_arena_destroy(fl_arena *a);

/* bytes aligned to 64, not zeroed. NULL with FL_ERR_MEMORY recorded when the limit is passed. In a counting arena the
 * result is a non-NULL address that must never be read or written. */
void *fl_arena_alloc(fl_arena *a, size_t bytes);

/* Everything allocated after the mark is released; the pages stay for reuse. */
size_t fl_arena_mark(const fl_arena *a);
void fl_arena_release(fl_arena *a, size_t mark);

size_t fl_arena_peak(const fl_arena *a); /* largest number of bytes ever in use */
void fl_arena_reset_peak(fl_arena *a);
bool fl_arena_counting(const fl_arena *a);

/* Give the pages above the current mark back to the operating system. */
void fl_arena_trim(fl_arena *a);

#endif
