/* A named tensor inside an opened file. */
#ifndef FL_FILE_FILE_TENSOR_H
#define FL_FILE_FILE_TENSOR_H

#include "tensor/dtype.h"

#define FL_MAX_RANK 4

typedef struct fl_file_tensor {
    const char *name; /* "model.layers.0.self_attn.q_proj.weight" whatever the format */
    fl_dtype type;
    int rank;
    int64_t dim[FL_MAX_RANK];
    const void *data;
} fl_file_tensor;

/* Number of values; FL_ERR_FORMAT with the tensor's name when rank, dimensions or their product are impossible. */
fl_status fl_file_tensor_values(const fl_file_tensor *t, size_t *out);
fl_status fl_file_tensor_bytes(const fl_file_tensor *t, size_t *out);

/* Order for finding tensors by name: index[count] sorted by name. */
int64_t *fl_file_tensor_index(const fl_file_tensor *t, int64_t count); /* NULL: memory is out. fl_free */
/* Position in t, -1 if there is none of that name. */
int64_t fl_file_tensor_find(const fl_file_tensor *t, const int64_t *index, int64_t count, const char *name);

#endif
