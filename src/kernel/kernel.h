/* Raw loops on pointers, one table per CPU level; chosen once when an engine is made.
 * Each group of kernels has its own header and its own table so that a new CPU is one new folder. */
#ifndef FL_KERNEL_KERNEL_H
#define FL_KERNEL_KERNEL_H

#include "base/status.h"

struct fl_gemm_kernels;
struct fl_attend_kernels;
struct fl_row_kernels;
struct fl_quant_tile_kernels;

typedef struct fl_kernels {
    const char *name; /* "generic", "avx2", "avx512" */
    const struct fl_gemm_kernels *gemm;
    const struct fl_attend_kernels *attend;
    const struct fl_row_kernels *row;
    const struct fl_quant_tile_kernels *quant;
} fl_kernels;

/* The best level this CPU (and the operating system's register saving) supports; or the named one:
 * "generic", "avx2", "avx512", NULL or "auto" for the best. FL_ERR_UNSUPPORTED names what the CPU lacks. */
fl_status fl_kernels_select(const fl_kernels **out, const char *name);

extern const fl_kernels fl_kernels_generic;
#if defined(__x86_64__)
/* The levels avx2 and avx512 have two tables each: VNNI, which not every processor of a level has, serves quantised
 * weights, keys and values only. */
extern const fl_kernels fl_kernels_avx2, fl_kernels_avx2_vnni, fl_kernels_avx512, fl_kernels_avx512_vnni;
#endif

#endif
