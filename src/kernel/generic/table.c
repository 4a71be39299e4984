#include "kernel/attend.h"
#include "kernel/gemm.h"
#include "kernel/kernel.h"
#include "kernel/quant_tile.h"
#include "kernel/row.h"

const fl_kernels fl_kernels_generic = {
    .name = "generic",
    .gemm = &fl_gemm_kernels_generic,
    .attend = &fl_attend_kernels_generic,
    .row = &fl_row_kernels_generic,
    .quant = &fl_quant_tile_kernels_generic,
};
