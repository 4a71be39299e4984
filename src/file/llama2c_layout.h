/* The order of tensors in a llama2.c file, shared by its reader and its writer. */
#ifndef FL_FILE_LLAMA2C_LAYOUT_H
#define FL_FILE_LLAMA2C_LAYOUT_H

#include "file/llama2c.h"

#define FL_LLAMA2C_MAGIC 0x616b3432u /* "ak42" read as a little-endian number */
#define FL_LLAMA2C_HEADER 256        /* bytes, from version 1 on */
#define FL_LLAMA2C_NAME 64           /* longest tensor name with its zero, for up to 10^9 layers */
#define FL_LLAMA2C_BASE 10000.0
#define FL_LLAMA2C_EPS 1e-5

typedef enum fl_llama2c_part {
    FL_LLAMA2C_EMBEDDING,
    FL_LLAMA2C_ATTENTION_NORM,
    FL_LLAMA2C_Q,
    FL_LLAMA2C_K,
    FL_LLAMA2C_V,
    FL_LLAMA2C_O,
    FL_LLAMA2C_FFN_NORM,
    FL_LLAMA2C_GATE,
    FL_LLAMA2C_DOWN,
    FL_LLAMA2C_UP,
    FL_LLAMA2C_FINAL_NORM,
    FL_LLAMA2C_ROTARY_TABLES, /* cos, then sin: [window, head_dim/2] each */
    FL_LLAMA2C_HEAD,
    FL_LLAMA2C_END
} fl_llama2c_part;

/* Parts of a version in file order, ended by FL_LLAMA2C_END. A part of the layers comes once per layer. The head is
 * in the list but absent from files that share it. */
const fl_llama2c_part *fl_llama2c_order(int version);

/* Repetitions of a part, its name for one layer (Hugging Face), rank and dimensions. */
int64_t fl_llama2c_repeats(fl_llama2c_part part, const fl_config *c);
void fl_llama2c_describe(fl_llama2c_part part, int64_t layer, const fl_config *c, char name[FL_LLAMA2C_NAME],
                         fl_file_tensor *out);

#endif
