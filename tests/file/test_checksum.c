#include "files.h"

#include "file/checksum.h"

static uint64_t of(const void *bytes, size_t n)
{
    fl_checksum c;
    fl_checksum_start(&c);
    fl_checksum_add(&c, bytes, n);
    return fl_checksum_value(&c);
}

/* Values of python-xxhash 4.1.0 (xxh64_intdigest) for bytes 0, 1, 2, ... mod 251. */
static void test_values(void **state)
{
    (void)state;
    static const struct {
        size_t n;
        uint64_t value;
    } known[] = {{0, 0xEF46DB3751D8E999},   {1, 0xE934A84ADB052768},   {3, 0xE5C7BB4533BC65DD},
                 {4, 0xFFCED8604453CC1E},   {7, 0x14CC643F630C72D2},   {8, 0x884A173614B81B8D},
                 {12, 0x424AF23F1F08DCA5},  {31, 0xC346D2B59B4D8EE1},  {32, 0xCBF59C5116FF32B4},
                 {33, 0x0C535D1ACAFB8EAD},  {63, 0xE26AA9E2A95F8E4F},  {64, 0xF7C67301DB6713F0},
                 {100, 0x6AC1E58032166597}, {255, 0x566D96B832B967C1}, {1000, 0xF306F04AA88B54D3}};
    uint8_t bytes[1000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i % 251);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        assert_int_equal(of(bytes, known[i].n), known[i].value);
    assert_int_equal(of("abc", 3), 0x44BC2CF5AD770999);
}

/* Pieces of any size give the value of the whole. */
static void test_pieces(void **state)
{
    (void)state;
    uint8_t bytes[1000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * i >> 3);
    for (size_t step = 1; step < 100; step++) {
        fl_checksum c;
        fl_checksum_start(&c);
        for (size_t at = 0; at < sizeof bytes; at += step)
            fl_checksum_add(&c, bytes + at, at + step < sizeof bytes ? step : sizeof bytes - at);
        assert_int_equal(fl_checksum_value(&c), of(bytes, sizeof bytes));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_values), cmocka_unit_test(test_pieces)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
