#include "files.h"

#include "base/alloc.h"
#include "base/rng.h"
#include "file/checksum.h"
#include "file/snapshot.h"

#define IDENTITY "stories 260K, base 10000"
#define VOCAB 512
#define LAYERS 3

/* Layers need not be alike. */
static const fl_kv_shape shapes[LAYERS] = {
    {2, 8, FL_F32, FL_F32},
    {1, 16, FL_F32, FL_F32},
    {3, 4, FL_F32, FL_F32},
};

static fl_memory *empty_memory(void)
{
    fl_memory *m;
    assert_ok(fl_memory_create(&m, LAYERS, shapes));
    return m;
}

/* Add tokens; every byte of the pages, also beyond the last token, gets some value. */
static void add_tokens(fl_memory *m, int64_t tokens, uint64_t seed)
{
    fl_rng rng;
    fl_rng_seed(&rng, seed);
    int64_t first = fl_memory_tokens(m) / FL_PAGE_TOKENS;
    assert_ok(fl_memory_begin(m, tokens));
    int64_t end = (fl_memory_tokens(m) + tokens + FL_PAGE_TOKENS - 1) / FL_PAGE_TOKENS;
    for (int i = 0; i < LAYERS; i++)
        for (int64_t p = first; p < end; p++) {
            float *page = fl_memory_page_for_write(m, i, p);
            for (size_t k = 0; k < fl_kv_page_bytes(&shapes[i]) / sizeof *page; k++)
                page[k] = (float)fl_rng_normal(&rng);
        }
    fl_memory_commit(m);
}

static float key_of(const fl_memory *m, int layer, int head, int64_t token, int component)
{
    const char *page = fl_memory_page(m, layer, token / FL_PAGE_TOKENS);
    int inside = (int)(token % FL_PAGE_TOKENS);
    const float *tile =
        (const float *)(const void *)(page + fl_kv_key_offset(&shapes[layer], head, inside / FL_TILE_KEYS));
    return tile[component * FL_TILE_KEYS + inside % FL_TILE_KEYS];
}

static float value_of(const fl_memory *m, int layer, int head, int64_t token, int component)
{
    const char *page = fl_memory_page(m, layer, token / FL_PAGE_TOKENS);
    size_t at = fl_kv_value_offset(&shapes[layer], head, (int)(token % FL_PAGE_TOKENS));
    return ((const float *)(const void *)(page + at))[component];
}

/* Keys and values of every token are the same, and what lies beyond the last token of b is zero. */
static void assert_same_memory(const fl_memory *a, const fl_memory *b)
{
    int64_t tokens = fl_memory_tokens(a), end = (tokens + FL_PAGE_TOKENS - 1) / FL_PAGE_TOKENS * FL_PAGE_TOKENS;
    assert_int_equal(fl_memory_tokens(b), tokens);
    for (int i = 0; i < LAYERS; i++)
        for (int h = 0; h < shapes[i].kv_heads; h++)
            for (int64_t t = 0; t < end; t++)
                for (int c = 0; c < shapes[i].head_dim; c++) {
                    assert_true(key_of(b, i, h, t, c) == (t < tokens ? key_of(a, i, h, t, c) : 0));
                    assert_true(value_of(b, i, h, t, c) == (t < tokens ? value_of(a, i, h, t, c) : 0));
                }
}

static const int32_t some_ids[5] = {1, 511, 0, 7, 300};

static void test_round_trip(void **state)
{
    const char *path = in(*state, "memory");
    static const int64_t counts[] = {0, 1, 63, 64, 65, 255, 256, 257, 700};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        fl_memory *m = empty_memory(), *back = empty_memory();
        int32_t *ids;
        int64_t count;
        if (counts[i]) add_tokens(m, counts[i], i);
        assert_ok(fl_snapshot_save(path, m, IDENTITY, some_ids, 5));
        assert_ok(fl_snapshot_load(path, back, IDENTITY, VOCAB, &ids, &count));
        assert_int_equal(count, 5);
        assert_memory_equal(ids, some_ids, sizeof some_ids);
        assert_same_memory(m, back);
        fl_free(ids);
        fl_memory_destroy(back);
        fl_memory_destroy(m);
    }
}

