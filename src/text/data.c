#include "text/data.h"

#include <string.h>

#include "base/alloc.h"
#include "base/progress.h"
#include "text/data_cache.h"
#include "text/tokenizer.h"

#define BLOCK 4096 /* ids converted at once */

/* Where ids go while a corpus is read: to the cache file or to memory. */
typedef struct builder {
    fl_data *data;
    fl_writer *file; /* NULL: memory */
    fl_buffer ids;
    int64_t *begin, capacity;
    fl_checksum checksum;
} builder;

/* ---- building --------------------------------------------------------------------------------------------------- */

static fl_status put_ids(builder *b, const int32_t *ids, int64_t count)
{
    uint16_t narrow[BLOCK];
    for (int64_t at = 0; at < count; at += BLOCK) {
        size_t n = (size_t)(count - at < BLOCK ? count - at : BLOCK);
        const void *bytes = ids + at;
        if (b->data->id_bytes == 2) {
            for (size_t i = 0; i < n; i++)
                narrow[i] = (uint16_t)ids[at + (int64_t)i];
            bytes = narrow;
        }
        n *= (size_t)b->data->id_bytes;
        fl_checksum_add(&b->checksum, bytes, n);
        if (b->file)
            fl_writer_write(b->file, bytes, n);
        else
            fl_buffer_append(&b->ids, bytes, n);
    }
    b->data->info.tokens += count;
    if (b->file && b->file->status != FL_OK) return b->file->status;
    return b->ids.failed ? FL_ERR_MEMORY : FL_OK;
}

/* The present end of the ids is where a document begins, or where the last one ends. */
static fl_status put_begin(builder *b)
{
    int64_t n = b->data->info.documents;
    if (n == b->capacity) {
        int64_t capacity = b->capacity ? 2 * b->capacity : 256;
        int64_t *begin = fl_realloc(b->begin, (size_t)capacity, sizeof *begin);
        if (!begin) return FL_ERR_MEMORY;
        b->begin = begin;
        b->capacity = capacity;
    }
    b->begin[n] = b->data->info.tokens;
    return FL_OK;
}

static fl_status put_document(builder *b, const fl_tokenizer *t, const fl_corpus_document *document, fl_tokens *ids)
{
    ids->count = 0;
    fl_status s = fl_tokenizer_encode(t, document->text, document->size, false, false, ids);
    if (s != FL_OK) return fl_fail_within(s, "%s: line %lld", document->file, (long long)document->line);
    int32_t bos = b->data->info.bos, eos = b->data->info.eos;
    if (ids->count + (bos >= 0) + (eos >= 0) == 0) {
        b->data->info.empty++;
        return FL_OK;
    }
    FL_TRY(put_begin(b));
    b->data->info.documents++;
    if (bos >= 0) FL_TRY(put_ids(b, &bos, 1));
    FL_TRY(put_ids(b, ids->id, ids->count));
    return eos >= 0 ? put_ids(b, &eos, 1) : FL_OK;
}

static fl_status put_corpus(builder *b, const fl_tokenizer *t, fl_corpus *corpus, const fl_data_options *o)
{
    fl_data_info *info = &b->data->info;
    fl_corpus_document document;
    fl_tokens ids = {0};
    fl_progress progress;
    int64_t done, total;
    fl_corpus_position(corpus, &done, &total);
    fl_progress_start(&progress, o->progress, o->progress_user, "tokenize", total);
    fl_checksum_start(&b->checksum);
    fl_status s;
    while ((s = fl_corpus_next(corpus, &document)) == FL_OK && document.file) {
        s = put_document(b, t, &document, &ids);
        fl_corpus_position(corpus, &done, &total);
        if (s == FL_OK) s = fl_progress_update(&progress, done);
        if (s != FL_OK) break;
    }
    fl_tokens_free(&ids);
    FL_TRY(s);
    FL_TRY(put_begin(b));
    fl_corpus_counts counts;
    fl_corpus_get_counts(corpus, &counts);
    info->files = counts.files;
    info->others = counts.others;
    info->bytes = counts.bytes;
    info->empty += counts.empty;
    info->bad = counts.bad;
    info->checksum = fl_data_checksum(b->checksum, b->begin, info->documents);
    if (info->tokens == 0) return fl_fail(FL_ERR_ARGUMENT, "%s: no tokens in all the data", o->path[0]);
    return FL_OK;
}

