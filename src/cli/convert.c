/* furlong convert: a model from one format or type to another. */
#include <stddef.h>

#include "base/alloc.h"
#include "base/file.h"
#include "cli/commands.h"

typedef struct convert_options {
    const char *model, *out, *type, *format, *tokenizer, *adapter;
    bool no_tokenizer, pack;
} convert_options;

#define AT(member) offsetof(convert_options, member)

static const cli_flag flags[] = {
    {"model", 'm', "MODEL", CLI_TEXT, AT(model), NULL, 0, 0, NULL,
     "a Hugging Face folder, a .safetensors file in one, a GGUF file, or a llama2.c .bin"},
    {"out", 'o', "FILE", CLI_TEXT, AT(out), NULL, 0, 0, NULL, "file or folder to write"},
    {"format", 0, "NAME", CLI_TEXT, AT(format), NULL, 0, 0, "hf|gguf|llama2c",
     "format to write; without it, by the end of --out: .gguf, .bin, else a Hugging Face folder"},
    {"type", 0, "TYPE", CLI_TEXT, AT(type), NULL, 0, 0, "f32|f16|bf16|q8_0|q4_0",
     "type of the matrices; without it, as stored, or f32 where the format has no such"},
    {"tokenizer", 0, "FILE", CLI_TEXT, AT(tokenizer), NULL, 0, 0, NULL,
     "take the tokenizer from here instead of from the model"},
    {"no-tokenizer", 0, NULL, CLI_SWITCH, AT(no_tokenizer), NULL, 0, 0, NULL, "leave the tokenizer out"},
    {"pack", 0, NULL, CLI_SWITCH, AT(pack), NULL, 0, 0, NULL,
     "write a packed file instead: furlong opens it at once, without copies, and processes share its memory"},
    {"adapter", 0, "FOLDER", CLI_TEXT, AT(adapter), NULL, 0, 0, NULL,
     "write this low-rank adapter of PEFT, which belongs to the model, as a GGUF file"},
};
static const cli_group group = CLI_GROUP("Conversion", flags);
static const cli_group *const groups[] = {&group, NULL};

/* The kernels do not matter: panels are the same at every CPU level. */
static fl_status pack(const convert_options *o)
{
    fl_engine_options engine_options = FL_ENGINE_OPTIONS_INIT;
    fl_model_options model_options = FL_MODEL_OPTIONS_INIT;
    fl_pack_options options = FL_PACK_OPTIONS_INIT;
    options.tokenizer = o->tokenizer;
    options.no_tokenizer = o->no_tokenizer;
    fl_engine *engine = NULL;
    fl_model *model = NULL;
    fl_status status = fl_engine_create(&engine, &engine_options);
    if (status == FL_OK) status = fl_model_open(&model, engine, o->model, &model_options);
    if (status == FL_OK) status = fl_model_pack(model, o->out, &options);
    fl_model_close(model);
    fl_engine_destroy(engine);
    return status;
}

static fl_status convert(const convert_options *o)
{
    if (o->adapter) {
        char *base = fl_path_join(o->adapter, "base_config.json");
        if (base && fl_file_exists(base))
            cli_warn("%s was trained at the positions of its base_config.json, which a GGUF adapter cannot say: use it "
                     "with a base model that has them (furlong extend)",
                     o->adapter);
        fl_free(base);
        return fl_convert_lora(o->model, o->adapter, o->out);
    }
    if (o->pack) return pack(o);
    fl_convert_options options = FL_CONVERT_OPTIONS_INIT;
    options.format = o->format;
    options.type = o->type;
    options.tokenizer = o->tokenizer;
    options.no_tokenizer = o->no_tokenizer;
    return fl_convert(o->model, o->out, &options);
}

static int run(const cli_call *call)
{
    const convert_options *o = call->options;
    if (!o->model) return cli_misused(call, "name a model with -m MODEL");
    if (!o->out) return cli_misused(call, "name a file or folder to write with -o FILE");
    if (o->tokenizer && o->no_tokenizer) return cli_misused(call, "--tokenizer and --no-tokenizer exclude each other");
    if (o->adapter && (o->format || o->type || o->tokenizer || o->no_tokenizer || o->pack))
        return cli_misused(call, "--adapter takes no flag but -m and -o");
    if (o->pack && (o->format || o->type))
        return cli_misused(call, "--pack keeps the types of the model: convert it with --type first, then pack that");
    fl_status status = convert(o);
    return status == FL_OK ? CLI_OK : cli_failed(status);
}

const cli_command cli_convert = {
    "convert",
    "write a model in another format or type",
    NULL,
    "Write a model as a Hugging Face folder, a GGUF file that llama.cpp reads too, or a llama2.c file, with its "
    "tokenizer, "
    "chat template and ids that end a text. A llama2.c file gets its tokenizer.bin beside it. What a format cannot say "
    "is an error that names it. A packed file (--pack) is furlong's own: weights as they are multiplied with, to be "
    "mapped and used in place; keep the model it came from for everything but reading with it.",
    sizeof(convert_options),
    groups,
    run};
