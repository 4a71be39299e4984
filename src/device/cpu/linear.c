/* y = x W^T (+ bias) */
#include "device/cpu/product.h"

void fl_cpu_linear(fl_device *d, const fl_operand *w, const float *bias, const fl_tensor *x, fl_tensor *y,
                   bool accumulate)
{
    fl_product p = {.m = x->rows,
                    .n = w->stored.rows,
                    .k = w->stored.cols,
                    .a = x->data,
                    .a_row = x->ld,
                    .a_col = 1,
                    .b = *w,
                    .bias = bias,
                    .c = y->data,
                    .ldc = y->ld,
                    .accumulate = accumulate};
    fl_cpu_product(d, &p);
}
