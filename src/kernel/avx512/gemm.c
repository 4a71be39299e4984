/* Dense kernels for AVX-512. */
#define FL_GEMM_TABLE fl_gemm_kernels_avx512
#include "kernel/simd/gemm.h"
