#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/size.h"
#include "base/status.h"

#define HUGE_PAGE ((size_t)2 << 20)
#define HUGE_FROM ((size_t)4 << 20)

static void *out_of_memory(size_t count, size_t size)
{
    fl_fail(FL_ERR_MEMORY, "memory: %zu x %zu bytes could not be allocated; use a smaller model, context or batch",
            count, size);
    return NULL;
}

void *fl_calloc(size_t count, size_t size)
{
    /* Zero bytes still give an address of its own, so that NULL always means failure. */
    void *p = count && size ? calloc(count, size) : calloc(1, 1);
    return p ? p : out_of_memory(count, size);
}

void *fl_realloc(void *old, size_t count, size_t size)
{
    size_t bytes;
    if (!fl_size_mul(count, size, &bytes)) return out_of_memory(count, size);
    void *p = realloc(old, bytes ? bytes : 1);
    return p ? p : out_of_memory(count, size);
}

void fl_free(void *p)
{
    free(p);
}

char *fl_strdup(const char *s)
{
    return fl_strndup(s, strlen(s));
}

char *fl_strndup(const char *s, size_t length)
{
    length = strnlen(s, length);
    char *copy = fl_realloc(NULL, length + 1, 1);
    if (!copy) return NULL;
    memcpy(copy, s, length);
    copy[length] = 0;
    return copy;
}

void *fl_alloc_aligned(size_t bytes)
{
    size_t alignment = bytes >= HUGE_FROM ? HUGE_PAGE : FL_ALIGNMENT;
    size_t rounded;
    if (!fl_size_align(bytes ? bytes : 1, FL_ALIGNMENT, &rounded)) return out_of_memory(bytes, 1);
    void *p = NULL;
    if (posix_memalign(&p, alignment, rounded)) return out_of_memory(bytes, 1);
#ifdef MADV_HUGEPAGE
    if (alignment == HUGE_PAGE) madvise(p, rounded & ~(HUGE_PAGE - 1), MADV_HUGEPAGE);
#endif
    return p;
}

void fl_free_aligned(void *p)
{
    free(p);
}