/* The file depends on what was read alone, not on what happened to lie in unused memory, nor on sharing. */
static void test_same_bytes(void **state)
{
    const char *a = in(*state, "a"), *b = in(*state, "b");
    fl_memory *m = empty_memory(), *fork, *restored = empty_memory();
    add_tokens(m, 300, 1);
    assert_ok(fl_snapshot_save(a, m, IDENTITY, some_ids, 0));
    assert_ok(fl_memory_fork(&fork, m));
    add_tokens(m, 10, 2);
    fl_memory_truncate(fork, 300);
    assert_ok(fl_snapshot_save(b, fork, IDENTITY, some_ids, 0));
    fl_buffer x = content(a), y = content(b);
    assert_int_equal(x.size, y.size);
    assert_memory_equal(x.data, y.data, x.size);
    fl_buffer_free(&y);

    int32_t *ids;
    int64_t count;
    assert_ok(fl_snapshot_load(a, restored, IDENTITY, VOCAB, &ids, &count));
    assert_int_equal(count, 0);
    fl_free(ids);
    assert_ok(fl_snapshot_save(b, restored, IDENTITY, some_ids, 0));
    y = content(b);
    assert_memory_equal(x.data, y.data, x.size);
    fl_buffer_free(&y);
    fl_buffer_free(&x);
    fl_memory_destroy(restored);
    fl_memory_destroy(fork);
    fl_memory_destroy(m);
}

/* ---- what is refused ---------------------------------------------------------------------------------------- */

/* Bytes of a snapshot of 70 tokens and five ids; offsets follow file/snapshot.h. */
#define TOKENS 70
#define IDENTITY_AT (72 + 24 * LAYERS)
#define IDS_AT (IDENTITY_AT + 24)

static fl_buffer good_file(void **state)
{
    const char *path = in(*state, "good");
    fl_memory *m = empty_memory();
    add_tokens(m, TOKENS, 5);
    assert_ok(fl_snapshot_save(path, m, IDENTITY, some_ids, 5));
    fl_memory_destroy(m);
    return content(path);
}

/* The checksum is made right again: each field must be refused for its own sake. */
static void seal(uint8_t *bytes, size_t size)
{
    fl_checksum c;
    fl_checksum_start(&c);
    fl_checksum_add(&c, bytes, size - 8);
    for (int i = 0; i < 8; i++)
        bytes[size - 8 + (size_t)i] = (uint8_t)(fl_checksum_value(&c) >> (8 * i));
}

static fl_status parse(const uint8_t *bytes, size_t size, const char *identity, int64_t vocab)
{
    fl_memory *m = empty_memory();
    int32_t *ids = NULL;
    int64_t count = -1;
    fl_status status = fl_snapshot_parse("x.memory", bytes, size, m, identity, vocab, &ids, &count);
    if (status != FL_OK) {
        assert_null(ids);
        assert_int_equal(count, -1);
        assert_int_equal(fl_memory_tokens(m), 0);
        assert_int_equal(fl_memory_pending(m), 0);
    }
    fl_free(ids);
    fl_memory_destroy(m);
    return status;
}

static const struct {
    size_t offset;
    int bytes;
    uint64_t value;
    fl_status status;
    const char *key;
} refused[] = {
    {0, 1, 'f', FL_ERR_FORMAT, "offset 0: magic"},
    {8, 4, 0, FL_ERR_UNSUPPORTED, "offset 8: version = 0"},
    {8, 4, 1, FL_ERR_UNSUPPORTED, "offset 8: version = 1"},
    {12, 4, 0x04030201, FL_ERR_UNSUPPORTED, "offset 12: byte order"},
    {12, 4, 0, FL_ERR_FORMAT, "offset 12: byte order = 0"},
    {16, 8, 0, FL_ERR_FORMAT, "offset 16: file size = 0"},
    {16, 8, UINT64_MAX, FL_ERR_FORMAT, "offset 16: file size"},
    {24, 4, 0, FL_ERR_STATE, "offset 24: layers = 0"},
    {24, 4, 4, FL_ERR_STATE, "offset 24: layers = 4"},
    {24, 4, UINT32_MAX, FL_ERR_STATE, "offset 24: layers = 4294967295"},
    {28, 4, 25, FL_ERR_STATE, "identity"},
    {28, 4, 100, FL_ERR_FORMAT, "offset 32: tokens"},
    {28, 4, 21, FL_ERR_FORMAT, "padding"},
    {28, 4, UINT32_MAX, FL_ERR_FORMAT, "offset 28: identity bytes"},
    {32, 8, 257, FL_ERR_FORMAT, "offset 32: tokens = 257"},
    {32, 8, 0, FL_ERR_FORMAT, "offset 32: tokens = 0"},
    {32, 8, UINT64_MAX, FL_ERR_FORMAT, "offset 32: tokens"},
    {32, 8, INT64_MAX, FL_ERR_FORMAT, "offset 32: tokens"},
    {32, 8, TOKENS - 1, FL_ERR_FORMAT, "not zero after its last token"},
    {40, 8, 20, FL_ERR_FORMAT, "offset 32: tokens"},
    {40, 8, 4, FL_ERR_FORMAT, "padding"},
    {40, 8, UINT64_MAX, FL_ERR_FORMAT, "token ids"},
    {40, 8, UINT64_MAX / 8, FL_ERR_FORMAT, "token ids"},
    {48, 4, 128, FL_ERR_UNSUPPORTED, "offset 48: tokens per page = 128"},
    {52, 4, 32, FL_ERR_UNSUPPORTED, "offset 52: keys per tile = 32"},
    {56, 8, 1, FL_ERR_FORMAT, "offset 56: 1 tokens cannot have been evicted"},
    {56, 8, UINT64_MAX, FL_ERR_FORMAT, "offset 56"},
    {56, 8, 1024ull << 50, FL_ERR_FORMAT, "offset 56"},
    {64, 8, 256, FL_ERR_FORMAT, "offset 56"},
    {72, 4, 3, FL_ERR_STATE, "offset 72: layer 0: kv_heads = 3"},
    {76, 4, 0, FL_ERR_STATE, "offset 76: layer 0: head_dim = 0"},
    {80, 1, 'B', FL_ERR_STATE, "offset 80: layer 0: k_type"},
    {87, 1, 'x', FL_ERR_STATE, "offset 80: layer 0: k_type"},
    {88, 8, 0, FL_ERR_STATE, "offset 88: layer 0: v_type"},
    {96, 4, UINT32_MAX, FL_ERR_STATE, "offset 96: layer 1: kv_heads = 4294967295"},
    {IDENTITY_AT, 1, 'S', FL_ERR_STATE, "identity"},
    {IDENTITY_AT + 23, 1, 0, FL_ERR_STATE, "identity"},
    {IDS_AT, 4, UINT32_MAX, FL_ERR_FORMAT, "offset 168: token id = -1"},
    {IDS_AT + 16, 4, VOCAB, FL_ERR_FORMAT, "offset 184: token id = 512"},
    {IDS_AT + 20, 1, 1, FL_ERR_FORMAT, "offset 188: padding = 1"},
};

