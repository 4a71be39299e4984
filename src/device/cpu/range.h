/* Cutting row work into tasks. */
#ifndef FL_DEVICE_CPU_RANGE_H
#define FL_DEVICE_CPU_RANGE_H

#include "device/device.h"

/* Fewer elements than this are done by the calling thread: waking the others takes some microseconds, in which one
 * core passes over about this many elements in its cache. */
#define FL_CPU_DISPATCH_ELEMENTS 65536

/* Do items first <= i < end. Must give the same results however the items are cut into ranges. */
typedef void (*fl_range_fn)(void *context, int64_t first, int64_t end);

/* fn over 0 <= i < count, each item standing for `elements` elements, on all threads if that is worth a dispatch. */
void fl_cpu_ranges(fl_device *d, int64_t count, int64_t elements, fl_range_fn fn, void *context);

#endif
