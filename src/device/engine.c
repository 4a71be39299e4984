#include "device/engine.h"

#include "base/alloc.h"

fl_status fl_engine_create(fl_engine **out, const fl_engine_options *options)
{
    if (!out || !options || options->size != sizeof *options)
        return fl_fail(FL_ERR_ARGUMENT, "fl_engine_options.size is not %zu: start from FL_ENGINE_OPTIONS_INIT",
                       sizeof(fl_engine_options));
    if (options->threads < 0 || options->threads > 1024)
        return fl_fail(FL_ERR_ARGUMENT, "threads = %d: choose 1 to 1024, or 0 for every core", options->threads);
    fl_engine *e = fl_calloc(1, sizeof *e);
    if (!e) return FL_ERR_MEMORY;
    e->log = (fl_log){options->log, options->log_user, options->log_level};
    pthread_mutex_init(&e->turn, NULL);
    fl_status s = fl_kernels_select(&e->kernels, options->cpu);
    if (s == FL_OK) s = fl_pool_create(&e->pool, options->threads);
    if (s == FL_OK) s = fl_cpu_device_create(&e->device, e->pool, e->kernels);
    if (s != FL_OK) {
        fl_engine_destroy(e);
        return s;
    }
    *out = e;
    return FL_OK;
}

void fl_engine_destroy(fl_engine *e)
{
    if (!e) return;
    if (e->device) fl_cpu_device_destroy(e->device);
    if (e->pool) fl_pool_destroy(e->pool);
    pthread_mutex_destroy(&e->turn);
    fl_free(e);
}

void fl_engine_lock(fl_engine *e)
{
    pthread_mutex_lock(&e->turn);
}

void fl_engine_unlock(fl_engine *e)
{
    pthread_mutex_unlock(&e->turn);
}

int fl_engine_threads(const fl_engine *e)
{
    return fl_pool_threads(e->pool);
}

const char *fl_engine_cpu(const fl_engine *e)
{
    return e->kernels->name;
}