static void test_refused(void **state)
{
    fl_buffer b = good_file(state);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        uint8_t *bytes = malloc(b.size);
        memcpy(bytes, b.data, b.size);
        for (int k = 0; k < refused[i].bytes; k++)
            bytes[refused[i].offset + (size_t)k] = (uint8_t)(refused[i].value >> (8 * k));
        seal(bytes, b.size);
        assert_refused(refused[i].key, parse(bytes, b.size, IDENTITY, VOCAB), refused[i].status,
                       "x.memory: ", refused[i].key);
        free(bytes);
    }
    fl_buffer_free(&b);
}

/* Any flipped bit is found. */
static void test_damage(void **state)
{
    fl_buffer b = good_file(state);
    uint8_t *bytes = (uint8_t *)b.data;
    assert_ok(parse(bytes, b.size, IDENTITY, VOCAB));
    for (size_t i = 0; i < b.size; i += i < 256 ? 1 : 613) {
        bytes[i] ^= 16;
        assert_true(parse(bytes, b.size, IDENTITY, VOCAB) != FL_OK);
        bytes[i] ^= 16;
    }
    bytes[b.size - 1] ^= 1;
    assert_refused("sum", parse(bytes, b.size, IDENTITY, VOCAB), FL_ERR_FORMAT, "x.memory: ", "checksum");
    fl_buffer_free(&b);
}

static void test_cut(void **state)
{
    fl_buffer b = good_file(state);
    for (size_t size = 0; size < b.size; size += size < 300 ? 1 : 997) {
        uint8_t *bytes = malloc(size ? size : 1);
        memcpy(bytes, b.data, size);
        assert_refused("cut", parse(bytes, size, IDENTITY, VOCAB), FL_ERR_FORMAT, "x.memory: ", "offset");
        if (size >= 24) { /* and when the header agrees with the cut */
            for (int k = 0; k < 8; k++)
                bytes[16 + k] = (uint8_t)((uint64_t)size >> (8 * k));
            seal(bytes, size);
            assert_true(parse(bytes, size, IDENTITY, VOCAB) != FL_OK);
        }
        free(bytes);
    }
    fl_buffer_free(&b);
}

static void test_other_model(void **state)
{
    fl_buffer b = good_file(state);
    const uint8_t *bytes = (const uint8_t *)b.data;
    assert_refused("identity", parse(bytes, b.size, "another", VOCAB), FL_ERR_STATE, "x.memory: ", "identity");
    assert_refused("identity", parse(bytes, b.size, IDENTITY " and more", VOCAB), FL_ERR_STATE,
                   "x.memory: ", "identity");
    assert_refused("vocabulary", parse(bytes, b.size, IDENTITY, 511), FL_ERR_FORMAT, "x.memory: ", "token id = 511");

    fl_memory *m = empty_memory();
    int32_t *ids;
    int64_t count;
    add_tokens(m, 1, 1);
    assert_refused("full", fl_snapshot_parse("x.memory", bytes, b.size, m, IDENTITY, VOCAB, &ids, &count), FL_ERR_STATE,
                   "x.memory: ", "holds tokens");
    fl_memory_destroy(m);
    fl_buffer_free(&b);
}

