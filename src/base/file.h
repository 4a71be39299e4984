/* Whole-file reading, and writing that never leaves half a file: temporary name, sync, rename. */
#ifndef FL_BASE_FILE_H
#define FL_BASE_FILE_H

#include <stdio.h>

#include "base/buffer.h"

/* The file's bytes as a zero-terminated buffer; refuses more than limit_bytes. Free with fl_buffer_free. */
fl_status fl_file_read(fl_buffer *out, const char *path, size_t limit_bytes);
bool fl_file_exists(const char *path);
bool fl_file_is_folder(const char *path);
fl_status fl_folder_make(const char *path); /* with parents; fine if it exists */
/* "folder/name" in a new string; NULL when memory is out. Free with fl_free. */
char *fl_path_join(const char *folder, const char *name);

typedef struct fl_writer {
    FILE *file;
    char *path, *temporary;
    uint64_t written;
    fl_status status; /* sticky: later writes do nothing, finish reports it */
} fl_writer;

fl_status fl_writer_open(fl_writer *w, const char *path);
void fl_writer_write(fl_writer *w, const void *bytes, size_t n);
/* Sync and rename on success, remove the temporary file on failure. The writer is empty afterwards. */
fl_status fl_writer_finish(fl_writer *w);
void fl_writer_abandon(fl_writer *w);

#endif
