/* llama2.c checkpoints (karpathy/llama2.c, export.py): one file of fp32 tensors after a short header.
 *
 * version 0  seven int32: dim, hidden_dim, layers, heads, kv_heads, vocab (negative: the head is not shared), window;
 *            then the tensors, rotary tables between the last norm and the head
 * version 1  "ak42", int32 version, the seven (vocab positive), one byte: the head is shared; zeros up to 256 bytes
 * version 2  as 1, and int32 group size; matrices are int8 with one fp32 scale per group
 *
 * The rows of q and k are interleaved (permute.h). Norms use eps 1e-5, positions base 10000; the file does not say so.
 */
#ifndef FL_FILE_LLAMA2C_H
#define FL_FILE_LLAMA2C_H

#include "file/checkpoint.h"

typedef struct fl_llama2c {
    fl_config config; /* rope_interleaved is true; generation ends at EOS (2) or at BOS (1), which separates texts */
    int version;
    fl_file_tensor *tensor; /* Hugging Face names; F32, of version 2 converted from int8 */
    int64_t count;
    char *names;   /* the names, one after the other */
    float *values; /* version 2: the converted matrices */
} fl_llama2c;

/* bytes: the whole file, 4-byte aligned, kept by the caller while *out is used; file: its name for messages. The size
 * must be exactly what the header says. Close also after a failure is not needed. */
fl_status fl_llama2c_parse(fl_llama2c *out, const char *file, const void *bytes, size_t size);
void fl_llama2c_close(fl_llama2c *m);

/* Write version 0 or 1 to path, atomically. Tensors of `source` (may be NULL) are replaced by those of the same name
 * among tensor[count]; config describes the latter, and rows of q and k are put in order. FL_ERR_UNSUPPORTED: readers
 * of the format could not compute this model (another base or eps, scaled positions, biases, its own head_dim). */
fl_status fl_llama2c_write(const char *path, int version, const fl_config *config, const fl_file_tensor *tensor,
                           int64_t count, const fl_checkpoint *source);

#endif
