/* Models from format to format: the same bits, and the tokenizer, chat template and special ids that belong to them. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/file.h"
#include "file/checkpoint.h"
#include "furlong.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

#define STORIES FL_SOURCE_DIR "/models/stories260K/"

static char scratch[] = "/tmp/furlong-convert-XXXXXX";
static char paths[8][160];

static const char *at(int i, const char *name)
{
    snprintf(paths[i], sizeof paths[i], "%s/%s", scratch, name);
    return paths[i];
}

static int make_scratch(void **state)
{
    (void)state;
    return mkdtemp(scratch) ? 0 : -1;
}

static void remove_folder(const char *folder)
{
    DIR *listing = opendir(folder);
    assert_non_null(listing);
    for (struct dirent *entry; (entry = readdir(listing));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        char *path = fl_path_join(folder, entry->d_name);
        assert_non_null(path);
        if (fl_file_is_folder(path))
            remove_folder(path);
        else
            unlink(path);
        fl_free(path);
    }
    closedir(listing);
    rmdir(folder);
}

static int remove_scratch(void **state)
{
    (void)state;
    remove_folder(scratch);
    return 0;
}

static void convert(const char *from, const char *to, const char *type)
{
    fl_convert_options o = FL_CONVERT_OPTIONS_INIT;
    o.type = type;
    if (fl_convert(from, to, &o) != FL_OK) fail_msg("%s", fl_error_message());
}

static fl_checkpoint *open_model(const char *path)
{
    fl_checkpoint *c = NULL;
    if (fl_checkpoint_open(&c, path) != FL_OK) fail_msg("%s", fl_error_message());
    return c;
}

/* Same names, shapes and bits; both F32 with rows in the same order. */
static void same_tensors(const char *first, const char *second)
{
    fl_checkpoint *a = open_model(first), *b = open_model(second);
    assert_int_equal(fl_checkpoint_count(a), fl_checkpoint_count(b));
    assert_int_equal(fl_checkpoint_config(a)->rope_interleaved, fl_checkpoint_config(b)->rope_interleaved);
    for (int64_t i = 0; i < fl_checkpoint_count(a); i++) {
        const fl_file_tensor *x = fl_checkpoint_at(a, i), *y = fl_checkpoint_find(b, x->name);
        size_t bytes, others;
        assert_non_null(y);
        assert_int_equal(x->type, y->type);
        assert_int_equal(fl_file_tensor_bytes(x, &bytes), FL_OK);
        assert_int_equal(fl_file_tensor_bytes(y, &others), FL_OK);
        assert_int_equal(bytes, others);
        assert_memory_equal(x->data, y->data, bytes);
    }
    fl_checkpoint_close(a);
    fl_checkpoint_close(b);
}

static void same_file(const char *first, const char *second)
{
    fl_buffer a = {0}, b = {0};
    assert_int_equal(fl_file_read(&a, first, 1 << 24), FL_OK);
    assert_int_equal(fl_file_read(&b, second, 1 << 24), FL_OK);
    assert_int_equal(a.size, b.size);
    assert_memory_equal(a.data, b.data, a.size);
    fl_buffer_free(&a);
    fl_buffer_free(&b);
}

/* llama2.c to GGUF to a folder and back, and the other way round. */
static void test_circle(void **state)
{
    (void)state;
    const char *gguf = at(0, "a.gguf"), *hf = at(1, "hf"), *folder = at(2, "llama2c"), *bin = at(3, "llama2c/b.bin");
    assert_int_equal(fl_folder_make(folder), FL_OK);
    convert(STORIES "stories260K.bin", gguf, NULL);
    convert(gguf, hf, NULL);
    convert(hf, bin, NULL);
    same_tensors(STORIES "stories260K.bin", bin);
    same_file(STORIES "tok512.bin", at(4, "llama2c/tokenizer.bin"));
    convert(bin, at(5, "hf2"), NULL);
    same_tensors(hf, at(5, "hf2"));
    convert(at(5, "hf2"), at(6, "b.gguf"), NULL);
    same_tensors(gguf, at(6, "b.gguf"));
    convert(gguf, bin, NULL); /* over itself, tokenizer.bin included */
    same_tensors(STORIES "stories260K.bin", bin);
    fl_checkpoint *c = open_model(at(6, "b.gguf"));
    assert_int_equal(fl_checkpoint_config(c)->bos, 1);
    assert_int_equal(fl_checkpoint_config(c)->eos_count, 2);
    assert_int_equal(fl_checkpoint_config(c)->eos[0], 2);
    assert_int_equal(fl_checkpoint_config(c)->eos[1], 1);
    fl_checkpoint_close(c);
}

/* The families whose tensors lie otherwise in GGUF. */
static void test_families(void **state)
{
    (void)state;
    static const char *const families[] = {"gpt2", "gpt_neox", "llama", "mistral", "phi3", "qwen2", "qwen3"};
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        char from[256];
        snprintf(from, sizeof from, FL_TEST_DATA "/tiny/%s", families[i]);
        convert(from, at(0, "f.gguf"), "f32");
        convert(at(0, "f.gguf"), at(1, "f"), "f32");
        convert(at(1, "f"), at(2, "f2.gguf"), "f32");
        same_tensors(at(0, "f.gguf"), at(2, "f2.gguf"));
        same_tensors(from, at(1, "f"));
    }
}

