/* Results of an evaluation's single items, kept as JSON lines, so that it can stop and go on: what a file already holds
 * is not computed again. A line belongs to a run, a digest of task, setting, model and reading; lines of other runs in
 * the same file are left alone. Summaries are made from these objects, whether computed now or read. */
#ifndef FL_EVAL_ITEMS_H
#define FL_EVAL_ITEMS_H

#include <jansson.h>

#include "base/file.h"
#include "base/rng.h"
#include "session/session.h"

typedef struct fl_items {
    const char *path, *task; /* the caller's */
    fl_appender file;        /* closed: nothing is kept */
    char run[17];
    json_t *held;   /* key -> object, of this run */
    int64_t reused; /* held when the file was opened */
} fl_items;

/* path: NULL, or a file that is made if it is not there. session: whose model and reading the results belong to;
 * setting: all else they depend on (reference taken). A last line without its end, which a killed run leaves, is
 * removed. Other lines that are not JSON objects are FL_ERR_FORMAT with file and line. fl_items_close in every case. */
fl_status fl_items_open(fl_items *items, const char *path, const char *task, const fl_session *session,
                        json_t *setting);
/* Fine on zeros. `before`: as for fl_appender_close. */
fl_status fl_items_close(fl_items *items, fl_status before);

const json_t *fl_items_find(const fl_items *items, const char *key); /* NULL: not there yet; borrowed */
/* Keep a result (reference taken; NULL is FL_ERR_MEMORY) and write its line. */
fl_status fl_items_add(fl_items *items, const char *key, json_t *result);

/* Members of a result that this program wrote; 0 where one is missing. */
double fl_item_real(const json_t *item, const char *name);
int64_t fl_item_integer(const json_t *item, const char *name);

/* Numbers for one item, the same in whatever order items are computed. */
void fl_item_rng(fl_rng *rng, uint64_t seed, uint64_t a, uint64_t b);
/* A digest of any bytes for a setting: 16 hexadecimal digits. */
void fl_item_digest(char out[17], const void *bytes, size_t n);

#endif
