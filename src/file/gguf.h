/* GGUF files: a header of typed key-values, descriptions of tensors, then their data. Versions 2 and 3, little-endian.
 * https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 *
 * This is the container alone; file/gguf_model.h says what keys and tensor names mean. */
#ifndef FL_FILE_GGUF_H
#define FL_FILE_GGUF_H

#include "file/file_tensor.h"

typedef struct fl_gguf fl_gguf;

/* Map path and check every count, string, array and tensor range of it. */
fl_status fl_gguf_open(fl_gguf **out, const char *path);
/* The same on bytes the caller keeps while *out lives, 8-byte aligned; name is what messages call them. */
fl_status fl_gguf_parse(fl_gguf **out, const char *name, const void *bytes, size_t size);
void fl_gguf_release(const fl_gguf *g); /* as fl_map_release; bytes of the caller stay */
void fl_gguf_close(fl_gguf *g);
const char *fl_gguf_name(const fl_gguf *g); /* for messages */

/* ---- key-values ----------------------------------------------------------------------------------------------- */

typedef enum fl_gguf_type { /* by the numbers of the format */
                            FL_GGUF_U8,
                            FL_GGUF_I8,
                            FL_GGUF_U16,
                            FL_GGUF_I16,
                            FL_GGUF_U32,
                            FL_GGUF_I32,
                            FL_GGUF_F32,
                            FL_GGUF_BOOL,
                            FL_GGUF_STRING,
                            FL_GGUF_ARRAY,
                            FL_GGUF_U64,
                            FL_GGUF_I64,
                            FL_GGUF_F64,
                            FL_GGUF_TYPE_COUNT
} fl_gguf_type;

/* Bytes of a file, not zero-terminated and of any encoding. */
typedef struct fl_gguf_text {
    const char *bytes;
    size_t length;
} fl_gguf_text;

/* A value as it lies in the file. A scalar is an array of one. */
typedef struct fl_gguf_value {
    const char *key;
    fl_gguf_type type; /* of the elements */
    bool array;
    uint64_t count;
    const uint8_t *data, *end; /* all of it: elements one after the other */
    const size_t *string;      /* strings: where each begins (its length field), from data on */
} fl_gguf_value;

int64_t fl_gguf_key_count(const fl_gguf *g);
const fl_gguf_value *fl_gguf_at(const fl_gguf *g, int64_t i); /* in file order */
/* NULL: there is no such key. */
const fl_gguf_value *fl_gguf_find(const fl_gguf *g, const char *key);

/* An absent key leaves *out alone and gives FL_OK. A value of another type, or one out of range, is refused with file
 * and key. Integers may be of any integer type of the format, reals of either; reals are finite. */
fl_status fl_gguf_integer(const fl_gguf *g, const char *key, int64_t least, int64_t most, int64_t *out);
fl_status fl_gguf_real(const fl_gguf *g, const char *key, double *out);
fl_status fl_gguf_bool(const fl_gguf *g, const char *key, bool *out);
fl_status fl_gguf_string(const fl_gguf *g, const char *key, fl_gguf_text *out);
/* *out NULL when the key is absent; else an array whose elements the functions below read. */
fl_status fl_gguf_strings(const fl_gguf *g, const char *key, const fl_gguf_value **out);
fl_status fl_gguf_integers(const fl_gguf *g, const char *key, const fl_gguf_value **out);
fl_status fl_gguf_reals(const fl_gguf *g, const char *key, const fl_gguf_value **out);

/* Element i < v->count of a value of that kind. */
fl_gguf_text fl_gguf_text_at(const fl_gguf_value *v, uint64_t i);
int64_t fl_gguf_integer_at(const fl_gguf_value *v, uint64_t i); /* U64 beyond INT64_MAX gives INT64_MAX */
double fl_gguf_real_at(const fl_gguf_value *v, uint64_t i);

bool fl_gguf_text_is(fl_gguf_text t, const char *text);
/* A refusal of a key's value: "file: key: why". */
fl_status fl_gguf_fail(fl_status code, const fl_gguf *g, const char *key, const char *why);

/* ---- tensors -------------------------------------------------------------------------------------------------- */

#define FL_GGUF_NAME_LIMIT 64 /* bytes of a tensor's name, as the format has it */

/* Names as the file has them; dimensions in our order, slowest first. */
int64_t fl_gguf_count(const fl_gguf *g);
const fl_file_tensor *fl_gguf_tensor_at(const fl_gguf *g, int64_t i);
const fl_file_tensor *fl_gguf_tensor(const fl_gguf *g, const char *name); /* NULL: none */

#endif
