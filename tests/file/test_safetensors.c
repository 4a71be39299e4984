#include "files.h"

#include "base/alloc.h"
#include "file/safetensors.h"
#include "tensor/dtype.h"

#define TYPES FL_TEST_DATA "/safetensors/types.safetensors"
#define ODD_NAME "n\xc3\xa4me with spaces / and \"quotes\""

static const fl_dtype types[] = {FL_F64, FL_I64, FL_F32, FL_I32, FL_F16, FL_BF16, FL_U8, FL_BOOL};
#define TYPE_COUNT ((int)(sizeof types / sizeof *types))

static void type_name(char name[32], fl_dtype type)
{
    snprintf(name, 32, "type.%s", fl_dtype_get(type)->name);
}

static double value_of(const fl_file_tensor *t, size_t i)
{
    float real;
    const char *data = t->data;
    switch (t->type) {
    case FL_I32:
        return ((const int32_t *)t->data)[i];
    case FL_I64:
        return (double)((const int64_t *)t->data)[i];
    case FL_U8:
    case FL_BOOL:
        return data[i];
    default:
        fl_to_f32(t->type, data + i * fl_dtype_get(t->type)->block_bytes, &real, 1);
        return real;
    }
}

/* The content that tools/oracle/safetensors_files.py gives its file. */
static void assert_types(const fl_safetensors *s)
{
    static const double values[] = {0, 1, 2, 3, 5, 127};
    assert_int_equal(fl_safetensors_count(s), TYPE_COUNT + 4);
    for (int i = 0; i < TYPE_COUNT; i++) {
        char name[32];
        type_name(name, types[i]);
        const fl_file_tensor *t = fl_safetensors_find(s, name);
        assert_non_null(t);
        assert_string_equal(t->name, name);
        assert_int_equal(t->type, types[i]);
        assert_int_equal(t->rank, 2);
        assert_int_equal(t->dim[0], 2);
        assert_int_equal(t->dim[1], 3);
        for (size_t v = 0; v < 6; v++)
            assert_true(value_of(t, v) == (types[i] == FL_BOOL ? values[v] != 0 : values[v]));
    }
    const fl_file_tensor *t = fl_safetensors_find(s, "shape.scalar");
    assert_int_equal(t->rank, 0);
    assert_true(value_of(t, 0) == 2.5);
    t = fl_safetensors_find(s, "shape.empty");
    assert_int_equal(t->rank, 2);
    assert_int_equal(t->dim[0], 0);
    assert_int_equal(t->dim[1], 4);
    t = fl_safetensors_find(s, "shape.four");
    assert_int_equal(t->rank, 4);
    for (int d = 0; d < 4; d++)
        assert_int_equal(t->dim[d], d + 1);
    for (size_t v = 0; v < 24; v++)
        assert_true(value_of(t, v) == (double)v);
    t = fl_safetensors_find(s, ODD_NAME);
    assert_non_null(t);
    assert_true(value_of(t, 0) == 7 && value_of(t, 1) == 8);
    assert_null(fl_safetensors_find(s, "type.F33"));
    assert_null(fl_safetensors_find(s, "__metadata__"));
    assert_null(fl_safetensors_at(s, -1));
    assert_null(fl_safetensors_at(s, fl_safetensors_count(s)));
    assert_string_equal(fl_safetensors_metadata(s, "format"), "pt");
    assert_string_equal(fl_safetensors_metadata(s, "text"), "\xc3\xb8 \"quoted\" \\ \n \xe7\xb5\x82");
    assert_null(fl_safetensors_metadata(s, "none"));
}

static void test_python_file(void **state)
{
    (void)state;
    fl_safetensors *s;
    assert_ok(fl_safetensors_open(&s, TYPES));
    assert_types(s);
    fl_safetensors_close(s);
}

/* Writing what was read gives a file that reads the same; the order given is the order in the file. */
static void write_types(const char *path)
{
    fl_safetensors *s;
    assert_ok(fl_safetensors_open(&s, TYPES));
    int64_t count = fl_safetensors_count(s);
    fl_file_tensor *t = calloc((size_t)count, sizeof *t);
    for (int64_t i = 0; i < count; i++)
        t[i] = *fl_safetensors_at(s, count - 1 - i);
    const fl_metadata metadata[] = {{"format", "pt"},
                                    {"made by", fl_safetensors_metadata(s, "made by")},
                                    {"text", fl_safetensors_metadata(s, "text")}};
    assert_ok(fl_safetensors_write(path, t, count, metadata, 3));
    free(t);
    fl_safetensors_close(s);
}

