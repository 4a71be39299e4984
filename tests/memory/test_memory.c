/* Memory against a plain model of it: each token of each layer carries a number, and a memory must give back the
 * numbers that were committed to it, whatever forks, rollbacks and truncations lie between. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "memory/memory.h"

/* A failing allocation is part of a test; a sanitizer would end the program instead. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

#define LAYERS 3
#define MAX_TOKENS 1500

static fl_rng rng;
static const fl_kv_shape shapes[LAYERS] = {{2, 4, FL_F32, FL_F32}, {1, 3, FL_F32, FL_F32}, {1, 2, FL_F32, FL_F32}};

static int64_t below(int64_t bound)
{
    return (int64_t)fl_rng_below(&rng, (uint64_t)bound);
}

static float *key_at(const fl_kv_view *v, int head, int64_t token)
{
    char *page = v->page[token / FL_PAGE_TOKENS];
    int within = (int)(token % FL_PAGE_TOKENS);
    void *tile = page + fl_kv_key_offset(&v->shape, head, within / FL_TILE_KEYS);
    return (float *)tile + within % FL_TILE_KEYS;
}

static float *value_at(const fl_kv_view *v, int head, int64_t token)
{
    char *page = v->page[token / FL_PAGE_TOKENS];
    void *row = page + fl_kv_value_offset(&v->shape, head, (int)(token % FL_PAGE_TOKENS));
    return row;
}

/* Keys hold number + 10*layer + component, values its negative. */
static void put(const fl_memory *m, int64_t token, float number)
{
    for (int l = 0; l < fl_memory_layers(m); l++) {
        fl_kv_view v = fl_memory_view(m, l);
        for (int h = 0; h < v.shape.kv_heads; h++)
            for (int i = 0; i < v.shape.head_dim; i++) {
                key_at(&v, h, token)[i * FL_TILE_KEYS] = number + (float)(10 * l + i);
                value_at(&v, h, token)[i] = -number - (float)(10 * l + i);
            }
    }
}

static void check(const fl_memory *m, int64_t tokens, const float *number)
{
    assert_int_equal(fl_memory_tokens(m), tokens);
    for (int l = 0; l < fl_memory_layers(m); l++) {
        fl_kv_view v = fl_memory_view(m, l);
        assert_int_equal(v.keys, tokens + fl_memory_pending(m));
        for (int64_t t = 0; t < tokens; t++)
            for (int h = 0; h < v.shape.kv_heads; h++)
                for (int i = 0; i < v.shape.head_dim; i++) {
                    assert_true(key_at(&v, h, t)[i * FL_TILE_KEYS] == number[t] + (float)(10 * l + i));
                    assert_true(value_at(&v, h, t)[i] == -number[t] - (float)(10 * l + i));
                }
    }
}

static size_t bytes_for(int64_t tokens)
{
    size_t pages = (size_t)((tokens + FL_PAGE_TOKENS - 1) / FL_PAGE_TOKENS), bytes = 0;
    for (int l = 0; l < LAYERS; l++)
        bytes += pages * fl_kv_page_bytes(&shapes[l]);
    return bytes;
}

static void test_layout(void **state)
{
    (void)state;
    fl_kv_shape s = {3, 5, FL_F32, FL_F32};
    /* Keys: 3 heads of 4 tiles of [5][64]; then values: 3 heads of [256][5]; 4 bytes each. */
    assert_int_equal(fl_kv_key_offset(&s, 0, 0), 0);
    assert_int_equal(fl_kv_key_offset(&s, 0, 1), 5 * 64 * 4);
    assert_int_equal(fl_kv_key_offset(&s, 2, 3), (2 * 4 + 3) * 5 * 64 * 4);
    assert_int_equal(fl_kv_value_offset(&s, 0, 0), 3 * 256 * 5 * 4);
    assert_int_equal(fl_kv_value_offset(&s, 1, 7), (3 * 256 + 256 + 7) * 5 * 4);
    assert_int_equal(fl_kv_page_bytes(&s), 2 * 3 * 256 * 5 * 4);
    /* Two bytes a value; blocks of 32 take 34 bytes in Q8_0 and 18 in Q4_0. */
    fl_kv_shape half = {3, 5, FL_F16, FL_BF16}, blocks = {2, 96, FL_Q8_0, FL_Q4_0};
    assert_int_equal(fl_kv_key_offset(&half, 2, 3), (2 * 4 + 3) * 5 * 64 * 2);
    assert_int_equal(fl_kv_value_offset(&half, 1, 7), (3 * 256 + 256 + 7) * 5 * 2);
    assert_int_equal(fl_kv_page_bytes(&half), 2 * 3 * 256 * 5 * 2);
    assert_int_equal(fl_kv_key_offset(&blocks, 1, 1), 5 * 64 * 3 * 34);
    assert_int_equal(fl_kv_value_offset(&blocks, 1, 7), 2 * 256 * 3 * 34 + (256 + 7) * 3 * 18);
    assert_int_equal(fl_kv_page_bytes(&blocks), 2 * 256 * 3 * (34 + 18));
    blocks.head_dim = 80; /* zeros fill the third block */
    assert_int_equal(fl_kv_page_bytes(&blocks), 2 * 256 * 3 * (34 + 18));
}

