#include "base/arena.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/size.h"

#if defined(__SANITIZE_ADDRESS__)
#define FL_ARENA_POISON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FL_ARENA_POISON 1
#endif
#endif
#ifdef FL_ARENA_POISON /* a released activation is then as illegal to read as freed memory */
#include <sanitizer/asan_interface.h>
#define POISON(p, n) __asan_poison_memory_region(p, n)
#define UNPOISON(p, n) __asan_unpoison_memory_region(p, n)
#else
#define POISON(p, n) ((void)0)
#define UNPOISON(p, n) ((void)0)
#endif

#define HUGE_PAGE ((size_t)2 << 20)
#define COMMIT_STEP ((size_t)16 << 20) /* address space made usable at once: one system call per step */
#define LEAST_RESERVE ((size_t)64 << 20)
#define COUNTING_BASE ((uintptr_t)FL_ALIGNMENT)

struct fl_arena {
    uint8_t *mapping; /* what mmap returned; base is the first huge page border in it */
    uint8_t *base;
    size_t mapped, committed, used, peak, limit;
    bool counting;
};

/* Reserve limit bytes of address space, no memory. */
static bool reserve(fl_arena *a, size_t limit)
{
    size_t bytes;
    if (!fl_size_align(limit, COMMIT_STEP, &bytes) || !fl_size_add(bytes, HUGE_PAGE, &bytes)) return false;
    void *p = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return false;
    a->mapping = p;
    a->mapped = bytes;
    a->base = a->mapping + ((HUGE_PAGE - ((uintptr_t)p & (HUGE_PAGE - 1))) & (HUGE_PAGE - 1));
    a->limit = limit;
    return true;
}

fl_status fl_arena_create(fl_arena **out, size_t limit_bytes, bool counting)
{
    fl_arena *a = fl_calloc(1, sizeof *a);
    if (!a) return FL_ERR_MEMORY;
    a->counting = counting;
    if (counting) {
        a->limit = limit_bytes ? limit_bytes : SIZE_MAX / 4;
        *out = a;
        return FL_OK;
    }
    size_t limit = limit_bytes ? limit_bytes : (size_t)fl_min64(fl_physical_bytes(), INT64_MAX / 4);
    bool reserved = reserve(a, limit);
    /* Without a limit of the caller's, a ceiling on address space (ulimit -v) makes the arena smaller, not impossible.
     */
    while (!reserved && !limit_bytes && limit / 2 >= LEAST_RESERVE)
        reserved = reserve(a, limit /= 2);
    if (!reserved) {
        fl_free(a);
        return fl_fail(FL_ERR_MEMORY,
                       "arena: %zu bytes of address space could not be reserved: %s; lower the memory limit", limit,
                       strerror(errno));
    }
    *out = a;
    return FL_OK;
}

void fl_arena_destroy(fl_arena *a)
{
    if (!a) return;
    if (a->mapping) {
        UNPOISON(a->base, a->committed);
        munmap(a->mapping, a->mapped);
    }
    fl_free(a);
}

static bool commit(fl_arena *a, size_t needed)
{
    size_t target;
    if (!fl_size_align(needed, COMMIT_STEP, &target)) return false;
    size_t more = target - a->committed;
    uint8_t *from = a->base + a->committed;
    if (mprotect(from, more, PROT_READ | PROT_WRITE)) return false;
#ifdef MADV_HUGEPAGE
    madvise(from, more, MADV_HUGEPAGE);
#endif
    POISON(from, more);
    a->committed = target;
    return true;
}

void *fl_arena_alloc(fl_arena *a, size_t bytes)
{
    size_t rounded, used;
    if (!fl_size_align(bytes, FL_ALIGNMENT, &rounded) || !fl_size_add(a->used, rounded, &used) || used > a->limit) {
        fl_fail(
            FL_ERR_MEMORY,
            "memory: %zu bytes asked for with %zu in use pass the limit of %zu; use a shorter input, smaller chunks "
            "or a higher limit",
            bytes, a->used, a->limit);
        return NULL;
    }
    if (!a->counting && used > a->committed && !commit(a, used)) {
        fl_fail(FL_ERR_MEMORY, "memory: %zu bytes with %zu in use: the system has no more: %s", bytes, a->used,
                strerror(errno));
        return NULL;
    }
    void *p = a->counting ? (void *)(COUNTING_BASE + a->used) : a->base + a->used;
    if (!a->counting) UNPOISON(p, bytes);
    a->used = used;
    if (used > a->peak) a->peak = used;
    return p;
}

size_t fl_arena_mark(const fl_arena *a)
{
    return a->used;
}

void fl_arena_release(fl_arena *a, size_t mark)
{
    if (mark >= a->used) return;
    if (!a->counting) POISON(a->base + mark, a->used - mark);
    a->used = mark;
}

size_t fl_arena_peak(const fl_arena *a)
{
    return a->peak;
}

void fl_arena_reset_peak(fl_arena *a)
{
    a->peak = a->used;
}

bool fl_arena_counting(const fl_arena *a)
{
    return a->counting;
}

void fl_arena_trim(fl_arena *a)
{
    size_t from;
    if (a->counting || !fl_size_align(a->used, (size_t)sysconf(_SC_PAGESIZE), &from) || from >= a->committed) return;
    madvise(a->base + from, a->committed - from, MADV_DONTNEED);
}
