/* Storage types of tensors and their conversion to fp32. */
#ifndef FL_TENSOR_DTYPE_H
#define FL_TENSOR_DTYPE_H

#include "base/status.h"
#include "kernel/half.h" /* fl_f16_to_f32, fl_bf16_to_f32 */

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
    /* Further block types of GGUF files; docs/formats.md. */
    FL_Q4_0,
    FL_Q4_1,
    FL_Q5_0,
    FL_Q5_1,
    FL_IQ4_NL,
    FL_Q2_K,
    FL_Q3_K,
    FL_Q4_K,
    FL_Q5_K,
    FL_Q6_K,
    FL_DTYPE_COUNT
} fl_dtype;

typedef struct fl_dtype_info {
    const char *name;   /* "F32", as safetensors and GGUF spell it */
    int block;          /* values per block; 1 for plain types */
    size_t block_bytes; /* bytes per block */
    bool real;          /* fl_to_f32 reads it */
    bool written;       /* fl_from_f32 makes it */
} fl_dtype_info;

const fl_dtype_info *fl_dtype_get(fl_dtype type); /* never NULL for a valid type */

/* Bytes of n values (a multiple of the block); false on overflow or a partial block. */
bool fl_dtype_bytes(fl_dtype type, size_t n, size_t *out);

/* n values to fp32; n a multiple of the block, type real (any other gives zeros), `from` at any address. Block types
 * give the bits of ggml. NaN stays NaN. */
void fl_to_f32(fl_dtype type, const void *from, float *to, int64_t n);
/* n values from fp32; n a multiple of the block, type written (any other gives zero bytes), `to` at any address. Plain
 * types round to nearest even; block types give the bits of ggml, and a block with an infinity or NaN becomes all NaN.
 */
void fl_from_f32(fl_dtype type, const float *from, void *to, int64_t n);

uint16_t fl_f32_to_bf16(float x);
uint16_t fl_f32_to_f16(float x);

#endif