/* The smallest types now come first, so that most tensors are off their alignment. */
static void test_write(void **state)
{
    const char *path = in(*state, "back.safetensors");
    write_types(path);
    fl_safetensors *s;
    assert_ok(fl_safetensors_open(&s, path));
    assert_types(s);
    for (int64_t i = 0; i < fl_safetensors_count(s); i++) {
        const fl_file_tensor *t = fl_safetensors_at(s, i);
        assert_int_equal((uintptr_t)t->data % fl_dtype_get(t->type)->block_bytes, 0);
    }
    fl_safetensors_close(s);
    fl_buffer bytes = content(path);
    assert_int_equal((uint8_t)bytes.data[0] % 8, 0);
    fl_buffer_free(&bytes);
}

static void test_write_nothing(void **state)
{
    const char *path = in(*state, "empty.safetensors");
    fl_safetensors *s;
    assert_ok(fl_safetensors_write(path, NULL, 0, NULL, 0));
    assert_ok(fl_safetensors_open(&s, path));
    assert_int_equal(fl_safetensors_count(s), 0);
    assert_null(fl_safetensors_find(s, "x"));
    assert_null(fl_safetensors_metadata(s, "x"));
    fl_safetensors_close(s);
}

static void test_cannot_write(void **state)
{
    const char *path = in(*state, "no.safetensors");
    float x[4] = {0};
    fl_file_tensor t[2] = {{"a", FL_F32, 1, {4}, x}, {"a", FL_F32, 1, {4}, x}};
    assert_refused("twice", fl_safetensors_write(path, t, 2, NULL, 0), FL_ERR_ARGUMENT, path, "tensor a");
    t[1].name = "__metadata__";
    assert_refused("reserved", fl_safetensors_write(path, t, 2, NULL, 0), FL_ERR_ARGUMENT, path, "__metadata__");
    t[1].name = "b\xff";
    assert_refused("name", fl_safetensors_write(path, t, 2, NULL, 0), FL_ERR_ARGUMENT, path, "UTF-8");
    t[1].name = "b";
    t[1].type = FL_Q8_0;
    assert_refused("blocks", fl_safetensors_write(path, t, 2, NULL, 0), FL_ERR_UNSUPPORTED, path, "dtype = Q8_0");
    t[1].type = FL_F32;
    t[1].dim[0] = -1;
    assert_refused("shape", fl_safetensors_write(path, t, 2, NULL, 0), FL_ERR_FORMAT, path, "shape");
    t[1].rank = FL_MAX_RANK + 1;
    assert_refused("rank", fl_safetensors_write(path, t, 2, NULL, 0), FL_ERR_FORMAT, path, "shape");
    t[1] = (fl_file_tensor){"b", FL_F64, 2, {INT64_MAX, 2}, x};
    assert_refused("size", fl_safetensors_write(path, t, 2, NULL, 0), FL_ERR_FORMAT, path, "tensor b");
    const fl_metadata bad = {"key", "\xff"};
    assert_refused("text", fl_safetensors_write(path, t, 1, &bad, 1), FL_ERR_ARGUMENT, path, "metadata key");
    assert_false(fl_file_exists(path));
}

/* ---- what is refused ---------------------------------------------------------------------------------------- */

#define T(name, dtype, shape, offsets)                                                                                 \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
#define A T("a", "F32", "[2]", "[0,8]")

