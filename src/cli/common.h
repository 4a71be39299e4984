/* Flags that several commands share, and what they open. */
#ifndef FL_CLI_COMMON_H
#define FL_CLI_COMMON_H

#include "cli/flags.h"
#include "cli/output.h"
#include "furlong.h"

/* First member of every command's options struct, so that one table of flags serves all of them. */
typedef struct cli_common {
    const char *model, *tokenizer, *lora, *lora_scaled;
    int64_t context, threads, batch;
    fl_rope_options rope;
    double yarn_ext; /* negative: as the model says; 0 is a value */
    int64_t blockwise;
    fl_passes_options passes;
    int overflow; /* fl_overflow */
    int64_t window, sinks;
    const char *type_k, *type_v;
    double temperature, top_p, min_p, repeat_penalty;
    int64_t top_k, repeat_last, seed;
    bool json, verbose;
} cli_common;

extern const cli_group cli_group_model;     /* -m --lora --lora-scaled --tokenizer -c -t */
extern const cli_group cli_group_positions; /* --rope-... --yarn-... --grp-attn-... */
extern const cli_group cli_group_reading;   /* -b --overflow --window --sinks */
extern const cli_group cli_group_cache;     /* -ctk -ctv */
extern const cli_group cli_group_sampling;  /* --temp ... -s */
extern const cli_group cli_group_output;    /* --json -v */

/* What a command works with; unused members stay NULL. Zero-initialise; cli_close in every case. */
typedef struct cli_work {
    fl_engine *engine;
    fl_model *model;
    fl_tokenizer *tokenizer;
    fl_session *session;
} cli_work;

/* Each opens what it names and what that needs -> exit status, after a message. */
int cli_open_engine(cli_work *w, const cli_common *o);
int cli_open_model(cli_work *w, const cli_call *call, const cli_common *o);
int cli_open_tokenizer(cli_work *w, const cli_call *call, const cli_common *o);
int cli_open_session(cli_work *w, const cli_call *call, const cli_common *o);
void cli_close(cli_work *w);

fl_rope_options cli_rope_options(const cli_common *o);
void cli_model_options(fl_model_options *out, const cli_common *o);
void cli_session_options(fl_session_options *out, const cli_common *o);
void cli_sampler_options(fl_sampler_options *out, const cli_common *o);

/* The position method in force, for labels: "stream", "self-extend", else the rope scaling. */
const char *cli_method_name(const cli_common *o, const fl_model_info *info);

/* A usage error: "furlong: error: ..." and where to find help -> CLI_USAGE. */
int cli_misused(const cli_call *call, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Bytes of a file, "-": of stdin. Zero-terminated; free(*text). -> exit status */
int cli_read_file(const char *path, char **text, size_t *length);
/* Ids of a text; free(*ids). -> exit status */
int cli_encode(const fl_tokenizer *t, const char *text, size_t length, bool add_special, bool parse_special,
               int32_t **ids, int64_t *count);

#endif
