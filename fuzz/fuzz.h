/* What the fuzz targets share. */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stdio.h>
#include <stdlib.h>

#include "base/status.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A broken promise ends the program, which the fuzzer reports with the input that did it. */
#define FUZZ_PROMISE(condition)                                                                                        \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, fl_error_message());                    \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* Read all of n bytes, so that a range that is not there is found. */
static inline void fuzz_touch(const void *bytes, size_t n)
{
    static volatile uint8_t sink;
    for (size_t i = 0; i < n; i++)
        sink = (uint8_t)(sink ^ ((const uint8_t *)bytes)[i]);
}

#endif
