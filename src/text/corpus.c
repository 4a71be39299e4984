#include "text/corpus.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/file.h"
#include "file/json.h"
#include "file/stream.h"
#include "text/utf8.h"

#define DOCUMENT_BYTES ((size_t)1 << 30)
#define FOLDER_DEPTH 32

struct fl_corpus {
    fl_corpus_options options;
    fl_json_limits limits; /* of a line */
    char **file;
    int files, capacity;
    int64_t total_bytes, closed_bytes; /* on disk: of all files, of those closed */

    /* The file being read. */
    int at; /* its index */
    fl_stream *stream;
    const char *piece; /* what the stream gave and nobody took yet */
    size_t left;
    bool ended, lines;
    int64_t line, offset; /* where the next byte stands */
    int64_t found;        /* documents in this file, empty and bad ones included */

    fl_buffer text; /* of the present document or line */
    json_t *object;
    fl_corpus_counts counts;
    char first_bad[FL_ERROR_CAPACITY];
};

/* ---- the list of files ------------------------------------------------------------------------------------------ */

static bool ends_in(const char *name, size_t length, const char *ending)
{
    size_t n = strlen(ending);
    return length > n && !memcmp(name + length - n, ending, n);
}

static size_t without_zst(const char *name)
{
    size_t length = strlen(name);
    return ends_in(name, length, ".zst") ? length - 4 : length;
}

static bool named_lines(const char *name)
{
    size_t n = without_zst(name);
    return ends_in(name, n, ".jsonl") || ends_in(name, n, ".ndjson") || ends_in(name, n, ".json");
}

static bool read_in_folders(const char *name)
{
    size_t n = without_zst(name);
    return ends_in(name, n, ".txt") || ends_in(name, n, ".jsonl") || ends_in(name, n, ".ndjson");
}

static fl_status add_file(fl_corpus *c, const char *path)
{
    if (c->files == c->capacity) {
        int capacity = c->capacity ? 2 * c->capacity : 16;
        char **file = fl_realloc(c->file, (size_t)capacity, sizeof *file);
        if (!file) return FL_ERR_MEMORY;
        c->file = file;
        c->capacity = capacity;
    }
    if (!(c->file[c->files] = fl_strdup(path))) return FL_ERR_MEMORY;
    c->files++;
    return FL_OK;
}

static fl_status add_folder(fl_corpus *c, const char *path, int depth);

static fl_status add_entry(fl_corpus *c, const char *path, int depth)
{
    if (fl_file_is_folder(path)) return add_folder(c, path, depth + 1);
    if (read_in_folders(path)) return add_file(c, path);
    c->counts.others++;
    return FL_OK;
}

