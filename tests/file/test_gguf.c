/* The GGUF container and its keys: values of every type, then files that are wrong in one field each. */
#include <math.h>
#include <time.h>

#include "file/gguf.h"
#include "file/gguf_model.h"
#include "gguf_build.h"

/* ---- what is right -------------------------------------------------------------------------------------------- */

static fl_gguf *parsed(fl_buffer *b, void **bytes)
{
    fl_gguf *g = NULL;
    *bytes = build_exact(b);
    assert_ok(fl_gguf_parse(&g, "good.gguf", *bytes, b->size));
    return g;
}

static void test_values(void **state)
{
    (void)state;
    fl_buffer b = {0};
    build_append(&b, "raw:GGUF 4:3 8:0 8:17 "
                     "s:u8 4:0 1:200 s:i8 4:1 1:200 s:u16 4:2 2:65535 s:i16 4:3 2:65535 s:u32 4:4 4:4294967295 "
                     "s:i32 4:5 4:4294967295 s:f32 4:6 4:0x3fc00000 s:bool 4:7 1:1 s:text 4:8 s:words "
                     "s:u64 4:10 8:0xffffffffffffffff s:i64 4:11 8:0xffffffffffffffff s:f64 4:12 8:0x3ff8000000000000 "
                     "s:strings 4:9 4:8 8:3 s:a s: s:bcd s:ints 4:9 4:3 8:2 2:1 2:65535 "
                     "s:reals 4:9 4:6 8:2 4:0x3f800000 4:0xbf800000 s:none 4:9 4:8 8:0 s:nan 4:6 4:0x7fc00000 pad");
    void *bytes;
    fl_gguf *g = parsed(&b, &bytes);
    static const struct {
        const char *key;
        int64_t value;
    } integers[] = {{"u8", 200},         {"i8", -56}, {"u16", 65535},     {"i16", -1},
                    {"u32", 4294967295}, {"i32", -1}, {"u64", INT64_MAX}, {"i64", -1}};
    int64_t integer = 7;
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
        assert_ok(fl_gguf_integer(g, integers[i].key, INT64_MIN, INT64_MAX, &integer));
        assert_true(integer == integers[i].value);
    }
    double real = 0;
    assert_ok(fl_gguf_real(g, "f32", &real));
    assert_true(real == 1.5);
    assert_ok(fl_gguf_real(g, "f64", &real));
    assert_true(real == 1.5);
    bool truth = false;
    assert_ok(fl_gguf_bool(g, "bool", &truth));
    assert_true(truth);
    fl_gguf_text text;
    assert_ok(fl_gguf_string(g, "text", &text));
    assert_true(fl_gguf_text_is(text, "words") && !fl_gguf_text_is(text, "word"));

    const fl_gguf_value *v;
    assert_ok(fl_gguf_strings(g, "strings", &v));
    assert_int_equal(v->count, 3);
    assert_true(fl_gguf_text_is(fl_gguf_text_at(v, 0), "a") && fl_gguf_text_is(fl_gguf_text_at(v, 1), "") &&
                fl_gguf_text_is(fl_gguf_text_at(v, 2), "bcd"));
    assert_ok(fl_gguf_integers(g, "ints", &v));
    assert_true(v->count == 2 && fl_gguf_integer_at(v, 0) == 1 && fl_gguf_integer_at(v, 1) == -1);
    assert_ok(fl_gguf_reals(g, "reals", &v));
    assert_true(v->count == 2 && fl_gguf_real_at(v, 0) == 1 && fl_gguf_real_at(v, 1) == -1);
    assert_ok(fl_gguf_strings(g, "none", &v));
    assert_int_equal(v->count, 0);
    assert_ok(fl_gguf_reals(g, "absent", &v));
    assert_null(v);
    integer = 7;
    assert_ok(fl_gguf_integer(g, "absent", 0, 1, &integer));
    assert_int_equal(integer, 7);

    /* Another type is refused with file and key, and so is a value out of range. */
    static const char *const keys[] = {"u8", "f32", "bool", "text", "strings", "ints", "reals"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *k = keys[i];
        const fl_status no = FL_ERR_FORMAT;
        if (i != 0) assert_refused(k, fl_gguf_integer(g, k, 0, 255, &integer), no, "good.gguf", k);
        if (i != 1) assert_refused(k, fl_gguf_real(g, k, &real), no, "good.gguf", k);
        if (i != 2) assert_refused(k, fl_gguf_bool(g, k, &truth), no, "good.gguf", k);
        if (i != 3) assert_refused(k, fl_gguf_string(g, k, &text), no, "good.gguf", k);
        if (i != 4) assert_refused(k, fl_gguf_strings(g, k, &v), no, "good.gguf", k);
        if (i != 5) assert_refused(k, fl_gguf_integers(g, k, &v), no, "good.gguf", k);
        if (i != 6) assert_refused(k, fl_gguf_reals(g, k, &v), no, "good.gguf", k);
    }
    assert_refused("range", fl_gguf_integer(g, "u8", 0, 199, &integer), FL_ERR_FORMAT, "good.gguf", "u8 = 200");
    assert_refused("nan", fl_gguf_real(g, "nan", &real), FL_ERR_FORMAT, "good.gguf", "nan");
    assert_int_equal(fl_gguf_key_count(g), 17);
    assert_string_equal(fl_gguf_at(g, 16)->key, "nan");
    assert_null(fl_gguf_at(g, 17));
    fl_gguf_close(g);
    free(bytes);
    fl_buffer_free(&b);
}

