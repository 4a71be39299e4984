/* Errors: a status code travels by return value, its message by thread-local storage. */
#ifndef FL_BASE_STATUS_H
#define FL_BASE_STATUS_H

#include "furlong.h"

#define FL_ERROR_CAPACITY 1024

/* Record a message for this thread and return code. The message says file, key, value and what to do. */
fl_status fl_fail(fl_status code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Put "prefix: " before the message of the error just recorded (adds a file name to a parser's error); returns code. */
fl_status fl_fail_within(fl_status code, const char *format, ...) __attribute__((format(printf, 2, 3)));

#ifdef __GNUC__ /* so that compilers and analyzers see the code come back, and no path on which a failure was FL_OK */
#define fl_fail(code, ...)                                                                                             \
    __extension__({                                                                                                    \
        const fl_status fl_fail_code = (code);                                                                         \
        (fl_fail)(fl_fail_code, __VA_ARGS__);                                                                          \
        fl_fail_code;                                                                                                  \
    })
#define fl_fail_within(code, ...)                                                                                      \
    __extension__({                                                                                                    \
        const fl_status fl_fail_code = (code);                                                                         \
        (fl_fail_within)(fl_fail_code, __VA_ARGS__);                                                                   \
        fl_fail_code;                                                                                                  \
    })
#endif

/* Return early with the status of an expression that failed. */
#define FL_TRY(expression)                                                                                             \
    do {                                                                                                               \
        fl_status fl_try_status = (expression);                                                                        \
        if (fl_try_status != FL_OK) return fl_try_status;                                                              \
    } while (0)

#endif
