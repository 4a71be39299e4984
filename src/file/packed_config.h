/* fl_config to and from the JSON of a packed file: every member by its own name, none left out, nothing rounded. */
#ifndef FL_FILE_PACKED_CONFIG_H
#define FL_FILE_PACKED_CONFIG_H

#include "file/config.h"
#include "file/json.h"

fl_status fl_packed_config_write(json_t **out, const fl_config *config); /* a new object: json_decref */
/* Every key must be there, none may be unknown, and their values must fit each other; messages name `at`'s file and
 * prefix and the key. */
fl_status fl_packed_config_read(fl_config *out, const fl_json_at *at);

#endif
