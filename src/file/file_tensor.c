#include "file/file_tensor.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/size.h"

fl_status fl_file_tensor_values(const fl_file_tensor *t, size_t *out)
{
    if (t->rank < 0 || t->rank > FL_MAX_RANK || !fl_size_product(t->dim, t->rank, out))
        return fl_fail(FL_ERR_FORMAT, "tensor %.200s: shape: its dimensions are negative or their product overflows",
                       t->name);
    return FL_OK;
}

fl_status fl_file_tensor_bytes(const fl_file_tensor *t, size_t *out)
{
    size_t values = 0;
    FL_TRY(fl_file_tensor_values(t, &values));
    if (!fl_dtype_bytes(t->type, values, out))
        return fl_fail(FL_ERR_FORMAT, "tensor %.200s: shape: its size overflows or is not a whole number of blocks",
                       t->name);
    return FL_OK;
}

typedef struct named {
    const char *name;
    int64_t position;
} named;

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const named *)a)->name, ((const named *)b)->name);
}

int64_t *fl_file_tensor_index(const fl_file_tensor *t, int64_t count)
{
    named *order = fl_calloc((size_t)count, sizeof *order);
    int64_t *index = fl_calloc((size_t)count, sizeof *index);
    if (!order || !index) {
        fl_free(order);
        fl_free(index);
        return NULL;
    }
    for (int64_t i = 0; i < count; i++)
        order[i] = (named){t[i].name, i};
    qsort(order, (size_t)count, sizeof *order, compare_names);
    for (int64_t i = 0; i < count; i++)
        index[i] = order[i].position;
    fl_free(order);
    return index;
}

int64_t fl_file_tensor_find(const fl_file_tensor *t, const int64_t *index, int64_t count, const char *name)
{
    int64_t low = 0, high = count;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        int order = strcmp(t[index[middle]].name, name);
        if (order == 0) return index[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}
