/* Byte-level BPE of a GGUF file in the form of tokenizer.json, which the library reads and other software too. */
#include <inttypes.h>

#include "text/gguf_tokenizer.h"
#include "text/sentencepiece.h"

#define KEY(name) "tokenizer.ggml." name

#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define HEAD "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define TAIL "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define LLAMA3 HEAD "\\p{N}{1,3}" TAIL
#define QWEN2 HEAD "\\p{N}" TAIL
#define ANY_CASE "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define NO_CAPITAL "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define BEFORE "[^\\r\\n\\p{L}\\p{N}]?"
#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
#define O200K                                                                                                          \
    BEFORE ANY_CASE "*" NO_CAPITAL "+" CONTRACTION "|" BEFORE ANY_CASE "+" NO_CAPITAL "*" CONTRACTION                  \
                    "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define TEKKEN                                                                                                         \
    BEFORE ANY_CASE "*" NO_CAPITAL "+|" BEFORE ANY_CASE "+" NO_CAPITAL                                                 \
                    "*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/* Names, patterns and switches of llama.cpp's llama-vocab.cpp. */
const fl_gguf_pre fl_gguf_pres[] = {
    {{"gpt-2", "phi-2", "mpt", "olmo", "jais", "roberta-bpe", "exaone4", "gigachat"}, {GPT2}, false, false},
    {{"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "lfm2"}, {LLAMA3}, true, true},
    {{"dbrx", "smaug-bpe", "chatglm-bpe"}, {LLAMA3}, false, false},
    {{"glm4"}, {LLAMA3}, true, false},
    {{"qwen2", "deepseek-r1-qwen", "stablelm2", "megrez", "hunyuan"}, {QWEN2}, false, false},
    {{"starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b"},
     {"\\p{N}", GPT2},
     false,
     false},
    {{"falcon"}, {"[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]"}, false, false},
    {{"gpt-4o", "llama4"}, {O200K}, false, false},
    {{"tekken"}, {TEKKEN}, true, true},
    {{"default"}, {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}, false, false},
    {{NULL}, {NULL}, false, false},
};

static fl_status find_pre(const fl_gguf_pre **out, const fl_gguf *g)
{
    fl_gguf_text name = {"default", 7}, architecture = {"", 0};
    FL_TRY(fl_gguf_string(g, "general.architecture", &architecture));
    /* Files from before the key; all models of these two divide texts alike. */
    if (fl_gguf_text_is(architecture, "gpt2") || fl_gguf_text_is(architecture, "gptneox"))
        name = (fl_gguf_text){"gpt-2", 5};
    FL_TRY(fl_gguf_string(g, KEY("pre"), &name));
    for (*out = fl_gguf_pres; (*out)->names[0]; ++*out)
        for (int i = 0; (*out)->names[i]; i++)
            if (fl_gguf_text_is(name, (*out)->names[i])) return FL_OK;
    return fl_gguf_fail(FL_ERR_UNSUPPORTED, g, KEY("pre"),
                        "this way to divide texts is not known; name the model's tokenizer.json instead");
}

/* ---- parts --------------------------------------------------------------------------------------------------------
 */

static fl_status bad(const fl_gguf *g, const char *key, int64_t i, const char *why)
{
    char text[96];
    snprintf(text, sizeof text, "[%" PRId64 "]: %s", i, why);
    return fl_gguf_fail(FL_ERR_FORMAT, g, key, text);
}

static fl_status add_vocab(json_t *vocab, const fl_gguf *g, const fl_gguf_pieces *p)
{
    for (int64_t id = 0; id < p->count; id++) {
        fl_gguf_text text = fl_gguf_text_at(p->text, (uint64_t)id);
        if (text.length == 0 || text.length > FL_PIECE_BYTES || !fl_utf8_valid(text.bytes, text.length) ||
            memchr(text.bytes, 0, text.length))
            return bad(g, KEY("tokens"), id, "must be UTF-8 text of 1 to 1024 bytes");
        if (json_object_getn(vocab, text.bytes, text.length)) return bad(g, KEY("tokens"), id, "comes a second time");
        if (json_object_setn_new_nocheck(vocab, text.bytes, text.length, json_integer(id))) return FL_ERR_MEMORY;
    }
    return FL_OK;
}

static fl_status add_merges(json_t *merges, const fl_gguf *g)
{
    const fl_gguf_value *v = NULL;
    FL_TRY(fl_gguf_strings(g, KEY("merges"), &v));
    if (!v) return fl_gguf_fail(FL_ERR_FORMAT, g, KEY("merges"), "is missing");
    for (uint64_t i = 0; i < v->count; i++) {
        fl_gguf_text text = fl_gguf_text_at(v, i);
        const char *space = text.length > 2 ? memchr(text.bytes + 1, ' ', text.length - 2) : NULL;
        if (!space || !fl_utf8_valid(text.bytes, text.length) || memchr(text.bytes, 0, text.length))
            return bad(g, KEY("merges"), (int64_t)i, "must be two pieces with a space between them");
        size_t left = (size_t)(space - text.bytes);
        json_t *pair = json_pack("[s%, s%]", text.bytes, left, space + 1, text.length - left - 1);
        if (json_array_append_new(merges, pair)) return FL_ERR_MEMORY;
    }
    return FL_OK;
}

/* Control and user-defined pieces are found in a text before it is divided. */
static fl_status add_added(json_t *added, const fl_gguf_pieces *p)
{
    for (int64_t id = 0; id < p->count; id++) {
        int type = fl_gguf_piece_type(p, id);
        fl_gguf_text text = fl_gguf_text_at(p->text, (uint64_t)id);
        if (type != FL_PIECE_CONTROL && type != FL_PIECE_USER_DEFINED) continue;
        json_t *token =
            json_pack("{s:I, s:s%, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)id, "content", text.bytes, text.length,
                      "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special", type == FL_PIECE_CONTROL);
        if (json_array_append_new(added, token)) return FL_ERR_MEMORY;
    }
    return FL_OK;
}

static json_t *byte_level(void)
{
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 0, "use_regex",
                     0);
}

static json_t *pre_tokenizer(const fl_gguf_pre *pre)
{
    json_t *list = json_array();
    for (int i = 0; i < FL_GGUF_PRE_PATTERNS && pre->pattern[i]; i++)
        json_array_append_new(list, json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex",
                                              pre->pattern[i], "behavior", "Isolated", "invert", 0));
    json_array_append_new(list, byte_level());
    return json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", list);
}

