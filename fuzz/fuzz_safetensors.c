#include "fuzz.h"

#include "file/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fl_safetensors *s;
    if (fl_safetensors_parse(&s, "input", data, size) != FL_OK) return 0;
    size_t total = 0;
    for (int64_t i = 0; i < fl_safetensors_count(s); i++) {
        const fl_file_tensor *t = fl_safetensors_at(s, i);
        size_t bytes = 0;
        FUZZ_PROMISE(fl_file_tensor_bytes(t, &bytes) == FL_OK);
        FUZZ_PROMISE(fl_safetensors_find(s, t->name) == t);
        fuzz_touch(t->data, bytes);
        total += bytes;
    }
    FUZZ_PROMISE(total < size); /* no overlaps */
    fl_safetensors_metadata(s, "format");
    fl_safetensors_close(s);
    return 0;
}
