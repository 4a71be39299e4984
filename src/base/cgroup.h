/* Limits that a control group (a container, a systemd slice) puts on this process. */
#ifndef FL_BASE_CGROUP_H
#define FL_BASE_CGROUP_H

#include <stdint.h>

int64_t fl_cgroup_memory_bytes(void); /* INT64_MAX without a limit */
double fl_cgroup_processors(void);    /* processor time per second of time, 0 without a limit */

#endif
