#include "tensor/tensor.h"

#include <string.h>

#include "base/size.h"

#define GATHER 256

void fl_stored_row(const fl_stored *s, int64_t n, float *out)
{
    const fl_dtype_info *info = fl_dtype_get(s->type);
    const char *row = (const char *)s->data + n * s->row_stride / info->block * (int64_t)info->block_bytes;
    if (s->col_stride == 1) {
        fl_to_f32(s->type, row, out, s->cols);
        return;
    }
    /* A transposed matrix: collect a stretch of the row, then convert it at once. */
    char stretch[GATHER * sizeof(double)];
    size_t size = info->block_bytes;
    for (int64_t k = 0; k < s->cols; k += GATHER) {
        int64_t count = fl_min64(GATHER, s->cols - k);
        for (int64_t i = 0; i < count; i++)
            memcpy(stretch + (size_t)i * size, row + (k + i) * s->col_stride * (int64_t)size, size);
        fl_to_f32(s->type, stretch, out + k, count);
    }
}
