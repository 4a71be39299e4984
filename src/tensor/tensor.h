/* The activation tensor: a matrix of rows, and the weight as a file stores it. */
#ifndef FL_TENSOR_TENSOR_H
#define FL_TENSOR_TENSOR_H

#include "tensor/dtype.h"

/* [rows, cols], row-major with ld elements from one row to the next. Header and data live in a run's arenas. */
typedef struct fl_tensor {
    fl_dtype type;
    int64_t rows, cols, ld;
    void *data;
    float *grad;      /* same shape, ld == cols; NULL until the backward pass first writes it */
    bool needs_grad;  /* on a tape and reached by something trainable */
} fl_tensor;

static inline float *fl_row(const fl_tensor *t, int64_t row) { return (float *)t->data + row * t->ld; }

/* A matrix of weights inside a mapped file or on the heap. Element (n, k) is at data + n*row_stride + k*col_stride
 * elements, so transposed files and slices of fused matrices need no copy. Block types have col_stride 1. */
typedef struct fl_stored {
    fl_dtype type;
    int64_t rows, cols; /* rows = outputs, cols = inputs; a vector is one row */
    int64_t row_stride, col_stride;
    const void *data;
} fl_stored;

/* A weight in the form in which a device multiplies with it, in memory or in a mapped file: groups of outputs side by
 * side, in a layout that the device names. */
#define FL_PANELS_ALIGNMENT 64
typedef struct fl_panels {
    const char *layout; /* name and version; another name is another order of bytes */
    fl_dtype type;      /* that values keep */
    int64_t rows, cols; /* as in fl_stored */
    const void *data;   /* at a multiple of FL_PANELS_ALIGNMENT */
    size_t bytes;
} fl_panels;

/* Row n as fp32. */
void fl_stored_row(const fl_stored *s, int64_t n, float *out);

#endif
