#ifndef FL_BASE_CLOCK_H
#define FL_BASE_CLOCK_H

#include <stdint.h>

double fl_clock_seconds(void);      /* monotonic */
double fl_clock_wall(void);         /* since 1970 */
int64_t fl_peak_resident_bytes(void); /* largest resident set of this process so far, 0 if unknown */
int64_t fl_physical_bytes(void);      /* memory of this machine (or of its control group, if less) */

#endif
