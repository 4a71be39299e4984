/* Documents of text files and JSON lines, plain and compressed: content, places, counts, and refusals by table. The
 * compressed files are made with libzstd itself. */
#include <zstd.h>

#include "file/files.h"
#include "text/corpus.h"

#include <malloc.h>
#include <sys/stat.h>

static const char *put(void **state, const char *name, const char *text)
{
    const char *path = in(*state, name);
    put_text(path, text);
    return path;
}

static const char *put_zst(void **state, const char *name, const char *text, size_t size, size_t cut)
{
    const char *path = in(*state, name);
    size_t room = ZSTD_compressBound(size);
    char *packed = malloc(room);
    assert_non_null(packed);
    ZSTD_CCtx *context = ZSTD_createCCtx();
    assert_non_null(context);
    ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1); /* as the program zstd writes */
    size_t n = ZSTD_compress2(context, packed, room, text, size);
    ZSTD_freeCCtx(context);
    assert_false(ZSTD_isError(n));
    assert_true(cut < n);
    put_bytes(path, packed, n - cut);
    free(packed);
    return path;
}

/* All documents as "file:line:offset=text|", files without their folder. */
static fl_status read_all(const fl_corpus_options *options, fl_buffer *out, fl_corpus_counts *counts)
{
    fl_corpus *c;
    fl_corpus_document d;
    FL_TRY(fl_corpus_open(&c, options));
    fl_buffer_text(out, "");
    fl_status s;
    while ((s = fl_corpus_next(c, &d)) == FL_OK && d.file) {
        const char *slash = strrchr(d.file, '/');
        assert_int_equal(strlen(d.text), d.size);
        fl_buffer_format(out, "%s:%lld:%lld=%s|", slash ? slash + 1 : d.file, (long long)d.line, (long long)d.offset,
                         d.text);
    }
    int64_t done, total;
    fl_corpus_position(c, &done, &total);
    if (s == FL_OK) assert_int_equal(done, total);
    if (counts) fl_corpus_get_counts(c, counts);
    fl_corpus_close(c);
    return s;
}

static void expect(const fl_corpus_options *options, const char *expected, fl_corpus_counts wanted)
{
    fl_buffer got = {0};
    fl_corpus_counts counts = {0};
    assert_ok(read_all(options, &got, &counts));
    assert_string_equal(got.data, expected);
    assert_int_equal(counts.files, wanted.files);
    assert_int_equal(counts.others, wanted.others);
    assert_int_equal(counts.documents, wanted.documents);
    assert_int_equal(counts.bytes, wanted.bytes);
    assert_int_equal(counts.empty, wanted.empty);
    assert_int_equal(counts.bad, wanted.bad);
    fl_buffer_free(&got);
}

static void test_text(void **state)
{
    const char *path[] = {put(state, "a.txt", "one\ntwo\n"), put(state, "b.txt", "\xEF\xBB\xBFGr\xC3\xBC\xC3\x9F")};
    fl_corpus_options o = FL_CORPUS_OPTIONS_INIT;
    o.path = path;
    o.paths = 2;
    /* The byte order mark is gone, its three bytes count for the offset. */
    expect(&o, "a.txt:1:0=one\ntwo\n|b.txt:1:3=Gr\xC3\xBC\xC3\x9F|",
           (fl_corpus_counts){.files = 2, .documents = 2, .bytes = 8 + 6});
}

static void test_separator(void **state)
{
    const char *path[] = {put(state, "s.txt", "one\n---\n---\r\ntwo\n----\nstill two\n---\n")};
    fl_corpus_options o = FL_CORPUS_OPTIONS_INIT;
    o.path = path;
    o.paths = 1;
    o.separator = "---";
    expect(&o, "s.txt:1:0=one\n|s.txt:4:13=two\n----\nstill two\n|",
           (fl_corpus_counts){.files = 1, .documents = 2, .bytes = 4 + 19, .empty = 1});
}

static void test_lines(void **state)
{
    const char *path[] = {put(state, "l.jsonl",
                              "{\"text\": \"a\\n\\u00fc\", \"id\": 7}\n\n{\"id\":8,\"text\":\"\"}\r\n  \n"
                              "{\"body\":\"no\", \"text\":\"last\"}")};
    fl_corpus_options o = FL_CORPUS_OPTIONS_INIT;
    o.path = path;
    o.paths = 1;
    expect(&o, "l.jsonl:1:0=a\n\xC3\xBC|l.jsonl:5:55=last|",
           (fl_corpus_counts){.files = 1, .documents = 2, .bytes = 4 + 4, .empty = 3});

    /* Without a text field every object is a document. */
    o.text_field = NULL;
    fl_corpus *c;
    fl_corpus_document d;
    assert_ok(fl_corpus_open(&c, &o));
    assert_ok(fl_corpus_next(c, &d));
    assert_int_equal(json_integer_value(json_object_get(d.object, "id")), 7);
    assert_null(d.text);
    assert_ok(fl_corpus_next(c, &d));
    assert_int_equal(d.line, 3);
    assert_ok(fl_corpus_next(c, &d));
    assert_string_equal(json_string_value(json_object_get(d.object, "body")), "no");
    assert_ok(fl_corpus_next(c, &d));
    assert_null(d.file);
    fl_corpus_close(c);
}

