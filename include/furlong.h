/* furlong: a long-context engine for language models.
 *
 * Rules of this header
 *   - A function that can fail returns fl_status and writes its outputs through pointers, outputs first.
 *     After a failure fl_error_message() gives the text of the calling thread's last error; outputs are untouched.
 *   - A model is read-only after it is opened and may be shared by threads. A session belongs to one thread at a time.
 *   - Token counts, positions and byte sizes are 64 bits wide. Lengths are tokens unless a name says bytes.
 *   - Options structs begin with their own size; start from the matching FL_..._INIT macro.
 *   - The library never aborts, exits, prints, reads the environment, installs signal handlers or changes the locale.
 */
#ifndef FURLONG_H
#define FURLONG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FL_VERSION_MAJOR 0
#define FL_VERSION_MINOR 1
#define FL_VERSION_PATCH 0
#define FL_VERSION_STRING "0.1.0"

#if defined(__GNUC__)
#define FL_API __attribute__((visibility("default")))
#else
#define FL_API
#endif

/* ---- status ------------------------------------------------------------------------------------------------- */

typedef enum fl_status {
    FL_OK = 0,
    FL_ERR_ARGUMENT,    /* the caller passed something unusable */
    FL_ERR_MEMORY,      /* an allocation failed */
    FL_ERR_IO,          /* the operating system refused a file operation */
    FL_ERR_FORMAT,      /* a file is malformed; the message names file, key or offset */
    FL_ERR_UNSUPPORTED, /* well-formed, but furlong does not do this; the message says what to use instead */
    FL_ERR_SHAPE,       /* two tensors or a tensor and a config disagree */
    FL_ERR_WINDOW,      /* more tokens than the context window holds; both numbers are in the message */
    FL_ERR_CANCELLED,   /* a progress callback or fl_cancel() stopped the work; the object is usable */
    FL_ERR_STATE,       /* called in the wrong order, or the object belongs to another model */
    FL_ERR_NUMERIC      /* a value became infinite or not a number */
} fl_status;

/* Short constant name, such as "FL_ERR_FORMAT". Never NULL. */
FL_API const char *fl_status_name(fl_status status);

/* Text of the last error of the calling thread, "" if there was none. Valid until this thread's next failing call. */
FL_API const char *fl_error_message(void);

FL_API const char *fl_version(void);

/* ---- callbacks ---------------------------------------------------------------------------------------------- */

typedef enum fl_log_level { FL_LOG_ERROR, FL_LOG_WARN, FL_LOG_INFO, FL_LOG_DEBUG } fl_log_level;

/* text has no trailing newline and is valid during the call only. May be called from any thread. */
typedef void (*fl_log_fn)(fl_log_level level, const char *text, void *user);

/* stage: a constant such as "load", "prefill", "train". done of total in the stage's own unit (total 0: unknown).
 * seconds_left is an estimate, negative while unknown. Return non-zero to cancel. */
typedef int (*fl_progress_fn)(const char *stage, int64_t done, int64_t total, double seconds_left, void *user);

/* ---- engine ------------------------------------------------------------------------------------------------- */

/* Threads, CPU kernels and log of everything made with it. Two engines in one process may differ. Objects made with an
 * engine must be closed before it. */
typedef struct fl_engine fl_engine;

typedef struct fl_engine_options {
    size_t size;            /* sizeof(fl_engine_options) */
    int threads;            /* 0: every core this process may use */
    const char *cpu;        /* "auto", "generic", "avx2", "avx512" */
    fl_log_fn log;          /* NULL: silent */
    void *log_user;
    fl_log_level log_level; /* lines above it are dropped */
} fl_engine_options;

#define FL_ENGINE_OPTIONS_INIT {sizeof(fl_engine_options), 0, "auto", NULL, NULL, FL_LOG_INFO}

FL_API fl_status fl_engine_create(fl_engine **out, const fl_engine_options *options);
FL_API void fl_engine_destroy(fl_engine *engine);
FL_API int fl_engine_threads(const fl_engine *engine);
FL_API const char *fl_engine_cpu(const fl_engine *engine); /* the kernels chosen */

#ifdef __cplusplus
}
#endif
#endif