static void write_text(const char *path, const char *text)
{
    fl_writer w;
    assert_int_equal(fl_writer_open(&w, path), FL_OK);
    fl_writer_write(&w, text, strlen(text));
    assert_int_equal(fl_writer_finish(&w), FL_OK);
}

static void expect_template(const char *model, const char *text)
{
    fl_buffer b = {0};
    fl_checkpoint *c = open_model(model);
    assert_int_equal(fl_chat_template_find(&b, c), FL_OK);
    assert_string_equal(b.data ? b.data : "", text);
    fl_buffer_free(&b);
    fl_checkpoint_close(c);
}

static void test_chat_template(void **state)
{
    (void)state;
    const char *hf = at(0, "chat"), *config = at(1, "chat/tokenizer_config.json");
    convert(STORIES "stories260K.bin", hf, NULL);
    expect_template(hf, "");
    write_text(config, "{\"chat_template\": \"<|im_start|>\\n\\u00e9\"}");
    convert(hf, at(2, "chat.gguf"), NULL);
    expect_template(at(2, "chat.gguf"), "<|im_start|>\n\xC3\xA9");
    convert(at(2, "chat.gguf"), at(3, "chat2"), NULL);
    expect_template(at(3, "chat2"), "<|im_start|>\n\xC3\xA9");
    write_text(config, "{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"x\"}, "
                       "{\"name\": \"default\", \"template\": \"y\"}]}");
    expect_template(hf, "y");
    write_text(at(4, "chat/chat_template.jinja"), "z");
    expect_template(hf, "z");
}

static void test_types(void **state)
{
    (void)state;
    static const struct {
        const char *type;
        fl_dtype stored;
    } types[] = {{"f32", FL_F32}, {"f16", FL_F16}, {"bf16", FL_BF16}, {"q8_0", FL_Q8_0}, {"q4_0", FL_Q4_0}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        convert(STORIES "stories260K.bin", at(0, "t.gguf"), types[i].type);
        fl_checkpoint *c = open_model(at(0, "t.gguf"));
        const fl_file_tensor *q = fl_checkpoint_find(c, "model.layers.0.self_attn.q_proj.weight");
        assert_int_equal(q->type, types[i].stored);
        fl_checkpoint_close(c);
    }
    /* Without a type what is stored stays. */
    convert(STORIES "stories260K.bin", at(0, "t.gguf"), "q8_0");
    convert(at(0, "t.gguf"), at(1, "t2.gguf"), NULL);
    same_tensors(at(0, "t.gguf"), at(1, "t2.gguf"));
}

static void refuses(const char *from, const char *to, fl_convert_options o, fl_status expected, const char *part)
{
    assert_int_equal(fl_convert(from, to, &o), expected);
    if (!strstr(fl_error_message(), part)) fail_msg("\"%s\" lacks \"%s\"", fl_error_message(), part);
}

static void test_refused(void **state)
{
    (void)state;
    const fl_convert_options o = FL_CONVERT_OPTIONS_INIT;
    fl_convert_options p = o;
    p.format = "onnx";
    refuses(STORIES "stories260K.bin", at(0, "x"), p, FL_ERR_ARGUMENT, "--format onnx");
    p = o;
    p.type = "q8_0";
    refuses(STORIES "stories260K.bin", at(0, "x"), p, FL_ERR_ARGUMENT, "--type q8_0: hf is written as");
    p.type = "int4";
    refuses(STORIES "stories260K.bin", at(0, "x.gguf"), p, FL_ERR_ARGUMENT, "--type int4");
    refuses(at(1, "nothing"), at(0, "x.gguf"), o, FL_ERR_IO, "nothing");
    refuses(FL_TEST_DATA "/tiny/gpt2", at(0, "x.bin"), o, FL_ERR_UNSUPPORTED, "family = gpt2");
    /* A tokenizer that does not fit is named; without it the model is written. */
    p = o;
    p.tokenizer = FL_TEST_DATA "/tokenizers/mistral.model";
    refuses(STORIES "stories260K.bin", at(0, "x.gguf"), p, FL_ERR_SHAPE, "32000 pieces, but the model has 512");
    write_text(at(2, "tokenizer.bin"), "another");
    refuses(STORIES "stories260K.bin", at(0, "x.bin"), o, FL_ERR_ARGUMENT, "--no-tokenizer");
    p = o;
    p.no_tokenizer = true;
    assert_int_equal(fl_convert(STORIES "stories260K.bin", at(0, "x.bin"), &p), FL_OK);
    assert_int_equal(fl_convert(STORIES "stories260K.bin", at(0, "x.gguf"), &p), FL_OK);
    assert_int_equal(fl_convert(STORIES "stories260K.bin", at(0, "x"), &p), FL_OK);
    assert_false(fl_file_exists(at(3, "x/tokenizer.model")));
    fl_checkpoint *c = open_model(at(4, "x.gguf"));
    assert_null(fl_gguf_find(fl_checkpoint_gguf(c), "tokenizer.ggml.tokens"));
    fl_checkpoint_close(c);
    p = o;
    p.size = 1;
    refuses(STORIES "stories260K.bin", at(0, "x"), p, FL_ERR_ARGUMENT, "FL_CONVERT_OPTIONS_INIT");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_circle), cmocka_unit_test(test_families), cmocka_unit_test(test_chat_template),
        cmocka_unit_test(test_types),  cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