/* Key 70 of a page of Q4_0, byte by byte where the header says it lies; and every type comes back from its tile. */
static void test_key_tiles(void **state)
{
    (void)state;
    fl_kv_shape s = {1, 64, FL_Q4_0, FL_F32};
    uint8_t row[36], back[FL_KV_ROW_BYTES_MAX], *tile = calloc(1, 36 * 64);
    for (int i = 0; i < 36; i++)
        row[i] = (uint8_t)(i + 1);
    fl_kv_put_keys(&s, tile, 6, 1, (const void *const[]){row});
    for (int b = 0; b < 2; b++) {
        assert_memory_equal(tile + (b * 64 + 6) * 2, row + 18 * b, 2);
        for (int i = 0; i < 16; i++)
            assert_int_equal(tile[2 * 64 * 2 + (b * 16 + i) * 64 + 6], row[18 * b + 2 + i]);
    }
    int set = 0;
    for (int i = 0; i < 36 * 64; i++)
        set += tile[i] != 0;
    assert_int_equal(set, 36);
    free(tile);

    static const fl_dtype types[] = {FL_F32, FL_F16, FL_BF16, FL_Q8_0, FL_Q4_0};
    for (int t = 0; t < 5; t++) {
        fl_kv_shape shape = {1, 64, types[t], FL_F32};
        size_t bytes = fl_kv_key_offset(&shape, 0, 1), key_bytes = bytes / 64;
        uint8_t *keys = malloc(bytes), *made = malloc(bytes);
        for (size_t i = 0; i < bytes; i++)
            keys[i] = (uint8_t)(i * 131 >> 3);
        for (int key = 0; key < 64;) {
            int n = key % 3 ? 8 : 5;
            if (n > 64 - key) n = 64 - key;
            const void *rows[8];
            for (int i = 0; i < n; i++)
                rows[i] = keys + (size_t)(key + i) * key_bytes;
            fl_kv_put_keys(&shape, made, key, n, rows);
            key += n;
        }
        for (int key = 0; key < 64; key++) {
            fl_kv_get_key(&shape, made, key, back);
            assert_memory_equal(back, keys + (size_t)key * key_bytes, key_bytes);
        }
        free(keys);
        free(made);
    }
}

static void test_refuses(void **state)
{
    (void)state;
    fl_memory *m = NULL;
    fl_kv_shape bad[] = {{0, 4, FL_F32, FL_F32},  {1, 0, FL_F32, FL_F32},   {-1, 4, FL_F32, FL_F32},
                         {1, 4, FL_Q8_0, FL_F32}, {1, 31, FL_F32, FL_Q4_0}, {1, FL_HEAD_DIM_MAX + 1, FL_F32, FL_F32},
                         {1, 32, FL_I32, FL_F32}, {1, 32, FL_F32, FL_Q4_1}, {1, 32, FL_DTYPE_COUNT, FL_F32}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_not_equal(fl_memory_create(&m, 1, &bad[i]), FL_OK);
        assert_string_not_equal(fl_error_message(), "");
    }
    assert_int_equal(fl_memory_create(&m, 0, shapes), FL_ERR_ARGUMENT);
    assert_int_equal(fl_memory_create(&m, -5, shapes), FL_ERR_ARGUMENT);
    assert_null(m);

    assert_int_equal(fl_memory_create(&m, LAYERS, shapes), FL_OK);
    assert_int_equal(fl_memory_begin(m, -1), FL_ERR_ARGUMENT);
    assert_int_equal(fl_memory_begin(m, INT64_MAX), FL_ERR_ARGUMENT);
    assert_int_equal(fl_memory_begin(m, 3), FL_OK);
    assert_int_equal(fl_memory_begin(m, 1), FL_ERR_STATE);
    assert_int_equal(fl_memory_pending(m), 3);
    fl_memory_rollback(m);
    assert_int_equal(fl_memory_bytes(m), 0);
    assert_null(fl_memory_page(m, 0, 0));
    assert_null(fl_memory_page(m, 0, -1));
    assert_null(fl_memory_page_for_write(m, 0, 0));
    fl_memory_destroy(m);
    fl_memory_destroy(NULL);
}