static fl_status build_in_memory(fl_data *d, const fl_tokenizer *t, fl_corpus *corpus, const fl_data_options *o)
{
    builder b = {.data = d};
    fl_status s = put_corpus(&b, t, corpus, o);
    d->ids = d->own_ids = b.ids.data;
    d->begin = d->own_begin = b.begin;
    return s;
}

/* Each document goes to the file as it is read; then the file is mapped. */
static fl_status build_cache(fl_data *d, const fl_tokenizer *t, fl_corpus *corpus, const fl_data_options *o,
                             const char *path, uint64_t key)
{
    fl_writer w;
    FL_TRY(fl_folder_make(o->cache));
    FL_TRY(fl_writer_open(&w, path));
    builder b = {.data = d, .file = &w};
    fl_status s = put_corpus(&b, t, corpus, o);
    if (s == FL_OK) {
        fl_data_cache_end(&w, d, b.begin, key);
        s = fl_writer_finish(&w);
    } else {
        fl_writer_abandon(&w);
    }
    fl_free(b.begin);
    return s;
}

static fl_status fill(fl_data *d, const fl_tokenizer *t, fl_corpus *corpus, const fl_data_options *o)
{
    if (!o->cache) return build_in_memory(d, t, corpus, o);
    char *path = NULL;
    uint64_t key;
    FL_TRY(fl_data_cache_path(&path, t, corpus, o, &key));
    fl_status s = FL_OK;
    bool made = !fl_file_exists(path);
    if (made) s = build_cache(d, t, corpus, o, path, key);
    if (s == FL_OK) s = fl_data_cache_open(d, path, key, fl_tokenizer_vocab(t));
    if (made) d->info.cached = false;
    fl_free(path);
    return s;
}

/* ---- opening ---------------------------------------------------------------------------------------------------- */

/* `adds`: whether the tokenizer puts it around a text by itself. */
static fl_status mark_of(int32_t *out, fl_mark wanted, int32_t id, bool adds, const char *name)
{
    *out = wanted == FL_MARK_ON || (wanted == FL_MARK_AUTO && adds) ? id : -1;
    if (wanted == FL_MARK_ON && id < 0)
        return fl_fail(FL_ERR_ARGUMENT, "--%s on: the tokenizer has no such token", name);
    return FL_OK;
}

static fl_status corpus_options(fl_corpus_options *out, const fl_data_options *o)
{
    static const char *const formats[] = {"auto", "text", "jsonl"}; /* as fl_corpus_format counts */
    *out = (fl_corpus_options)FL_CORPUS_OPTIONS_INIT;
    out->path = o->path;
    out->paths = o->paths;
    out->separator = o->separator;
    out->skip_bad = o->skip_bad;
    if (o->text_field) out->text_field = o->text_field;
    if (!o->format) return FL_OK;
    for (int i = 0; i < 3; i++) {
        out->format = (fl_corpus_format)i;
        if (!strcmp(o->format, formats[i])) return FL_OK;
    }
    return fl_fail(FL_ERR_ARGUMENT, "--data-format %s: give auto, text or jsonl", o->format);
}

