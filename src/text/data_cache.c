#include "text/data_cache.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/progress.h"
#include "base/size.h"
#include "text/tokenizer.h"

#define MAGIC "furlong tokens 1"
#define READ_STEP ((size_t)1 << 17)

/* The end of a cache file, little-endian like all formats here. */
typedef struct record {
    char magic[16];
    uint64_t key, checksum;
    int64_t tokens, documents, files, others, bytes, empty, bad, id_bytes;
    uint64_t own_checksum; /* of all members before it */
} record;

static uint64_t own_checksum(const record *r)
{
    fl_checksum c;
    fl_checksum_start(&c);
    fl_checksum_add(&c, r, offsetof(record, own_checksum));
    return fl_checksum_value(&c);
}

/* ---- the key ---------------------------------------------------------------------------------------------------- */

static fl_status add_file(fl_checksum *c, const char *path, char *step, fl_progress *progress, int64_t *done)
{
    if (!strcmp(path, "-"))
        return fl_fail(FL_ERR_ARGUMENT, "standard input cannot be cached: save it as a file or leave the cache out");
    FILE *file = fopen(path, "rbe");
    if (!file) return fl_fail(FL_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    uint64_t size = 0;
    fl_status s = FL_OK;
    for (size_t n = 1; s == FL_OK && n;) {
        n = fread(step, 1, READ_STEP, file);
        if (n == 0 && ferror(file)) s = fl_fail(FL_ERR_IO, "%s: cannot read: %s", path, strerror(errno));
        fl_checksum_add(c, step, n);
        size += n;
        *done += (int64_t)n;
        if (s == FL_OK) s = fl_progress_update(progress, *done);
    }
    fclose(file);
    fl_checksum_add(c, &size, sizeof size);
    return s;
}

static void add_text(fl_checksum *c, const char *text)
{
    fl_checksum_add(c, text ? text : "", (text ? strlen(text) : 0) + 1);
}

fl_status fl_data_cache_path(char **out, const fl_tokenizer *tokenizer, const fl_corpus *corpus,
                             const fl_data_options *options, uint64_t *key)
{
    fl_checksum c;
    fl_checksum_start(&c);
    add_text(&c, MAGIC);
    uint64_t head[5] = {fl_tokenizer_checksum(tokenizer), (uint64_t)options->bos, (uint64_t)options->eos,
                        options->skip_bad, options->separator != NULL};
    fl_checksum_add(&c, head, sizeof head);
    add_text(&c, options->text_field);
    add_text(&c, options->separator);
    char *step = fl_realloc(NULL, READ_STEP, 1);
    if (!step) return FL_ERR_MEMORY;
    int64_t done, total;
    fl_progress progress;
    fl_corpus_position(corpus, &done, &total);
    fl_progress_start(&progress, options->progress, options->progress_user, "look for cached tokens", total);
    fl_status s = FL_OK;
    for (int i = 0; i < fl_corpus_files(corpus) && s == FL_OK; i++) {
        add_text(&c, fl_corpus_is_lines(corpus, i) ? "lines" : "text");
        s = add_file(&c, fl_corpus_file(corpus, i), step, &progress, &done);
    }
    fl_free(step);
    FL_TRY(s);
    *key = fl_checksum_value(&c);
    char name[32];
    snprintf(name, sizeof name, "%016" PRIx64 ".tokens", *key);
    *out = fl_path_join(options->cache, name);
    return *out ? FL_OK : FL_ERR_MEMORY;
}

/* ---- the file --------------------------------------------------------------------------------------------------- */

uint64_t fl_data_checksum(fl_checksum ids, const int64_t *begin, int64_t documents)
{
    fl_checksum_add(&ids, begin, (size_t)(documents + 1) * sizeof *begin);
    return fl_checksum_value(&ids);
}

static size_t padding(uint64_t size)
{
    return (size_t)(-size & 7);
}

void fl_data_cache_end(fl_writer *w, const fl_data *d, const int64_t *begin, uint64_t key)
{
    const fl_data_info *i = &d->info;
    record r = {.magic = MAGIC,
                .key = key,
                .checksum = i->checksum,
                .tokens = i->tokens,
                .documents = i->documents,
                .files = i->files,
                .others = i->others,
                .bytes = i->bytes,
                .empty = i->empty,
                .bad = i->bad,
                .id_bytes = d->id_bytes};
    r.own_checksum = own_checksum(&r);
    fl_writer_write(w, "\0\0\0\0\0\0\0", padding(w->written));
    fl_writer_write(w, begin, (size_t)(i->documents + 1) * sizeof *begin);
    fl_writer_write(w, &r, sizeof r);
}

static fl_status damaged(const char *path, const char *why)
{
    return fl_fail(FL_ERR_FORMAT, "%s: %s; remove the file, it will be made anew", path, why);
}

/* Sizes first, so that nothing outside the file is touched. */
static fl_status check_layout(const fl_map *m, const char *path, uint64_t key, record *r, size_t *ids_bytes)
{
    if (m->size < sizeof *r) return damaged(path, "is shorter than its own end record");
    memcpy(r, m->data + m->size - sizeof *r, sizeof *r);
    if (memcmp(r->magic, MAGIC, sizeof r->magic)) return damaged(path, "does not end like a file of tokens");
    if (r->own_checksum != own_checksum(r)) return damaged(path, "has a damaged end record");
    if (r->key != key) return damaged(path, "was made from other files or options");
    size_t begins, whole;
    bool fits = (r->id_bytes == 2 || r->id_bytes == 4) && r->tokens >= 1 && r->documents >= 1 &&
                fl_size_mul((size_t)r->tokens, (size_t)r->id_bytes, ids_bytes) &&
                fl_size_align(*ids_bytes, 8, &whole) && fl_size_mul((size_t)r->documents, 8, &begins) &&
                fl_size_add(whole, begins, &whole) && fl_size_add(whole, 8 + sizeof *r, &whole) && whole == m->size;
    return fits ? FL_OK : damaged(path, "has another size than its end record says");
}

static bool ids_below(const fl_data *d, int64_t vocab)
{
    uint32_t largest = 0;
    for (int64_t i = 0; i < d->info.tokens; i++) {
        uint32_t id = d->id_bytes == 2 ? ((const uint16_t *)d->ids)[i] : ((const uint32_t *)d->ids)[i];
        largest = id > largest ? id : largest;
    }
    return largest < vocab;
}

static bool begins_rise(const fl_data *d)
{
    int64_t n = d->info.documents;
    for (int64_t i = 0; i < n; i++)
        if (d->begin[i] >= d->begin[i + 1]) return false;
    return d->begin[0] == 0 && d->begin[n] == d->info.tokens;
}

fl_status fl_data_cache_open(fl_data *d, const char *path, uint64_t key, int64_t vocab)
{
    FL_TRY(fl_map_open(&d->map, path));
    record r;
    size_t ids_bytes;
    FL_TRY(check_layout(&d->map, path, key, &r, &ids_bytes));
    d->info.tokens = r.tokens;
    d->info.documents = r.documents;
    d->info.files = r.files;
    d->info.others = r.others;
    d->info.bytes = r.bytes;
    d->info.empty = r.empty;
    d->info.bad = r.bad;
    d->info.checksum = r.checksum;
    d->info.cached = true;
    d->id_bytes = (int)r.id_bytes;
    d->ids = d->map.data;
    d->begin = (const int64_t *)(const void *)(d->map.data + ids_bytes + padding(ids_bytes));
    fl_checksum c;
    fl_checksum_start(&c);
    fl_checksum_add(&c, d->ids, ids_bytes);
    if (!begins_rise(d) || !ids_below(d, vocab) || fl_data_checksum(c, d->begin, r.documents) != r.checksum)
        return damaged(path, "is damaged: its checksum does not match");
    return FL_OK;
}
