/* The engine: what sessions and trainers of one configuration share. */
#ifndef FL_DEVICE_ENGINE_H
#define FL_DEVICE_ENGINE_H

#include <pthread.h>

#include "base/log.h"
#include "device/device.h"
#include "kernel/kernel.h"

struct fl_engine {
    fl_pool *pool;
    const fl_kernels *kernels;
    fl_device *device;
    fl_log log;
    pthread_mutex_t turn; /* the pool and the device's scratch serve one thread at a time */
};

/* Held while tensors are computed: sessions of several threads take turns on one engine. */
void fl_engine_lock(fl_engine *engine);
void fl_engine_unlock(fl_engine *engine);

#endif
