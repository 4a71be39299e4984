/* Read-only view of a whole file. */
#ifndef FL_BASE_MAP_H
#define FL_BASE_MAP_H

#include "base/status.h"

typedef struct fl_map {
    const uint8_t *data; /* NULL for an empty file */
    size_t size;
} fl_map;

/* Regular files only; the error names path and cause. */
fl_status fl_map_open(fl_map *out, const char *path);
/* Give back the memory that reading has taken; what is read again comes from the file again. */
void fl_map_release(const fl_map *m);
void fl_map_close(fl_map *m);

#endif
