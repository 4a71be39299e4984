/* Writing GGUF files (version 3, little-endian) that llama.cpp and this library read back. */
#ifndef FL_FILE_GGUF_WRITE_H
#define FL_FILE_GGUF_WRITE_H

#include "base/buffer.h"
#include "file/checkpoint.h"
#include "file/gguf.h"

/* ---- key-values --------------------------------------------------------------------------------------------- */

/* Key-values as they will lie in a file, in the order they were put. Running out of memory sticks and is reported when
 * they are written. fl_gguf_keys_free when done. */
typedef struct fl_gguf_keys {
    fl_buffer bytes;
    int64_t count;
} fl_gguf_keys;

void fl_gguf_put_u32(fl_gguf_keys *k, const char *key, uint32_t value);
void fl_gguf_put_f32(fl_gguf_keys *k, const char *key, double value);
void fl_gguf_put_bool(fl_gguf_keys *k, const char *key, bool value);
void fl_gguf_put_string(fl_gguf_keys *k, const char *key, const char *value);
void fl_gguf_put_strings(fl_gguf_keys *k, const char *key, const fl_gguf_text *value, int64_t count);
void fl_gguf_put_floats(fl_gguf_keys *k, const char *key, const float *value, int64_t count);
void fl_gguf_put_ints(fl_gguf_keys *k, const char *key, const int32_t *value, int64_t count);
/* As it lies in another file. */
void fl_gguf_put_value(fl_gguf_keys *k, const fl_gguf_value *value);
/* What a file begins with: everything before the descriptions of its tensors. */
void fl_gguf_put_header(fl_buffer *b, const fl_gguf_keys *k, int64_t tensors);
void fl_gguf_keys_free(fl_gguf_keys *k);

/* ---- files -------------------------------------------------------------------------------------------------- */

/* The container alone: key-values, then the tensors in the given order, atomically. */
fl_status fl_gguf_write_file(const char *path, const fl_gguf_keys *keys, const fl_file_tensor *tensor, int64_t count);

/* A model: tensors of `source` (may be NULL), replaced by those of the same name among tensor[count]; config describes
 * the latter. type: F32, F16, BF16, Q8_0 or Q4_0, of matrices; as in llama.cpp vectors and learned positions are F32,
 * and matrices whose rows are no whole number of blocks are F16. With Q4_0 the head (or the embedding that serves as
 * one) is Q8_0.
 *
 * tokenizer: tokenizer.* keys (and further ones) to write, or NULL: those of source when that is a GGUF file, else the
 * ids of special tokens that config has and the tokenizer "none", with which llama.cpp takes and gives ids.
 *
 * FL_ERR_UNSUPPORTED, before anything is written: the format has no way to say what config says (dynamic scaling; a
 * schedule of divisors in an architecture for which llama.cpp does not read them; another activation). */
fl_status fl_gguf_write(const char *path, const fl_config *config, const fl_file_tensor *tensor, int64_t count,
                        fl_dtype type, const fl_checkpoint *source, const fl_gguf_keys *tokenizer);

#endif
