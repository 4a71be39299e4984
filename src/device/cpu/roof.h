/* What the machine can do when nothing else is asked of it: loops on registers and of loads, run by all threads of a
 * device. Figures of products and of operators are set against them, taken in turn, since a machine's speed drifts. */
#ifndef FL_DEVICE_CPU_ROOF_H
#define FL_DEVICE_CPU_ROOF_H

#include "device/device.h"

/* Seconds by which runs are compared: with one thread the time it had of its core, which other programs may share;
 * with several the time that passed. */
double fl_roof_seconds(const fl_device *d);

/* Each takes some milliseconds. 0: not known for the device's level. */
double fl_roof_multiply_adds(fl_device *d); /* fp32 operations a second, two for each multiply-add */
double fl_roof_byte_products(fl_device *d); /* the same for products of bytes summed to 32 bits */
double fl_roof_read(fl_device *d, const void *data, size_t bytes); /* bytes a second; data aligned to 64 */

#endif
