/* Row kernels for AVX-512. */
#define FL_ROW_TABLE fl_row_kernels_avx512
#include "kernel/simd/row.h"