static void test_fork_then_both_write(void **state)
{
    (void)state;
    fl_memory *a, *b;
    float first[400], second[400];
    assert_int_equal(fl_memory_create(&a, LAYERS, shapes), FL_OK);
    assert_int_equal(fl_memory_begin(a, 300), FL_OK);
    for (int t = 0; t < 300; t++) {
        first[t] = second[t] = (float)(100 * t);
        put(a, t, first[t]);
    }
    fl_memory_commit(a);
    /* A full page stays shared, the last one is copied by whoever writes first. */
    assert_int_equal(fl_memory_fork(&b, a), FL_OK);
    assert_ptr_equal(fl_memory_page(a, 0, 0), fl_memory_page(b, 0, 0));
    assert_ptr_equal(fl_memory_page(a, 1, 1), fl_memory_page(b, 1, 1));
    assert_int_equal(fl_memory_begin(b, 50), FL_OK);
    assert_int_equal(fl_memory_begin(a, 100), FL_OK);
    assert_ptr_equal(fl_memory_page(a, 0, 0), fl_memory_page(b, 0, 0));
    assert_ptr_not_equal(fl_memory_page(a, 1, 1), fl_memory_page(b, 1, 1));
    for (int t = 300; t < 400; t++) {
        first[t] = (float)(100 * t + 1);
        second[t] = (float)(100 * t + 2);
        put(a, t, first[t]);
        if (t < 350) put(b, t, second[t]);
    }
    fl_memory_commit(a);
    fl_memory_commit(b);
    check(a, 400, first);
    check(b, 350, second);
    assert_int_equal(fl_memory_bytes(a), bytes_for(400));
    fl_memory_destroy(a);
    check(b, 350, second);
    fl_memory_destroy(b);
}

static void test_page_for_write_leaves_the_fork_alone(void **state)
{
    (void)state;
    fl_memory *a, *b;
    float number[10] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    assert_int_equal(fl_memory_create(&a, LAYERS, shapes), FL_OK);
    assert_int_equal(fl_memory_begin(a, 10), FL_OK);
    for (int t = 0; t < 10; t++)
        put(a, t, number[t]);
    fl_memory_commit(a);
    assert_int_equal(fl_memory_fork(&b, a), FL_OK);
    for (int l = 0; l < LAYERS; l++)
        memset(fl_memory_page_for_write(b, l, 0), 0, fl_kv_page_bytes(&shapes[l]));
    check(a, 10, number);
    fl_memory_destroy(a);
    fl_memory_destroy(b);
}

typedef struct model {
    fl_memory *memory;
    int64_t tokens;
    float number[MAX_TOKENS];
} model;

/* Random begin, commit, rollback, truncate, fork and destroy on up to eight memories that share pages. */
static void test_random_operations(void **state)
{
    (void)state;
    enum { COUNT = 8 };
    static model all[COUNT];
    memset(all, 0, sizeof all);
    float next = 1;
    for (int step = 0; step < 3000; step++) {
        model *m = &all[below(COUNT)];
        if (!m->memory) {
            assert_int_equal(fl_memory_create(&m->memory, LAYERS, shapes), FL_OK);
            m->tokens = 0;
        }
        int64_t n = below(below(4) ? 40 : 600);
        switch (below(8)) {
        case 0: {
            model *to = &all[below(COUNT)];
            if (to == m) break;
            fl_memory_destroy(to->memory);
            assert_int_equal(fl_memory_fork(&to->memory, m->memory), FL_OK);
            to->tokens = m->tokens;
            memcpy(to->number, m->number, sizeof m->number);
            break;
        }
        case 1:
            n = below(m->tokens + 10);
            fl_memory_truncate(m->memory, n);
            if (n < m->tokens) m->tokens = n;
            break;
        case 2:
            if (below(3)) break;
            fl_memory_destroy(m->memory);
            m->memory = NULL;
            continue;
        default:
            if (m->tokens + n > MAX_TOKENS) break;
            assert_int_equal(fl_memory_begin(m->memory, n), FL_OK);
            assert_int_equal(fl_memory_view(m->memory, 0).keys, m->tokens + n);
            bool keep = below(3) > 0;
            for (int64_t t = m->tokens; t < m->tokens + n; t++) {
                put(m->memory, t, next);
                if (keep) m->number[t] = next;
                next = next > 60000 ? 1 : next + 1;
            }
            if (keep) {
                fl_memory_commit(m->memory);
                m->tokens += n;
            } else if (below(2)) {
                fl_memory_rollback(m->memory);
            } else {
                fl_memory_truncate(m->memory, m->tokens);
            }
        }
        assert_int_equal(fl_memory_pending(m->memory), 0);
        assert_int_equal(fl_memory_bytes(m->memory), bytes_for(m->tokens));
        if (step % 10 == 0)
            for (int i = 0; i < COUNT; i++)
                if (all[i].memory) check(all[i].memory, all[i].tokens, all[i].number);
    }
    for (int i = 0; i < COUNT; i++)
        fl_memory_destroy(all[i].memory);
}

