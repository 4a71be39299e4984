#include "fuzz.h"

#include <string.h>

#include "base/alloc.h"
#include "file/checksum.h"
#include "file/snapshot.h"

static void put(uint8_t *to, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

static void parse(const uint8_t *data, size_t size)
{
    static const fl_kv_shape shapes[] = {{1, 1, FL_F32, FL_F32}, {1, 2, FL_F32, FL_F32}};
    fl_memory *m;
    int32_t *ids;
    int64_t count;
    FUZZ_PROMISE(fl_memory_create(&m, 2, shapes) == FL_OK);
    if (fl_snapshot_parse("input", data, size, m, "fuzz", 512, &ids, &count) == FL_OK) {
        for (int64_t i = 0; i < count; i++)
            FUZZ_PROMISE(ids[i] >= 0 && ids[i] < 512);
        for (int layer = 0; layer < 2; layer++)
            for (int64_t p = 0; p * FL_PAGE_TOKENS < fl_memory_tokens(m); p++)
                fuzz_touch(fl_memory_page(m, layer, p), fl_kv_page_bytes(&shapes[layer]));
        fl_free(ids);
    } else {
        FUZZ_PROMISE(fl_memory_tokens(m) == 0 && fl_memory_pending(m) == 0);
    }
    fl_memory_destroy(m);
}

/* Once as it is, and once with size and checksum made right: no fuzzer guesses those. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    parse(data, size);
    if (size < 32) return 0;
    uint8_t *sealed = fl_alloc_aligned(size);
    if (!sealed) return 0;
    memcpy(sealed, data, size);
    put(sealed + 16, size);
    fl_checksum sum;
    fl_checksum_start(&sum);
    fl_checksum_add(&sum, sealed, size - 8);
    put(sealed + size - 8, fl_checksum_value(&sum));
    parse(sealed, size);
    fl_free_aligned(sealed);
    return 0;
}
