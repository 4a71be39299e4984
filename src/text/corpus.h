/* The documents of many files one after another, in bounded memory: text files, and JSON lines with one document per
 * line, each also Zstandard-compressed. Training, evaluation and overlap checks all read their data through here.
 *
 *     fl_corpus_options options = FL_CORPUS_OPTIONS_INIT;
 *     options.path = paths, options.paths = count;
 *     FL_TRY(fl_corpus_open(&corpus, &options));
 *     while ((s = fl_corpus_next(corpus, &document)) == FL_OK && document.file) ...
 *     fl_corpus_close(corpus);
 */
#ifndef FL_TEXT_CORPUS_H
#define FL_TEXT_CORPUS_H

#include <jansson.h>

#include "base/status.h"

typedef enum fl_corpus_format {
    FL_CORPUS_BY_NAME, /* .jsonl, .ndjson and .json are lines of JSON, all else is text; .zst after it does not count */
    FL_CORPUS_TEXT,
    FL_CORPUS_LINES
} fl_corpus_format;

typedef struct fl_corpus_options {
    /* Files, folders, or "-" for standard input, in this order. Of a folder and those in it every .txt, .jsonl and
     * .ndjson file (also .zst) is read, in the byte order of their paths. */
    const char *const *path;
    int paths;
    fl_corpus_format format;
    const char *text_field; /* of a JSON line's object: the string that is the document; NULL: none is looked for */
    const char *separator;  /* text files: a line that is just this ends a document; NULL: a file is one document */
    bool skip_bad;          /* leave out documents that cannot be read, and count them; else they are errors */
    size_t document_bytes;  /* larger documents are errors; 0: 1 GiB */
} fl_corpus_options;

#define FL_CORPUS_OPTIONS_INIT                                                                                         \
    {                                                                                                                  \
        NULL, 0, FL_CORPUS_BY_NAME, "text", NULL, false, 0                                                             \
    }

/* Everything in it is valid until the next call. */
typedef struct fl_corpus_document {
    const char *file; /* NULL: there are no more documents */
    int64_t line;     /* in the file, where the document begins, from 1 */
    int64_t offset;   /* bytes of the (decompressed) file before it */
    const char *text; /* zero-terminated valid UTF-8 without NUL; NULL without text_field */
    size_t size;
    const json_t *object; /* the whole line, borrowed; NULL in text files */
} fl_corpus_document;

typedef struct fl_corpus_counts {
    int64_t files;     /* read to their end */
    int64_t others;    /* in folders, left alone because of their names */
    int64_t documents; /* given out */
    int64_t bytes;     /* of their texts */
    int64_t empty;     /* blank lines, documents without text: passed over */
    int64_t bad;       /* left out by skip_bad; the first one's message is fl_corpus_first_bad */
} fl_corpus_counts;

typedef struct fl_corpus fl_corpus;

/* Looks through the folders; strings in options must live as long as the corpus. */
fl_status fl_corpus_open(fl_corpus **out, const fl_corpus_options *options);
void fl_corpus_close(fl_corpus *c); /* NULL is fine */

/* The next document that is not empty. FL_ERR_FORMAT names file, line and offset: text that is not UTF-8 or holds NUL,
 * a line that is no JSON object or lacks text_field, a document over document_bytes, a file without any document,
 * compressed data that is damaged or cut off. After an error the corpus can only be closed. */
fl_status fl_corpus_next(fl_corpus *c, fl_corpus_document *out);

void fl_corpus_get_counts(const fl_corpus *c, fl_corpus_counts *out);
const char *fl_corpus_first_bad(const fl_corpus *c); /* "" if none */
/* Bytes read of all there are, as they lie on disk: for progress. total 0: unknown (standard input). */
void fl_corpus_position(const fl_corpus *c, int64_t *done, int64_t *total);

/* The files that are read, in order. */
int fl_corpus_files(const fl_corpus *c);
const char *fl_corpus_file(const fl_corpus *c, int i);
bool fl_corpus_is_lines(const fl_corpus *c, int i); /* of JSON */

#endif
