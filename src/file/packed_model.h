/* Packed model files: the weights of one model in the form in which a device multiplies with them, mapped and used in
 * place, with everything else that belongs to the model. docs/formats.md has the layout.
 *
 * The container is safetensors. Its metadata "furlong_packed" is a JSON object:
 *   version   1
 *   weights   16 hexadecimal digits: fl_model_weights_sum of the model that was packed
 *   config    fl_config (file/packed_config.h)
 *   panels    {entry: {layout, type, rows, cols}}: tensor "entry", of U8, holds these panels
 *   rows      {entry: {type, rows, cols}}: tensor "entry", of U8, holds rows of blocks of a quantised type
 * An entry of panels is called by the tensor it comes from and the outputs of it: "lm_head.weight[0:32000]". Tensors of
 * plain types are what they are in any model. "tokenizer", "tokenizer_config.json" and "chat_template", of U8, are
 * bytes of files. */
#ifndef FL_FILE_PACKED_MODEL_H
#define FL_FILE_PACKED_MODEL_H

#include "file/config.h"
#include "file/json.h"
#include "file/safetensors.h"
#include "tensor/tensor.h"

#define FL_PACKED_VERSION 1
#define FL_PACKED_NAME 320 /* of an entry of panels, its zero included */

typedef struct fl_packed_bytes {
    const void *data; /* NULL: none */
    size_t size;
} fl_packed_bytes;

typedef struct fl_packed_model {
    fl_config config;
    uint64_t weights;
    fl_safetensors *file;
    json_t *json;           /* keeps layouts' names */
    fl_file_tensor *tensor; /* look-up tables and vectors under their Hugging Face names */
    int64_t count;
    fl_panels *panels; /* [tensors of file], in that order; layout NULL: that tensor holds none */
    int64_t places;
    fl_packed_bytes tokenizer, tokenizer_config, chat_template;
} fl_packed_model;

bool fl_is_packed_model(const fl_safetensors *file);
/* Takes file over, also when it fails. Checks all but what only the device knows (layouts, sizes of panels); name: of
 * the file, for messages. fl_packed_model_close when done. */
fl_status fl_packed_model_open(fl_packed_model *out, fl_safetensors *file, const char *name);
void fl_packed_model_close(fl_packed_model *m);

/* The entry of panels for outputs [first, first + rows) of a tensor. */
void fl_packed_name(char entry[FL_PACKED_NAME], const char *tensor, int64_t first, int64_t rows);
/* The place of that entry among all; -1: there is none. */
int64_t fl_packed_model_find(const fl_packed_model *m, const char *entry);
/* Of what messages say: the entry's name and the offset in the file where its panels begin. */
const char *fl_packed_model_entry(const fl_packed_model *m, int64_t i, size_t *offset);

/* ---- writing ------------------------------------------------------------------------------------------------ */

typedef struct fl_packed_entry {
    const char *name;
    fl_panels panels;
} fl_packed_entry;

/* What goes into a file; panels first, so that all begin at multiples of FL_PANELS_ALIGNMENT without any padding. */
typedef struct fl_packed_parts {
    const fl_config *config;
    uint64_t weights;
    const fl_packed_entry *panels;
    int64_t panels_count;
    const fl_file_tensor *tensor; /* of any real type */
    int64_t count;
    fl_packed_bytes tokenizer, tokenizer_config, chat_template;
} fl_packed_parts;

fl_status fl_packed_model_write(const char *path, const fl_packed_parts *parts); /* atomically */

#endif
