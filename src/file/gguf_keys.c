/* Key-values in the form of the file. */
#include <string.h>

#include "file/gguf_bytes.h"
#include "file/gguf_write.h"

static void put(fl_gguf_keys *k, uint64_t value, int bytes)
{
    fl_put_le(&k->bytes, value, bytes);
}

static void put_text(fl_gguf_keys *k, const char *text, size_t length)
{
    put(k, length, 8);
    fl_buffer_append(&k->bytes, text, length);
}

static void put_key(fl_gguf_keys *k, const char *key, fl_gguf_type type)
{
    put_text(k, key, strlen(key));
    put(k, type, 4);
    k->count++;
}

static void put_array(fl_gguf_keys *k, const char *key, fl_gguf_type type, uint64_t count)
{
    put_key(k, key, FL_GGUF_ARRAY);
    put(k, type, 4);
    put(k, count, 8);
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

void fl_gguf_put_u32(fl_gguf_keys *k, const char *key, uint32_t value)
{
    put_key(k, key, FL_GGUF_U32);
    put(k, value, 4);
}

void fl_gguf_put_f32(fl_gguf_keys *k, const char *key, double value)
{
    put_key(k, key, FL_GGUF_F32);
    put(k, bits_of((float)value), 4);
}

void fl_gguf_put_bool(fl_gguf_keys *k, const char *key, bool value)
{
    put_key(k, key, FL_GGUF_BOOL);
    put(k, value, 1);
}

void fl_gguf_put_string(fl_gguf_keys *k, const char *key, const char *value)
{
    put_key(k, key, FL_GGUF_STRING);
    put_text(k, value, strlen(value));
}

void fl_gguf_put_strings(fl_gguf_keys *k, const char *key, const fl_gguf_text *value, int64_t count)
{
    put_array(k, key, FL_GGUF_STRING, (uint64_t)count);
    for (int64_t i = 0; i < count; i++)
        put_text(k, value[i].bytes, value[i].length);
}

void fl_gguf_put_floats(fl_gguf_keys *k, const char *key, const float *value, int64_t count)
{
    put_array(k, key, FL_GGUF_F32, (uint64_t)count);
    for (int64_t i = 0; i < count; i++)
        put(k, bits_of(value[i]), 4);
}

void fl_gguf_put_ints(fl_gguf_keys *k, const char *key, const int32_t *value, int64_t count)
{
    put_array(k, key, FL_GGUF_I32, (uint64_t)count);
    for (int64_t i = 0; i < count; i++)
        put(k, (uint32_t)value[i], 4);
}

void fl_gguf_put_value(fl_gguf_keys *k, const fl_gguf_value *value)
{
    if (value->array)
        put_array(k, value->key, value->type, value->count);
    else
        put_key(k, value->key, value->type);
    fl_buffer_append(&k->bytes, value->data, (size_t)(value->end - value->data));
}

void fl_gguf_put_header(fl_buffer *b, const fl_gguf_keys *k, int64_t tensors)
{
    fl_buffer_append(b, "GGUF", 4);
    fl_put_le(b, 3, 4);
    fl_put_le(b, (uint64_t)tensors, 8);
    fl_put_le(b, (uint64_t)k->count, 8);
    if (k->bytes.size) fl_buffer_append(b, k->bytes.data, k->bytes.size);
}

void fl_gguf_keys_free(fl_gguf_keys *k)
{
    fl_buffer_free(&k->bytes);
    k->count = 0;
}