static void test_folder(void **state)
{
    const char *folder = in(*state, "corpus");
    assert_int_equal(mkdir(folder, 0777), 0);
    assert_int_equal(mkdir(in(folder, "deep"), 0777), 0);
    put_text(in(folder, "b.txt"), "B");
    put_text(in(folder, "a.jsonl"), "{\"text\":\"A\"}\n");
    put_text(in(folder, "README.md"), "no corpus");
    put_text(in(folder, "deep/c.txt"), "C");
    void *at = (void *)(uintptr_t)folder;
    put_zst(&at, "deep/d.jsonl.zst", "{\"text\":\"D\"}\n{\"text\":\"E\"}\n", 26, 0);
    const char *path[] = {folder};
    fl_corpus_options o = FL_CORPUS_OPTIONS_INIT;
    o.path = path;
    o.paths = 1;
    expect(&o, "a.jsonl:1:0=A|b.txt:1:0=B|c.txt:1:0=C|d.jsonl.zst:1:0=D|d.jsonl.zst:2:13=E|",
           (fl_corpus_counts){.files = 4, .others = 1, .documents = 5, .bytes = 5});
}

/* More than one step of the stream on both sides, and frames that end on the edge of a step. */
static void test_zstandard(void **state)
{
    static const size_t sizes[] = {1, (1 << 17) - 1, 1 << 17, (1 << 17) + 1, 1000003};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *text = malloc(sizes[i] + 1);
        assert_non_null(text);
        uint32_t x = 1;
        for (size_t j = 0; j < sizes[i]; j++)
            text[j] = (char)(' ' + (x = x * 1664525 + 1013904223) % 90);
        text[sizes[i]] = 0;
        const char *path[] = {put_zst(state, "z.txt.zst", text, sizes[i], 0)};
        fl_corpus_options o = FL_CORPUS_OPTIONS_INIT;
        o.path = path;
        o.paths = 1;
        fl_corpus *c;
        fl_corpus_document d;
        assert_ok(fl_corpus_open(&c, &o));
        assert_ok(fl_corpus_next(c, &d));
        assert_int_equal(d.size, sizes[i]);
        assert_memory_equal(d.text, text, sizes[i]);
        assert_ok(fl_corpus_next(c, &d));
        assert_null(d.file);
        fl_corpus_close(c);
        free(text);
    }
}

