/* Where the time of a device goes: while a profile is open, its operators are timed and their work is counted. */
#ifndef FL_DEVICE_PROFILE_H
#define FL_DEVICE_PROFILE_H

#include "device/device.h"

typedef struct fl_profile fl_profile;

/* Work is what an operator cannot do without: operations of its products (two for each multiply-add), in fp32 or on
 * bytes, and the bytes of weights, keys, values and rows that it reads and writes once. */
typedef struct fl_profile_row {
    const char *name;
    int64_t calls;
    double seconds, operations, byte_operations, bytes;
} fl_profile_row;

/* Operators of reading and generating; the device serves no one else meanwhile. FL_ERR_MEMORY. */
fl_status fl_profile_open(fl_profile **out, fl_device *d);
void fl_profile_close(fl_profile *p); /* may be NULL */

/* What has been counted since opening or the last reset; row 0 .. fl_profile_rows() - 1, calls 0 for unused ones. */
int fl_profile_rows(void);
fl_profile_row fl_profile_get(const fl_profile *p, int row);
void fl_profile_reset(fl_profile *p);

#endif
