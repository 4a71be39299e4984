#ifndef FL_MODEL_EXPORT_H
#define FL_MODEL_EXPORT_H

#include "model/model.h"

/* Write the model as a Hugging Face folder, weights of the overlay (may be NULL) in place of the opened ones. */
fl_status fl_model_write(const fl_model *m, const fl_overlay *overlay, const char *folder, fl_dtype type);

/* Values of a tensor of the model's file (or of its lora) with the overlay's masters and adapters in it; *copy is NULL
 * when nothing of it trains. fl_free, also after a failure. */
fl_status fl_model_trained_copy(const fl_model *m, const fl_overlay *overlay, const fl_file_tensor *t, float **copy);

/* Where in its tensor, counted in values, weight i begins. */
int64_t fl_model_weight_first(const fl_model *m, int i);

/* "f32", "f16", "bf16". */
fl_status fl_export_type(fl_dtype *out, const char *name);

#endif
