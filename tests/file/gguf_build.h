/* GGUF files spelled out as text, so that a table can hold many wrong ones. Words of the text:
 *
 *   N:VALUE          integer of N bytes, little-endian          s:TEXT    length (8 bytes) and text
 *   raw:TEXT         text alone                                 zero:N    N zero bytes          pad  zeros up to 32
 *   u:KEY=VALUE  i:KEY=VALUE  f:KEY=VALUE  b:KEY=VALUE  t:KEY=TEXT   a whole key-value: uint32, int32, float32, bool,
 *                                                                    string
 *   T:NAME=D0xD1     in build_model: an F32 tensor of ones, fastest dimension first; NAME=D0/FILL: of FILL
 */
#ifndef TESTS_FILE_GGUF_BUILD_H
#define TESTS_FILE_GGUF_BUILD_H

#include "file/gguf_write.h"
#include "files.h"

#define BUILD_WORD 600

static inline void build_le(fl_buffer *b, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) {
        uint8_t byte = (uint8_t)(value >> (8 * i));
        fl_buffer_append(b, &byte, 1);
    }
}

static inline void build_string(fl_buffer *b, const char *text, size_t length)
{
    build_le(b, length, 8);
    fl_buffer_append(b, text, length);
}

static inline void build_f32(fl_buffer *b, const char *text)
{
    float value = strtof(text, NULL);
    fl_buffer_append(b, &value, sizeof value); /* tests run on little-endian machines */
}

static inline void build_pad(fl_buffer *b)
{
    while (b->size % 32)
        build_le(b, 0, 1);
}

static inline void build_word(fl_buffer *b, const char *word)
{
    const char *after = strchr(word, ':');
    if (!strcmp(word, "pad")) {
        build_pad(b);
        return;
    }
    if (!after) fail_msg("%s is no word of the text", word);
    after++;
    if (word[0] >= '1' && word[0] <= '8') {
        build_le(b, strtoull(after, NULL, 0), word[0] - '0');
        return;
    }
    if (!strncmp(word, "raw:", 4)) {
        fl_buffer_append(b, after, strlen(after));
        return;
    }
    if (!strncmp(word, "zero:", 5)) {
        for (long n = strtol(after, NULL, 0); n > 0; n--)
            build_le(b, 0, 1);
        return;
    }
    if (word[0] == 's') {
        build_string(b, after, strlen(after));
        return;
    }
    const char *value = strchr(after, '=');
    if (!value) fail_msg("%s is no word of the text", word);
    build_string(b, after, (size_t)(value - after));
    value++;
    switch (word[0]) {
    case 'u':
        build_le(b, 4, 4);
        build_le(b, strtoull(value, NULL, 0), 4);
        break;
    case 'i':
        build_le(b, 5, 4);
        build_le(b, (uint64_t)strtoll(value, NULL, 0), 4);
        break;
    case 'f':
        build_le(b, 6, 4);
        build_f32(b, value);
        break;
    case 'b':
        build_le(b, 7, 4);
        build_le(b, strtoull(value, NULL, 0), 1);
        break;
    case 't':
        build_le(b, 8, 4);
        build_string(b, value, strlen(value));
        break;
    default:
        fail_msg("%s is no word of the text", word);
    }
}

/* The next word of *text (words end at spaces), false at its end. */
static inline bool build_next(const char **text, char word[BUILD_WORD])
{
    *text += strspn(*text, " ");
    size_t n = strcspn(*text, " ");
    if (n == 0) return false;
    assert_true(n < BUILD_WORD);
    memcpy(word, *text, n);
    word[n] = 0;
    *text += n;
    return true;
}

static inline void build_append(fl_buffer *b, const char *text)
{
    char word[BUILD_WORD];
    while (build_next(&text, word))
        build_word(b, word);
}

/* Bytes at an address that malloc gives, 8-byte aligned and exactly as long as they are, so that readers that go too
 * far are found. free */
