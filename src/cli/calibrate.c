#include "cli/calibrate.h"

#include "base/file.h"

fl_status cli_calibrate(fl_rates *out, const char *path, const fl_model *model)
{
    *out = (fl_rates){.size = sizeof *out};
    if (path && fl_file_exists(path)) return fl_rates_load(out, model, path);
    fl_status s = fl_rates_measure(out, model);
    return s == FL_OK && path ? fl_rates_save(out, model, path) : s;
}
