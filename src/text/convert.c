/* Models from one format to another, with what belongs to them. Weights are converted on their way from file to file;
 * none are kept. */
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "file/gguf_config_write.h"
#include "file/gguf_write.h"
#include "file/hf_write.h"
#include "file/json.h"
#include "file/llama2c.h"
#include "furlong.h"
#include "text/chat_template.h"
#include "text/gguf_tokenizer.h"
#include "text/pieces.h"
#include "text/tokenizer_internal.h"
#include "text/tokenizer_write.h"

typedef struct conversion {
    const char *path;
    fl_format format;
    fl_dtype type;
    const fl_convert_options *options;
    fl_checkpoint *source;
    const fl_config *config;
    fl_tokenizer *tokenizer; /* NULL: there is none to write */
    const char *tokenizer_path;
    fl_buffer chat_template;
} conversion;

/* ---- what is asked for --------------------------------------------------------------------------------------------
 */

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), e = strlen(end);
    return n >= e && !strcmp(name + n - e, end);
}

static fl_status find_format(conversion *c)
{
    const char *name = c->options->format;
    if (!name)
        c->format = ends_with(c->path, ".gguf")  ? FL_FORMAT_GGUF
                    : ends_with(c->path, ".bin") ? FL_FORMAT_LLAMA2C
                                                 : FL_FORMAT_HF;
    else if (!strcmp(name, "hf"))
        c->format = FL_FORMAT_HF;
    else if (!strcmp(name, "gguf"))
        c->format = FL_FORMAT_GGUF;
    else if (!strcmp(name, "llama2c"))
        c->format = FL_FORMAT_LLAMA2C;
    else
        return fl_fail(FL_ERR_ARGUMENT, "--format %s: choose hf, gguf or llama2c", name);
    return FL_OK;
}

static bool writes(fl_format format, fl_dtype type)
{
    bool blocks = type == FL_Q8_0 || type == FL_Q4_0, halves = type == FL_F16 || type == FL_BF16;
    return type == FL_F32 || (halves && format != FL_FORMAT_LLAMA2C) || (blocks && format == FL_FORMAT_GGUF);
}

static fl_status find_type(conversion *c)
{
    static const struct {
        const char *name;
        fl_dtype type;
    } types[] = {{"f32", FL_F32}, {"f16", FL_F16}, {"bf16", FL_BF16}, {"q8_0", FL_Q8_0}, {"q4_0", FL_Q4_0}};
    static const char *const written[] = {[FL_FORMAT_HF] = "hf is written as f32, f16 or bf16",
                                          [FL_FORMAT_GGUF] = "gguf is written as f32, f16, bf16, q8_0 or q4_0",
                                          [FL_FORMAT_LLAMA2C] = "llama2c is written as f32"};
    const char *name = c->options->type;
    c->type = writes(c->format, c->config->stored_type) ? c->config->stored_type : FL_F32;
    if (!name) return FL_OK;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(name, types[i].name) && writes(c->format, types[i].type)) {
            c->type = types[i].type;
            return FL_OK;
        }
    return fl_fail(FL_ERR_ARGUMENT, "--type %s: %s", name, written[c->format]);
}

static fl_status open_tokenizer(conversion *c)
{
    const fl_gguf *g = fl_checkpoint_gguf(c->source);
    if (c->options->no_tokenizer) return FL_OK;
    c->tokenizer_path = c->options->tokenizer;
    if (!c->tokenizer_path && fl_gguf_has_tokenizer(g)) return fl_tokenizer_open_gguf(&c->tokenizer, g);
    if (!c->tokenizer_path) c->tokenizer_path = fl_checkpoint_tokenizer(c->source);
    if (!c->tokenizer_path) return FL_OK;
    return fl_tokenizer_open_sized(&c->tokenizer, c->tokenizer_path, c->config->vocab);
}

/* ---- GGUF ---------------------------------------------------------------------------------------------------------
 */

/* BOS is the tokenizer's, which puts it before texts; what ends a text is the model's to say, but the tokenizer's EOS
 * comes first when it is among that, or when the tokenizer puts it after texts. */
