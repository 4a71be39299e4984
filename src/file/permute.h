/* The two orders in which files keep the rows of q and k projections (and their biases).
 *
 * half-split: pair i of a head is rows (i, i + dim/2): Hugging Face. interleaved: rows (2i, 2i + 1): Meta, llama2.c.
 * A model computes the same in either order when rows and rotation change together. */
#ifndef FL_FILE_PERMUTE_H
#define FL_FILE_PERMUTE_H

#include "tensor/dtype.h"

typedef enum fl_row_order { FL_ROWS_HALF_SPLIT, FL_ROWS_INTERLEAVED } fl_row_order;

/* Row of the other order that holds what belongs into `row` of order `to`. head_dim rows per head, the first dim of
 * them rotated (dim even, the rest stays in place). */
int64_t fl_permuted_row(int64_t row, int64_t head_dim, int64_t dim, fl_row_order to);

/* Copy heads*head_dim rows of row_bytes each into order `to`. to_rows and from must not overlap. */
void fl_permute_rows(void *to_rows, const void *from, int64_t heads, int64_t head_dim, int64_t dim, size_t row_bytes,
                     fl_row_order to);

#endif
