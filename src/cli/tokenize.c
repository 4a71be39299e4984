/* furlong tokenize: a text as token ids. */
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "text/model_tokenizer.h"

typedef struct tokenize_options {
    cli_common common;
    const char *prompt, *file;
    bool ids, no_bos, no_parse_special;
} tokenize_options;

#define AT(member) offsetof(tokenize_options, member)

static const cli_flag flags[] = {
    {"model", 'm', "MODEL", CLI_TEXT, AT(common.model), NULL, 0, 0, NULL, "take the tokenizer of MODEL"},
    {"tokenizer", 0, "FILE", CLI_TEXT, AT(common.tokenizer), NULL, 0, 0, NULL,
     "tokenizer.json, tokenizer.model, a llama2.c tokenizer.bin, or a folder with one"},
    {"prompt", 'p', "TEXT", CLI_TEXT, AT(prompt), NULL, 0, 0, NULL, "the text"},
    {"file", 'f', "FILE", CLI_TEXT, AT(file), NULL, 0, 0, NULL,
     "read the text from FILE (- is stdin), to the last byte"},
    {"ids", 0, NULL, CLI_SWITCH, AT(ids), NULL, 0, 0, NULL, "print the ids alone, separated by spaces"},
    {"no-bos", 0, NULL, CLI_SWITCH, AT(no_bos), NULL, 0, 0, NULL, "add no special tokens around the text"},
    {"no-parse-special", 0, NULL, CLI_SWITCH, AT(no_parse_special), NULL, 0, 0, NULL,
     "spellings of special tokens in the text are plain text"},
    {"json", 0, NULL, CLI_SWITCH, AT(common.json), NULL, 0, 0, NULL, "print one JSON object"},
};
static const cli_group group = CLI_GROUP("Tokenizing", flags);
static const cli_group *const groups[] = {&group, NULL};

/* Only the header of the model is read: a llama2.c vocabulary does not say how large it is. */
static fl_status open_tokenizer(fl_tokenizer **out, const tokenize_options *o)
{
    if (!o->common.model) return fl_tokenizer_load(out, o->common.tokenizer, NULL);
    fl_checkpoint *c;
    fl_status s = fl_checkpoint_open(&c, o->common.model);
    if (s != FL_OK) return s;
    s = o->common.tokenizer ? fl_tokenizer_open_sized(out, o->common.tokenizer, fl_checkpoint_config(c)->vocab)
                            : fl_tokenizer_open_model(out, c);
    fl_checkpoint_close(c);
    return s;
}

/* A piece as one line: control characters and backslashes escaped. */
static void print_piece(int32_t id, const char *piece, size_t length)
{
    printf("%6d ", id);
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)piece[i];
        if (c == '\n')
            fputs("\\n", stdout);
        else if (c == '\\')
            fputs("\\\\", stdout);
        else if (c < 0x20 || c == 0x7f)
            printf("\\x%02x", c);
        else
            putchar(c);
    }
    putchar('\n');
}

static int print_json(const fl_tokenizer *t, const int32_t *ids, int64_t count)
{
    json_t *list = json_array(), *pieces = json_array();
    for (int64_t i = 0; i < count; i++) {
        size_t length = 0;
        const char *piece = fl_tokenizer_piece(t, ids[i], &length);
        json_array_append_new(list, json_integer(ids[i]));
        json_array_append_new(pieces, cli_json_text(piece ? piece : "", length));
    }
    return cli_print_json(json_pack("{s:I, s:o, s:o}", "count", (json_int_t)count, "ids", list, "pieces", pieces));
}

static int print(const fl_tokenizer *t, const tokenize_options *o, const int32_t *ids, int64_t count)
{
    if (o->common.json) return print_json(t, ids, count);
    for (int64_t i = 0; i < count; i++) {
        size_t length = 0;
        const char *piece = o->ids ? NULL : fl_tokenizer_piece(t, ids[i], &length);
        if (o->ids)
            printf("%s%d", i ? " " : "", ids[i]);
        else
            print_piece(ids[i], piece ? piece : "", length);
    }
    if (o->ids) putchar('\n');
    return cli_finish_output();
}

static int tokenize(const fl_tokenizer *t, const tokenize_options *o)
{
    char *text = NULL;
    size_t length = o->prompt ? strlen(o->prompt) : 0;
    int32_t *ids = NULL;
    int64_t count;
    int status = o->prompt ? CLI_OK : cli_read_file(o->file, &text, &length);
    if (status == CLI_OK)
        status = cli_encode(t, o->prompt ? o->prompt : text, length, !o->no_bos, !o->no_parse_special, &ids, &count);
    if (status == CLI_OK) status = print(t, o, ids, count);
    free(text);
    free(ids);
    return status;
}

static int run(const cli_call *call)
{
    const tokenize_options *o = call->options;
    if (!o->common.model && !o->common.tokenizer)
        return cli_misused(call, "name a model with -m MODEL or a tokenizer with --tokenizer FILE");
    if (!o->prompt == !o->file) return cli_misused(call, "give the text either with -p TEXT or with -f FILE");
    fl_tokenizer *t;
    fl_status s = open_tokenizer(&t, o);
    if (s != FL_OK) return cli_failed(s);
    int status = tokenize(t, o);
    fl_tokenizer_close(t);
    return status;
}

const cli_command cli_tokenize = {"tokenize",
                                  "show a text as token ids",
                                  NULL,
                                  "Show a text as token ids: one per line with its piece, or all on one line with "
                                  "--ids. Special tokens are added around the text as the model expects.",
                                  sizeof(tokenize_options),
                                  groups,
                                  run};
