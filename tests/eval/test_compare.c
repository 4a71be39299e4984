/* Paired blocks and verdicts: against the perplexity protocol on the same windows, against statistics computed by hand,
 * and against a results file that a killed run left behind. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "eval/blocks.h"
#include "eval/compare.h"

static void must(fl_status s)
{
    if (s != FL_OK) fail_msg("%s: %s", fl_status_name(s), fl_error_message());
}

/* Differences 1, 2, 3, 6: mean 3, squared deviations 4 + 1 + 0 + 9 = 14, so sqrt(14 / 3 / 4) = 1.0801234. */
static void test_paired(void **state)
{
    (void)state;
    double a[] = {2, 4, 6, 10}, b[] = {1, 2, 3, 4}, mean, error;
    fl_paired(a, b, 4, &mean, &error);
    assert_true(fabs(mean - 3) < 1e-12 && fabs(error - 1.0801234497346435) < 1e-12);
    fl_paired(b, NULL, 4, &mean, &error); /* 1, 2, 3, 4: sqrt(5 / 3 / 4) */
    assert_true(fabs(mean - 2.5) < 1e-12 && fabs(error - 0.6454972243679028) < 1e-12);
}

/* The mean over blocks is what the matched protocol gives for the same starts, with its standard error. */
static void test_blocks_are_matched_windows(void **state)
{
    (void)state;
    enum { TEXT = 900, SCORE = 16, BLOCKS = 5 };
    int32_t ids[TEXT];
    for (int i = 0; i < TEXT; i++)
        ids[i] = 3 + (i * 7919 + i / 13) % 500;
    fl_engine_options engine_options = FL_ENGINE_OPTIONS_INIT;
    fl_model_options model_options = FL_MODEL_OPTIONS_INIT;
    fl_engine *engine;
    fl_model *m;
    must(fl_engine_create(&engine, &engine_options));
    must(fl_model_open(&m, engine, FL_SOURCE_DIR "/models/stories260K/stories260K.bin", &model_options));
    fl_document text = {ids, TEXT};
    fl_blocks blocks;
    int64_t lengths[] = {64, 200};
    must(fl_blocks_create(&blocks, &text, 1, 1, 200, SCORE, BLOCKS, false));
    assert_int_equal(blocks.tokens, TEXT + 1);
    assert_int_equal(blocks.end[0], 200);
    assert_int_equal(blocks.end[BLOCKS - 1], TEXT + 1); /* the whole text is used */
    int64_t starts[BLOCKS];
    for (int i = 0; i < BLOCKS; i++)
        starts[i] = blocks.end[i] - SCORE;

    fl_ppl_options o = FL_PPL_OPTIONS_INIT;
    fl_ppl_result expected[2];
    o.protocol = FL_PPL_MATCHED;
    o.lengths = lengths;
    o.length_count = 2;
    o.score = SCORE;
    o.blocks = BLOCKS;
    o.starts = starts;
    must(fl_eval_ppl(expected, m, &text, 1, 1, &o));
    fl_scorer scorer;
    must(fl_scorer_create(&scorer, m, NULL, 200));
    for (int i = 0; i < 2; i++) {
        double nll[BLOCKS], mean, error;
        must(fl_blocks_judge(&blocks, &scorer, lengths[i], nll));
        fl_paired(nll, NULL, BLOCKS, &mean, &error);
        assert_true(fabs(mean - expected[i].nll) < 1e-9); /* the same floats, summed in another order */
        assert_true(fabs(error - expected[i].stderr_nll) < 1e-9);
    }
    fl_scorer_destroy(&scorer);
    fl_blocks_destroy(&blocks);
    assert_int_equal(fl_blocks_create(&blocks, &text, 1, 1, 880, SCORE, BLOCKS, false), FL_ERR_ARGUMENT);
    assert_non_null(strstr(fl_error_message(), "944")); /* 880 + 4 * 16 */
    fl_model_close(m);
    fl_engine_destroy(engine);
}

/* ---- verdicts and their file ------------------------------------------------------------------------------------- */

static char path[] = "/tmp/furlong-compare-XXXXXX";

static void add(fl_compare *c, const char *label, int64_t length, double a, double b, double d)
{
    double block[] = {a, b, d};
    fl_compare_row row = {.length = length, .tokens = 3, .seconds = 0.5, .blocks = 3, .block = block};
    snprintf(row.label, sizeof row.label, "%s", label);
    fl_paired(block, NULL, 3, &row.nll, &row.error);
    must(fl_compare_add(c, &row, path));
}

