/* Ctrl-C: the first one cancels what is running, the second one ends the program as the system does. */
#ifndef FL_CLI_INTERRUPT_H
#define FL_CLI_INTERRUPT_H

#include "furlong.h"

/* From now on SIGINT and SIGTERM cancel the session (NULL: only cli_interrupted tells). */
void cli_interrupt_arm(fl_session *session);
/* Back to the system's handling. */
void cli_interrupt_disarm(void);
/* Has a signal come since it was last armed? */
bool cli_interrupted(void);

#endif
