#include "fuzz.h"

#include <string.h>

#include "base/alloc.h"
#include "file/llama2c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *file = fl_alloc_aligned(size); /* as a mapped file is */
    if (!file) return 0;
    if (size) memcpy(file, data, size);
    fl_llama2c m;
    if (fl_llama2c_parse(&m, "input", file, size) == FL_OK) {
        size_t total = 0;
        for (int64_t i = 0; i < m.count; i++) {
            size_t bytes = 0;
            FUZZ_PROMISE(fl_file_tensor_bytes(&m.tensor[i], &bytes) == FL_OK);
            FUZZ_PROMISE((uintptr_t)m.tensor[i].data % 4 == 0);
            fuzz_touch(m.tensor[i].data, bytes);
            total += bytes;
        }
        FUZZ_PROMISE(m.version == 2 || total < size);
        fl_llama2c_close(&m);
    }
    fl_free_aligned(file);
    return 0;
}