static void add_token(json_t *single, json_t *specials, const fl_gguf_pieces *p, int64_t id)
{
    fl_gguf_text text = fl_gguf_text_at(p->text, (uint64_t)id);
    json_t *name = json_stringn(text.bytes, text.length);
    json_array_append_new(single, json_pack("{s:{s:O, s:i}}", "SpecialToken", "id", name, "type_id", 0));
    json_object_setn_new(specials, text.bytes, text.length,
                         json_pack("{s:O, s:[I], s:[O]}", "id", name, "ids", (json_int_t)id, "tokens", name));
    json_decref(name);
}

static json_t *post_processor(const fl_gguf_pieces *p)
{
    if (!(p->add_bos && p->bos >= 0) && !(p->add_eos && p->eos >= 0)) return byte_level();
    json_t *single = json_array(), *pair = json_array(), *specials = json_object();
    for (int text = 0; text < 2; text++) {
        json_t *to = text ? pair : single;
        if (p->add_bos && p->bos >= 0) add_token(to, specials, p, p->bos);
        json_array_append_new(to, json_pack("{s:{s:s, s:i}}", "Sequence", "id", "A", "type_id", 0));
        if (text) json_array_append_new(to, json_pack("{s:{s:s, s:i}}", "Sequence", "id", "B", "type_id", 1));
        if (p->add_eos && p->eos >= 0) add_token(to, specials, p, p->eos);
    }
    return json_pack("{s:s, s:o, s:o, s:o}", "type", "TemplateProcessing", "single", single, "pair", pair,
                     "special_tokens", specials);
}

/* ---- the whole ----------------------------------------------------------------------------------------------------
 */

fl_status fl_gguf_tokenizer_json(json_t **out, const fl_gguf *g)
{
    const fl_gguf_pre *pre;
    fl_gguf_pieces p = {.bos = -1, .eos = -1, .unk = -1};
    FL_TRY(find_pre(&pre, g));
    p.add_bos = pre->adds_bos;
    FL_TRY(fl_gguf_pieces_read(&p, g));
    json_t *vocab = json_object(), *merges = json_array(), *added = json_array();
    fl_status status = vocab && merges && added ? FL_OK : FL_ERR_MEMORY;
    if (status == FL_OK) status = add_vocab(vocab, g, &p);
    if (status == FL_OK) status = add_merges(merges, g);
    if (status == FL_OK) status = add_added(added, &p);
    json_t *root = NULL;
    if (status == FL_OK) {
        root = json_pack(
            "{s:s, s:n, s:n, s:O, s:n, s:o, s:o, s:o, s:{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:O, s:O}}", "version",
            "1.0", "truncation", "padding", "added_tokens", added, "normalizer", "pre_tokenizer", pre_tokenizer(pre),
            "post_processor", post_processor(&p), "decoder", byte_level(), "model", "type", "BPE", "dropout",
            "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0,
            "ignore_merges", pre->ignore_merges, "vocab", vocab, "merges", merges);
        if (!root) status = FL_ERR_MEMORY;
    }
    json_decref(added);
    json_decref(merges);
    json_decref(vocab);
    if (status == FL_OK) *out = root;
    if (status == FL_ERR_MEMORY) return fl_fail(status, "%s: no memory for the tokenizer", fl_gguf_name(g));
    return status;
}