static void test_tensors(void **state)
{
    (void)state;
    fl_buffer b = {0};
    /* The second in the file lies first; three dimensions, fastest first; version 2 has the same form. */
    build_append(&b, "raw:GGUF 4:2 8:2 8:1 u:general.alignment=8 "
                     "s:one 4:3 8:4 8:3 8:2 4:1 8:40 s:two 4:1 8:32 4:8 8:0");
    while (b.size % 8)
        build_append(&b, "1:0");
    size_t data = b.size;
    build_append(&b, "zero:34 zero:6 zero:48");
    void *bytes;
    fl_gguf *g = parsed(&b, &bytes);
    assert_int_equal(fl_gguf_count(g), 2);
    const fl_file_tensor *one = fl_gguf_tensor(g, "one"), *two = fl_gguf_tensor(g, "two");
    assert_true(one == fl_gguf_tensor_at(g, 0) && two == fl_gguf_tensor_at(g, 1));
    assert_true(one->type == FL_F16 && one->rank == 3 && one->dim[0] == 2 && one->dim[1] == 3 && one->dim[2] == 4);
    assert_true(two->type == FL_Q8_0 && two->rank == 1 && two->dim[0] == 32);
    assert_ptr_equal(two->data, (char *)bytes + data);
    assert_ptr_equal(one->data, (char *)bytes + data + 40);
    assert_null(fl_gguf_tensor(g, "three"));
    assert_null(fl_gguf_tensor_at(g, -1));
    fl_gguf_close(g);
    free(bytes);
    fl_buffer_free(&b);
}

/* A vocabulary of 200,000 tokens and as many merges: opening reads each once. The bound of 0.2 s has slack for a
 * machine that is busy with other work; the median of five is counted. */
static void test_large_vocabulary(void **state)
{
    const char *path = in(*state, "vocabulary.gguf");
    fl_buffer b = {0};
    build_append(&b, "raw:GGUF 4:3 8:0 8:3");
    static const char *const keys[] = {"tokenizer.ggml.tokens", "tokenizer.ggml.merges"};
    for (int k = 0; k < 2; k++) {
        build_string(&b, keys[k], strlen(keys[k]));
        build_append(&b, "4:9 4:8 8:200000");
        for (int i = 0; i < 200000; i++) {
            char text[32];
            build_string(&b, text, (size_t)snprintf(text, sizeof text, "token %d", i));
        }
    }
    build_append(&b, "s:tokenizer.ggml.scores 4:9 4:6 8:200000 zero:800000 pad");
    put_bytes(path, b.data, b.size);
    fl_buffer_free(&b);
    int fast = 0;
    for (int i = 0; i < 5; i++) {
        clock_t start = clock();
        fl_gguf *g;
        const fl_gguf_value *v;
        assert_ok(fl_gguf_open(&g, path));
        assert_ok(fl_gguf_strings(g, "tokenizer.ggml.merges", &v));
        assert_true(fl_gguf_text_is(fl_gguf_text_at(v, 199999), "token 199999"));
        fl_gguf_close(g);
        fast += (double)(clock() - start) / CLOCKS_PER_SEC < 0.2;
    }
    assert_true(fast >= 3);
}

