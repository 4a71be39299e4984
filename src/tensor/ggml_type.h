/* The numbers by which GGUF files name tensor types (enum ggml_type). */
#ifndef FL_TENSOR_GGML_TYPE_H
#define FL_TENSOR_GGML_TYPE_H

#include "tensor/dtype.h"

/* FL_ERR_UNSUPPORTED for a type of ggml that furlong does not read: the message names it and says what to convert to.
 * FL_ERR_FORMAT for a number that ggml has never given. */
fl_status fl_dtype_from_ggml(fl_dtype *out, uint32_t id);

/* FL_ERR_UNSUPPORTED for types that ggml does not have (U8, BOOL). */
fl_status fl_dtype_to_ggml(uint32_t *out, fl_dtype type);

#endif
