/* Damaged and hostile tokenizer files: each is refused with a message that names the file and the key, and none does
 * harm (run this under the sanitizers). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/rng.h"
#include "text/tokenizer.h"

#define DATA FL_TEST_DATA "/tokenizers/"

static char folder[256], path[300];

static int make_folder(void **state)
{
    (void)state;
    const char *temporary = getenv("TMPDIR");
    snprintf(folder, sizeof(folder), "%s/furlong_tokenizer_XXXXXX", temporary ? temporary : "/tmp");
    if (!mkdtemp(folder)) return 1;
    snprintf(path, sizeof(path), "%s/given.file", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static fl_status open_bytes(const void *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
    fl_tokenizer *t = NULL;
    fl_status status = fl_tokenizer_open(&t, path);
    if (status != FL_OK) {
        assert_null(t);
        if (status != FL_ERR_MEMORY && !strstr(fl_error_message(), path))
            fail_msg("no file in: %s", fl_error_message());
        return status;
    }
    /* Whatever opened must also work. */
    fl_tokens ids = {0};
    fl_buffer text = {0};
    static const char sample[] =
        "Hello, <s> world\n\n  1234 e\xCC\x81 \xE2\x96\x81 \xF0\x9F\x98\x80 \xFF <0x41>[USER_A]";
    status = fl_tokenizer_encode(t, sample, sizeof(sample) - 1, true, true, &ids);
    if (status == FL_OK)
        for (int64_t i = 0; i < ids.count; i++)
            assert_in_range(ids.id[i], 0, fl_tokenizer_vocab(t) - 1);
    assert_int_equal(fl_tokenizer_decode(t, ids.id, ids.count, true, &text), FL_OK);
    fl_tokens_free(&ids);
    fl_buffer_free(&text);
    fl_tokenizer_close(t);
    return FL_OK;
}

/* ---- tokenizer.json ----------------------------------------------------------------------------------------- */

#define BPE_MODEL "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2}, \"merges\": [\"a b\"]}"