/* ---- containers that are wrong ---------------------------------------------------------------------------------- */

#define HEAD(tensors, keys) "raw:GGUF 4:3 8:" #tensors " 8:" #keys " "
#define SPARE " zero:99" /* so that counts are not what is refused */
#define MANY "8:0xffffffffffffffff"
#define TENSOR(rest) HEAD(1, 0) "s:weight " rest " pad zero:64"

static const struct {
    const char *what, *text, *key;
    fl_status status;
} bad[] = {
    {"nothing", "", "offset 0", FL_ERR_FORMAT},
    {"a part of the mark", "raw:GGU", "offset 0", FL_ERR_FORMAT},
    {"another mark", "raw:GGML 4:3 8:0 8:0", "offset 0", FL_ERR_FORMAT},
    {"no version", "raw:GGUF", "offset 4", FL_ERR_FORMAT},
    {"version 0", "raw:GGUF 4:0 8:0 8:0", "version = 0", FL_ERR_UNSUPPORTED},
    {"version 1", "raw:GGUF 4:1 4:0 4:0", "version = 1", FL_ERR_UNSUPPORTED},
    {"version 4", "raw:GGUF 4:4 8:0 8:0", "version = 4", FL_ERR_UNSUPPORTED},
    {"big-endian 3", "raw:GGUF 4:0x03000000 8:0 8:0", "big-endian", FL_ERR_UNSUPPORTED},
    {"big-endian 2", "raw:GGUF 4:0x02000000 8:0 8:0", "big-endian", FL_ERR_UNSUPPORTED},
    {"no number of tensors", "raw:GGUF 4:3 4:0", "offset 8", FL_ERR_FORMAT},
    {"no number of keys", "raw:GGUF 4:3 8:0", "offset 16", FL_ERR_FORMAT},
    {"too many tensors", "raw:GGUF 4:3 " MANY " 8:0" SPARE, "offset 8", FL_ERR_FORMAT},
    {"one tensor too many", "raw:GGUF 4:3 8:4 8:0" SPARE, "offset 8", FL_ERR_FORMAT},
    {"too many keys", "raw:GGUF 4:3 8:0 " MANY SPARE, "offset 16", FL_ERR_FORMAT},
    {"half of 2^64 keys", "raw:GGUF 4:3 8:0 8:0x8000000000000000" SPARE, "offset 16", FL_ERR_FORMAT},
    {"an empty key", HEAD(0, 1) "8:0 4:4 4:1" SPARE, "offset 24", FL_ERR_FORMAT},
    {"a key of 2^64 - 1 bytes", HEAD(0, 1) MANY SPARE, "offset 24", FL_ERR_FORMAT},
    {"a key of 65536 bytes", HEAD(0, 1) "8:65536" SPARE, "offset 24", FL_ERR_FORMAT},
    {"a key beyond the file", HEAD(0, 1) "8:1000 raw:long" SPARE, "offset 32", FL_ERR_FORMAT},
    {"a key with a zero", HEAD(0, 1) "8:3 raw:a 1:0 raw:b 4:4 4:1" SPARE, "offset 32", FL_ERR_FORMAT},
    {"no type", HEAD(0, 1) "s:key zero:3", "offset 35", FL_ERR_FORMAT},
    {"type 13", HEAD(0, 1) "s:key 4:13" SPARE, "key", FL_ERR_FORMAT},
    {"type 2^32 - 1", HEAD(0, 1) "s:key 4:0xffffffff" SPARE, "key", FL_ERR_FORMAT},
    {"a value cut short", HEAD(0, 1) "s:key 4:10 4:0", "key", FL_ERR_FORMAT},
    {"a text beyond the file", HEAD(0, 1) "s:key 4:8 8:1000 raw:short" SPARE, "key", FL_ERR_FORMAT},
    {"a text of 2^64 - 1 bytes", HEAD(0, 1) "s:key 4:8 " MANY SPARE, "key", FL_ERR_FORMAT},
    {"an array of arrays", HEAD(0, 1) "s:key 4:9 4:9 8:1 4:4 8:1 4:1" SPARE, "key", FL_ERR_UNSUPPORTED},
    {"an array of type 13", HEAD(0, 1) "s:key 4:9 4:13 8:1" SPARE, "key", FL_ERR_FORMAT},
    {"an array without a length", HEAD(0, 1) "s:key 4:9 4:4 4:1", "offset 43", FL_ERR_FORMAT},
    {"2^64 - 1 bytes", HEAD(0, 1) "s:key 4:9 4:0 " MANY SPARE, "key", FL_ERR_FORMAT},
    {"elements whose size wraps", HEAD(0, 1) "s:key 4:9 4:10 8:0x2000000000000001" SPARE, "key", FL_ERR_FORMAT},
    {"2^64 - 1 texts", HEAD(0, 1) "s:key 4:9 4:8 " MANY SPARE, "key", FL_ERR_FORMAT},
    {"texts cut short", HEAD(0, 1) "s:key 4:9 4:8 8:2 8:8 zero:8", "key", FL_ERR_FORMAT},
    {"a text of an array beyond the file", HEAD(0, 1) "s:key 4:9 4:8 8:2 s:a 8:1000" SPARE, "key", FL_ERR_FORMAT},
    {"a bool of 2", HEAD(0, 1) "b:key=2" SPARE, "key", FL_ERR_FORMAT},
    {"a bool of 7 in an array", HEAD(0, 1) "s:key 4:9 4:7 8:3 1:0 1:1 1:7" SPARE, "key", FL_ERR_FORMAT},
    {"a key twice", HEAD(0, 3) "u:key=1 u:other=1 f:key=1 pad", "key", FL_ERR_FORMAT},
    {"an alignment that is text", HEAD(0, 1) "t:general.alignment=32 pad", "general.alignment", FL_ERR_FORMAT},
    {"alignment 0", HEAD(0, 1) "u:general.alignment=0 pad", "general.alignment", FL_ERR_FORMAT},
    {"alignment 24", HEAD(0, 1) "u:general.alignment=24 pad", "general.alignment", FL_ERR_FORMAT},
    {"alignment 4", HEAD(0, 1) "u:general.alignment=4 pad", "general.alignment", FL_ERR_FORMAT},
    {"alignment 2^31", HEAD(0, 1) "u:general.alignment=0x80000000 pad", "general.alignment", FL_ERR_FORMAT},
    {"a tensor without a name", HEAD(1, 0) "8:0 4:1 8:1 4:0 8:0" SPARE, "offset 24", FL_ERR_FORMAT},
    {"a name of 65 bytes", HEAD(1, 0) "8:65" SPARE, "offset 24", FL_ERR_FORMAT},
    {"a name with a zero", HEAD(1, 0) "8:2 raw:a 1:0 4:1 8:1 4:0 8:0" SPARE, "offset 32", FL_ERR_FORMAT},
    {"no dimensions", TENSOR("4:0 4:0 8:0"), "weight", FL_ERR_FORMAT},
    {"five dimensions", TENSOR("4:5 8:1 8:1 8:1 8:1 8:1 4:0 8:0"), "weight", FL_ERR_FORMAT},
    {"2^32 - 1 dimensions", TENSOR("4:0xffffffff 8:1 4:0 8:0"), "weight", FL_ERR_FORMAT},
    {"a dimension of 0", TENSOR("4:2 8:4 8:0 4:0 8:0"), "weight", FL_ERR_FORMAT},
    {"a dimension of 2^63", TENSOR("4:1 8:0x8000000000000000 4:0 8:0"), "weight", FL_ERR_FORMAT},
    {"dimensions whose product wraps", TENSOR("4:2 8:0x100000000 8:0x100000004 4:0 8:0"), "weight", FL_ERR_FORMAT},
    {"bytes that wrap", TENSOR("4:1 8:0x4000000000000004 4:0 8:0"), "weight", FL_ERR_FORMAT},
    {"a type ggml never had", TENSOR("4:1 8:4 4:99 8:0"), "weight", FL_ERR_FORMAT},
    {"a type that was removed", TENSOR("4:1 8:32 4:4 8:0"), "Q4_2", FL_ERR_UNSUPPORTED},
    {"a type that is not read", TENSOR("4:1 8:256 4:16 8:0"), "IQ2_XXS", FL_ERR_UNSUPPORTED},
    {"half a block", TENSOR("4:1 8:16 4:8 8:0"), "weight", FL_ERR_FORMAT},
    {"rows of half a block", TENSOR("4:2 8:16 8:2 4:8 8:0"), "weight", FL_ERR_FORMAT},
    {"an offset off the alignment", TENSOR("4:1 8:4 4:0 8:8"), "weight", FL_ERR_FORMAT},
    {"an offset beyond the file", TENSOR("4:1 8:4 4:0 8:3200"), "weight", FL_ERR_FORMAT},
    {"an offset near 2^64", TENSOR("4:1 8:4 4:0 8:0xffffffffffffffe0"), "weight", FL_ERR_FORMAT},
    {"an end beyond 2^64", TENSOR("4:1 8:16 4:0 8:0xffffffffffffffe0"), "weight", FL_ERR_FORMAT},
    {"data larger than the file", TENSOR("4:1 8:1000 4:0 8:0"), "weight", FL_ERR_FORMAT},
    {"a hole before the first", TENSOR("4:1 8:4 4:0 8:32"), "weight", FL_ERR_FORMAT},
    {"a description cut short", HEAD(1, 0) "s:weight 4:1 8:4 4:0 zero:7", "offset 54", FL_ERR_FORMAT},
    {"no data", HEAD(1, 0) "s:weight 4:1 8:4 4:0 8:0", "offset 62", FL_ERR_FORMAT},
    {"data cut short by a byte", HEAD(1, 0) "s:weight 4:1 8:4 4:0 8:0 pad zero:15", "weight", FL_ERR_FORMAT},
    {"bytes after the end", HEAD(1, 0) "s:weight 4:1 8:4 4:0 8:0 pad zero:33", "offset 96", FL_ERR_FORMAT},
    {"bytes after the keys", HEAD(0, 1) "u:key=1 zero:64", "offset 64", FL_ERR_FORMAT},
    {"a tensor twice", HEAD(2, 0) "s:weight 4:1 8:4 4:0 8:0 s:weight 4:1 8:4 4:0 8:32 pad zero:64", "weight",
     FL_ERR_FORMAT},
    {"tensors in one place", HEAD(2, 0) "s:weight 4:1 8:4 4:0 8:0 s:other 4:1 8:4 4:0 8:0 pad zero:64", "other",
     FL_ERR_FORMAT},
    {"tensors that overlap", HEAD(2, 0) "s:weight 4:1 8:9 4:0 8:0 s:other 4:1 8:4 4:0 8:32 pad zero:64", "other",
     FL_ERR_FORMAT},
    {"a hole between tensors", HEAD(2, 0) "s:weight 4:1 8:4 4:0 8:0 s:other 4:1 8:4 4:0 8:64 pad zero:96", "other",
     FL_ERR_FORMAT},
};

