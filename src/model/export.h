#ifndef FL_MODEL_EXPORT_H
#define FL_MODEL_EXPORT_H

#include "model/model.h"

/* Write the model as a Hugging Face folder, weights of the overlay (may be NULL) in place of the opened ones. */
fl_status fl_model_write(const fl_model *m, const fl_overlay *overlay, const char *folder, fl_dtype type);

/* "f32", "f16", "bf16". */
fl_status fl_export_type(fl_dtype *out, const char *name);

#endif
