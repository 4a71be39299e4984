/* Positions of Dual Chunk Attention under chunk_size and local_size, as config.json's dual_chunk_attention_config gives
 * them: against the tables of vLLM's and SGLang's DualChunkRotaryEmbedding, which index them by position. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "position/passes.h"

#define LENGTH 200

/* chunk_len = chunk_size - local_size; the class's four tables are arange(chunk_len), (arange(chunk_len) + chunk_len)
 * clamped at chunk_size, the last entry of that one for all older chunks, and arange(max_position) % chunk_len of keys.
 */
static int q_table(int at)
{
    return at;
}

static int qc_table(int at, int chunk_len, int chunk_size)
{
    return at + chunk_len < chunk_size ? at + chunk_len : chunk_size;
}

static int k_table(int at, int chunk_len)
{
    return at % chunk_len;
}

static void check(int chunk_size, int local_size)
{
    int chunk_len = chunk_size - local_size;
    fl_passes s = {.kind = FL_PASSES_DUAL_CHUNK, .last = chunk_size, .chunk = chunk_len};
    assert_int_equal(fl_passes_check(&s, LENGTH), FL_OK);
    for (int p = 0; p < LENGTH; p++) {
        fl_pass pass[FL_PASSES_MAX];
        fl_passes_compile(&s, p, pass);
        for (int key = 0; key <= p; key++) {
            int apart = p / chunk_len - key / chunk_len, seen = 0;
            int query = apart == 0   ? q_table(p % chunk_len)
                        : apart == 1 ? qc_table(p % chunk_len, chunk_len, chunk_size)
                                     : qc_table(chunk_len - 1, chunk_len, chunk_size);
            for (int i = 0; i < fl_passes_count(&s); i++) {
                if (key < pass[i].lo || key >= pass[i].hi) continue;
                seen++;
                assert_true(pass[i].query == query);
            }
            assert_int_equal(seen, 1);
            assert_true(fl_passes_method_of(&s)->stored(&s, key) == k_table(key, chunk_len));
            assert_true(query - k_table(key, chunk_len) < fl_passes_span(&s, p + 1));
        }
    }
}

static void test_tables(void **state)
{
    (void)state;
    check(32, 1);  /* Qwen2.5-1M's shares: 262144 and 8192 */
    check(24, 6);  /* the paper's: chunks of three quarters */
    check(24, 16); /* chunks so short that no query comes to chunk_size */
    check(20, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tables)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
