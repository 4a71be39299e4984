#include "base/slab.h"

#include <stdint.h>

#include "base/alloc.h"
#include "base/size.h"

#define SLAB_BYTES ((size_t)64 << 20)

struct fl_slab {
    uint8_t *data;
    size_t bytes, used;
    size_t blocks; /* not released */
};

static fl_slab *create(size_t bytes)
{
    fl_slab *slab = fl_calloc(1, sizeof *slab);
    if (!slab) return NULL;
    slab->bytes = bytes;
    slab->data = fl_alloc_aligned(bytes);
    if (slab->data) return slab;
    fl_free(slab);
    return NULL;
}

void fl_slabs_init(fl_slabs *s)
{
    pthread_mutex_init(&s->mutex, NULL);
    s->newest = NULL;
}

void fl_slabs_destroy(fl_slabs *s)
{
    pthread_mutex_destroy(&s->mutex);
}

/* The newest slab if `bytes` still fit, else a new one. */
static fl_slab *with_room(fl_slabs *s, size_t bytes)
{
    if (s->newest && bytes <= s->newest->bytes - s->newest->used) return s->newest;
    fl_slab *slab = create(bytes > SLAB_BYTES ? bytes : SLAB_BYTES);
    if (slab) s->newest = slab;
    return slab;
}

void *fl_slab_alloc(fl_slabs *s, size_t bytes, fl_slab **slab)
{
    size_t rounded;
    if (!fl_size_align(bytes, FL_ALIGNMENT, &rounded)) rounded = SIZE_MAX; /* refused like all that is too much */
    void *block = NULL;
    pthread_mutex_lock(&s->mutex);
    fl_slab *from = with_room(s, rounded);
    if (from) {
        block = from->data + from->used;
        from->used += rounded;
        from->blocks++;
        *slab = from;
    }
    pthread_mutex_unlock(&s->mutex);
    return block;
}

void fl_slab_release(fl_slabs *s, fl_slab *slab)
{
    if (!slab) return;
    pthread_mutex_lock(&s->mutex);
    bool last = --slab->blocks == 0;
    if (last && s->newest == slab) s->newest = NULL;
    pthread_mutex_unlock(&s->mutex);
    if (!last) return;
    fl_free_aligned(slab->data);
    fl_free(slab);
}
