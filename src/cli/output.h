/* What the command says: results on stdout, everything else here on stderr. */
#ifndef FL_CLI_OUTPUT_H
#define FL_CLI_OUTPUT_H

#include <jansson.h>

#include "furlong.h"

void cli_error(const char *format, ...) __attribute__((format(printf, 1, 2))); /* "furlong: error: ..." */
void cli_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));  /* "furlong: warning: ..." */
void cli_note(const char *format, ...) __attribute__((format(printf, 1, 2)));  /* "furlong: ..." */

/* The message of a failed library call -> exit status: CLI_INTERRUPTED when it was cancelled, else CLI_ERROR. */
int cli_failed(fl_status status);

/* fl_log_fn. */
void cli_log(fl_log_level level, const char *text, void *user);

/* fl_progress_fn: one line on a terminal's stderr, rewritten, shown only for work that takes a while; elsewhere silent.
 * Also how Ctrl-C reaches work that only looks at its progress callback. Any other output erases the line first. */
int cli_progress(const char *stage, int64_t done, int64_t total, double seconds_left, void *user);

/* A JSON string of any bytes: what is not UTF-8 becomes U+FFFD. */
json_t *cli_json_text(const char *text, size_t length);
/* Print the object (reference taken) with a newline -> exit status. */
int cli_print_json(json_t *object);

/* Everything written to stdout has arrived -> exit status. */
int cli_finish_output(void);

/* "1.25 MiB". */
const char *cli_bytes(char text[32], double bytes);

#endif
