#include "file/checksum.h"
#include "model/model.h"

#define SAMPLE_BYTES 4096

uint64_t fl_model_weights_sum(const fl_model *m)
{
    const fl_packed_model *packed = fl_checkpoint_packed(m->checkpoint);
    if (packed) return packed->weights;
    fl_checksum sum;
    fl_checksum_start(&sum);
    for (int64_t i = 0; i < fl_checkpoint_count(m->checkpoint); i++) {
        const fl_file_tensor *t = fl_lora_applied(&m->lora, fl_checkpoint_at(m->checkpoint, i));
        size_t bytes = 0;
        if (fl_file_tensor_bytes(t, &bytes) == FL_OK)
            fl_checksum_add(&sum, t->data, bytes < SAMPLE_BYTES ? bytes : SAMPLE_BYTES);
    }
    return fl_checksum_value(&sum);
}
