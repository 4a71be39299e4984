/* A plan, and the measured critical pair, as text and as JSON. */
#ifndef FL_CLI_PLAN_OUTPUT_H
#define FL_CLI_PLAN_OUTPUT_H

#include "cli/common.h"
#include "plan/measure.h"

/* model: how the commands to paste call it; NULL: MODEL. -> exit status */
int cli_plan_text(const fl_plan *p, const char *model);
int cli_plan_json(const fl_plan *p, const char *model);

/* The measured critical pair beside the predicted one: table or JSON, and a picture if svg is not NULL. */
int cli_measure_show(const fl_measure *m, const fl_plan *p, bool json, const char *svg);

/* The flags that make a method, as in "--rope-scaling yarn --rope-scale 4". */
const char *cli_method_flags(char text[128], const fl_plan_method *m);

#endif
