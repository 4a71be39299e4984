/* safetensors files: u64 header length, a JSON header {name: {dtype, shape, data_offsets}, "__metadata__": strings},
 * then the data, without overlaps and without holes. https://github.com/huggingface/safetensors, "Format". */
#ifndef FL_FILE_SAFETENSORS_H
#define FL_FILE_SAFETENSORS_H

#include "base/file.h"
#include "file/file_tensor.h"

typedef struct fl_safetensors fl_safetensors;

/* Map path and check its header and every tensor's range. Tensors point into the map, except those that the file
 * stores off their type's alignment (old writers): they are copied. */
fl_status fl_safetensors_open(fl_safetensors **out, const char *path);
/* The same on bytes the caller keeps while *out lives; name is what messages call them. */
fl_status fl_safetensors_parse(fl_safetensors **out, const char *name, const void *bytes, size_t size);
void fl_safetensors_release(const fl_safetensors *s); /* as fl_map_release; bytes of the caller stay */
void fl_safetensors_close(fl_safetensors *s);

int64_t fl_safetensors_count(const fl_safetensors *s);
size_t fl_safetensors_offset(const fl_safetensors *s, int64_t i); /* of tensor i's data in the file */
const fl_file_tensor *fl_safetensors_at(const fl_safetensors *s, int64_t i);          /* in the order of their data */
const fl_file_tensor *fl_safetensors_find(const fl_safetensors *s, const char *name); /* NULL: none */
/* A string of "__metadata__", NULL if there is none under that key. */
const char *fl_safetensors_metadata(const fl_safetensors *s, const char *key);

typedef struct fl_metadata {
    const char *key, *value;
} fl_metadata;

/* Write tensors, in the given order, to path, atomically. */
fl_status fl_safetensors_write(const char *path, const fl_file_tensor *tensor, int64_t count,
                               const fl_metadata *metadata, int64_t metadata_count);
/* The header alone, for callers that stream the data after it (in the same order, fl_file_tensor_bytes each); the
 * tensors' data pointers are not read. Errors stick to the writer too. */
fl_status fl_safetensors_write_header(fl_writer *w, const fl_file_tensor *tensor, int64_t count,
                                      const fl_metadata *metadata, int64_t metadata_count);

#endif
