/* Dense kernels for AVX2. */
#define FL_GEMM_TABLE fl_gemm_kernels_avx2
#include "kernel/simd/gemm.h"
