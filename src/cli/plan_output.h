/* A plan as text and as JSON. */
#ifndef FL_CLI_PLAN_OUTPUT_H
#define FL_CLI_PLAN_OUTPUT_H

#include "cli/common.h"

/* model: how the commands to paste call it; NULL: MODEL. -> exit status */
int cli_plan_text(const fl_plan *p, const char *model);
int cli_plan_json(const fl_plan *p, const char *model);

/* The flags that make a method, as in "--rope-scaling yarn --rope-scale 4". */
const char *cli_method_flags(char text[128], const fl_plan_method *m);

#endif