static inline void *build_exact(const fl_buffer *b)
{
    void *copy = malloc(b->size ? b->size : 1);
    assert_non_null(copy);
    if (b->size) memcpy(copy, b->data, b->size);
    return copy;
}

/* Of a file that was parsed from `bytes` as g: the same with key i of another type: text for what is a number, a number
 * for what is text, and in lists likewise. A filler makes up for the length, so that the rest keeps its alignment. */
static inline void build_wrong_type(fl_buffer *b, const fl_gguf *g, const void *bytes, size_t size, int64_t i)
{
    static const char filler[] = "0123456789abcdef0123456789abcdef";
    int64_t count = fl_gguf_key_count(g);
    const uint8_t *rest = fl_gguf_at(g, count - 1)->end;
    size_t before = (size_t)(rest - (const uint8_t *)bytes);
    fl_gguf_keys keys = {0};
    for (int64_t k = 0; k < count; k++) {
        const fl_gguf_value *v = fl_gguf_at(g, k);
        bool text = v->type == FL_GGUF_STRING;
        if (k != i)
            fl_gguf_put_value(&keys, v);
        else if (v->array && text)
            fl_gguf_put_ints(&keys, v->key, &(int32_t){7}, 1);
        else if (v->array)
            fl_gguf_put_strings(&keys, v->key, &(fl_gguf_text){"wrong", 5}, 1);
        else if (text)
            fl_gguf_put_u32(&keys, v->key, 7);
        else
            fl_gguf_put_string(&keys, v->key, "wrong");
    }
    size_t now = 24 + keys.bytes.size + 8 + strlen("filler") + 4 + 8, short_of = (before % 32 + 32 - now % 32) % 32;
    fl_gguf_put_string(&keys, "filler", filler + 32 - short_of);
    fl_gguf_put_header(b, &keys, fl_gguf_count(g));
    fl_gguf_keys_free(&keys);
    assert_int_equal((b->size - before) % 32, 0);
    fl_buffer_append(b, rest, size - before);
}

/* ---- a whole model ------------------------------------------------------------------------------------------- */

/* keys: words that are whole key-values, or "+ words" (ended by ";") that together are one; tensors: T: words. */
static inline void build_model(fl_buffer *b, const char *keys, const char *tensors)
{
    fl_buffer pairs = {0}, infos = {0}, data = {0};
    char word[BUILD_WORD];
    uint64_t key_count = 0, tensor_count = 0;
    for (bool inside = false; build_next(&keys, word);) {
        if (!strcmp(word, ";")) {
            inside = false;
        } else if (!strcmp(word, "+")) {
            inside = true;
            key_count++;
        } else {
            key_count += !inside;
            build_word(&pairs, word);
        }
    }
    while (build_next(&tensors, word)) {
        char *dim = strchr(word, '='), *fill = strchr(word, '/');
        assert_true(!strncmp(word, "T:", 2) && dim);
        build_string(&infos, word + 2, (size_t)(dim - word - 2));
        char *second = strchr(dim, 'x');
        uint64_t d0 = strtoull(dim + 1, NULL, 0), d1 = second ? strtoull(second + 1, NULL, 0) : 1;
        build_le(&infos, second ? 2 : 1, 4);
        build_le(&infos, d0, 8);
        if (second) build_le(&infos, d1, 8);
        build_le(&infos, 0, 4);
        build_le(&infos, data.size, 8);
        for (uint64_t i = 0; i < d0 * d1; i++)
            build_f32(&data, fill ? fill + 1 : "1");
        build_pad(&data);
        tensor_count++;
    }
    build_append(b, "raw:GGUF 4:3");
    build_le(b, tensor_count, 8);
    build_le(b, key_count, 8);
    if (pairs.size) fl_buffer_append(b, pairs.data, pairs.size);
    if (infos.size) fl_buffer_append(b, infos.data, infos.size);
    build_pad(b);
    if (data.size) fl_buffer_append(b, data.data, data.size);
    fl_buffer_free(&pairs);
    fl_buffer_free(&infos);
    fl_buffer_free(&data);
}

#endif