static void test_bad_containers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fl_buffer b = {0};
        build_append(&b, bad[i].text);
        void *bytes = build_exact(&b);
        fl_gguf *g = NULL;
        assert_refused(bad[i].what, fl_gguf_parse(&g, "bad.gguf", bytes, b.size), bad[i].status, "bad.gguf",
                       bad[i].key);
        assert_null(g);
        free(bytes);
        fl_buffer_free(&b);
    }
}

/* ---- models that are wrong -------------------------------------------------------------------------------------- */

#define ARCH "t:general.architecture=llama "
#define SIZES                                                                                                          \
    "u:llama.context_length=64 u:llama.embedding_length=8 u:llama.block_count=1 u:llama.feed_forward_length=16 "
#define HEADS "u:llama.attention.head_count=2 "
#define EPS "f:llama.attention.layer_norm_rms_epsilon=1e-5 "
#define GOOD ARCH SIZES HEADS EPS
#define EMBED "T:token_embd.weight=8x10 "

static const struct {
    const char *what, *keys, *tensors, *key;
    fl_status status;
} bad_models[] = {
    {"no architecture", SIZES HEADS EPS, EMBED, "general.architecture", FL_ERR_FORMAT},
    {"a number for it", "u:general.architecture=1 " SIZES HEADS EPS, EMBED, "general.architecture", FL_ERR_FORMAT},
    {"another architecture", "t:general.architecture=mamba " SIZES HEADS EPS, EMBED, "mamba", FL_ERR_UNSUPPORTED},
    {"no sizes", ARCH HEADS EPS, EMBED, "llama.context_length", FL_ERR_FORMAT},
    {"a window of 0", ARCH "u:llama.context_length=0 " HEADS EPS, EMBED, "llama.context_length", FL_ERR_FORMAT},
    {"a text for the window", ARCH "t:llama.context_length=64 " HEADS EPS, EMBED, "llama.context_length",
     FL_ERR_FORMAT},
    {"2^32 - 1 layers",
     ARCH "u:llama.context_length=64 u:llama.embedding_length=8 u:llama.block_count=0xffffffff " HEADS EPS, EMBED,
     "llama.block_count", FL_ERR_FORMAT},
    {"-1 layers", ARCH "u:llama.context_length=64 u:llama.embedding_length=8 i:llama.block_count=-1 " HEADS EPS, EMBED,
     "llama.block_count", FL_ERR_FORMAT},
    {"no heads", ARCH SIZES EPS, EMBED, "llama.attention.head_count", FL_ERR_FORMAT},
    {"heads for another number of layers", ARCH SIZES EPS "+ s:llama.attention.head_count 4:9 4:4 8:2 4:2 4:2 ;", EMBED,
     "llama.attention.head_count", FL_ERR_FORMAT},
    {"heads of 0 in a list", ARCH SIZES EPS "+ s:llama.attention.head_count 4:9 4:4 8:1 4:0 ;", EMBED,
     "llama.attention.head_count", FL_ERR_FORMAT},
    {"heads in a list of reals", ARCH SIZES EPS "+ s:llama.attention.head_count 4:9 4:6 8:1 4:0 ;", EMBED,
     "llama.attention.head_count", FL_ERR_FORMAT},
    {"layers of different sizes",
     ARCH
     "u:llama.context_length=64 u:llama.embedding_length=8 u:llama.block_count=2 + s:llama.feed_forward_length 4:9 "
     "4:4 8:2 4:16 4:32 ; " HEADS EPS,
     EMBED, "llama.feed_forward_length", FL_ERR_UNSUPPORTED},
    {"3 heads of keys", GOOD "u:llama.attention.head_count_kv=3", EMBED, "head_count_kv", FL_ERR_FORMAT},
    {"values of another size", GOOD "u:llama.attention.value_length=6", EMBED, "value_length", FL_ERR_UNSUPPORTED},
    {"no epsilon", ARCH SIZES HEADS, EMBED, "layer_norm_rms_epsilon", FL_ERR_FORMAT},
    {"an epsilon of 0", ARCH SIZES HEADS "f:llama.attention.layer_norm_rms_epsilon=0", EMBED, "layer_norm_rms_epsilon",
     FL_ERR_FORMAT},
    {"an epsilon of NaN", ARCH SIZES HEADS "f:llama.attention.layer_norm_rms_epsilon=nan", EMBED,
     "layer_norm_rms_epsilon", FL_ERR_FORMAT},
    {"an unknown key of attention", GOOD "f:llama.attention.temperature=2", EMBED, "attention.temperature",
     FL_ERR_UNSUPPORTED},
    {"an unknown key of positions", GOOD "f:llama.rope.scaling.orig_ctx_len=2", EMBED, "orig_ctx_len",
     FL_ERR_UNSUPPORTED},
    {"experts", GOOD "u:llama.expert_count=8", EMBED, "llama.expert_count", FL_ERR_UNSUPPORTED},
    {"ALiBi", GOOD "f:llama.attention.max_alibi_bias=8", EMBED, "max_alibi_bias", FL_ERR_UNSUPPORTED},
    {"ALiBi of other slopes",
     "t:general.architecture=refact u:refact.context_length=16 u:refact.embedding_length=8 u:refact.block_count=1 "
     "u:refact.feed_forward_length=16 u:refact.attention.head_count=2 f:refact.attention.layer_norm_rms_epsilon=1e-5 "
     "f:refact.attention.max_alibi_bias=4",
     EMBED, "refact.attention.max_alibi_bias", FL_ERR_UNSUPPORTED},
    {"logits times something", GOOD "f:llama.logit_scale=0.5", EMBED, "llama.logit_scale", FL_ERR_UNSUPPORTED},
    {"attention both ways", GOOD "b:llama.attention.causal=0", EMBED, "attention.causal", FL_ERR_UNSUPPORTED},
    {"an odd rotation", GOOD "u:llama.rope.dimension_count=3", EMBED, "rope.dimension_count", FL_ERR_FORMAT},
    {"a rotation wider than a head", GOOD "u:llama.rope.dimension_count=6", EMBED, "rope.dimension_count",
     FL_ERR_FORMAT},
    {"half a head", GOOD "u:llama.rope.dimension_count=2", EMBED, "rope.dimension_count", FL_ERR_UNSUPPORTED},
    {"a base of 1", GOOD "f:llama.rope.freq_base=1", EMBED, "rope", FL_ERR_FORMAT},
    {"a base that is infinite", GOOD "f:llama.rope.freq_base=inf", EMBED, "rope.freq_base", FL_ERR_FORMAT},
    {"a base that is an integer", GOOD "u:llama.rope.freq_base=10000", EMBED, "rope.freq_base", FL_ERR_FORMAT},
    {"an unknown scaling", GOOD "t:llama.rope.scaling.type=dynamic", EMBED, "rope.scaling.type", FL_ERR_UNSUPPORTED},
    {"a negative factor", GOOD "f:llama.rope.scaling.factor=-2", EMBED, "rope.scaling.factor", FL_ERR_FORMAT},
    {"an attn_factor of 0", GOOD "f:llama.rope.scaling.attn_factor=0", EMBED, "attn_factor", FL_ERR_FORMAT},
    {"a yarn factor below 1", GOOD "t:llama.rope.scaling.type=yarn f:llama.rope.scaling.factor=0.5", EMBED,
     "llama.rope", FL_ERR_FORMAT},
    {"a text for finetuned", GOOD "t:llama.rope.scaling.finetuned=yes", EMBED, "finetuned", FL_ERR_FORMAT},
    {"divisors for another head", GOOD, EMBED "T:rope_freqs.weight=3", "rope_freqs.weight", FL_ERR_FORMAT},
    {"a divisor of 0", GOOD, EMBED "T:rope_freqs.weight=2/0", "rope_freqs.weight", FL_ERR_FORMAT},
    {"a divisor of NaN", GOOD, EMBED "T:rope_freqs.weight=2/nan", "rope_freqs.weight", FL_ERR_FORMAT},
    {"yarn and divisors", GOOD "t:llama.rope.scaling.type=yarn", EMBED "T:rope_freqs.weight=2", "scaling.type",
     FL_ERR_UNSUPPORTED},
    {"long divisors alone", GOOD, EMBED "T:rope_factors_long.weight=2", "rope_factors_short.weight", FL_ERR_FORMAT},
    {"longrope without divisors", GOOD "t:llama.rope.scaling.type=longrope", EMBED, "rope_factors_short.weight",
     FL_ERR_FORMAT},
    {"an id beyond the vocabulary", GOOD "u:tokenizer.ggml.eos_token_id=10", EMBED, "eos_token_id", FL_ERR_FORMAT},
    {"no embedding", GOOD, "", "token_embd.weight", FL_ERR_FORMAT},
    {"an embedding that is a vector", GOOD, "T:token_embd.weight=8", "token_embd.weight", FL_ERR_FORMAT},
    {"an unknown tensor", GOOD, EMBED "T:blk.0.attn_sinks.weight=2", "blk.0.attn_sinks.weight", FL_ERR_UNSUPPORTED},
    {"a tensor of a layer that is not there", GOOD, EMBED "T:blk.1.attn_norm.weight=8", "blk.1.attn_norm.weight",
     FL_ERR_UNSUPPORTED},
    {"a layer spelled 00", GOOD, EMBED "T:blk.00.attn_norm.weight=8", "blk.00.attn_norm.weight", FL_ERR_UNSUPPORTED},
    {"a layer beyond all numbers", GOOD, EMBED "T:blk.99999999999999999999.attn_norm.weight=8", "attn_norm.weight",
     FL_ERR_UNSUPPORTED},
    {"fused rows of another number", GOOD, EMBED "T:blk.0.attn_qkv.weight=8x23", "attn_qkv.weight", FL_ERR_SHAPE},
    {"q fused and apart", GOOD, EMBED "T:blk.0.attn_qkv.weight=8x24 T:blk.0.attn_q.weight=8x8", "q_proj.weight",
     FL_ERR_FORMAT},
    {"one of several files", GOOD "u:split.count=2 u:split.no=0", EMBED, "split.count", FL_ERR_FORMAT},
    {"one of several, which", GOOD "u:split.count=2", EMBED, "split.no", FL_ERR_FORMAT},
};

