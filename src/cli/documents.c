#include "cli/documents.h"

#include <stdlib.h>

int cli_read_documents(cli_documents *out, const fl_tokenizer *t, const cli_texts *files)
{
    *out = (cli_documents){.item = calloc((size_t)files->count + 1, sizeof *out->item)};
    if (!out->item) {
        cli_error("out of memory");
        return CLI_ERROR;
    }
    for (int i = 0; i < files->count; i++) {
        char *text;
        size_t length;
        int32_t *ids = NULL;
        int64_t count = 0;
        int status = cli_read_file(files->item[i], &text, &length);
        if (status != CLI_OK) return status;
        status = cli_encode(t, text, length, false, false, &ids, &count);
        free(text);
        if (status != CLI_OK) return status;
        out->item[out->count++] = (fl_document){ids, count};
        out->tokens += count;
    }
    return CLI_OK;
}

void cli_documents_free(cli_documents *d)
{
    for (int i = 0; i < d->count; i++)
        free((void *)(uintptr_t)d->item[i].ids);
    free(d->item);
    *d = (cli_documents){0};
}

int32_t cli_bos(const fl_model *m)
{
    fl_model_info info = {.size = sizeof info};
    return fl_model_get_info(m, &info) == FL_OK ? info.bos : -1;
}
