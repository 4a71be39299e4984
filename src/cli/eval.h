/* What the commands "eval ..." share. */
#ifndef FL_CLI_EVAL_H
#define FL_CLI_EVAL_H

#include "base/buffer.h"
#include "cli/commands.h"
#include "cli/documents.h"

/* First member of their options structs. */
typedef struct eval_shared {
    cli_common common; /* first: see cli/common.h */
    const char *items;
} eval_shared;

/* First member of those that read texts. */
typedef struct eval_texts {
    eval_shared shared; /* first */
    cli_texts files;
    cli_data reading;
} eval_texts;

#define EVAL_TEXT_FLAGS                                                                                                \
    {"file", 'f', "FILE", CLI_TEXTS, offsetof(eval_texts, files),                                                      \
     NULL,   0,   0,      NULL,      "a text, JSON lines, either compressed (.zst), or a folder of such files"},       \
        CLI_DATA_FLAGS(offsetof(eval_texts, reading))

/* The model and the texts that the flags name -> exit status. */
int eval_open_texts(cli_work *w, cli_documents *documents, const cli_call *call);

extern const cli_group cli_group_items; /* --items -s */

/* The run that the flags ask for; reading holds what it points to. */
void eval_run(fl_eval_run *run, fl_session_options *reading, const eval_shared *o);

/* Draw the script (freed) -> exit status. */
int eval_draw(fl_buffer *script);
/* Say on stderr how many items of how many came from --items. */
void eval_reused(const eval_shared *o, int64_t reused, int64_t items);

#endif
