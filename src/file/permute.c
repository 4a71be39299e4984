#include "file/permute.h"

#include <string.h>

int64_t fl_permuted_row(int64_t row, int64_t head_dim, int64_t dim, fl_row_order to)
{
    int64_t inside = row % head_dim, half = dim / 2;
    if (inside >= dim) return row;
    int64_t from = to == FL_ROWS_INTERLEAVED ? (inside % 2) * half + inside / 2 : (inside % half) * 2 + inside / half;
    return row - inside + from;
}

void fl_permute_rows(void *to_rows, const void *from, int64_t heads, int64_t head_dim, int64_t dim, size_t row_bytes,
                     fl_row_order to)
{
    for (int64_t row = 0; row < heads * head_dim; row++) {
        size_t source = (size_t)fl_permuted_row(row, head_dim, dim, to);
        memcpy((char *)to_rows + (size_t)row * row_bytes, (const char *)from + source * row_bytes, row_bytes);
    }
}
