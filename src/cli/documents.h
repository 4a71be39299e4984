/* Texts from files and folders: what the flags of data say, as token ids for training and as documents for evaluation.
 */
#ifndef FL_CLI_DOCUMENTS_H
#define FL_CLI_DOCUMENTS_H

#include "cli/common.h"

/* A member of the options struct of a command, filled by the flags that CLI_DATA_FLAGS makes. */
typedef struct cli_data {
    int format; /* which of auto|text|jsonl */
    const char *text_field, *separator;
    bool skip_bad;
} cli_data;

#define CLI_DATA_FLAGS(at)                                                                                             \
    {"data-format",                                                                                                    \
     0,                                                                                                                \
     "NAME",                                                                                                           \
     CLI_CHOICE,                                                                                                       \
     (at) + offsetof(cli_data, format),                                                                                \
     "auto",                                                                                                           \
     0,                                                                                                                \
     0,                                                                                                                \
     "auto|text|jsonl",                                                                                                \
     "what files hold; auto: lines of JSON in .jsonl, .ndjson and .json, else text; .zst after it is decompressed"},   \
        {"text-field", 0, "KEY", CLI_TEXT, (at) + offsetof(cli_data, text_field),                                      \
         "text",       0, 0,     NULL,     "jsonl: the string that is the document"},                                  \
        {"separator", 0, "LINE", CLI_TEXT, (at) + offsetof(cli_data, separator),                                       \
         NULL,        0, 0,      NULL,     "text: a line that ends a document; without it a file is one document"},    \
    {                                                                                                                  \
        "skip-bad", 0, NULL, CLI_SWITCH, (at) + offsetof(cli_data, skip_bad), NULL, 0, 0, NULL,                        \
            "leave out documents that cannot be read, and say how many; without it they are errors"                    \
    }

/* The library's options for these files. */
void cli_data_options(fl_data_options *out, const cli_data *o, const cli_texts *files);
/* What was read and what was left out, on stderr. */
void cli_data_note(const fl_data *data);
/* How many sequences of `length` tokens it makes, and what they leave over, on stderr. */
void cli_sequences_note(const fl_data *data, int64_t length, fl_packing packing);

typedef struct cli_documents {
    fl_document *item;
    int count;
    int64_t tokens; /* in all */
} cli_documents;

/* Documents without BOS or EOS -> exit status. cli_documents_free in every case. */
int cli_read_documents(cli_documents *out, const fl_tokenizer *t, const cli_data *o, const cli_texts *files);
void cli_documents_free(cli_documents *d);

/* What the model puts before a text: its BOS, -1 if it has none. */
int32_t cli_bos(const fl_model *m);

#endif