/* A header, and the number of data bytes after it. */
static const struct {
    const char *header;
    size_t data;
    fl_status status;
    const char *key;
} refused[] = {
    {"", 0, FL_ERR_FORMAT, "offset 8"},
    {" {}", 0, FL_ERR_FORMAT, "offset 8"},
    {"[]", 0, FL_ERR_FORMAT, "offset 8"},
    {"{", 0, FL_ERR_FORMAT, "line 1"},
    {"{" A "}x", 8, FL_ERR_FORMAT, "line 1"},
    {"{" A "," A "}", 8, FL_ERR_FORMAT, "duplicate"},
    {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, FL_ERR_FORMAT,
     "duplicate"},
    {"{\"a\xff\":1}", 8, FL_ERR_FORMAT, "line 1"},
    {"{\"a\\u0000b\":1}", 8, FL_ERR_FORMAT, "line 1"},
    {"{\"a\":1}", 8, FL_ERR_FORMAT, "a: is not an object"},
    {"{\"a\":[[[[1]]]]}", 8, FL_ERR_FORMAT, "nested"},
    {"{\"a\":{}}", 0, FL_ERR_FORMAT, "a.dtype"},
    {"{\"a\":{\"dtype\":\"F32\"}}", 0, FL_ERR_FORMAT, "a.shape"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0]}}", 0, FL_ERR_FORMAT, "a.data_offsets"},
    {"{\"a\":{\"dtype\":null,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, FL_ERR_FORMAT, "a.dtype"},
    {"{\"a\":{\"dtype\":4,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, FL_ERR_FORMAT, "a.dtype = 4"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}}", 8, FL_ERR_FORMAT, "a.x = 1"},
    {"{" T("a", "F31", "[2]", "[0,8]") "}", 8, FL_ERR_FORMAT, "a.dtype = 'F31'"},
    {"{" T("a", "f32", "[2]", "[0,8]") "}", 8, FL_ERR_FORMAT, "a.dtype = 'f32'"},
    {"{" T("a", "Q8_0", "[32]", "[0,34]") "}", 34, FL_ERR_FORMAT, "a.dtype = 'Q8_0'"},
    {"{" T("a", "F8_E4M3", "[8]", "[0,8]") "}", 8, FL_ERR_UNSUPPORTED, "a.dtype = 'F8_E4M3'"},
    {"{" T("a", "I8", "[8]", "[0,8]") "}", 8, FL_ERR_UNSUPPORTED, "a.dtype = 'I8'"},
    {"{" T("a", "F32", "2", "[0,8]") "}", 8, FL_ERR_FORMAT, "a.shape = 2"},
    {"{" T("a", "F32", "null", "[0,8]") "}", 8, FL_ERR_FORMAT, "a.shape"},
    {"{" T("a", "F32", "[-2]", "[0,8]") "}", 8, FL_ERR_FORMAT, "a.shape = [-2]"},
    {"{" T("a", "F32", "[2.0]", "[0,8]") "}", 8, FL_ERR_FORMAT, "a.shape = [2.0]"},
    {"{" T("a", "F32", "[\"2\"]", "[0,8]") "}", 8, FL_ERR_FORMAT, "a.shape"},
    {"{" T("a", "F32", "[3]", "[0,8]") "}", 8, FL_ERR_FORMAT, "a.data_offsets = [0,8]"},
    {"{" T("a", "F32", "[1,1,1,1,2]", "[0,8]") "}", 8, FL_ERR_UNSUPPORTED, "a.shape = [1,1,1,1,2]"},
    {"{" T("a", "F32", "[4611686018427387904]", "[0,8]") "}", 8, FL_ERR_FORMAT, "tensor a: shape"},
    {"{" T("a", "F32", "[4294967296,4294967296]", "[0,8]") "}", 8, FL_ERR_FORMAT, "tensor a: shape"},
    {"{" T("a", "F32", "[9223372036854775808]", "[0,8]") "}", 8, FL_ERR_FORMAT, "line 1"},
    {"{" T("a", "F32", "[2]", "[0]") "}", 8, FL_ERR_FORMAT, "a.data_offsets = [0]"},
    {"{" T("a", "F32", "[2]", "[0,8,9]") "}", 8, FL_ERR_FORMAT, "a.data_offsets = [0,8,9]"},
    {"{" T("a", "F32", "[2]", "8") "}", 8, FL_ERR_FORMAT, "a.data_offsets = 8"},
    {"{" T("a", "F32", "[2]", "[0,\"8\"]") "}", 8, FL_ERR_FORMAT, "a.data_offsets"},
    {"{" T("a", "F32", "[2]", "[-8,0]") "}", 8, FL_ERR_FORMAT, "a.data_offsets = [-8,0]"},
    {"{" T("a", "F32", "[2]", "[8,0]") "}", 8, FL_ERR_FORMAT, "a.data_offsets = [8,0]"},
    {"{" T("a", "F32", "[2]", "[0,8]") "}", 7, FL_ERR_FORMAT, "a.data_offsets = [0,8]"},
    {"{" T("a", "F32", "[2]", "[9223372036854775800,9223372036854775807]") "}", 8, FL_ERR_FORMAT, "a.data_offsets"},
    {"{" A "}", 9, FL_ERR_FORMAT, "offset 8"},
    {"{}", 1, FL_ERR_FORMAT, "offset 0"},
    {"{" T("a", "F32", "[2]", "[4,12]") "}", 12, FL_ERR_FORMAT, "a.data_offsets = [4,12]: leaves a hole"},
    {"{" A "," T("b", "F32", "[1]", "[12,16]") "}", 16, FL_ERR_FORMAT, "b.data_offsets = [12,16]: leaves a hole"},
    {"{" A "," T("b", "F32", "[2]", "[4,12]") "}", 12, FL_ERR_FORMAT, "b.data_offsets = [4,12]: overlaps a"},
    {"{" A "," T("b", "F32", "[2]", "[0,8]") "}", 8, FL_ERR_FORMAT, "b.data_offsets = [0,8]: overlaps a"},
    {"{" A "," T("b", "F32", "[0]", "[4,4]") "}", 8, FL_ERR_FORMAT, "data_offsets"},
    {"{\"__metadata__\":3," A "}", 8, FL_ERR_FORMAT, "__metadata__"},
    {"{\"__metadata__\":{\"k\":3}," A "}", 8, FL_ERR_FORMAT, "__metadata__.k = 3"},
    {"{\"__metadata__\":{\"k\":null}," A "}", 8, FL_ERR_FORMAT, "__metadata__.k = null"},
};

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        size_t length = strlen(refused[i].header), size = 8 + length + refused[i].data;
        uint8_t *bytes = calloc(size, 1); /* exactly as long as the file: sanitizers see every step beyond it */
        bytes[0] = (uint8_t)length;
        bytes[1] = (uint8_t)(length >> 8);
        memcpy(bytes + 8, refused[i].header, length);
        fl_safetensors *s = NULL;
        fl_status status = fl_safetensors_parse(&s, "x.safetensors", bytes, size);
        assert_refused(refused[i].header, status, refused[i].status, "x.safetensors: ", refused[i].key);
        assert_null(s);
        free(bytes);
    }
}

