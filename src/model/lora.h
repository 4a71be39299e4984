/* Low-rank adapters (Hu et al. 2021, LoRA) as PEFT writes them or in GGUF files, added to the weights when a model is
 * opened. */
#ifndef FL_MODEL_LORA_H
#define FL_MODEL_LORA_H

#include "device/device.h"
#include "file/checkpoint.h"

/* Merged tensors in fp32, in place of those of the checkpoint. */
typedef struct fl_lora {
    fl_file_tensor *tensor; /* data is owned, names belong to the checkpoint */
    const fl_file_tensor **replaced;
    int64_t count;
} fl_lora;

/* path: a folder with adapter_config.json and adapter_model.safetensors, or a GGUF file as llama.cpp's
 * convert_lora_to_gguf.py writes it. For each pair A [r, in], B [out, r] of the adapter the weight [out, in] of that
 * name becomes W + scale * s * B A, computed in fp32, where s = alpha / r, alpha / sqrt(r) with PEFT's use_rslora, and
 * 1 in a GGUF file without alpha. Whole tensors of an adapter with modules_to_save take the place of the checkpoint's
 * (with a scale, that share of the way). The rows of B go where the checkpoint keeps those of the weight. Every tensor
 * of the adapter must belong to such a pair and name a matrix of the checkpoint: FL_ERR_FORMAT or FL_ERR_SHAPE names
 * the first that does not. FL_ERR_UNSUPPORTED: a kind of adapter that is not such a sum; the key is named. Free with
 * fl_lora_free, also after a failure. */
fl_status fl_lora_merge(fl_lora *out, fl_device *d, const fl_checkpoint *c, const char *path, double scale);
void fl_lora_free(fl_lora *lora);

/* The merged form of a tensor of the checkpoint, or the tensor itself. */
const fl_file_tensor *fl_lora_applied(const fl_lora *lora, const fl_file_tensor *t);

#endif