static void json_files(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        fl_status status;
        const char *key; /* what the message has to name */
    } file[] = {
        {"{" BPE_MODEL "}", FL_OK, NULL},
        {"{", FL_ERR_FORMAT, "line"},
        {"{\"model\": {}, \"model\": {}}", FL_ERR_FORMAT, "model"},
        {"{}", FL_ERR_FORMAT, "model"},
        {"{\"version\": \"2.0\", " BPE_MODEL "}", FL_ERR_UNSUPPORTED, "version"},
        {"{\"model\": {\"type\": \"WordPiece\", \"vocab\": {}}}", FL_ERR_UNSUPPORTED, "model.type = 'WordPiece'"},
        {"{\"model\": {\"type\": \"WordLevel\", \"vocab\": {}}}", FL_ERR_UNSUPPORTED, "model.type = 'WordLevel'"},
        {"{\"model\": {\"type\": 7}}", FL_ERR_FORMAT, "model.type"},
        {"{\"model\": {\"type\": \"BPE\", \"merges\": []}}", FL_ERR_FORMAT, "model.vocab"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {}}}", FL_ERR_FORMAT, "model.merges"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 0}, \"merges\": []}}", FL_ERR_FORMAT,
         "model.vocab: id = 0"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"a\": 1}, \"merges\": []}}", FL_ERR_FORMAT,
         "duplicate"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": -1}, \"merges\": []}}", FL_ERR_FORMAT,
         "model.vocab: \"a\""},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 2000000000}, \"merges\": []}}", FL_ERR_FORMAT,
         "model.vocab: \"a\""},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 1.5}, \"merges\": []}}", FL_ERR_FORMAT,
         "model.vocab: \"a\""},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": \"0\"}, \"merges\": []}}", FL_ERR_FORMAT,
         "model.vocab: \"a\""},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"\xFF\": 0}, \"merges\": []}}", FL_ERR_FORMAT,
         "unable to decode byte 0xff"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"\\ud800\": 0}, \"merges\": []}}", FL_ERR_FORMAT, "line"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1}, \"merges\": [\"a b\"]}}", FL_ERR_FORMAT,
         "model.merges[0]"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"ab\": 1}, \"merges\": [\"a b\"]}}", FL_ERR_FORMAT,
         "model.merges[0]"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [\"a\"]}}", FL_ERR_FORMAT,
         "model.merges[0]"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [\"a a a\"]}}", FL_ERR_FORMAT,
         "model.merges[0]"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [[\"a\"]]}}", FL_ERR_FORMAT,
         "model.merges[0]"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [[\"a\", 1]]}}", FL_ERR_FORMAT,
         "model.merges[0]"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [], \"unk_token\": \"u\"}}", FL_ERR_FORMAT,
         "model.unk_token"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [], \"dropout\": 0.1}}",
         FL_ERR_UNSUPPORTED, "model.dropout"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [], \"end_of_word_suffix\": \"</w>\"}}",
         FL_ERR_UNSUPPORTED, "model.end_of_word_suffix"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [], \"continuing_subword_prefix\": "
         "\"##\"}}",
         FL_ERR_UNSUPPORTED, "model.continuing_subword_prefix"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [], \"byte_fallback\": 1}}", FL_ERR_FORMAT,
         "model.byte_fallback"},
        {"{\"model\": {\"type\": \"Unigram\", \"vocab\": []}}", FL_ERR_FORMAT, "model.vocab"},
        {"{\"model\": {\"type\": \"Unigram\", \"vocab\": [[\"a\"]]}}", FL_ERR_FORMAT, "model.vocab[0]"},
        {"{\"model\": {\"type\": \"Unigram\", \"vocab\": [[\"a\", -1], [\"a\", -2]]}}", FL_ERR_FORMAT, "model.vocab"},
        {"{\"model\": {\"type\": \"Unigram\", \"vocab\": [[\"a\", -1]], \"unk_id\": 1}}", FL_ERR_FORMAT,
         "model.unk_id"},
        {"{\"model\": {\"type\": \"Unigram\", \"vocab\": [[\"a\", -1]], \"unk_id\": 0}}", FL_OK, NULL},
        {"{\"normalizer\": {\"type\": \"BertNormalizer\"}, " BPE_MODEL "}", FL_ERR_UNSUPPORTED,
         "normalizer.type = 'BertNormalizer'"},
        {"{\"normalizer\": {\"type\": \"Lowercase\"}, " BPE_MODEL "}", FL_ERR_UNSUPPORTED,
         "normalizer.type = 'Lowercase'"},
        {"{\"normalizer\": {}, " BPE_MODEL "}", FL_ERR_FORMAT, "normalizer.type"},
        {"{\"normalizer\": 3, " BPE_MODEL "}", FL_ERR_FORMAT, "normalizer"},
        {"{\"normalizer\": {\"type\": \"Sequence\"}, " BPE_MODEL "}", FL_ERR_FORMAT, "normalizer.normalizers"},
        {"{\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFC\"}, {\"type\": "
         "\"X\"}]}, " BPE_MODEL "}",
         FL_ERR_UNSUPPORTED, "normalizer.normalizers[1].type = 'X'"},
        {"{\"normalizer\": {\"type\": \"Precompiled\", \"precompiled_charsmap\": \"*\"}, " BPE_MODEL "}", FL_ERR_FORMAT,
         "normalizer.precompiled_charsmap"},
        {"{\"normalizer\": {\"type\": \"Precompiled\", \"precompiled_charsmap\": \"////fw==\"}, " BPE_MODEL "}",
         FL_ERR_FORMAT, "normalizer.precompiled_charsmap"},
        {"{\"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"String\": \"\"}, \"content\": \"\"}, " BPE_MODEL "}",
         FL_ERR_FORMAT, "normalizer.pattern"},
        {"{\"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"Regex\": \"(\"}, \"content\": \"\"}, " BPE_MODEL "}",
         FL_ERR_FORMAT, "normalizer.pattern.Regex"},
        {"{\"pre_tokenizer\": {\"type\": \"BertPreTokenizer\"}, " BPE_MODEL "}", FL_ERR_UNSUPPORTED,
         "pre_tokenizer.type = 'BertPreTokenizer'"},
        {"{\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"[a[b]]\"}, \"behavior\": \"Isolated\", "
         "\"invert\": false}, " BPE_MODEL "}",
         FL_ERR_UNSUPPORTED, "pre_tokenizer.pattern.Regex"},
        {"{\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"[a-z&&b]\"}, \"behavior\": "
         "\"Isolated\"}, " BPE_MODEL "}",
         FL_ERR_UNSUPPORTED, "pre_tokenizer.pattern.Regex"},
        {"{\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"a\"}, \"behavior\": "
         "\"Other\"}, " BPE_MODEL "}",
         FL_ERR_UNSUPPORTED, "pre_tokenizer.behavior"},
        {"{\"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"__\"}, " BPE_MODEL "}", FL_ERR_FORMAT,
         "pre_tokenizer.replacement"},
        {"{\"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"_\", \"prepend_scheme\": "
         "\"last\"}, " BPE_MODEL "}",
         FL_ERR_UNSUPPORTED, "pre_tokenizer.prepend_scheme"},
        {"{\"decoder\": {\"type\": \"WordPiece\"}, " BPE_MODEL "}", FL_ERR_UNSUPPORTED, "decoder.type = 'WordPiece'"},
        {"{\"decoder\": {\"type\": \"Strip\", \"content\": \" \", \"start\": 1, \"stop\": 0}, " BPE_MODEL "}",
         FL_ERR_UNSUPPORTED, "decoder.type"},
        {"{\"post_processor\": {\"type\": \"BertProcessing\"}, " BPE_MODEL "}", FL_ERR_UNSUPPORTED,
         "post_processor.type = 'BertProcessing'"},
        {"{\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"<s>\"}}, "
         "{\"Sequence\": {\"id\": \"A\"}}], "
         "\"special_tokens\": {}}, " BPE_MODEL "}",
         FL_ERR_FORMAT, "post_processor.special_tokens"},
        {"{\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"x\"}}, "
         "{\"Sequence\": {\"id\": \"A\"}}], "
         "\"special_tokens\": {\"x\": {\"id\": \"x\", \"ids\": [3], \"tokens\": [\"x\"]}}}, " BPE_MODEL "}",
         FL_ERR_FORMAT, "post_processor.special_tokens"},
        {"{\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"Sequence\": {\"id\": \"B\"}}], "
         "\"special_tokens\": {}}, " BPE_MODEL "}",
         FL_ERR_UNSUPPORTED, "post_processor.single"},
        {"{\"added_tokens\": {}, " BPE_MODEL "}", FL_ERR_FORMAT, "added_tokens"},
        {"{\"added_tokens\": [3], " BPE_MODEL "}", FL_ERR_FORMAT, "added_tokens"},
        {"{\"added_tokens\": [{\"id\": 3}], " BPE_MODEL "}", FL_ERR_FORMAT, "added_tokens[0].content"},
        {"{\"added_tokens\": [{\"content\": \"x\"}], " BPE_MODEL "}", FL_ERR_FORMAT, "added_tokens[0].id"},
        {"{\"added_tokens\": [{\"content\": \"x\", \"id\": 4}], " BPE_MODEL "}", FL_ERR_FORMAT,
         "added_tokens[0].id = 4"},
        {"{\"added_tokens\": [{\"content\": \"x\", \"id\": 1}], " BPE_MODEL "}", FL_ERR_FORMAT,
         "added_tokens[0].id = 1"},
        {"{\"added_tokens\": [{\"content\": \"a\", \"id\": 1}], " BPE_MODEL "}", FL_ERR_FORMAT,
         "added_tokens[0].id = 1"},
        {"{\"added_tokens\": [{\"content\": \"x\", \"id\": 99999999999}], " BPE_MODEL "}", FL_ERR_FORMAT,
         "added_tokens[0].id"},
        {"{\"added_tokens\": [{\"content\": \"a\", \"id\": 0, \"special\": true}, {\"content\": \"a\", \"id\": "
         "0}], " BPE_MODEL "}",
         FL_OK, NULL},
    };
    for (size_t i = 0; i < sizeof(file) / sizeof(file[0]); i++) {
        fl_status status = open_bytes(file[i].text, strlen(file[i].text));
        if (status != file[i].status) fail_msg("%s: %s (%s)", file[i].text, fl_status_name(status), fl_error_message());
        if (status != FL_OK && !strstr(fl_error_message(), file[i].key))
            fail_msg("%s: the message does not name %s: %s", file[i].text, file[i].key, fl_error_message());
    }
}

/* Nesting and counts that would cost stack or memory. */
static void json_excess(void **state)
{
    (void)state;
    fl_buffer text = {0};
    fl_buffer_text(&text, "{\"normalizer\": ");
    for (int i = 0; i < 20; i++)
        fl_buffer_text(&text, "{\"type\": \"Sequence\", \"normalizers\": [");
    for (int i = 0; i < 20; i++)
        fl_buffer_text(&text, "]}");
    fl_buffer_text(&text, ", " BPE_MODEL "}");
    assert_int_equal(open_bytes(text.data, text.size), FL_ERR_UNSUPPORTED);
    assert_non_null(strstr(fl_error_message(), "normalizer"));
    fl_buffer_clear(&text);
    fl_buffer_text(&text,
                   "{\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"WhitespaceSplit\"}");
    for (int i = 0; i < 16; i++)
        fl_buffer_text(&text, ", {\"type\": \"WhitespaceSplit\"}");
    fl_buffer_text(&text, "]}, " BPE_MODEL "}");
    assert_int_equal(open_bytes(text.data, text.size), FL_ERR_UNSUPPORTED);
    fl_buffer_clear(&text);
    for (int i = 0; i < 100000; i++)
        fl_buffer_text(&text, "{\"a\":");
    assert_int_equal(open_bytes(text.data, text.size), FL_ERR_FORMAT);
    fl_buffer_free(&text);
}

/* A pattern that backtracks without end is stopped. */
static void regex_limits(void **state)
{
    (void)state;
    static const char json[] = "{\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"(a+)+$\"}, "
                               "\"behavior\": \"Isolated\"}, " BPE_MODEL "}";
    fl_tokenizer *t = NULL;
    fl_tokens ids = {0};
    char text[64];
    assert_int_equal(open_bytes(json, strlen(json)), FL_OK);
    assert_int_equal(fl_tokenizer_open(&t, path), FL_OK);
    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = 'b';
    assert_int_equal(fl_tokenizer_encode(t, text, sizeof(text), false, false, &ids), FL_ERR_UNSUPPORTED);
    assert_non_null(strstr(fl_error_message(), "backtracks"));
    assert_int_equal(ids.count, 0);
    fl_tokens_free(&ids);
    fl_tokenizer_close(t);
}

/* Replacements of replacements: 1000 to the tenth, if nobody counted. */
static void endless_growth(void **state)
{
    (void)state;
    for (int decoder = 0; decoder < 2; decoder++) {
        fl_buffer json = {0};
        fl_tokenizer *t = NULL;
        fl_tokens ids = {0};
        fl_buffer_format(&json, "{\"%s\": {\"type\": \"Sequence\", \"%s\": [", decoder ? "decoder" : "normalizer",
                         decoder ? "decoders" : "normalizers");
        for (int i = 0; i < 10; i++) {
            fl_buffer_format(&json, "%s{\"type\": \"Replace\", \"pattern\": {\"%s\": \"a\"}, \"content\": \"",
                             i ? ", " : "", decoder || i % 2 ? "String" : "Regex");
            for (int k = 0; k < 1000; k++)
                fl_buffer_text(&json, "a");
            fl_buffer_text(&json, "\"}");
        }
        fl_buffer_text(&json, "]}, " BPE_MODEL "}");
        if (decoder) {
            assert_int_equal(open_bytes(json.data, json.size), FL_ERR_UNSUPPORTED);
            assert_non_null(strstr(fl_error_message(), "decoder.decoders[1].content"));
        } else {
            assert_int_equal(open_bytes(json.data, json.size), FL_OK);
            assert_int_equal(fl_tokenizer_open(&t, path), FL_OK);
            assert_int_equal(fl_tokenizer_encode(t, "ba", 2, false, false, &ids), FL_ERR_UNSUPPORTED);
            assert_non_null(strstr(fl_error_message(), "times longer"));
            fl_tokenizer_close(t);
        }
        fl_tokens_free(&ids);
        fl_buffer_free(&json);
    }
}

/* ---- SentencePiece ------------------------------------------------------------------------------------------ */

static void put_varint(fl_buffer *b, uint64_t v)
{
    do {
        char byte = (char)((v & 0x7F) | (v > 0x7F ? 0x80 : 0));
        fl_buffer_append(b, &byte, 1);
        v >>= 7;
    } while (v);
}

static void put_bytes(fl_buffer *b, int field, const void *bytes, size_t n)
{
    put_varint(b, (uint64_t)field << 3 | 2);
    put_varint(b, n);
    fl_buffer_append(b, bytes, n);
}

static void put_number(fl_buffer *b, int field, uint64_t v)
{
    put_varint(b, (uint64_t)field << 3);
    put_varint(b, v);
}

static void put_piece(fl_buffer *b, const char *text, float score, int type)
{
    fl_buffer piece = {0};
    uint32_t bits;
    memcpy(&bits, &score, 4);
    put_bytes(&piece, 1, text, strlen(text));
    put_varint(&piece, 2 << 3 | 5);
    fl_buffer_append(&piece, &bits, 4);
    put_number(&piece, 3, (uint64_t)type);
    put_bytes(b, 1, piece.data, piece.size);
    fl_buffer_free(&piece);
}

static void begin_model(fl_buffer *b)
{
    fl_buffer_clear(b);
    put_piece(b, "<unk>", 0, 2);
    put_piece(b, "<s>", 0, 3);
    put_piece(b, "a", -1, 1);
}

/* trainer_spec with one field, or normalizer_spec with the bytes of a character map. */
static void put_trainer(fl_buffer *b, int field, uint64_t v)
{
    fl_buffer spec = {0};
    put_number(&spec, field, v);
    put_bytes(b, 2, spec.data, spec.size);
    fl_buffer_free(&spec);
}

static void check_model(const fl_buffer *b, fl_status expected, const char *key)
{
    fl_status status = open_bytes(b->data, b->size);
    if (status != expected) fail_msg("%s expected: %s (%s)", key, fl_status_name(status), fl_error_message());
    if (status != FL_OK && !strstr(fl_error_message(), key))
        fail_msg("the message does not name %s: %s", key, fl_error_message());
}

static void sentencepiece_files(void **state)
{
    (void)state;
    fl_buffer b = {0};
    begin_model(&b);
    check_model(&b, FL_OK, NULL);
    put_piece(&b, "a", -2, 1);
    check_model(&b, FL_ERR_FORMAT, "pieces: id = 3: the piece \"a\"");
    begin_model(&b);
    put_piece(&b, "b", 0, 2);
    check_model(&b, FL_ERR_FORMAT, "pieces[3].type = UNKNOWN");
    fl_buffer_clear(&b);
    put_piece(&b, "a", 0, 1);
    check_model(&b, FL_ERR_FORMAT, "UNKNOWN");
    begin_model(&b);
    put_piece(&b, "<0x00>", 0, 6);
    check_model(&b, FL_ERR_FORMAT, "byte_fallback is off");
    put_trainer(&b, 35, 1);
    check_model(&b, FL_ERR_FORMAT, "<0x01>");
    begin_model(&b);
    put_piece(&b, "<0xZZ>", 0, 6);
    put_trainer(&b, 35, 1);
    check_model(&b, FL_ERR_FORMAT, "pieces[3].piece");
    begin_model(&b);
    put_piece(&b, "\xC3", 0, 1);
    check_model(&b, FL_ERR_FORMAT, "pieces[3].piece");
    begin_model(&b);
    put_piece(&b, "", 0, 1);
    check_model(&b, FL_ERR_FORMAT, "pieces.piece is empty");
    begin_model(&b);
    put_piece(&b, "n", (float)strtod("nan", NULL), 1);
    check_model(&b, FL_ERR_FORMAT, "pieces[3].score");
    char longest[2000];
    memset(longest, 'a', sizeof(longest));
    longest[sizeof(longest) - 1] = 0;
    begin_model(&b);
    put_piece(&b, longest, 0, 1);
    check_model(&b, FL_ERR_FORMAT, "pieces[3].piece");
    begin_model(&b);
    put_trainer(&b, 3, 3);
    check_model(&b, FL_ERR_UNSUPPORTED, "trainer_spec.model_type = 3 (word)");
    begin_model(&b);
    put_trainer(&b, 3, 4);
    check_model(&b, FL_ERR_UNSUPPORTED, "trainer_spec.model_type = 4 (char)");
    /* Character maps: too short; a trie beyond the end; a trie of units that point anywhere. */
    static const uint8_t maps[][16] = {
        {1, 2, 3}, {0xFF, 0xFF, 0xFF, 0x7F, 0, 0, 0, 0, 0}, {3, 0, 0, 0, 1, 2, 3, 4, 5, 6}};
    static const size_t sizes[] = {3, 9, 10};
    for (int i = 0; i < 3; i++) {
        fl_buffer spec = {0};
        begin_model(&b);
        put_bytes(&spec, 2, maps[i], sizes[i]);
        put_bytes(&b, 3, spec.data, spec.size);
        check_model(&b, FL_ERR_FORMAT, "normalizer_spec.precompiled_charsmap");
        fl_buffer_free(&spec);
    }
    fl_buffer spec = {0};
    begin_model(&b);
    put_bytes(&spec, 2, "xxxxxxxx", 8);
    put_bytes(&b, 5, spec.data, spec.size);
    check_model(&b, FL_ERR_UNSUPPORTED, "denormalizer_spec.precompiled_charsmap");
    fl_buffer_free(&spec);
    /* Unknown fields of every type are skipped; a wire type that does not exist, and endless numbers, are not. */
    begin_model(&b);
    put_number(&b, 900, UINT64_MAX);
    put_bytes(&b, 901, "xyz", 3);
    fl_buffer_append(&b,
                     "\xA1\x06"
                     "12345678",
                     10);
    fl_buffer_append(&b,
                     "\xA5\x06"
                     "1234",
                     6);
    check_model(&b, FL_OK, NULL);
    fl_buffer_append(&b, "\x0B", 1);
    check_model(&b, FL_ERR_FORMAT, "offset");
    begin_model(&b);
    fl_buffer_append(&b, "\x08\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", 13);
    check_model(&b, FL_ERR_FORMAT, "offset");
    fl_buffer_free(&b);
}

/* ---- llama2.c ----------------------------------------------------------------------------------------------- */

static void put_u32(fl_buffer *b, uint32_t v)
{
    char bytes[4] = {(char)v, (char)(v >> 8), (char)(v >> 16), (char)(v >> 24)};
    fl_buffer_append(b, bytes, 4);
}

static void put_llama2c(fl_buffer *b, const char *piece, float score)
{
    uint32_t bits;
    memcpy(&bits, &score, 4);
    put_u32(b, bits);
    put_u32(b, (uint32_t)strlen(piece));
    fl_buffer_text(b, piece);
}

static void begin_llama2c(fl_buffer *b)
{
    char name[8];
    fl_buffer_clear(b);
    put_u32(b, 8);
    put_llama2c(b, "<unk>", 0);
    put_llama2c(b, "\n<s>\n", 0);
    put_llama2c(b, "\n</s>\n", 0);
    for (unsigned i = 0; i < 256; i++) {
        snprintf(name, sizeof(name), "<0x%02X>", i);
        put_llama2c(b, name, 0);
    }
}

static void llama2c_files(void **state)
{
    (void)state;
    fl_buffer b = {0};
    begin_llama2c(&b);
    check_model(&b, FL_ERR_FORMAT, "no piece \" \"");
    put_llama2c(&b, " ", 0);
    check_model(&b, FL_OK, NULL);
    put_llama2c(&b, " ", 0);
    check_model(&b, FL_ERR_FORMAT, "the piece \" \"");
    begin_llama2c(&b);
    put_llama2c(&b, "123456789", 0);
    check_model(&b, FL_ERR_FORMAT, "piece 259: length = 9");
    begin_llama2c(&b);
    put_llama2c(&b, "", 0);
    check_model(&b, FL_ERR_FORMAT, "piece 259: length = 0");
    begin_llama2c(&b);
    put_llama2c(&b, "\xFF", 0);
    check_model(&b, FL_ERR_FORMAT, "piece 259");
    begin_llama2c(&b);
    put_u32(&b, 0);
    check_model(&b, FL_ERR_FORMAT, "piece 259");
    put_u32(&b, 0xFFFFFFFF);
    check_model(&b, FL_ERR_FORMAT, "piece 259");
    fl_buffer_clear(&b);
    put_u32(&b, 8);
    put_llama2c(&b, "<unk>", 0);
    put_llama2c(&b, "a", 0);
    put_llama2c(&b, "b", 0);
    put_llama2c(&b, "c", 0);
    check_model(&b, FL_ERR_FORMAT, "piece 3 = \"c\"");
    fl_buffer_clear(&b);
    put_u32(&b, 8);
    put_llama2c(&b, "<unk>", 0);
    check_model(&b, FL_ERR_FORMAT, "1 pieces");
    fl_buffer_clear(&b);
    put_u32(&b, 0);
    put_llama2c(&b, "<unk>", 0);
    check_model(&b, FL_ERR_FORMAT, "max_token_length = 0");
    fl_buffer_free(&b);
}

/* ---- other files, and damage -------------------------------------------------------------------------------- */

static void other_files(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        fl_status status;
        const char *word;
    } file[] = {{"", FL_ERR_FORMAT, "neither"},
                {"x", FL_ERR_FORMAT, "neither"},
                {"#version: 0.2\na b\n", FL_ERR_FORMAT, "neither"},
                {"IQ== 0\nIg== 1\n", FL_ERR_UNSUPPORTED, "tiktoken"}};
    for (size_t i = 0; i < sizeof(file) / sizeof(file[0]); i++) {
        assert_int_equal(open_bytes(file[i].text, strlen(file[i].text)), file[i].status);
        assert_non_null(strstr(fl_error_message(), file[i].word));
    }
    fl_tokenizer *t = NULL;
    assert_int_equal(fl_tokenizer_open(&t, "/no/such/file"), FL_ERR_IO);
}

/* Cut at many places, and with bytes changed: refused or usable, never harmful. */
static void damaged_files(void **state)
{
    const char *name = *state;
    fl_buffer whole = {0};
    fl_rng rng;
    char file[300];
    snprintf(file, sizeof(file), "%s%s", DATA, name);
    assert_int_equal(fl_file_read(&whole, file, 1 << 22), FL_OK);
    fl_rng_seed(&rng, 3);
    for (int i = 0; i < 60; i++)
        open_bytes(whole.data, fl_rng_below(&rng, whole.size));
    for (int i = 0; i < 150; i++) {
        fl_buffer damaged = {0};
        fl_buffer_append(&damaged, whole.data, whole.size);
        for (int changes = 1 + (int)fl_rng_below(&rng, 8); changes; changes--) {
            /* Half of them in the last fifth, where the small parts of a file stand. */
            size_t back = fl_rng_below(&rng, changes % 2 ? whole.size : whole.size / 5);
            damaged.data[whole.size - 1 - back] = (char)fl_rng_next(&rng);
        }
        open_bytes(damaged.data, damaged.size);
        fl_buffer_free(&damaged);
    }
    fl_buffer_free(&whole);
}

int main(void)
{
    static char *names[] = {"bytes_qwen2.json",   "llama_prepend.json", "unigram_bytes.json", "unigram_suffix.model",
                            "unigram_user.model", "bpe_user.model",     "bpe_unused.model",   "sentencepiece.model"};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_files),
        cmocka_unit_test(json_excess),
        cmocka_unit_test(regex_limits),
        cmocka_unit_test(endless_growth),
        cmocka_unit_test(sentencepiece_files),
        cmocka_unit_test(llama2c_files),
        cmocka_unit_test(other_files),
        {"damaged bytes_qwen2.json", damaged_files, NULL, NULL, names[0]},
        {"damaged llama_prepend.json", damaged_files, NULL, NULL, names[1]},
        {"damaged unigram_bytes.json", damaged_files, NULL, NULL, names[2]},
        {"damaged unigram_suffix.model", damaged_files, NULL, NULL, names[3]},
        {"damaged unigram_user.model", damaged_files, NULL, NULL, names[4]},
        {"damaged bpe_user.model", damaged_files, NULL, NULL, names[5]},
        {"damaged bpe_unused.model", damaged_files, NULL, NULL, names[6]},
        {"damaged sentencepiece.model", damaged_files, NULL, NULL, names[7]},
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
