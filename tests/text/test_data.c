/* Token ids of a corpus: marks around documents, the same ids from memory and from the cache, what makes a new cache
 * file, and cache files that were damaged. The tokenizer is that of stories260K. */
#include <dirent.h>

#include "base/alloc.h"
#include "file/files.h"
#include "text/data.h"
#include "text/tokenizer.h"

#define TOK512 FL_SOURCE_DIR "/models/stories260K/tok512.bin"
#define SENTENCEPIECE FL_TEST_DATA "/tokenizers/sentencepiece.model"

static fl_tokenizer *tokenizer;

static int open_all(void **state)
{
    return fl_tokenizer_open(&tokenizer, TOK512) != FL_OK || files_make(state);
}

static int close_all(void **state)
{
    fl_tokenizer_close(tokenizer);
    return files_drop(state);
}

static fl_data_options options_of(const char *const *path, int paths)
{
    fl_data_options o = FL_DATA_OPTIONS_INIT;
    o.path = path;
    o.paths = paths;
    return o;
}

static fl_data *open_data(const fl_data_options *o)
{
    fl_data *d = NULL;
    assert_ok(fl_data_open(&d, tokenizer, o));
    return d;
}

/* Document i of d is `before`, the ids of text, `after`; -1: none. */
static void check_document(const fl_data *d, int64_t i, const char *text, int32_t before, int32_t after)
{
    fl_tokens expected = {0};
    if (before >= 0) assert_ok(fl_tokens_push(&expected, before));
    assert_ok(fl_tokenizer_encode(tokenizer, text, strlen(text), false, false, &expected));
    if (after >= 0) assert_ok(fl_tokens_push(&expected, after));
    int64_t count = d->begin[i + 1] - d->begin[i];
    assert_int_equal(count, expected.count);
    int32_t *got = calloc((size_t)count, sizeof *got);
    assert_non_null(got);
    fl_data_copy(d, d->begin[i], count, got);
    assert_memory_equal(got, expected.id, (size_t)count * sizeof *got);
    free(got);
    fl_tokens_free(&expected);
}

static void test_marks(void **state)
{
    const char *path[] = {in(*state, "a.txt"), in(*state, "b.jsonl")};
    put_text(path[0], "Once upon a time");
    put_text(path[1], "{\"text\":\"there was\"}\n{\"text\":\"\"}\n{\"text\":\"a cat.\"}\n");
    static const struct {
        fl_mark bos, eos;
        int32_t before, after;
    } list[] = {{FL_MARK_AUTO, FL_MARK_AUTO, 1, -1}, /* llama2.c: BOS 1 before a text, nothing after it */
                {FL_MARK_OFF, FL_MARK_ON, -1, 2},
                {FL_MARK_ON, FL_MARK_OFF, 1, -1},
                {FL_MARK_OFF, FL_MARK_OFF, -1, -1}};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        fl_data_options o = options_of(path, 2);
        o.bos = list[i].bos;
        o.eos = list[i].eos;
        fl_data *d = open_data(&o);
        assert_int_equal(d->info.documents, 3);
        assert_int_equal(d->info.files, 2);
        assert_int_equal(d->info.empty, 1);
        assert_int_equal(d->info.bytes, 16 + 9 + 6);
        assert_int_equal(d->id_bytes, 2);
        check_document(d, 0, "Once upon a time", list[i].before, list[i].after);
        check_document(d, 1, "there was", list[i].before, list[i].after);
        check_document(d, 2, "a cat.", list[i].before, list[i].after);
        for (int64_t at = 0; at < d->info.tokens; at++) {
            int64_t document = fl_data_document_of(d, at);
            assert_true(d->begin[document] <= at && at < d->begin[document + 1]);
        }
        fl_data_close(d);
    }
}

