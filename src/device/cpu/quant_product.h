/* The product with weights that are packed in their quantised form (kernel/quant_tile.h). */
#ifndef FL_DEVICE_CPU_QUANT_PRODUCT_H
#define FL_DEVICE_CPU_QUANT_PRODUCT_H

#include "device/cpu/product.h"

/* Whether w is kept quantised when it is packed; then *type is set. */
bool fl_cpu_quant_keeps(const fl_stored *w, fl_quant_type *type);

/* Bytes of the panels of such a w; false if they do not fit. */
bool fl_cpu_quant_bytes(const fl_stored *w, fl_quant_type type, size_t *bytes);

/* One panel of 32 rows of such a w to its place. */
void fl_cpu_quant_pack(const fl_stored *w, fl_quant_type type, int64_t panel, void *data);

/* p->b packed and quantised, a_col 1. Uses shared slot 0. */
void fl_cpu_quant_product(fl_device *d, const fl_product *p);

#endif
