#include "file/config.h"

const char *fl_positions_name(fl_positions positions)
{
    static const char *const names[FL_POSITIONS_COUNT] = {
        [FL_POSITIONS_ROTARY] = "rotary", [FL_POSITIONS_LEARNED] = "learned",       [FL_POSITIONS_ALIBI] = "alibi",
        [FL_POSITIONS_XPOS] = "xpos",     [FL_POSITIONS_SINUSOIDAL] = "sinusoidal", [FL_POSITIONS_NONE] = "none"};
    return (unsigned)positions < FL_POSITIONS_COUNT ? names[positions] : "unknown";
}
