/* Refuses the first, the second, ... allocation of every call of this floor, until the call succeeds: each time the
 * status must be FL_ERR_MEMORY with a message, everything must be given back, and no file be left behind. */
#include "files.h"

#include <dirent.h>

#include "base/alloc.h"
#include "file/checkpoint.h"
#include "file/gguf_write.h"
#include "file/hf_write.h"
#include "file/json.h"
#include "file/llama2c.h"
#include "file/safetensors.h"
#include "file/snapshot.h"
#include "gguf_build.h"

/* ---- allocation that can be told to fail; takes the place of base/alloc.c when this program is linked -------- */

static long until_failure; /* allocations that still succeed; negative: all of them */
static long held;

static void *counted(void *p)
{
    held += p != NULL;
    return p;
}

static bool refuse(void)
{
    if (until_failure < 0) return false;
    if (until_failure > 0) {
        until_failure--;
        return false;
    }
    fl_fail(FL_ERR_MEMORY, "memory: refused by the test");
    return true;
}

void *fl_calloc(size_t count, size_t size)
{
    return refuse() ? NULL : counted(calloc(count ? count : 1, size ? size : 1));
}

void *fl_realloc(void *old, size_t count, size_t size)
{
    if (refuse()) return NULL;
    void *p = realloc(old, count && size ? count * size : 1);
    return old ? p : counted(p);
}

void fl_free(void *p)
{
    held -= p != NULL;
    free(p);
}

char *fl_strndup(const char *s, size_t length)
{
    return refuse() ? NULL : counted(strndup(s, length));
}

char *fl_strdup(const char *s)
{
    return fl_strndup(s, strlen(s));
}

void *fl_alloc_aligned(size_t bytes)
{
    return refuse() ? NULL : counted(aligned_alloc(FL_ALIGNMENT, (bytes + FL_ALIGNMENT) / FL_ALIGNMENT * FL_ALIGNMENT));
}

void fl_free_aligned(void *p)
{
    fl_free(p);
}

/* jansson sets no message; its caller must. Its lexer takes a string it has no memory for as a wrong token. */
static bool refused_to_jansson;

static void *json_alloc(size_t bytes)
{
    char kept[FL_ERROR_CAPACITY];
    snprintf(kept, sizeof kept, "%s", fl_error_message());
    bool refused = refuse();
    fl_fail(FL_OK, "%s", kept);
    refused_to_jansson |= refused;
    return refused ? NULL : counted(malloc(bytes));
}

/* ---- calls -------------------------------------------------------------------------------------------------- */

static const char *folder;
static fl_checkpoint *source;
static fl_memory *full;

static fl_status open_and_close(const char *path)
{
    fl_checkpoint *c;
    FL_TRY(fl_checkpoint_open(&c, path));
    fl_checkpoint_close(c);
    return FL_OK;
}

static fl_status open_sharded(void)
{
    return open_and_close(FL_TEST_DATA "/tiny/llama_sharded");
}

static fl_status open_bare_gpt2(void)
{
    return open_and_close(in(folder, "bare"));
}

static fl_status open_llama2c(void)
{
    return open_and_close(FL_SOURCE_DIR "/models/stories260K/stories260K.bin");
}

static fl_status open_int8(void)
{
    return open_and_close(FL_TEST_DATA "/models/stories260K-q8.bin");
}

/* Most of its tensors are off their alignment. */
static fl_status open_unaligned(void)
{
    fl_safetensors *s;
    FL_TRY(fl_safetensors_open(&s, in(folder, "unaligned.safetensors")));
    fl_safetensors_close(s);
    return FL_OK;
}

static fl_status write_hf(void)
{
    return fl_hf_write(in(folder, "written"), fl_checkpoint_config(source), NULL, 0, FL_F16, source);
}

static fl_status write_llama2c(void)
{
    return fl_llama2c_write(in(folder, "written.bin"), 0, fl_checkpoint_config(source), NULL, 0, source);
}

static fl_status open_gguf(void)
{
    return open_and_close(FL_TEST_DATA "/gguf/phi3_longrope.gguf");
}

static fl_status open_split_gguf(void)
{
    return open_and_close(in(folder, "split-00002-of-00002.gguf"));
}

static fl_status write_gguf(void)
{
    return fl_gguf_write(in(folder, "written.gguf"), fl_checkpoint_config(source), NULL, 0, FL_Q8_0, source, NULL);
}

/* Both move rows: q, k and v of each head together again, and matrices transposed. */
static fl_status gguf_to_folder(const char *path)
{
    fl_checkpoint *c;
    FL_TRY(fl_checkpoint_open(&c, path));
    fl_status status = fl_hf_write(in(folder, "written"), fl_checkpoint_config(c), NULL, 0, FL_F32, c);
    fl_checkpoint_close(c);
    return status;
}

static fl_status neox_to_folder(void)
{
    return gguf_to_folder(FL_TEST_DATA "/gguf/gpt_neox.gguf");
}

static fl_status gpt2_to_folder(void)
{
    return gguf_to_folder(FL_TEST_DATA "/gguf/gpt2.gguf");
}

static fl_status save_snapshot(void)
{
    static const int32_t ids[] = {1, 2, 3};
    return fl_snapshot_save(in(folder, "written.memory"), full, "model", ids, 3);
}

static fl_status load_snapshot(void)
{
    fl_memory *m;
    int32_t *ids;
    int64_t count;
    fl_kv_shape shape = fl_memory_view(full, 0).shape;
    FL_TRY(fl_memory_create(&m, 1, &shape));
    fl_status status = fl_snapshot_load(in(folder, "good.memory"), m, "model", 10, &ids, &count);
    if (status == FL_OK) fl_free(ids);
    fl_memory_destroy(m);
    return status;
}