/* Bytes of the heap; sanitizers, which have a heap of their own, tell 0. */
static size_t in_use(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* 64 MiB of lines pass through with room for one of them. */
static void test_bounded(void **state)
{
    enum { LINE = 1 << 12, LINES = 1 << 14 };
    char *text = malloc((size_t)LINE * LINES);
    assert_non_null(text);
    memset(text, 'x', (size_t)LINE * LINES);
    for (size_t i = 0; i < LINES; i++) {
        memcpy(text + i * LINE, "{\"text\":\"", 9);
        memcpy(text + (i + 1) * LINE - 3, "\"}\n", 3);
    }
    const char *path[] = {put_zst(state, "large.jsonl.zst", text, (size_t)LINE * LINES, 0)};
    free(text);
    fl_corpus_options o = FL_CORPUS_OPTIONS_INIT;
    o.path = path;
    o.paths = 1;
    o.document_bytes = LINE;
    fl_corpus *c;
    fl_corpus_document d;
    int64_t n = 0;
    size_t largest = 0, before = in_use();
    assert_ok(fl_corpus_open(&c, &o));
    while (fl_corpus_next(c, &d) == FL_OK && d.file) {
        n += d.size == LINE - 12;
        largest = in_use() > largest ? in_use() : largest;
    }
    fl_corpus_close(c);
    assert_int_equal(n, LINES);
    assert_true(largest < before + ((size_t)8 << 20)); /* the decompressor's window is 2 MiB */
}

static void test_refused(void **state)
{
    static const struct {
        const char *name, *text;
        size_t size; /* 0: strlen */
        const char *said;
    } list[] = {
        {"empty.txt", "", 0, "holds no document"},
        {"blank.jsonl", "\n \n", 0, "holds no document"},
        {"bytes.txt", "one\ntw\xFFo", 0, "line 2, offset 6: byte 0xff is not UTF-8"},
        {"cut.txt", "abc\xE2\x82", 0, "line 1, offset 3: byte 0xe2 is not UTF-8"},
        {"nul.txt", "a\nb\0c", 5, "line 2, offset 3: byte 0x00 in a text"},
        {"nul.jsonl", "{\"text\":\"a\"}\n{\"text\":\"\0\"}\n", 26, "line 2, offset 22: byte 0x00"},
        {"escaped.jsonl", "{\"text\":\"a\"}\n{\"text\":\"\\u0000\"}\n", 0, "line 2, column"},
        {"half.jsonl", "{\"text\":\"a\"}\n{\"text\":\"a\n", 0, "line 2, column"},
        {"list.jsonl", "{\"text\":\"a\"}\n[1]\n", 0, "line 2: not a JSON object"},
        {"twice.jsonl", "{\"text\":\"a\",\"text\":\"b\"}\n", 0, "line 1, column"},
        {"other.jsonl", "{\"text\":\"a\"}\n{\"body\":\"b\",\"id\":1}\n", 0,
         "line 2, offset 13: has no string 'text', the text field; fields there: body, id"},
        {"number.jsonl", "{\"text\":5}\n", 0, "line 1, offset 0: has no string 'text'"},
        {"plain.txt.zst", "not compressed", 0, "offset 0: is not Zstandard data"},
        {"nothing.txt.zst", "", 0, "offset 0: is not Zstandard data"},
        {"long.jsonl", "{\"text\":\"a\"}\n{\"text\":\"0123456789012345678901234567890123456789\"}\n", 0,
         "line 2, offset 13: a line of more than 40 bytes"},
        {"long.txt", "0123456789012345678901234567890123456789 and more", 0,
         "line 1, offset 0: a document of more than 40 bytes; split the file or name a separator"},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        const char *path[] = {in(*state, list[i].name)};
        put_bytes(path[0], list[i].text, list[i].size ? list[i].size : strlen(list[i].text));
        fl_corpus_options o = FL_CORPUS_OPTIONS_INIT;
        o.path = path;
        o.paths = 1;
        o.document_bytes = 40;
        fl_buffer got = {0};
        assert_refused(list[i].name, read_all(&o, &got, NULL), FL_ERR_FORMAT, path[0], list[i].said);
        fl_buffer_free(&got);
    }
}

static void test_damaged(void **state)
{
    char text[20000];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)('a' + i * i % 23);
    fl_corpus_options o = FL_CORPUS_OPTIONS_INIT;
    fl_buffer got = {0};
    const char *path[] = {put_zst(state, "cut.txt.zst", text, sizeof text, 1)};
    o.path = path;
    o.paths = 1;
    assert_refused("cut", read_all(&o, &got, NULL), FL_ERR_FORMAT, path[0], "ends inside a Zstandard frame");

    path[0] = put_zst(state, "flipped.txt.zst", text, sizeof text, 0);
    fl_buffer packed = content(path[0]);
    memset(packed.data + packed.size / 2, 0xFF, 8);
    put_bytes(path[0], packed.data, packed.size);
    assert_refused("flipped", read_all(&o, &got, NULL), FL_ERR_FORMAT, path[0], "offset");

    path[0] = put_zst(state, "trailing.txt.zst", text, sizeof text, 0);
    fl_buffer_free(&packed);
    packed = content(path[0]);
    fl_buffer_text(&packed, "garbage after the frame");
    put_bytes(path[0], packed.data, packed.size);
    assert_refused("trailing", read_all(&o, &got, NULL), FL_ERR_FORMAT, path[0], "offset");
    fl_buffer_free(&packed);

    path[0] = in(*state, "absent.txt");
    assert_refused("absent", read_all(&o, &got, NULL), FL_ERR_IO, path[0], "cannot open");
    assert_int_equal(mkdir(in(*state, "hollow"), 0777), 0);
    path[0] = in(*state, "hollow");
    assert_refused("hollow", read_all(&o, &got, NULL), FL_ERR_ARGUMENT, path[0], "holds no .txt");
    fl_buffer_free(&got);
}

static void test_skip_bad(void **state)
{
    const char *path[] = {
        put(state, "mixed.jsonl", "{\"text\":\"a\"}\n{\"text\":\n{\"t\":1}\n{\"text\":\"\xFF\"}\n{\"text\":\"b\"}\n")};
    fl_corpus_options o = FL_CORPUS_OPTIONS_INIT;
    o.path = path;
    o.paths = 1;
    o.skip_bad = true;
    expect(&o, "mixed.jsonl:1:0=a|mixed.jsonl:5:43=b|",
           (fl_corpus_counts){.files = 1, .documents = 2, .bytes = 2, .bad = 3});
    fl_corpus *c;
    fl_corpus_document d;
    assert_ok(fl_corpus_open(&c, &o));
    assert_ok(fl_corpus_next(c, &d));
    assert_string_equal(fl_corpus_first_bad(c), "");
    assert_ok(fl_corpus_next(c, &d));
    assert_non_null(strstr(fl_corpus_first_bad(c), "line 2"));
    fl_corpus_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),    cmocka_unit_test(test_separator), cmocka_unit_test(test_lines),
        cmocka_unit_test(test_folder),  cmocka_unit_test(test_zstandard), cmocka_unit_test(test_bounded),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_damaged),   cmocka_unit_test(test_skip_bad),
    };
    return cmocka_run_group_tests(tests, files_make, files_drop);
}
