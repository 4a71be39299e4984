/* What fl_data is inside: ids in two or four bytes each, in memory or mapped from a cache file. */
#ifndef FL_TEXT_DATA_H
#define FL_TEXT_DATA_H

#include "base/map.h"
#include "text/corpus.h"

struct fl_data {
    fl_data_info info;
    int id_bytes;         /* 2 while the vocabulary allows it, else 4 */
    const void *ids;      /* [tokens] uint16_t or int32_t, one document after another */
    const int64_t *begin; /* [documents + 1] where each document begins in ids; the last is tokens */
    void *own_ids;        /* NULL when mapped */
    int64_t *own_begin;
    fl_map map;
    char *first_bad;
};

/* ids[from .. from+n) of the whole stream. */
void fl_data_copy(const fl_data *d, int64_t from, int64_t n, int32_t *out);

/* Of n rising numbers, the first of them at most x: the place of the last that is at most x. */
int64_t fl_last_at_most(const int64_t *rising, int64_t n, int64_t x);
/* The document that holds id `at`, 0 <= at < tokens. */
int64_t fl_data_document_of(const fl_data *d, int64_t at);

#endif