/* FOLDER_DEPTH bounds the recursion, also where links make a circle. */
static fl_status add_folder(fl_corpus *c, const char *path, int depth)
{
    if (depth > FOLDER_DEPTH)
        return fl_fail(FL_ERR_IO, "%s: folders nested deeper than %d levels, or a link to itself", path, FOLDER_DEPTH);
    DIR *folder = opendir(path);
    if (!folder) return fl_fail(FL_ERR_IO, "%s: cannot open the folder: %s", path, strerror(errno));
    fl_status s = FL_OK;
    for (const struct dirent *entry; s == FL_OK && (entry = readdir(folder));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        char *inner = fl_path_join(path, entry->d_name);
        s = inner ? add_entry(c, inner, depth) : FL_ERR_MEMORY;
        fl_free(inner);
    }
    closedir(folder);
    return s;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static fl_status add_path(fl_corpus *c, const char *path)
{
    if (!strcmp(path, "-") || !fl_file_is_folder(path)) return add_file(c, path);
    int first = c->files;
    FL_TRY(add_folder(c, path, 0));
    if (c->files == first)
        return fl_fail(FL_ERR_ARGUMENT, "%s: holds no .txt, .jsonl or .ndjson file (also .zst)", path);
    qsort(c->file + first, (size_t)(c->files - first), sizeof *c->file, by_bytes);
    return FL_OK;
}

static void add_sizes(fl_corpus *c)
{
    struct stat info;
    for (int i = 0; i < c->files; i++) {
        bool known = strcmp(c->file[i], "-") && !stat(c->file[i], &info) && S_ISREG(info.st_mode);
        if (!known) {
            c->total_bytes = 0;
            return;
        }
        c->total_bytes += info.st_size;
    }
}

fl_status fl_corpus_open(fl_corpus **out, const fl_corpus_options *options)
{
    if (options->paths < 1) return fl_fail(FL_ERR_ARGUMENT, "corpus: name at least one file or folder");
    if (options->separator && strpbrk(options->separator, "\r\n"))
        return fl_fail(FL_ERR_ARGUMENT, "corpus: a separator is one line without its end");
    fl_corpus *c = fl_calloc(1, sizeof *c);
    if (!c) return FL_ERR_MEMORY;
    c->options = *options;
    if (c->options.document_bytes == 0) c->options.document_bytes = DOCUMENT_BYTES;
    c->limits = (fl_json_limits){.bytes = c->options.document_bytes, .values = 10000000, .depth = 64};
    fl_status s = FL_OK;
    for (int i = 0; i < options->paths && s == FL_OK; i++)
        s = add_path(c, options->path[i]);
    if (s != FL_OK) {
        fl_corpus_close(c);
        return s;
    }
    add_sizes(c);
    *out = c;
    return FL_OK;
}

void fl_corpus_close(fl_corpus *c)
{
    if (!c) return;
    fl_stream_close(c->stream);
    json_decref(c->object);
    fl_buffer_free(&c->text);
    for (int i = 0; i < c->files; i++)
        fl_free(c->file[i]);
    fl_free(c->file);
    fl_free(c);
}

/* ---- bytes of the present file ---------------------------------------------------------------------------------- */

static const char *name_of(const fl_corpus *c)
{
    return strcmp(c->file[c->at], "-") ? c->file[c->at] : "standard input";
}

static fl_status refill(fl_corpus *c)
{
    if (c->left || c->ended) return FL_OK;
    FL_TRY(fl_stream_next(c->stream, &c->piece, &c->left));
    c->ended = c->left == 0;
    return FL_OK;
}

/* Move n bytes of the piece to the document. */
static fl_status take(fl_corpus *c, size_t n, int64_t line, int64_t offset)
{
    if (n > c->options.document_bytes - c->text.size)
        return fl_fail(FL_ERR_FORMAT, "%s: line %lld, offset %lld: a %s of more than %zu bytes; split the file%s",
                       name_of(c), (long long)line, (long long)offset, c->lines ? "line" : "document",
                       c->options.document_bytes, c->lines ? "" : " or name a separator line");
    fl_buffer_append(&c->text, c->piece, n);
    if (c->text.failed) return fl_fail_within(FL_ERR_MEMORY, "%s", name_of(c));
    c->piece += n;
    c->left -= n;
    c->offset += (int64_t)n;
    return FL_OK;
}

/* Append the next line with its end to the document; *any false at the end of the file. */
static fl_status take_line(fl_corpus *c, bool *any, int64_t line, int64_t offset)
{
    *any = false;
    for (;;) {
        FL_TRY(refill(c));
        if (c->ended) return FL_OK;
        *any = true;
        const char *end = memchr(c->piece, '\n', c->left);
        FL_TRY(take(c, end ? (size_t)(end - c->piece) + 1 : c->left, line, offset));
        if (!end) continue;
        c->line++;
        return FL_OK;
    }
}

/* ---- one document ----------------------------------------------------------------------------------------------- */

static fl_status check_text(const fl_corpus *c, const fl_corpus_document *d)
{
    const char *text = c->text.data;
    int64_t line = d->line;
    for (size_t i = 0; i < c->text.size;) {
        uint32_t character;
        size_t length = fl_utf8_decode(text + i, c->text.size - i, &character);
        if (length == 0 || character == 0)
            return fl_fail(FL_ERR_FORMAT, "%s: line %lld, offset %lld: byte 0x%02x %s", name_of(c), (long long)line,
                           (long long)d->offset + (int64_t)i, (uint8_t)text[i],
                           length ? "in a text: is the file text at all?" : "is not UTF-8; convert the file first");
        line += character == '\n';
        i += length;
    }
    return FL_OK;
}

/* A byte order mark is no part of the text. */
static fl_status drop_mark(fl_corpus *c)
{
    FL_TRY(refill(c));
    if (c->left >= 3 && !memcmp(c->piece, "\xEF\xBB\xBF", 3)) {
        c->piece += 3;
        c->left -= 3;
        c->offset += 3;
    }
    return FL_OK;
}

static size_t without_line_end(const char *line, size_t size)
{
    if (size && line[size - 1] == '\n') size--;
    if (size && line[size - 1] == '\r') size--;
    return size;
}

/* Up to the separator line, which belongs to no document, or to the end of the file. */
static fl_status read_text(fl_corpus *c, fl_corpus_document *d, bool *any)
{
    const char *separator = c->options.separator;
    for (;;) {
        size_t begin = c->text.size;
        bool more;
        FL_TRY(take_line(c, &more, d->line, d->offset));
        *any = *any || more;
        if (!more) break;
        const char *line = c->text.data + begin;
        size_t size = without_line_end(line, c->text.size - begin);
        if (separator && size == strlen(separator) && !memcmp(line, separator, size)) {
            c->text.data[c->text.size = begin] = 0;
            break;
        }
    }
    return FL_OK;
}

static fl_status no_field(const fl_corpus *c, const fl_corpus_document *d)
{
    char shown[FL_SHOWN], keys[FL_SHOWN * 2] = "";
    const char *key;
    json_t *value;
    json_object_foreach(c->object, key, value)
    {
        size_t used = strlen(keys);
        snprintf(keys + used, sizeof keys - used, "%s%s", used ? ", " : "", key);
    }
    return fl_fail(FL_ERR_FORMAT, "%s: line %lld, offset %lld: has no string '%s', the text field; fields there: %s",
                   name_of(c), (long long)d->line, (long long)d->offset, c->options.text_field,
                   fl_show_text(shown, keys));
}

/* The line in c->text becomes d's object and text. */
static fl_status parse_line(fl_corpus *c, fl_corpus_document *d)
{
    FL_TRY(fl_json_parse_line(&c->object, name_of(c), d->line, c->text.data, c->text.size, c->limits));
    d->object = c->object;
    if (!c->options.text_field) return FL_OK;
    const json_t *text = json_object_get(c->object, c->options.text_field);
    if (!json_is_string(text)) return no_field(c, d);
    d->text = json_string_value(text);
    d->size = json_string_length(text);
    return FL_OK;
}

/* The next document of the open file; d->file stays NULL at its end. *empty: it is there but has nothing in it. */
static fl_status read_document(fl_corpus *c, fl_corpus_document *d, bool *empty)
{
    *d = (fl_corpus_document){.line = c->line, .offset = c->offset};
    bool any = false;
    json_decref(c->object);
    c->object = NULL;
    fl_buffer_clear(&c->text);
    FL_TRY(c->lines ? take_line(c, &any, d->line, d->offset) : read_text(c, d, &any));
    if (!any) return FL_OK;
    d->file = name_of(c);
    if (c->lines) c->text.size = without_line_end(c->text.data, c->text.size);
    *empty = c->text.size == 0;
    if (*empty) return FL_OK;
    FL_TRY(check_text(c, d));
    if (c->lines && strspn(c->text.data, " \t\r\n") >= c->text.size) {
        *empty = true;
    } else if (c->lines) {
        FL_TRY(parse_line(c, d));
        *empty = c->options.text_field && d->size == 0;
    } else {
        d->text = c->text.data;
        d->size = c->text.size;
    }
    return FL_OK;
}

/* ---- all documents ---------------------------------------------------------------------------------------------- */

static fl_status open_file(fl_corpus *c)
{
    FL_TRY(fl_stream_open(&c->stream, c->file[c->at]));
    c->left = 0;
    c->ended = false;
    c->line = 1;
    c->offset = c->found = 0;
    c->lines =
        c->options.format == FL_CORPUS_LINES || (c->options.format == FL_CORPUS_BY_NAME && named_lines(c->file[c->at]));
    return drop_mark(c);
}

static fl_status close_file(fl_corpus *c)
{
    if (c->found == 0) return fl_fail(FL_ERR_FORMAT, "%s: holds no document", name_of(c));
    c->closed_bytes += fl_stream_taken(c->stream);
    fl_stream_close(c->stream);
    c->stream = NULL;
    c->counts.files++;
    c->at++;
    return FL_OK;
}

static void note_bad(fl_corpus *c)
{
    if (c->counts.bad++ == 0) snprintf(c->first_bad, sizeof c->first_bad, "%s", fl_error_message());
}

fl_status fl_corpus_next(fl_corpus *c, fl_corpus_document *out)
{
    while (c->at < c->files) {
        if (!c->stream) FL_TRY(open_file(c));
        bool empty = false;
        fl_status s = read_document(c, out, &empty);
        bool bad = s == FL_ERR_FORMAT && out->file && c->options.skip_bad; /* with a place to go on after it */
        if (s != FL_OK && !bad) return s;
        if (!bad && !out->file) {
            FL_TRY(close_file(c));
            continue;
        }
        c->found += !empty;
        if (bad) {
            note_bad(c);
        } else if (empty) {
            c->counts.empty++;
        } else {
            c->counts.documents++;
            c->counts.bytes += (int64_t)out->size;
            return FL_OK;
        }
    }
    *out = (fl_corpus_document){0};
    return FL_OK;
}

void fl_corpus_get_counts(const fl_corpus *c, fl_corpus_counts *out)
{
    *out = c->counts;
}

const char *fl_corpus_first_bad(const fl_corpus *c)
{
    return c->first_bad;
}

void fl_corpus_position(const fl_corpus *c, int64_t *done, int64_t *total)
{
    *done = c->closed_bytes + (c->stream ? fl_stream_taken(c->stream) : 0);
    *total = c->total_bytes;
}

int fl_corpus_files(const fl_corpus *c)
{
    return c->files;
}

const char *fl_corpus_file(const fl_corpus *c, int i)
{
    return c->file[i];
}

bool fl_corpus_is_lines(const fl_corpus *c, int i)
{
    return c->options.format == FL_CORPUS_LINES ||
           (c->options.format == FL_CORPUS_BY_NAME && named_lines(c->file[i]));
}
