/* Event files: checks by the published vectors of CRC-32C, bytes as TensorBoard's own writer made them
 * (tools/oracle/events.py, which also reads furlong's files back), names in a folder. */
#include <dirent.h>

#include "file/event_file.h"
#include "file/files.h"

/* RFC 3720, B.4: 32 bytes of zeros, of ones, rising; masked as tensorflow/core/lib/hash/crc32c.h does. */
static uint32_t masked(uint32_t crc)
{
    return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

static void test_crc(void **state)
{
    (void)state;
    uint8_t bytes[32] = {0};
    assert_int_equal(fl_event_crc(bytes, 32), masked(0x8A9136AAu));
    memset(bytes, 0xFF, 32);
    assert_int_equal(fl_event_crc(bytes, 32), masked(0x62A8AB43u));
    for (int i = 0; i < 32; i++)
        bytes[i] = (uint8_t)i;
    assert_int_equal(fl_event_crc(bytes, 32), masked(0x46DD794Eu));
    assert_int_equal(fl_event_crc("123456789", 9), masked(0xE3069283u));
}

static void test_golden(void **state)
{
    fl_appender file;
    assert_ok(fl_events_open(&file, in(*state, "events"), 1, 1700000000.25));
    assert_non_null(strstr(file.path, "/events.out.tfevents.1700000000.furlong.000"));
    const char *path = in(*state, "events/events.out.tfevents.1700000000.furlong.000");
    assert_ok(fl_events_scalar(&file, 1, 1700000001.5, "loss", 3.25));
    assert_ok(fl_events_scalar(&file, 300, 1700000002.0, "grad_norm", 0.1));
    assert_ok(fl_events_scalar(&file, 1ll << 40, 1700000003.0, "lr", -1e-5));
    assert_ok(fl_appender_close(&file, FL_OK));
    fl_buffer made = content(path), golden = content(FL_TEST_DATA "/golden/train/events.bin");
    assert_int_equal(made.size, golden.size);
    assert_memory_equal(made.data, golden.data, golden.size);
    fl_buffer_free(&made);
    fl_buffer_free(&golden);

    /* A run that goes on in the same second gets the next name, and tells that steps from its own on are new. */
    assert_ok(fl_events_open(&file, in(*state, "events"), 300, 1700000000.25));
    assert_non_null(strstr(file.path, "/events.out.tfevents.1700000000.furlong.001"));
    assert_ok(fl_appender_close(&file, FL_OK));
    made = content(in(*state, "events/events.out.tfevents.1700000000.furlong.001"));
    golden = content(FL_TEST_DATA "/golden/train/events_resumed.bin");
    assert_int_equal(made.size, golden.size);
    assert_memory_equal(made.data, golden.data, golden.size);
    fl_buffer_free(&made);
    fl_buffer_free(&golden);
}

static void test_refused(void **state)
{
    fl_appender file;
    const char *path = in(*state, "not-a-folder");
    put_text(path, "");
    assert_refused("file", fl_events_open(&file, path, 1, 1), FL_ERR_IO, path, "cannot");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc),
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, files_make, files_drop);
}
