/* Options of a command from a file, and the list of them all. */
#ifndef FL_CLI_SETTINGS_H
#define FL_CLI_SETTINGS_H

#include "base/buffer.h"
#include "cli/flags.h"

/* Read path: a JSON object, or lines "key = value" with # comments. Keys are the command's flags without dashes, "_"
 * for
 * "-" allowed; a list, or a key given again, repeats a flag. What was typed wins. Unknown keys are refused -> exit
 * status, after a message with file and key. */
int cli_read_settings(const cli_call *call, const char *path);

/* Append " --flag value" for every flag of the group that someone gave a value. */
void cli_given_flags(fl_buffer *out, const cli_call *call, const cli_group *group);

/* Every option that has a value, and who gave it: flag, value, source, on stderr. */
void cli_print_settings(const cli_call *call);

#endif
