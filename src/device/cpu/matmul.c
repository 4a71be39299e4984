/* c (+)= a b^T for the backward products, where either side may lie transposed. */
#include "device/cpu/product.h"

void fl_cpu_matmul(fl_device *d, const fl_stored *a, const fl_stored *b, float *c, int64_t ldc, bool accumulate)
{
    fl_product p = {.m = a->rows,
                    .n = b->rows,
                    .k = a->cols,
                    .a = a->data,
                    .a_row = a->row_stride,
                    .a_col = a->col_stride,
                    .b = {.stored = *b},
                    .c = c,
                    .ldc = ldc,
                    .accumulate = accumulate};
    fl_cpu_product(d, &p);
}
