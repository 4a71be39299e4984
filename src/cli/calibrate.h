/* What this machine does per second, for commands that say how long work will take. */
#ifndef FL_CLI_CALIBRATE_H
#define FL_CLI_CALIBRATE_H

#include "furlong.h"

/* From the file if it exists, else by a measurement of about a second, which is then written there. path: NULL for no
 * file. */
fl_status cli_calibrate(fl_rates *out, const char *path, const fl_model *model);

#endif
