#include "cli/documents.h"

#include <limits.h>
#include <stdlib.h>

#include "text/data.h"
#include "train/windows.h"

void cli_data_options(fl_data_options *out, const cli_data *o, const cli_texts *files)
{
    static const char *const formats[] = {"auto", "text", "jsonl"};
    *out = (fl_data_options)FL_DATA_OPTIONS_INIT;
    out->path = files->item;
    out->paths = files->count;
    out->format = formats[o->format];
    out->text_field = o->text_field;
    out->separator = o->separator;
    out->skip_bad = o->skip_bad;
    out->progress = cli_progress;
}

static const char *plural(int64_t n)
{
    return n == 1 ? "" : "s";
}

void cli_data_note(const fl_data *data)
{
    fl_data_info info = {.size = sizeof info};
    if (fl_data_get_info(data, &info) != FL_OK) return;
    cli_note("data: %lld document%s of %lld file%s, %lld tokens%s", (long long)info.documents, plural(info.documents),
             (long long)info.files, plural(info.files), (long long)info.tokens, info.cached ? ", from the cache" : "");
    if (info.empty) cli_note("data: %lld without text passed over", (long long)info.empty);
    if (info.others)
        cli_note("data: %lld file%s of other kinds in the folders left alone", (long long)info.others,
                 plural(info.others));
    if (info.bad)
        cli_warn("data: %lld document%s left out by --skip-bad%s%s", (long long)info.bad, plural(info.bad),
                 *info.first_bad ? ", the first: " : "", info.first_bad);
}

void cli_sequences_note(const fl_data *data, int64_t length, fl_packing packing)
{
    fl_windows w;
    if (fl_windows_create(&w, data, length, packing) != FL_OK) return; /* training will say why */
    cli_note("data: %lld sequence%s of %lld tokens; tokens left over: %lld", (long long)w.count, plural(w.count),
             (long long)length, (long long)w.unused);
    fl_windows_destroy(&w);
}

static int copy_documents(cli_documents *out, const fl_data *data)
{
    int64_t count = data->info.documents;
    if (count >= INT_MAX) {
        cli_error("%lld documents: give fewer", (long long)count);
        return CLI_ERROR;
    }
    out->item = calloc((size_t)count + 1, sizeof *out->item);
    int32_t *ids = malloc((size_t)data->info.tokens * sizeof *ids);
    if (!out->item || !ids) {
        cli_error("out of memory");
        free(ids);
        return CLI_ERROR;
    }
    fl_data_copy(data, 0, data->info.tokens, ids);
    for (int64_t i = 0; i < count; i++)
        out->item[i] = (fl_document){ids + data->begin[i], data->begin[i + 1] - data->begin[i]};
    out->count = (int)count;
    out->tokens = data->info.tokens;
    return CLI_OK;
}

int cli_read_documents(cli_documents *out, const fl_tokenizer *t, const cli_data *o, const cli_texts *files)
{
    *out = (cli_documents){0};
    fl_data_options options;
    fl_data *data;
    cli_data_options(&options, o, files);
    options.bos = options.eos = FL_MARK_OFF;
    fl_status s = fl_data_open(&data, t, &options);
    if (s != FL_OK) return cli_failed(s);
    if (data->info.empty || data->info.others || data->info.bad) cli_data_note(data);
    int status = copy_documents(out, data);
    fl_data_close(data);
    return status;
}

/* All ids are one block, which begins with the first document. */
void cli_documents_free(cli_documents *d)
{
    if (d->count) free((void *)(uintptr_t)d->item[0].ids);
    free(d->item);
    *d = (cli_documents){0};
}

int32_t cli_bos(const fl_model *m)
{
    fl_model_info info = {.size = sizeof info};
    return fl_model_get_info(m, &info) == FL_OK ? info.bos : -1;
}
