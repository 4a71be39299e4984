#include "fuzz.h"

#include <string.h>

#include "file/packed_model.h"

/* The container's own checks are fuzz_safetensors' work; here what the description says must fit it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *aligned = aligned_alloc(64, (size + 64) / 64 * 64); /* as a map would have it */
    FUZZ_PROMISE(aligned);
    memcpy(aligned, data, size);
    fl_safetensors *file;
    if (fl_safetensors_parse(&file, "input", aligned, size) != FL_OK) {
        free(aligned);
        return 0;
    }
    fl_packed_model m;
    if (!fl_is_packed_model(file)) {
        fl_safetensors_close(file);
    } else if (fl_packed_model_open(&m, file, "input") == FL_OK) {
        FUZZ_PROMISE(m.config.heads % m.config.kv_heads == 0 && m.config.rope.dim <= m.config.head_dim);
        for (int64_t i = 0; i < m.count; i++) {
            size_t bytes = 0;
            FUZZ_PROMISE(fl_file_tensor_bytes(&m.tensor[i], &bytes) == FL_OK);
            fuzz_touch(m.tensor[i].data, bytes);
        }
        for (int64_t i = 0; i < m.places; i++) {
            size_t offset;
            if (!m.panels[i].layout) continue;
            FUZZ_PROMISE(fl_packed_model_find(&m, fl_packed_model_entry(&m, i, &offset)) == i);
            FUZZ_PROMISE(offset % FL_PANELS_ALIGNMENT == 0 && offset + m.panels[i].bytes <= size);
            fuzz_touch(m.panels[i].data, m.panels[i].bytes);
        }
        fuzz_touch(m.tokenizer.data, m.tokenizer.size);
        fuzz_touch(m.tokenizer_config.data, m.tokenizer_config.size);
        fuzz_touch(m.chat_template.data, m.chat_template.size);
        fl_packed_model_close(&m);
    }
    free(aligned);
    return 0;
}