static fl_status put_ids(fl_gguf_keys *keys, const conversion *c)
{
    static const char *const ends[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    const int most = (int)(sizeof ends / sizeof *ends);
    const fl_config *config = c->config;
    const int32_t own = fl_tokenizer_eos(c->tokenizer);
    int32_t bos = fl_tokenizer_bos(c->tokenizer), eos[FL_MAX_EOS + 1];
    bool add_bos, add_eos;
    int count = 0;
    FL_TRY(fl_pieces_around(c->tokenizer, &add_bos, &add_eos));
    bool first = add_eos || (config->eos_count == 0 && own >= 0);
    for (int i = 0; i < config->eos_count; i++)
        first = first || config->eos[i] == own;
    if (first) eos[count++] = own;
    for (int i = 0; i < config->eos_count; i++)
        if (!first || config->eos[i] != own) eos[count++] = config->eos[i];
    if (count > most)
        return fl_fail(FL_ERR_UNSUPPORTED, "GGUF files: eos_token_id: %d ids; there are keys for %d", count, most);
    if (bos < 0) bos = config->bos;
    if (bos >= 0) fl_gguf_put_u32(keys, "tokenizer.ggml.bos_token_id", (uint32_t)bos);
    for (int i = 0; i < count; i++)
        fl_gguf_put_u32(keys, ends[i], (uint32_t)eos[i]);
    if (config->pad >= 0) fl_gguf_put_u32(keys, "tokenizer.ggml.padding_token_id", (uint32_t)config->pad);
    return FL_OK;
}

static fl_status write_gguf(const conversion *c)
{
    fl_gguf_keys keys = {0};
    bool own = fl_gguf_has_tokenizer(fl_checkpoint_gguf(c->source));
    /* Without keys the writer copies those of the source. */
    if (c->tokenizer ? own && !c->options->tokenizer : !own)
        return fl_gguf_write(c->path, c->config, NULL, 0, c->type, c->source, NULL);
    fl_status status = FL_OK;
    if (c->tokenizer) {
        status = fl_tokenizer_put_gguf(&keys, c->tokenizer, c->config->vocab);
        if (status == FL_OK) status = put_ids(&keys, c);
        if (c->chat_template.size) fl_gguf_put_string(&keys, "tokenizer.chat_template", c->chat_template.data);
    } else {
        status = fl_gguf_tokens_write(&keys, c->config);
    }
    if (status == FL_OK) status = fl_gguf_write(c->path, c->config, NULL, 0, c->type, c->source, &keys);
    fl_gguf_keys_free(&keys);
    return status;
}

/* ---- Hugging Face folders -----------------------------------------------------------------------------------------
 */

static void set_token(json_t *object, const char *key, const fl_tokenizer *t, int32_t id)
{
    size_t length = 0;
    const char *piece = fl_vocab_piece(&t->vocab, id, &length);
    if (!piece) return;
    /* llama2.c puts line ends around the names of BOS and EOS. */
    while (length > 2 && piece[0] == '\n' && piece[length - 1] == '\n')
        piece++, length -= 2;
    json_object_set_new(object, key, json_stringn(piece, length));
}

static fl_status write_tokenizer_config(const conversion *c, const char *path)
{
    const fl_tokenizer *t = c->tokenizer;
    bool add_bos, add_eos;
    FL_TRY(fl_pieces_around(t, &add_bos, &add_eos));
    const char *name = t->pipeline ? "PreTrainedTokenizerFast" : t->is_unigram ? "T5Tokenizer" : "LlamaTokenizer";
    json_t *object = json_pack("{s:s, s:b, s:b, s:b}", "tokenizer_class", name, "add_bos_token", add_bos,
                               "add_eos_token", add_eos, "clean_up_tokenization_spaces", 0);
    set_token(object, "bos_token", t, t->bos);
    set_token(object, "eos_token", t, t->eos);
    set_token(object, "unk_token", t, t->unk);
    if (c->chat_template.size)
        json_object_set_new(object, "chat_template", json_stringn(c->chat_template.data, c->chat_template.size));
    fl_status status = object ? fl_json_write(path, object) : fl_fail(FL_ERR_MEMORY, "%s: no memory", path);
    json_decref(object);
    return status;
}

static fl_status copy_file(const char *from, const char *to)
{
    fl_buffer bytes = {0};
    fl_writer w;
    FL_TRY(fl_file_read(&bytes, from, FL_TOKENIZER_FILE_BYTES));
    fl_status status = fl_writer_open(&w, to);
    if (status == FL_OK) {
        fl_writer_write(&w, bytes.data, bytes.size);
        status = fl_writer_finish(&w);
    }
    fl_buffer_free(&bytes);
    return status;
}

/* The tokenizer.json of a folder, or the file itself. */
static fl_status copy_json(const char *from, const char *to)
{
    char *inside = fl_file_is_folder(from) ? fl_path_join(from, "tokenizer.json") : fl_strdup(from);
    fl_status status = inside ? copy_file(inside, to) : FL_ERR_MEMORY;
    fl_free(inside);
    return status;
}

static fl_status write_gguf_json(const fl_gguf *g, const char *path)
{
    json_t *root;
    FL_TRY(fl_gguf_tokenizer_json(&root, g));
    fl_status status = fl_json_write(path, root);
    json_decref(root);
    return status;
}

static fl_status write_hf_tokenizer(const conversion *c)
{
    const fl_tokenizer *t = c->tokenizer;
    char *file = fl_path_join(c->path, t->pipeline ? "tokenizer.json" : "tokenizer.model");
    char *config = fl_path_join(c->path, "tokenizer_config.json");
    fl_status status = file && config ? fl_folder_make(c->path) : FL_ERR_MEMORY;
    if (status == FL_OK)
        status = !t->pipeline        ? fl_tokenizer_write_sentencepiece(t, file)
                 : c->tokenizer_path ? copy_json(c->tokenizer_path, file)
                                     : write_gguf_json(fl_checkpoint_gguf(c->source), file);
    if (status == FL_OK) status = write_tokenizer_config(c, config);
    fl_free(file);
    fl_free(config);
    return status;
}

static fl_status write_hf(const conversion *c)
{
    /* A folder's own files are copied as they are, when its tokenizer is the one to write. */
    bool copied = fl_checkpoint_format(c->source) == FL_FORMAT_HF && !c->options->tokenizer && c->tokenizer;
    if (c->tokenizer && !copied) FL_TRY(write_hf_tokenizer(c));
    return fl_hf_write(c->path, c->config, fl_checkpoint_at(c->source, 0), fl_checkpoint_count(c->source), c->type,
                       copied ? c->source : NULL);
}

/* ---- llama2.c -----------------------------------------------------------------------------------------------------
 */

static char *beside(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? fl_strndup(path, slash == path ? 1 : (size_t)(slash - path)) : fl_strdup(".");
    char *file = folder ? fl_path_join(folder, name) : NULL;
    fl_free(folder);
    return file;
}

/* Another model's tokenizer in the same folder is not replaced. */
static fl_status keep_other(const char *written, const char *path)
{
    fl_buffer a = {0}, b = {0};
    if (!fl_file_exists(path)) return FL_OK;
    fl_status status = fl_file_read(&a, written, FL_TOKENIZER_FILE_BYTES);
    if (status == FL_OK) status = fl_file_read(&b, path, FL_TOKENIZER_FILE_BYTES);
    if (status == FL_OK && (a.size != b.size || memcmp(a.data, b.data, a.size)))
        status = fl_fail(FL_ERR_ARGUMENT,
                         "%s: another tokenizer lies there; write to another folder, or leave the tokenizer out "
                         "(--no-tokenizer)",
                         path);
    fl_buffer_free(&a);
    fl_buffer_free(&b);
    return status;
}

static fl_status write_llama2c_tokenizer(const conversion *c)
{
    char *made = beside(c->path, "tokenizer.bin.new"), *path = beside(c->path, "tokenizer.bin");
    fl_status status = made && path ? FL_OK : FL_ERR_MEMORY;
    if (status == FL_OK) status = fl_tokenizer_write_llama2c(c->tokenizer, made, c->config->vocab);
    if (status == FL_OK) {
        status = keep_other(made, path);
        if (status == FL_OK && rename(made, path))
            status = fl_fail(FL_ERR_IO, "%s: cannot be written", path);
        else if (status != FL_OK)
            remove(made);
    }
    fl_free(made);
    fl_free(path);
    return status;
}

static fl_status write_llama2c(const conversion *c)
{
    if (c->tokenizer) FL_TRY(write_llama2c_tokenizer(c));
    return fl_llama2c_write(c->path, 0, c->config, NULL, 0, c->source);
}

/* ---- the whole ----------------------------------------------------------------------------------------------------
 */

static fl_status convert(conversion *c, const char *model)
{
    FL_TRY(find_format(c));
    FL_TRY(fl_checkpoint_open(&c->source, model));
    FL_TRY(fl_checkpoint_need_rows(c->source, "converted"));
    c->config = fl_checkpoint_config(c->source);
    FL_TRY(find_type(c));
    FL_TRY(open_tokenizer(c));
    if (c->tokenizer) FL_TRY(fl_chat_template_find(&c->chat_template, c->source));
    if (c->format == FL_FORMAT_GGUF) return write_gguf(c);
    return c->format == FL_FORMAT_HF ? write_hf(c) : write_llama2c(c);
}

fl_status fl_convert(const char *model, const char *path, const fl_convert_options *options)
{
    const fl_convert_options standard = FL_CONVERT_OPTIONS_INIT;
    if (!model || !path) return fl_fail(FL_ERR_ARGUMENT, "fl_convert: model or path is NULL");
    if (options && options->size != sizeof *options)
        return fl_fail(FL_ERR_ARGUMENT, "fl_convert: options.size: start from FL_CONVERT_OPTIONS_INIT");
    conversion c = {.path = path, .options = options ? options : &standard};
    fl_status status = convert(&c, model);
    fl_buffer_free(&c.chat_template);
    fl_tokenizer_close(c.tokenizer);
    fl_checkpoint_close(c.source);
    return status;
}
