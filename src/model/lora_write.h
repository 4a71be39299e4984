/* Adapters of an overlay as a PEFT folder. */
#ifndef FL_MODEL_LORA_WRITE_H
#define FL_MODEL_LORA_WRITE_H

#include "model/model.h"

/* Write folder (made if missing): adapter_model.safetensors with every adapter of the overlay and, whole, every module
 * of which something else trains, and adapter_config.json, last. targets: the modules that have adapters, names
 * separated by commas, as PEFT's target_modules. rank and alpha are those of every adapter. */
fl_status fl_lora_write(const fl_model *m, const fl_overlay *overlay, const char *folder, const char *targets,
                        int64_t rank, double alpha);

#endif