/* The eight bytes of the header length. */
static void test_header_length(void **state)
{
    (void)state;
    static const struct {
        uint64_t length;
        size_t size;
        const char *key;
    } bad[] = {{0, 0, "offset 0"},          {2, 7, "offset 0"},         {2, 8, "header length = 2"},
               {2, 9, "header length = 2"}, {0, 8, "offset 8"},         {100000001, 16, "header length = 100000001"},
               {99999999, 16, "99999999"},  {UINT64_MAX, 16, "184467"}, {UINT64_MAX - 7, 16, "184467"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint8_t *bytes = malloc(bad[i].size);
        uint8_t whole[16] = {0};
        for (int b = 0; b < 8; b++)
            whole[b] = (uint8_t)(bad[i].length >> (8 * b));
        memcpy(whole + 8, "{}", 2);
        memcpy(bytes, whole, bad[i].size);
        fl_safetensors *s = NULL;
        assert_refused("length", fl_safetensors_parse(&s, "x.safetensors", bytes, bad[i].size), FL_ERR_FORMAT,
                       "x.safetensors: ", bad[i].key);
        free(bytes);
    }
}

/* Many values in few bytes must be refused before they become many objects. */
static void test_amplification(void **state)
{
    (void)state;
    size_t length = 20000000;
    uint8_t *bytes = malloc(8 + length);
    memset(bytes, 0, 8);
    for (int b = 0; b < 8; b++)
        bytes[b] = (uint8_t)(length >> (8 * b));
    memcpy(bytes + 8, "{\"a\":[", 6);
    for (size_t i = 14; i + 2 < 8 + length; i += 2)
        memcpy(bytes + i, "1,", 2);
    fl_safetensors *s = NULL;
    assert_refused("values", fl_safetensors_parse(&s, "x.safetensors", bytes, 8 + length), FL_ERR_FORMAT,
                   "x.safetensors: ", "JSON values");
    free(bytes);
}

/* Two empty tensors may lie at one place. */
static void test_empty_tensors(void **state)
{
    (void)state;
    const char *header = "{" T("b", "F32", "[0]", "[8,8]") "," A "," T("c", "I64", "[3,0]", "[8,8]") "}";
    uint8_t bytes[512] = {0};
    bytes[0] = (uint8_t)strlen(header);
    memcpy(bytes + 8, header, strlen(header));
    fl_safetensors *s;
    assert_ok(fl_safetensors_parse(&s, "x", bytes, 8 + strlen(header) + 8));
    assert_int_equal(fl_safetensors_count(s), 3);
    assert_string_equal(fl_safetensors_at(s, 0)->name, "a");
    fl_safetensors_close(s);
}

static void test_missing(void **state)
{
    fl_safetensors *s = NULL;
    const char *path = in(*state, "none.safetensors");
    assert_refused("missing", fl_safetensors_open(&s, path), FL_ERR_IO, path, "cannot open");
    assert_refused("folder", fl_safetensors_open(&s, *state), FL_ERR_IO, *state, "folder");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_python_file),   cmocka_unit_test(test_write),
        cmocka_unit_test(test_write_nothing), cmocka_unit_test(test_cannot_write),
        cmocka_unit_test(test_refused),       cmocka_unit_test(test_header_length),
        cmocka_unit_test(test_amplification), cmocka_unit_test(test_empty_tensors),
        cmocka_unit_test(test_missing),
    };
    if (argc == 2) { /* for safetensors_files.py --check */
        write_types(argv[1]);
        return 0;
    }
    return cmocka_run_group_tests(tests, files_make, files_drop);
}
