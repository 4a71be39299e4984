/* What attention's forward and backward share. */
#ifndef FL_DEVICE_CPU_ATTEND_H
#define FL_DEVICE_CPU_ATTEND_H

#include "base/size.h"
#include "device/cpu/cpu.h"
#include "kernel/attend.h"

#define FL_LINE_FLOATS 16
#define FL_LOG2_E 1.4426950408889634 /* the kernels' logits are in base 2 */
#define FL_LN_2 0.69314718055994531

static inline fl_attend_format fl_attend_format_of(fl_dtype type)
{
    static const fl_attend_format format[FL_DTYPE_COUNT] = {[FL_F32] = FL_ATTEND_F32,
                                                            [FL_F16] = FL_ATTEND_F16,
                                                            [FL_BF16] = FL_ATTEND_BF16,
                                                            [FL_Q8_0] = FL_ATTEND_Q8_0,
                                                            [FL_Q4_0] = FL_ATTEND_Q4_0};
    return format[type];
}

/* Where in a tile a key lies that may be before or after it: 0 .. 64. */
static inline uint8_t fl_within_tile(int64_t key, int64_t tile_begin)
{
    return (uint8_t)fl_max64(0, fl_min64(key - tile_begin, FL_TILE_KEYS));
}

static inline void fl_scale_row(const float *restrict from, float factor, float *restrict to, int n)
{
    for (int i = 0; i < n; i++)
        to[i] = from[i] * factor;
}

/* One head's rows lie far apart, where no hardware looks ahead: asked for together, they come together. */
static inline void fl_prefetch_rows(const fl_tensor *t, int64_t first_row, int64_t rows, ptrdiff_t column, int n,
                                    bool to_write)
{
    for (int64_t r = first_row; r < first_row + rows; r++) {
        const float *row = fl_row(t, r) + column;
        for (int i = 0; i < n; i += FL_LINE_FLOATS)
            if (to_write)
                __builtin_prefetch(row + i, 1);
            else
                __builtin_prefetch(row + i, 0);
    }
}

#endif
