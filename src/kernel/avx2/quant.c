/* Products with quantised weights for AVX2. */
#define FL_QUANT_TABLE fl_quant_tile_kernels_avx2
#include "kernel/simd/quant_tile.h"
