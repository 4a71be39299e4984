/* Checked size arithmetic. Every size that depends on a file or a caller goes through here. */
#ifndef FL_BASE_SIZE_H
#define FL_BASE_SIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Each returns false on overflow and leaves *out alone. */
static inline bool fl_size_add(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_add_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

static inline bool fl_size_mul(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_mul_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

/* Round a up to a multiple of alignment, a power of two. */
static inline bool fl_size_align(size_t a, size_t alignment, size_t *out)
{
    size_t r;
    if (alignment == 0 || (alignment & (alignment - 1)) || !fl_size_add(a, alignment - 1, &r)) return false;
    *out = r & ~(alignment - 1);
    return true;
}

/* Product of n non-negative dimensions; false on overflow or a negative one. */
static inline bool fl_size_product(const int64_t *dim, int n, size_t *out)
{
    size_t r = 1;
    for (int i = 0; i < n; i++)
        if (dim[i] < 0 || !fl_size_mul(r, (size_t)dim[i], &r)) return false;
    *out = r;
    return true;
}

static inline int64_t fl_min64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t fl_max64(int64_t a, int64_t b) { return a > b ? a : b; }

/* Smallest multiple of step that is at least a (both positive, no overflow check: for lengths already validated). */
static inline int64_t fl_round_up(int64_t a, int64_t step) { return (a + step - 1) / step * step; }

#endif
