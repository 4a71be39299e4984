/* A corpus cut into the windows that are trained on. */
#ifndef FL_TRAIN_WINDOWS_H
#define FL_TRAIN_WINDOWS_H

#include "text/data.h"

typedef struct fl_windows {
    const fl_data *data;
    fl_packing packing;
    int64_t length; /* targets per window; it takes length + 1 ids */
    int64_t count;
    int64_t unused;  /* tokens that are no window's target: what is left at ends; the first ones do not count */
    int64_t *before; /* single: [documents + 1] windows of earlier documents; else NULL */
} fl_windows;

/* FL_ERR_ARGUMENT with both numbers when the data does not fill one window. data must outlive w. */
fl_status fl_windows_create(fl_windows *w, const fl_data *data, int64_t length, fl_packing packing);
void fl_windows_destroy(fl_windows *w);

/* ids: [length + 1]. fresh: [length + 1], true where a document begins that shall not see what stands before it; always
 * false but for FL_PACKING_CUT, and at the first id. */
void fl_windows_read(const fl_windows *w, int64_t index, int32_t *ids, bool *fresh);

#endif