static void assert_no_temporary(const char *path)
{
    DIR *listing = opendir(path);
    if (!listing) return;
    for (struct dirent *entry; (entry = readdir(listing));)
        if (strstr(entry->d_name, ".tmp")) fail_msg("%s/%s is left behind", path, entry->d_name);
    closedir(listing);
}

static void test_each_allocation(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        fl_status (*call)(void);
    } calls[] = {
        {"sharded folder", open_sharded},
        {"bare gpt2", open_bare_gpt2},
        {"llama2.c", open_llama2c},
        {"int8", open_int8},
        {"unaligned tensors", open_unaligned},
        {"write a folder", write_hf},
        {"write llama2.c", write_llama2c},
        {"GGUF", open_gguf},
        {"split GGUF", open_split_gguf},
        {"write GGUF", write_gguf},
        {"GGUF gpt_neox to a folder", neox_to_folder},
        {"GGUF gpt2 to a folder", gpt2_to_folder},
        {"save a memory", save_snapshot},
        {"load a memory", load_snapshot},
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        fl_status status = FL_ERR_MEMORY;
        long failures = 0;
        /* What comes late repeats itself for each tensor and key. */
        for (; status != FL_OK; failures += failures < 100 ? 1 : 11) {
            long before = held;
            fl_fail(FL_OK, "%s", "");
            until_failure = failures;
            refused_to_jansson = false;
            status = calls[i].call();
            until_failure = -1;
            bool fitting = status == FL_ERR_MEMORY ||
                           (refused_to_jansson && (status == FL_ERR_FORMAT || status == FL_ERR_ARGUMENT)) ||
                           (status == FL_ERR_IO && strstr(fl_error_message(), "allocate memory"));
            if (status != FL_OK && (!fitting || !*fl_error_message()))
                fail_msg("%s, allocation %ld: %s \"%s\"", calls[i].name, failures, fl_status_name(status),
                         fl_error_message());
            if (held != before)
                fail_msg("%s, allocation %ld: %ld blocks are not given back", calls[i].name, failures, held - before);
            assert_no_temporary(folder);
            assert_no_temporary(in(folder, "written"));
        }
        assert_true(failures > 3);
    }
}

/* ---- what the calls work on --------------------------------------------------------------------------------- */

static void put_bare_gpt2(void)
{
    fl_checkpoint *c;
    assert_ok(fl_folder_make(in(folder, "bare")));
    fl_buffer b = content(FL_TEST_DATA "/tiny/gpt2/config.json");
    put_bytes(in(folder, "bare/config.json"), b.data, b.size);
    fl_buffer_free(&b);
    assert_ok(fl_checkpoint_open(&c, FL_TEST_DATA "/tiny/gpt2"));
    fl_file_tensor t[2] = {*fl_checkpoint_at(c, 0), *fl_checkpoint_at(c, 1)};
    t[0].name += strlen("transformer.");
    t[1].name += strlen("transformer.");
    assert_ok(fl_safetensors_write(in(folder, "bare/model.safetensors"), t, 2, NULL, 0));
    fl_checkpoint_close(c);
}

/* A model of an embedding alone, and a norm in its second file. */
static void put_split_gguf(void)
{
    fl_buffer b = {0};
    build_model(&b,
                "t:general.architecture=llama u:llama.context_length=64 u:llama.embedding_length=8 "
                "u:llama.block_count=1 u:llama.feed_forward_length=16 u:llama.attention.head_count=2 "
                "f:llama.attention.layer_norm_rms_epsilon=1e-5 u:split.no=0 u:split.count=2",
                "T:token_embd.weight=8x10");
    put_bytes(in(folder, "split-00001-of-00002.gguf"), b.data, b.size);
    fl_buffer_clear(&b);
    build_model(&b, "u:split.no=1 u:split.count=2 + s:strings 4:9 4:8 8:2 s:a s:b ;", "T:output_norm.weight=8");
    put_bytes(in(folder, "split-00002-of-00002.gguf"), b.data, b.size);
    fl_buffer_free(&b);
}

static int prepare(void **state)
{
    static const uint8_t byte = 1;
    static const double numbers[2] = {1, 2};
    static const fl_file_tensor t[] = {{"a", FL_U8, 0, {0}, &byte}, {"b", FL_F64, 1, {2}, numbers}};
    static const fl_kv_shape shape = {2, 4, FL_F32, FL_F32};
    until_failure = -1;
    json_set_alloc_funcs(json_alloc, fl_free);
    if (files_make(state)) return 1;
    folder = *state;
    put_bare_gpt2();
    put_split_gguf();
    assert_ok(fl_safetensors_write(in(folder, "unaligned.safetensors"), t, 2, NULL, 0));
    assert_ok(fl_checkpoint_open(&source, FL_SOURCE_DIR "/models/stories260K/stories260K.bin"));
    assert_ok(fl_memory_create(&full, 1, &shape));
    assert_ok(fl_memory_begin(full, 300));
    fl_memory_commit(full);
    for (int64_t p = 0; p < 2; p++)
        memset(fl_memory_page_for_write(full, 0, p), 0, fl_kv_page_bytes(&shape));
    static const int32_t ids[] = {1, 2, 3};
    assert_ok(fl_snapshot_save(in(folder, "good.memory"), full, "model", ids, 3));
    return 0;
}

static int drop(void **state)
{
    fl_memory_destroy(full);
    fl_checkpoint_close(source);
    return files_drop(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_allocation)};
    return cmocka_run_group_tests(tests, prepare, drop);
}