/* The second layer's page is larger than any machine: begin fails after the first layer has got its page. */
static void test_failed_begin_changes_nothing(void **state)
{
    (void)state;
    fl_kv_shape huge[2] = {{1, 4, FL_F32, FL_F32}, {INT32_MAX, FL_HEAD_DIM_MAX, FL_F32, FL_F32}};
    fl_memory *m;
    assert_int_equal(fl_memory_create(&m, 2, huge), FL_OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(fl_memory_begin(m, 1 + 300 * i), FL_ERR_MEMORY);
        assert_int_equal(fl_memory_tokens(m), 0);
        assert_int_equal(fl_memory_pending(m), 0);
        assert_int_equal(fl_memory_bytes(m), 0);
        assert_null(fl_memory_page(m, 0, 0));
    }
    assert_int_equal(fl_memory_begin(m, 0), FL_OK);
    fl_memory_destroy(m);
}

/* Forks of one memory used by threads at once; meaningful under a thread sanitizer, too. */
static void *use_fork(void *argument)
{
    model *m = argument;
    for (int i = 0; i < 200; i++) {
        int64_t n = 1 + (i * 7) % 90;
        if (fl_memory_begin(m->memory, n) != FL_OK) return NULL;
        for (int64_t t = 0; t < n; t++) {
            put(m->memory, m->tokens + t, m->number[0] + (float)t);
            m->number[m->tokens + t] = m->number[0] + (float)t;
        }
        if (i % 3 == 0)
            fl_memory_rollback(m->memory);
        else {
            fl_memory_commit(m->memory);
            m->tokens += n;
        }
        if (m->tokens > 1000) {
            fl_memory_truncate(m->memory, 130);
            m->tokens = 130;
        }
    }
    return m;
}

static void test_forks_in_threads(void **state)
{
    (void)state;
    enum { COUNT = 4 };
    static model all[COUNT];
    memset(all, 0, sizeof all);
    pthread_t thread[COUNT];
    assert_int_equal(fl_memory_create(&all[0].memory, LAYERS, shapes), FL_OK);
    assert_int_equal(fl_memory_begin(all[0].memory, 200), FL_OK);
    for (int t = 0; t < 200; t++) {
        all[0].number[t] = (float)(7 * t);
        put(all[0].memory, t, all[0].number[t]);
    }
    fl_memory_commit(all[0].memory);
    all[0].tokens = 200;
    for (int i = 1; i < COUNT; i++) {
        all[i] = all[0];
        assert_int_equal(fl_memory_fork(&all[i].memory, all[0].memory), FL_OK);
    }
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, use_fork, &all[i]), 0);
    for (int i = 0; i < COUNT; i++) {
        void *done;
        assert_int_equal(pthread_join(thread[i], &done), 0);
        assert_non_null(done);
    }
    for (int i = 0; i < COUNT; i++) {
        check(all[i].memory, all[i].tokens, all[i].number);
        fl_memory_destroy(all[i].memory);
    }
}

int main(void)
{
    fl_rng_seed(&rng, 11);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_key_tiles),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_fork_then_both_write),
        cmocka_unit_test(test_page_for_write_leaves_the_fork_alone),
        cmocka_unit_test(test_random_operations),
        cmocka_unit_test(test_failed_begin_changes_nothing),
        cmocka_unit_test(test_forks_in_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
