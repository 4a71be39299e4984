/* Row kernels for AVX2 and FMA. */
#define FL_ROW_TABLE fl_row_kernels_avx2
#include "kernel/simd/row.h"
