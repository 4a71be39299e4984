/* Storage types of tensors and their conversion to fp32. */
#ifndef FL_TENSOR_DTYPE_H
#define FL_TENSOR_DTYPE_H

#include "base/status.h"

typedef enum fl_dtype {
    FL_F32,
    FL_F16,
    FL_BF16,
    FL_F64, /* read from files only */
    FL_I32,
    FL_I64, /* read from files only */
    FL_U8,  /* read from files only */
    FL_BOOL,
    FL_Q8_0,
    FL_DTYPE_COUNT
} fl_dtype;

typedef struct fl_dtype_info {
    const char *name;   /* "F32", as safetensors and GGUF spell it */
    int block;          /* values per block; 1 for plain types */
    size_t block_bytes; /* bytes per block */
    bool real;          /* can be read as fp32 values */
} fl_dtype_info;

const fl_dtype_info *fl_dtype_get(fl_dtype type); /* never NULL for a valid type */

/* Bytes of n values (a multiple of the block); false on overflow or a partial block. */
bool fl_dtype_bytes(fl_dtype type, size_t n, size_t *out);

/* n values to or from fp32; n a multiple of the block, type real. Rounds to nearest even; NaN stays NaN. */
void fl_to_f32(fl_dtype type, const void *from, float *to, int64_t n);
void fl_from_f32(fl_dtype type, const float *from, void *to, int64_t n);

static inline float fl_bf16_to_f32(uint16_t h)
{
    union {
        uint32_t u;
        float f;
    } v = {.u = (uint32_t)h << 16};
    return v.f;
}
uint16_t fl_f32_to_bf16(float x);
float fl_f16_to_f32(uint16_t h);
uint16_t fl_f32_to_f16(float x);

#endif
