/* The bytes of a file one piece after another, in bounded memory; Zstandard files (RFC 8878) are decompressed. */
#ifndef FL_FILE_STREAM_H
#define FL_FILE_STREAM_H

#include "base/status.h"

typedef struct fl_stream fl_stream;

/* "-": standard input. Compressed files are told by their first bytes; one whose name ends in .zst must be one. */
fl_status fl_stream_open(fl_stream **out, const char *path);
void fl_stream_close(fl_stream *s); /* NULL is fine */

/* The next piece, valid until the next call; *size 0 at the end. FL_ERR_FORMAT with path and offset (in the file as it
 * lies on disk) for damaged or cut off compressed data. */
fl_status fl_stream_next(fl_stream *s, const char **bytes, size_t *size);

/* Bytes taken from the file so far, as they lie on disk. */
int64_t fl_stream_taken(const fl_stream *s);

#endif