static void test_bad_models(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_models / sizeof *bad_models; i++) {
        fl_buffer b = {0};
        build_model(&b, bad_models[i].keys, bad_models[i].tensors);
        void *bytes = build_exact(&b);
        fl_gguf_model m = {0};
        assert_refused(bad_models[i].what, fl_gguf_model_parse(&m, "bad.gguf", bytes, b.size), bad_models[i].status,
                       "bad.gguf", bad_models[i].key);
        free(bytes);
        fl_buffer_free(&b);
    }
}

/* The good half of the tables above, and every prefix of it, which must be refused. */
static void test_cut_anywhere(void **state)
{
    (void)state;
    fl_buffer b = {0};
    build_model(&b, GOOD "t:tokenizer.ggml.model=llama + s:tokenizer.ggml.tokens 4:9 4:8 8:2 s:a s:b ;",
                EMBED "T:blk.0.attn_qkv.weight=8x24 T:rope_freqs.weight=2/2");
    for (size_t size = 0; size <= b.size; size++) {
        fl_buffer part = {.data = b.data, .size = size};
        void *bytes = build_exact(&part);
        fl_gguf_model m = {0};
        fl_status status = fl_gguf_model_parse(&m, "cut.gguf", bytes, size);
        /* The padding behind the last tensor may be missing. */
        if (size < b.size - 24) {
            assert_refused("cut", status, FL_ERR_FORMAT, "cut.gguf", "");
        } else {
            assert_ok(status);
            assert_int_equal(m.count, 4);
            assert_true(m.config.bos == 1 && m.config.eos_count == 1 && m.config.eos[0] == 2);
            assert_int_equal(m.config.rope.kind, FL_ROPE_DIVISORS);
            fl_gguf_model_close(&m);
        }
        free(bytes);
    }
    fl_buffer_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),           cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_large_vocabulary), cmocka_unit_test(test_bad_containers),
        cmocka_unit_test(test_bad_models),       cmocka_unit_test(test_cut_anywhere),
    };
    return cmocka_run_group_tests(tests, files_make, files_drop);
}
