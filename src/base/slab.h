/* Memory for many blocks of middling size that stay together and go together, such as a model's weights: they share
 * slabs large enough for huge pages, which blocks of their own would not get. Reading through 4 KiB pages costs up to a
 * fifth of a core's bandwidth, since what the hardware fetches ahead stops at a page's end. */
#ifndef FL_BASE_SLAB_H
#define FL_BASE_SLAB_H

#include <pthread.h>
#include <stddef.h>

typedef struct fl_slab fl_slab;

/* Where the next block comes from. Any thread may use it. */
typedef struct fl_slabs {
    pthread_mutex_t mutex;
    fl_slab *newest;
} fl_slabs;

void fl_slabs_init(fl_slabs *s);
void fl_slabs_destroy(fl_slabs *s); /* after the last block was released */

/* bytes aligned to FL_ALIGNMENT, not zeroed, and in *slab what goes back with fl_slab_release; NULL with FL_ERR_MEMORY
 * recorded. Pages of a slab that no block has used take no memory. */
void *fl_slab_alloc(fl_slabs *s, size_t bytes, fl_slab **slab);

/* One block of the slab is not used any more; the slab's memory goes with its last one. NULL is allowed. */
void fl_slab_release(fl_slabs *s, fl_slab *slab);

#endif
