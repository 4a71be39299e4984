/* The check of overlap between training and evaluation files, also for furlong train. */
#ifndef FL_CLI_OVERLAP_H
#define FL_CLI_OVERLAP_H

#include "cli/documents.h"

/* One line on stderr: the share of 13-grams of `evaluation` that occur in `training` -> exit status. */
int cli_overlap_note(const cli_texts *training, const cli_texts *evaluation, const cli_data *o);

#endif