static void check_verdicts(const fl_compare *c)
{
    /* 200: better. 400: worse by 0.05 in every block, which no error forgives and the margin does. 800: back again,
     * too late for the first reading. */
    fl_compare_verdict v = fl_compare_judge(c, "linear", 100, 0.1);
    assert_int_equal(v.effective, 200);
    assert_int_equal(v.effective_margin, 800);
    assert_int_equal(v.longest, 800);
    /* +0.3, but with blocks that differ by more: no worse within two errors, yet beyond the margin. */
    v = fl_compare_judge(c, "yarn", 100, 0.1);
    assert_int_equal(v.effective, 400);
    assert_int_equal(v.effective_margin, 100);
    v = fl_compare_judge(c, "none", 100, 0.1);
    assert_int_equal(v.effective, 100);
    assert_int_equal(v.longest, 100);
    assert_int_equal(fl_compare_judge(c, "absent", 100, 0.1).longest, 0);
}

static void test_verdicts(void **state)
{
    (void)state;
    fl_compare c;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    must(fl_compare_create(&c, "model a"));
    must(fl_compare_read(&c, path));
    assert_int_equal(c.count, 0);
    add(&c, "none", 100, 2, 3, 4);
    add(&c, "linear", 100, 2, 3, 4);
    add(&c, "linear", 400, 2.05, 3.05, 4.05);
    add(&c, "linear", 200, 1.9, 2.8, 3.9); /* out of order */
    add(&c, "linear", 800, 1.9, 2.9, 3.9);
    add(&c, "yarn", 100, 2, 3, 4);
    add(&c, "yarn", 400, 2.9, 3, 4); /* +0.3 +- 0.3 */
    check_verdicts(&c);
    fl_compare_free(&c);

    FILE *f = fopen(path, "a"); /* killed in the middle of a line */
    assert_non_null(f);
    fputs("{\"label\":\"yarn\",\"len", f);
    assert_int_equal(fclose(f), 0);
    must(fl_compare_create(&c, "model a"));
    must(fl_compare_read(&c, path));
    assert_int_equal(c.count, 7);
    check_verdicts(&c);
    const fl_compare_row *row = fl_compare_find(&c, "yarn", 400);
    assert_non_null(row);
    assert_true(row->block[0] == 2.9 && row->seconds == 0.5 && row->tokens == 3);
    add(&c, "yarn", 800, 2, 3, 4); /* the next line stands alone */
    fl_compare_free(&c);
    must(fl_compare_create(&c, "model a"));
    must(fl_compare_read(&c, path));
    assert_int_equal(c.count, 8);
    fl_compare_free(&c);

    must(fl_compare_create(&c, "model b"));
    assert_int_equal(fl_compare_read(&c, path), FL_ERR_STATE);
    assert_non_null(strstr(fl_error_message(), "model b"));
    fl_compare_free(&c);
}

/* Every field of a line wrong in turn. */
static void test_bad_lines(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "nothing",
        "[]",
        "{\"label\":\"a\"}",
        "{\"label\":1,\"length\":100,\"tokens\":3,\"seconds\":1,\"blocks\":[1,2],\"settings\":\"s\"}",
        "{\"label\":\"a\",\"length\":0,\"tokens\":3,\"seconds\":1,\"blocks\":[1,2],\"settings\":\"s\"}",
        "{\"label\":\"a\",\"length\":100,\"tokens\":-1,\"seconds\":1,\"blocks\":[1,2],\"settings\":\"s\"}",
        "{\"label\":\"a\",\"length\":100,\"tokens\":3,\"seconds\":\"x\",\"blocks\":[1,2],\"settings\":\"s\"}",
        "{\"label\":\"a\",\"length\":100,\"tokens\":3,\"seconds\":1,\"blocks\":[1],\"settings\":\"s\"}",
        "{\"label\":\"a\",\"length\":100,\"tokens\":3,\"seconds\":1,\"blocks\":[1,\"x\"],\"settings\":\"s\"}",
        "{\"label\":\"a\",\"length\":100,\"tokens\":3,\"seconds\":1,\"blocks\":5,\"settings\":\"s\"}",
        "{\"label\":\"a\",\"length\":100,\"tokens\":3,\"seconds\":1,\"blocks\":[1,2]}",
        ("{\"label\":\"0123456789012345678901234567890123456789012345678901234567890123\",\"length\":1,\"tokens\":3,"
         "\"seconds\":1,\"blocks\":[1,2],\"settings\":\"s\"}"),
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        fprintf(f, "%s\n", lines[i]);
        assert_int_equal(fclose(f), 0);
        fl_compare c;
        must(fl_compare_create(&c, "s"));
        fl_status s = fl_compare_read(&c, path);
        if (s != FL_ERR_FORMAT || !strstr(fl_error_message(), ":1: ")) fail_msg("%s: %d", lines[i], (int)s);
        fl_compare_free(&c);
    }
    assert_int_equal(unlink(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_paired), cmocka_unit_test(test_blocks_are_matched_windows),
                                       cmocka_unit_test(test_verdicts), cmocka_unit_test(test_bad_lines)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