fl_status fl_data_open(fl_data **out, const fl_tokenizer *tokenizer, const fl_data_options *options)
{
    if (!out || !tokenizer || !options || options->size != sizeof *options || (options->paths && !options->path))
        return fl_fail(FL_ERR_ARGUMENT, "fl_data_open: an argument is NULL or options.size is not %zu",
                       sizeof *options);
    fl_corpus_options wanted;
    FL_TRY(corpus_options(&wanted, options));
    fl_data *d = fl_calloc(1, sizeof *d);
    if (!d) return FL_ERR_MEMORY;
    d->id_bytes = fl_tokenizer_vocab(tokenizer) <= UINT16_MAX + 1 ? 2 : 4;
    fl_corpus *corpus = NULL;
    fl_status s =
        mark_of(&d->info.bos, options->bos, fl_tokenizer_bos(tokenizer), fl_tokenizer_adds_bos(tokenizer), "bos");
    if (s == FL_OK)
        s = mark_of(&d->info.eos, options->eos, fl_tokenizer_eos(tokenizer), fl_tokenizer_adds_eos(tokenizer), "eos");
    if (s == FL_OK) s = fl_corpus_open(&corpus, &wanted);
    if (s == FL_OK) s = fill(d, tokenizer, corpus, options);
    if (s == FL_OK && *fl_corpus_first_bad(corpus) && !(d->first_bad = fl_strdup(fl_corpus_first_bad(corpus))))
        s = FL_ERR_MEMORY;
    fl_corpus_close(corpus);
    d->info.first_bad = d->first_bad ? d->first_bad : "";
    if (s == FL_OK)
        *out = d;
    else
        fl_data_close(d);
    return s;
}

fl_status fl_data_of_ids(fl_data **out, const int32_t *ids, int64_t count)
{
    if (!out || !ids || count < 1) return fl_fail(FL_ERR_ARGUMENT, "fl_data_of_ids: an argument is NULL or count < 1");
    for (int64_t i = 0; i < count; i++)
        if (ids[i] < 0) return fl_fail(FL_ERR_ARGUMENT, "fl_data_of_ids: id %lld is negative", (long long)i);
    fl_data *d = fl_calloc(1, sizeof *d);
    if (!d) return FL_ERR_MEMORY;
    d->id_bytes = 4;
    d->info.bos = d->info.eos = -1;
    d->info.first_bad = "";
    builder b = {.data = d};
    fl_checksum_start(&b.checksum);
    fl_status s = put_begin(&b);
    d->info.documents = 1;
    if (s == FL_OK) s = put_ids(&b, ids, count);
    if (s == FL_OK) s = put_begin(&b);
    d->ids = d->own_ids = b.ids.data;
    d->begin = d->own_begin = b.begin;
    if (s == FL_OK) {
        d->info.checksum = fl_data_checksum(b.checksum, b.begin, 1);
        *out = d;
    } else {
        fl_data_close(d);
    }
    return s;
}

void fl_data_close(fl_data *d)
{
    if (!d) return;
    fl_free(d->own_ids);
    fl_free(d->own_begin);
    fl_free(d->first_bad);
    fl_map_close(&d->map);
    fl_free(d);
}

/* ---- asking ----------------------------------------------------------------------------------------------------- */

fl_status fl_data_get_info(const fl_data *d, fl_data_info *info)
{
    if (!d || !info || info->size != sizeof *info)
        return fl_fail(FL_ERR_ARGUMENT, "fl_data_get_info: an argument is NULL or info.size is not %zu", sizeof *info);
    *info = d->info;
    info->size = sizeof *info;
    return FL_OK;
}

void fl_data_copy(const fl_data *d, int64_t from, int64_t n, int32_t *out)
{
    if (d->id_bytes == 4) {
        memcpy(out, (const int32_t *)d->ids + from, (size_t)n * sizeof *out);
        return;
    }
    const uint16_t *ids = (const uint16_t *)d->ids + from;
    for (int64_t i = 0; i < n; i++)
        out[i] = ids[i];
}

int64_t fl_last_at_most(const int64_t *rising, int64_t n, int64_t x)
{
    int64_t low = 0, high = n; /* rising[low] <= x < rising[high] */
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (rising[middle] <= x)
            low = middle;
        else
            high = middle;
    }
    return low;
}

int64_t fl_data_document_of(const fl_data *d, int64_t at)
{
    return fl_last_at_most(d->begin, d->info.documents, at);
}
