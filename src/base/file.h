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

/* A file that grows by whole lines or records: results of several runs, a log that outlives a kill. */
typedef struct fl_appender {
    int descriptor; /* -1: closed */
    char *path;
} fl_appender;

#define FL_APPENDER_CLOSED ((fl_appender){.descriptor = -1})

/* Makes the file if there is none. A text file (lines) whose last line has no end gets one first. */
fl_status fl_appender_open(fl_appender *a, const char *path, bool lines);
/* All n bytes at the end of the file, or none: what a full disk cut off is taken back. Errors name the file. */
fl_status fl_appender_write(fl_appender *a, const void *bytes, size_t n);
/* Syncs; fine when closed. After an earlier failure it only closes, and `before` is returned with its message. */
fl_status fl_appender_close(fl_appender *a, fl_status before);

#endif
