/* Products with quantised weights for AVX2 with AVX-VNNI: compiled for it, see kernel/select.c. */
#define FL_QUANT_TABLE fl_quant_tile_kernels_avx2_vnni
#include "kernel/simd/quant_tile.h"
