/* Attention for AVX2 with AVX-VNNI: compiled for it, see kernel/select.c. */
#define ATTEND_TABLE fl_attend_kernels_avx2_vnni
#include "kernel/simd/attend.h"
