/* Sums over rows (gradients of biases and of norms' weights) that are the same for any number of threads: rows are cut
 * into blocks whose size depends on the shape alone, each block is summed in order into its own place in scratch, and
 * the blocks are added in order. Short sums also keep the rounding error from growing with the number of rows. */
#ifndef FL_DEVICE_CPU_COLUMNS_H
#define FL_DEVICE_CPU_COLUMNS_H

#include "device/device.h"

#define FL_COLUMN_SUMS 2

typedef struct fl_columns {
    int64_t rows, cols;
    int64_t block_rows, blocks;
    float *sum[FL_COLUMN_SUMS]; /* [cols] each, added to; NULL: not wanted */
    float *part;                /* [blocks][wanted sums][cols] in scratch slot 2; NULL where one block does */
} fl_columns;

/* Lay out the blocks for up to two sums over `rows` rows; the scratch is taken until its next use. */
fl_columns fl_cpu_columns(fl_device *d, int64_t rows, int64_t cols, float *sum0, float *sum1);

/* Where a block adds its rows to, one pointer per sum (NULL: not wanted). Once per block, before its first row. */
void fl_cpu_columns_start(const fl_columns *c, int64_t block, float *part[FL_COLUMN_SUMS]);

/* Add the blocks up, after all of them are done. */
void fl_cpu_columns_finish(fl_device *d, const fl_columns *c);

#endif
