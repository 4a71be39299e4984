/* The dense product that linear, matmul and head share: c(m, n) (+)= sum over k of a(m, k) * b(n, k) (+ bias). */
#ifndef FL_DEVICE_CPU_PRODUCT_H
#define FL_DEVICE_CPU_PRODUCT_H

#include "device/cpu/cpu.h"
#include "kernel/gemm.h"
#include "kernel/quant.h"

/* b in panels of 32 columns, as kernel/gemm.h says: F16 and BF16 weights stay so, others become F32; or quantised ones
 * as kernel/quant_tile.h says. The record and its bytes are all there is: in memory, or mapped from a file. */
struct fl_packed {
    fl_panels panels;
    bool quantised;      /* what panels.type is to the kernels: */
    fl_quant_type quant; /* if quantised, */
    fl_gemm_type type;   /* else */
    void *owned;         /* panels.data, if it goes when this does: */
    fl_slab *slab;       /* a block of this slab */
};

typedef struct fl_product {
    int64_t m, n, k;
    const float *a; /* a(i, l) at a[i*a_row + l*a_col] */
    int64_t a_row, a_col;
    fl_operand b;      /* [n, k] */
    const float *bias; /* [n] or NULL; added to the finished sums, also when
                          accumulating */
    float *c;          /* [m, n] */
    int64_t ldc;
    bool accumulate;
} fl_product;

/* Uses scratch slots 0 and 1 of each thread and, when b is not packed, shared slot 0. */
void fl_cpu_product(fl_device *d, const fl_product *p);

/* `rows` columns of b from `first` on, a multiple of 32, and `kc` of their values from k0 on as F32 panels, one every
 * panel_stride values. `spare` has room for 32*kc floats. A block type needs its values along one stride of 1, and
 * there k0 and kc at multiples of the block. */
void fl_cpu_pack_panels(const fl_gemm_kernels *kernels, const fl_stored *b, int64_t first, int64_t rows, int64_t k0,
                        int64_t kc, float *spare, float *out, int64_t panel_stride);

#endif
