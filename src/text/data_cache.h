/* Token ids as a file: ids, padding, document boundaries, and at the end a record that says what they are. */
#ifndef FL_TEXT_DATA_CACHE_H
#define FL_TEXT_DATA_CACHE_H

#include "base/file.h"
#include "file/checksum.h"
#include "text/data.h"

/* Name of the cache file in a folder for this corpus and tokenizer: everything that decides the ids enters, the files
 * by their content. Free with fl_free. */
fl_status fl_data_cache_path(char **out, const fl_tokenizer *tokenizer, const fl_corpus *corpus,
                             const fl_data_options *options, uint64_t *key);

/* After the ids were written to w (info and id_bytes of d are set): the boundaries and the record. */
void fl_data_cache_end(fl_writer *w, const fl_data *d, const int64_t *begin, uint64_t key);

/* Map path into d. FL_ERR_FORMAT when it is damaged or was made for another key; vocab bounds the ids. */
fl_status fl_data_cache_open(fl_data *d, const char *path, uint64_t key, int64_t vocab);

/* Ids as they are stored, and the boundaries: what a resumed training must find again. */
uint64_t fl_data_checksum(fl_checksum ids, const int64_t *begin, int64_t documents);

#endif
