/* Heap memory: thin wrappers that set an error message, and 64-byte alignment for tensor data. */
#ifndef FL_BASE_ALLOC_H
#define FL_BASE_ALLOC_H

#include <stddef.h>

#define FL_ALIGNMENT 64

/* count*size bytes, zeroed; NULL with FL_ERR_MEMORY recorded on overflow or exhaustion. Free with fl_free. */
void *fl_calloc(size_t count, size_t size);
/* As realloc for count*size bytes; on failure NULL and the old block stays. */
void *fl_realloc(void *old, size_t count, size_t size);
void fl_free(void *p);
char *fl_strdup(const char *s);
char *fl_strndup(const char *s, size_t length);

/* bytes aligned to FL_ALIGNMENT, not zeroed; huge pages are asked for from 4 MiB up. Free with fl_free_aligned. */
void *fl_alloc_aligned(size_t bytes);
void fl_free_aligned(void *p);

#endif
