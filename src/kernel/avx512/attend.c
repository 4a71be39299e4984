/* Attention for AVX-512. */
#define ATTEND_TABLE fl_attend_kernels_avx512
#include "kernel/simd/attend.h"
