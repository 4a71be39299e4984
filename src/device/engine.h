/* The engine: what sessions and trainers of one configuration share. */
#ifndef FL_DEVICE_ENGINE_H
#define FL_DEVICE_ENGINE_H

#include "base/log.h"
#include "device/device.h"
#include "kernel/kernel.h"

struct fl_engine {
    fl_pool *pool;
    const fl_kernels *kernels;
    fl_device *device;
    fl_log log;
};

#endif
