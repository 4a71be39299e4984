/* What the commands "eval ..." share. */
#ifndef FL_CLI_EVAL_H
#define FL_CLI_EVAL_H

#include "base/buffer.h"
#include "cli/commands.h"

/* First member of their options structs. */
typedef struct eval_shared {
    cli_common common; /* first: see cli/common.h */
    const char *items;
} eval_shared;

extern const cli_group cli_group_items; /* --items -s */

/* The run that the flags ask for; reading holds what it points to. */
void eval_run(fl_eval_run *run, fl_session_options *reading, const eval_shared *o);

/* Draw the script (freed) -> exit status. */
int eval_draw(fl_buffer *script);
/* Say on stderr how many items of how many came from --items. */
void eval_reused(const eval_shared *o, int64_t reused, int64_t items);

#endif
