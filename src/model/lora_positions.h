/* The positions that an adapter was trained at, in a file beside it: PEFT's own files have no place for them. */
#ifndef FL_MODEL_LORA_POSITIONS_H
#define FL_MODEL_LORA_POSITIONS_H

#include "model/model.h"

/* folder/base_config.json: the config.json of the base model with the positions it is opened with. Written where they
 * are others than its file says, else removed; FL_ERR_UNSUPPORTED where config.json has no spelling for them. Other
 * programs load the base with it; PEFT passes it over. */
fl_status fl_lora_positions_write(const fl_model *m, const char *folder);

/* Positions of that file, if the adapter at path has one, into the config of a base model as its own file says. */
fl_status fl_lora_positions_read(fl_config *config, const char *path);

/* Are positions in force that the base model's file does not say? */
bool fl_lora_positions_changed(const fl_model *m);

#endif