static int files_in(const char *folder)
{
    int n = 0;
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static const char *only_file(const char *folder)
{
    const char *path = NULL;
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.') path = in(folder, e->d_name);
    closedir(d);
    return path;
}

static void assert_same(const fl_data *a, const fl_data *b)
{
    assert_int_equal(a->info.tokens, b->info.tokens);
    assert_int_equal(a->info.documents, b->info.documents);
    assert_int_equal(a->info.bytes, b->info.bytes);
    assert_int_equal(a->info.checksum, b->info.checksum);
    assert_int_equal(a->id_bytes, b->id_bytes);
    assert_memory_equal(a->ids, b->ids, (size_t)(a->info.tokens * a->id_bytes));
    assert_memory_equal(a->begin, b->begin, (size_t)(a->info.documents + 1) * sizeof *a->begin);
}

static void test_cache(void **state)
{
    const char *path[] = {FL_TEST_DATA "/text/stories.txt"};
    const char *folder = in(*state, "cache/deep");
    fl_data_options o = options_of(path, 1);
    o.separator = "";
    fl_data *memory = open_data(&o);
    assert_true(memory->info.documents > 10);
    o.cache = folder;
    fl_data *made = open_data(&o), *found = open_data(&o);
    assert_false(made->info.cached);
    assert_true(found->info.cached);
    assert_same(memory, made);
    assert_same(memory, found);
    assert_int_equal(files_in(folder), 1);
    fl_data_close(memory);
    fl_data_close(made);
    fl_data_close(found);

    /* Anything that changes the ids makes another file; a copy of the text under another name does not. */
    fl_buffer text = content(path[0]);
    const char *copy[] = {in(*state, "copy.txt")};
    put_bytes(copy[0], text.data, text.size);
    o.path = copy;
    found = open_data(&o);
    assert_true(found->info.cached);
    fl_data_close(found);
    o.separator = NULL;
    fl_data_close(open_data(&o));
    o.eos = FL_MARK_ON;
    fl_data_close(open_data(&o));
    text.data[5] ^= 1;
    put_bytes(copy[0], text.data, text.size);
    fl_data_close(open_data(&o));
    fl_buffer_free(&text);
    fl_tokenizer *kept = tokenizer;
    assert_ok(fl_tokenizer_open(&tokenizer, SENTENCEPIECE));
    found = open_data(&o);
    assert_false(found->info.cached);
    fl_data_close(found);
    fl_tokenizer_close(tokenizer);
    tokenizer = kept;
    assert_int_equal(files_in(folder), 5);
}

/* Every byte wrong in turn, then the file cut off. */
static void test_damaged(void **state)
{
    const char *path[] = {in(*state, "small.jsonl")};
    put_text(path[0], "{\"text\":\"Once upon a time\"}\n{\"text\":\"there was a cat.\"}\n");
    fl_data_options o = options_of(path, 1);
    o.cache = in(*state, "damaged");
    fl_data_close(open_data(&o));
    const char *file = only_file(o.cache);
    fl_buffer good = content(file);
    for (size_t i = 0; i < good.size; i++) {
        fl_data *d = NULL;
        good.data[i] ^= 0x40;
        put_bytes(file, good.data, good.size);
        fl_status s = fl_data_open(&d, tokenizer, &o);
        if (s == FL_OK) fail_msg("byte %zu of %zu was changed unnoticed", i, good.size);
        assert_refused("changed", s, FL_ERR_FORMAT, file, "remove the file");
        good.data[i] ^= 0x40;
    }
    for (size_t size = 0; size < good.size; size += 7) {
        fl_data *d = NULL;
        put_bytes(file, good.data, size);
        assert_refused("cut off", fl_data_open(&d, tokenizer, &o), FL_ERR_FORMAT, file, "remove the file");
    }
    fl_buffer_free(&good);
}

static int cancel(const char *stage, int64_t done, int64_t total, double left, void *user)
{
    (void)done;
    (void)total;
    (void)left;
    return !strcmp(stage, user);
}

/* A cancelled or failed run leaves no file in the cache. */
static void test_failures(void **state)
{
    const char *path[] = {in(*state, "bad.jsonl")};
    put_text(path[0], "{\"text\":\"fine\"}\n{\"text\":7}\n");
    fl_data *d = NULL;
    fl_data_options o = options_of(path, 1);
    assert_refused("bad", fl_data_open(&d, tokenizer, &o), FL_ERR_FORMAT, path[0], "line 2");
    o.cache = in(*state, "none");
    assert_refused("bad", fl_data_open(&d, tokenizer, &o), FL_ERR_FORMAT, path[0], "line 2");
    assert_int_equal(files_in(o.cache), 0);
    o.progress = cancel;
    o.progress_user = (void *)(uintptr_t) "tokenize";
    put_text(path[0], "{\"text\":\"fine\"}\n{\"text\":\"7\"}\n");
    assert_int_equal(fl_data_open(&d, tokenizer, &o), FL_ERR_CANCELLED);
    assert_int_equal(files_in(o.cache), 0);

    o = options_of(path, 1);
    put_text(path[0], "{\"text\":\"fine\"}\n{\"text\":7}\n");
    o.skip_bad = true;
    d = open_data(&o);
    assert_int_equal(d->info.documents, 1);
    assert_int_equal(d->info.bad, 1);
    assert_non_null(strstr(d->info.first_bad, "line 2"));
    fl_data_close(d);
    o.format = "yaml";
    assert_refused("format", fl_data_open(&d, tokenizer, &o), FL_ERR_ARGUMENT, "yaml", "auto, text or jsonl");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_marks),
        cmocka_unit_test(test_cache),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_failures),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
