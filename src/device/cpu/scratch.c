/* Scratch memory of the CPU device: reserved once, touched on first use, never grown, so that no entry can fail. */
#include <sys/mman.h>

#include "base/alloc.h"
#include "base/size.h"
#include "device/cpu/cpu.h"

#define HUGE_PAGE ((size_t)2 << 20)

typedef struct cpu_scratch {
    void *mapping;
    uint8_t *base; /* [threads][slots] of FL_CPU_SCRATCH_BYTES, then [slots] of FL_CPU_SHARED_SCRATCH_BYTES */
    size_t bytes;  /* of the mapping */
    int threads;
} cpu_scratch;

fl_status fl_cpu_scratch_create(fl_device *d)
{
    int threads = fl_pool_threads(d->pool);
    size_t per_thread = FL_CPU_SCRATCH_SLOTS * FL_CPU_SCRATCH_BYTES, bytes = 0;
    if (threads < 1 || !fl_size_mul((size_t)threads, per_thread, &bytes) ||
        !fl_size_add(bytes, FL_CPU_SCRATCH_SLOTS * FL_CPU_SHARED_SCRATCH_BYTES + HUGE_PAGE, &bytes))
        return fl_fail(FL_ERR_MEMORY, "scratch for %d threads: the size overflows", threads);
    cpu_scratch *s = fl_calloc(1, sizeof *s);
    if (!s) return FL_ERR_MEMORY;
    void *mapping = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) {
        fl_free(s);
        return fl_fail(FL_ERR_MEMORY, "cannot reserve %zu MiB of address space for %d threads; use fewer threads",
                       bytes >> 20, threads);
    }
    uint8_t *base = (uint8_t *)(((uintptr_t)mapping + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1));
    *s = (cpu_scratch){.mapping = mapping, .base = base, .bytes = bytes, .threads = threads};
    /* Shared slots hold many MiB that products run through in strides; a refusal costs time only. */
    madvise(base + (size_t)threads * per_thread, FL_CPU_SCRATCH_SLOTS * FL_CPU_SHARED_SCRATCH_BYTES, MADV_HUGEPAGE);
    d->scratch = s;
    return FL_OK;
}

void fl_cpu_scratch_destroy(fl_device *d)
{
    cpu_scratch *s = d->scratch;
    if (!s) return;
    munmap(s->mapping, s->bytes);
    fl_free(s);
    d->scratch = NULL;
}

void *fl_cpu_scratch(fl_device *d, int thread, int slot, size_t bytes)
{
    const cpu_scratch *s = d->scratch;
    if (bytes > FL_CPU_SCRATCH_BYTES) return NULL;
    return s->base + ((size_t)thread * FL_CPU_SCRATCH_SLOTS + (size_t)slot) * FL_CPU_SCRATCH_BYTES;
}

void *fl_cpu_shared_scratch(fl_device *d, int slot, size_t bytes)
{
    const cpu_scratch *s = d->scratch;
    if (bytes > FL_CPU_SHARED_SCRATCH_BYTES) return NULL;
    return s->base + (size_t)s->threads * FL_CPU_SCRATCH_SLOTS * FL_CPU_SCRATCH_BYTES +
           (size_t)slot * FL_CPU_SHARED_SCRATCH_BYTES;
}
