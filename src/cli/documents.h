/* Text files as documents of token ids. */
#ifndef FL_CLI_DOCUMENTS_H
#define FL_CLI_DOCUMENTS_H

#include "cli/common.h"

typedef struct cli_documents {
    fl_document *item;
    int count;
    int64_t tokens; /* in all */
} cli_documents;

/* Each file is one document, without BOS or EOS -> exit status. cli_documents_free in every case. */
int cli_read_documents(cli_documents *out, const fl_tokenizer *t, const cli_texts *files);
void cli_documents_free(cli_documents *d);

/* What the model puts before a text: its BOS, -1 if it has none. */
int32_t cli_bos(const fl_model *m);

#endif
