/* Limits that a control group (a container, a systemd slice) puts on this process. */
#ifndef FL_BASE_CGROUP_H
#define FL_BASE_CGROUP_H

#include <stdint.h>

/* Versions 1 and 2, with the limits of all enclosing groups. root goes before /proc and /sys: "" for this machine. */
int64_t fl_cgroup_memory_bytes(const char *root); /* INT64_MAX without a limit */
double fl_cgroup_processors(const char *root);    /* processor time per second of time, 0 without a limit */

#endif