/* Pages of every type: read tokens come back, and no byte of another token's key, scale or value may be set. */
static void test_types(void **state)
{
    static const fl_kv_shape typed[] = {
        {2, 5, FL_F16, FL_BF16}, {1, 64, FL_Q8_0, FL_Q4_0}, {2, 32, FL_Q4_0, FL_Q8_0}, {1, 32, FL_BF16, FL_F32}};
    const char *path = in(*state, "typed");
    for (size_t i = 0; i < sizeof typed / sizeof *typed; i++) {
        const fl_kv_shape *s = &typed[i];
        size_t bytes = fl_kv_page_bytes(s);
        fl_memory *m, *back, *other;
        int32_t *ids;
        int64_t count;
        assert_ok(fl_memory_create(&m, 1, s));
        assert_ok(fl_memory_create(&back, 1, s));
        assert_ok(fl_memory_create(&other, 1, &(fl_kv_shape){s->kv_heads, s->head_dim, FL_F32, s->v_type}));
        assert_ok(fl_memory_begin(m, TOKENS));
        uint8_t *page = fl_memory_page_for_write(m, 0, 0);
        for (size_t k = 0; k < bytes; k++)
            page[k] = (uint8_t)(1 + k % 251);
        fl_memory_commit(m);
        assert_ok(fl_snapshot_save(path, m, IDENTITY, some_ids, 0));
        assert_ok(fl_snapshot_load(path, back, IDENTITY, VOCAB, &ids, &count));
        fl_free(ids);
        uint8_t *restored = malloc(bytes);
        memcpy(restored, fl_memory_page(back, 0, 0), bytes);
        size_t kept = 0;
        for (size_t k = 0; k < bytes; k++) {
            assert_true(restored[k] == 0 || restored[k] == page[k]);
            kept += restored[k] != 0;
        }
        assert_int_equal(kept, bytes / FL_PAGE_TOKENS * TOKENS); /* the bytes of so many tokens and no others */
        assert_refused("type", fl_snapshot_load(path, other, IDENTITY, VOCAB, &ids, &count), FL_ERR_STATE, path,
                       "k_type");

        fl_buffer b = content(path);
        uint8_t *file = (uint8_t *)b.data;
        size_t first = b.size - 8 - bytes;
        for (size_t k = 0; k < bytes; k += 1 + k % 61) {
            if (restored[k]) continue;
            fl_memory_truncate(back, 0);
            file[first + k] = 1;
            seal(file, b.size);
            assert_refused("rest", fl_snapshot_parse(path, file, b.size, back, IDENTITY, VOCAB, &ids, &count),
                           FL_ERR_FORMAT, path, "not zero after its last token");
            file[first + k] = 0;
        }
        free(restored);
        fl_buffer_free(&b);
        fl_memory_destroy(other);
        fl_memory_destroy(back);
        fl_memory_destroy(m);
    }
}

static void test_cannot_save(void **state)
{
    const char *path = in(*state, "no");
    fl_memory *m = empty_memory();
    int32_t *ids;
    int64_t count;
    assert_ok(fl_memory_begin(m, 3));
    assert_refused("pending", fl_snapshot_save(path, m, IDENTITY, some_ids, 5), FL_ERR_STATE, path, "3 tokens");
    fl_memory_rollback(m);
    char *identity = calloc(5000, 1);
    memset(identity, 'x', 4999);
    assert_refused("identity", fl_snapshot_save(path, m, identity, some_ids, 5), FL_ERR_ARGUMENT, path, "identity");
    free(identity);
    assert_refused("count", fl_snapshot_save(path, m, IDENTITY, some_ids, -1), FL_ERR_ARGUMENT, path, "-1 token ids");
    assert_refused("folder", fl_snapshot_save(in(path, "no"), m, IDENTITY, some_ids, 5), FL_ERR_IO, path, "No such");
    assert_refused("missing", fl_snapshot_load(path, m, IDENTITY, VOCAB, &ids, &count), FL_ERR_IO, path, "open");
    assert_false(fl_file_exists(path));
    fl_memory_destroy(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),  cmocka_unit_test(test_same_bytes), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_damage),      cmocka_unit_test(test_cut),        cmocka_unit_test(test_other_model),
        cmocka_unit_test(test_cannot_save), cmocka_unit_test(test_types),
    };
    return cmocka_run_group_tests(tests, files_make, files_drop);
}
