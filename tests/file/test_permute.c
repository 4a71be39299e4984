#include "files.h"

#include "file/permute.h"

/* As Meta's conversion script for Hugging Face has it: interleaved row 2i + j of a head is half-split row j*(d/2) + i.
 */
static void test_map(void **state)
{
    (void)state;
    for (int64_t head_dim = 2; head_dim <= 16; head_dim += 2)
        for (int64_t head = 0; head < 3; head++)
            for (int64_t i = 0; i < head_dim / 2; i++)
                for (int64_t j = 0; j < 2; j++) {
                    int64_t interleaved = head * head_dim + 2 * i + j, split = head * head_dim + j * head_dim / 2 + i;
                    assert_int_equal(fl_permuted_row(interleaved, head_dim, head_dim, FL_ROWS_INTERLEAVED), split);
                    assert_int_equal(fl_permuted_row(split, head_dim, head_dim, FL_ROWS_HALF_SPLIT), interleaved);
                }
}

/* What is not rotated stays where it is. */
static void test_partial(void **state)
{
    (void)state;
    static const int64_t wanted[10] = {0, 2, 1, 3, 4, 5, 6, 8, 7, 9};
    for (int64_t row = 0; row < 10; row++)
        assert_int_equal(fl_permuted_row(row, 6, 4, FL_ROWS_INTERLEAVED), wanted[row]);
}

static void test_back_is_identity(void **state)
{
    (void)state;
    enum { HEADS = 3, HEAD_DIM = 12, COLUMNS = 5 };
    uint16_t from[HEADS * HEAD_DIM][COLUMNS], there[HEADS * HEAD_DIM][COLUMNS], back[HEADS * HEAD_DIM][COLUMNS];
    for (int r = 0; r < HEADS * HEAD_DIM; r++)
        for (int c = 0; c < COLUMNS; c++)
            from[r][c] = (uint16_t)(r * COLUMNS + c);
    for (int dim = 2; dim <= HEAD_DIM; dim += 2) {
        fl_permute_rows(there, from, HEADS, HEAD_DIM, dim, sizeof *from, FL_ROWS_INTERLEAVED);
        if (dim > 2) assert_memory_not_equal(there, from, sizeof from);
        fl_permute_rows(back, there, HEADS, HEAD_DIM, dim, sizeof *from, FL_ROWS_HALF_SPLIT);
        assert_memory_equal(back, from, sizeof from);
        fl_permute_rows(there, from, HEADS, HEAD_DIM, dim, sizeof *from, FL_ROWS_HALF_SPLIT);
        fl_permute_rows(back, there, HEADS, HEAD_DIM, dim, sizeof *from, FL_ROWS_INTERLEAVED);
        assert_memory_equal(back, from, sizeof from);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_map), cmocka_unit_test(test_partial),
                                       cmocka_unit_test(test_back_is_identity)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
