#include <string.h>

#include "base/alloc.h"
#include "file/gguf_model.h"
#include "fuzz.h"

/* Every element of every key-value, by each of the readers: those of another kind give something harmless. */
static void touch_values(const fl_gguf *g)
{
    for (int64_t i = 0; i < fl_gguf_key_count(g); i++) {
        const fl_gguf_value *v = fl_gguf_at(g, i);
        int64_t integer;
        double real;
        bool truth;
        fl_gguf_text text;
        const fl_gguf_value *array;
        FUZZ_PROMISE(fl_gguf_find(g, v->key) == v);
        fuzz_touch(v->data, (size_t)(v->end - v->data));
        for (uint64_t k = 0; k < v->count; k++) {
            text = fl_gguf_text_at(v, k);
            fuzz_touch(text.bytes, text.length);
            integer = fl_gguf_integer_at(v, k);
            real = fl_gguf_real_at(v, k);
        }
        int fits = (fl_gguf_integer(g, v->key, INT64_MIN, INT64_MAX, &integer) == FL_OK) +
                   (fl_gguf_bool(g, v->key, &truth) == FL_OK) + (fl_gguf_string(g, v->key, &text) == FL_OK) +
                   (fl_gguf_strings(g, v->key, &array) == FL_OK) + (fl_gguf_integers(g, v->key, &array) == FL_OK) +
                   (fl_gguf_reals(g, v->key, &array) == FL_OK) + (fl_gguf_real(g, v->key, &real) == FL_OK);
        FUZZ_PROMISE(fits <= 1);
    }
}

static void touch_tensors(const fl_gguf *g, size_t size)
{
    size_t total = 0;
    for (int64_t i = 0; i < fl_gguf_count(g); i++) {
        const fl_file_tensor *t = fl_gguf_tensor_at(g, i);
        size_t bytes = 0;
        FUZZ_PROMISE(fl_file_tensor_bytes(t, &bytes) == FL_OK);
        FUZZ_PROMISE(fl_gguf_tensor(g, t->name) == t);
        fuzz_touch(t->data, bytes);
        total += bytes;
    }
    FUZZ_PROMISE(total < size); /* no overlaps */
}

static void touch_model(const void *bytes, size_t size)
{
    fl_gguf_model m;
    if (fl_gguf_model_parse(&m, "input", bytes, size) != FL_OK) return;
    for (int64_t i = 0; i < m.count; i++) {
        size_t n = 0;
        FUZZ_PROMISE(fl_file_tensor_bytes(&m.tensor[i], &n) == FL_OK);
        fuzz_touch(m.tensor[i].data, n);
    }
    double freq[FL_ROPE_MAX_PAIRS], magnitude;
    if (m.config.rotary) FUZZ_PROMISE(fl_rope_frequencies(&m.config.rope, 1000, freq, &magnitude) == FL_OK);
    fl_gguf_model_close(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    void *bytes = fl_calloc(size, 1); /* aligned, which the fuzzer's own buffer need not be */
    if (!bytes) return 0;
    memcpy(bytes, data, size);
    fl_gguf *g;
    if (fl_gguf_parse(&g, "input", bytes, size) == FL_OK) {
        touch_values(g);
        touch_tensors(g, size);
        fl_gguf_close(g);
    }
    touch_model(bytes, size);
    fl_free(bytes);
    return 0;
}
