#include "text/chat_template.h"

#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "file/json.h"

#define TEMPLATE_BYTES ((size_t)1 << 20)

/* Formats of llama.cpp's llama-chat.cpp. */
const fl_chat_template fl_chat_templates[] = {
    {"chatml", "", "", "<|im_start|>system\n", "<|im_end|>\n", "<|im_start|>user\n", "<|im_end|>\n",
     "<|im_start|>assistant\n", "<|im_end|>\n", "", FL_CHAT_TRIM_NOTHING},
    {"llama2", "[INST] ", "[INST] ", "", "\n", "", " [/INST]", "", "</s>", "", FL_CHAT_TRIM_NOTHING},
    {"llama2-sys", "[INST] ", "[INST] ", "<<SYS>>\n", "\n<</SYS>>\n\n", "", " [/INST]", "", "</s>", "",
     FL_CHAT_TRIM_NOTHING},
    {"llama2-sys-bos", "[INST] ", "<s>[INST] ", "<<SYS>>\n", "\n<</SYS>>\n\n", "", " [/INST]", "", "</s>", "",
     FL_CHAT_TRIM_NOTHING},
    {"llama2-sys-strip", "[INST] ", "[INST] ", "<<SYS>>\n", "\n<</SYS>>\n\n", "", " [/INST]", "", "</s>", "",
     FL_CHAT_TRIM_ALL},
    {"llama3", "", "", "<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>",
     "<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>", "<|start_header_id|>assistant<|end_header_id|>\n\n",
     "<|eot_id|>", "", FL_CHAT_TRIM_ALL},
    {"mistral-v1", " [INST] ", " [INST] ", "", "\n\n", "", " [/INST]", "", "</s>", " ", FL_CHAT_TRIM_NOTHING},
    {"mistral-v3", "[INST] ", "[INST] ", "", "\n\n", "", "[/INST]", "", "</s>", " ", FL_CHAT_TRIM_ANSWERS},
    {"mistral-v3-tekken", "[INST]", "[INST]", "", "\n\n", "", "[/INST]", "", "</s>", "", FL_CHAT_TRIM_NOTHING},
    {"mistral-v7", "", "", "[SYSTEM_PROMPT] ", "[/SYSTEM_PROMPT]", "[INST] ", "[/INST]", "", "</s>", " ",
     FL_CHAT_TRIM_NOTHING},
    {"mistral-v7-tekken", "", "", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[INST]", "[/INST]", "", "</s>", "",
     FL_CHAT_TRIM_NOTHING},
    {"phi3", "", "", "<|system|>\n", "<|end|>\n", "<|user|>\n", "<|end|>\n", "<|assistant|>\n", "<|end|>\n", "",
     FL_CHAT_TRIM_NOTHING},
    {"phi4", "", "", "<|im_start|>system<|im_sep|>", "<|im_end|>", "<|im_start|>user<|im_sep|>", "<|im_end|>",
     "<|im_start|>assistant<|im_sep|>", "<|im_end|>", "", FL_CHAT_TRIM_NOTHING},
    {"falcon3", "", "", "<|system|>\n", "\n", "<|user|>\n", "\n", "<|assistant|>\n", "\n", "", FL_CHAT_TRIM_NOTHING},
    {"zephyr", "", "", "<|system|>\n", "<|endoftext|>\n", "<|user|>\n", "<|endoftext|>\n", "<|assistant|>\n",
     "<|endoftext|>\n", "", FL_CHAT_TRIM_NOTHING},
    {"vicuna", "", "", "", "\n\n", "USER: ", "\n", "ASSISTANT:", "</s>\n", " ", FL_CHAT_TRIM_NOTHING},
    {"vicuna-orca", "", "", "SYSTEM: ", "\n", "USER: ", "\n", "ASSISTANT:", "</s>\n", " ", FL_CHAT_TRIM_NOTHING},
    {"deepseek", "", "", "", "", "### Instruction:\n", "\n", "### Response:\n", "\n<|EOT|>\n", "",
     FL_CHAT_TRIM_NOTHING},
    {"deepseek2", "", "", "", "\n\n", "User: ", "\n\n", "Assistant:", "<｜end▁of▁sentence｜>", " ",
     FL_CHAT_TRIM_NOTHING},
    {"deepseek3", "", "", "", "\n\n", "<｜User｜>", "", "<｜Assistant｜>", "<｜end▁of▁sentence｜>", "",
     FL_CHAT_TRIM_NOTHING},
    {"exaone3", "", "", "[|system|]", "[|endofturn|]\n", "[|user|]", "\n", "[|assistant|]", "[|endofturn|]\n", "",
     FL_CHAT_TRIM_ALL},
    {"granite", "", "", "<|start_of_role|>system<|end_of_role|>", "<|end_of_text|>\n",
     "<|start_of_role|>user<|end_of_role|>", "<|end_of_text|>\n", "<|start_of_role|>assistant<|end_of_role|>",
     "<|end_of_text|>\n", "", FL_CHAT_TRIM_NOTHING},
    {.name = NULL},
};

const fl_chat_template *fl_chat_template_named(const char *name)
{
    for (const fl_chat_template *t = fl_chat_templates; t->name; t++)
        if (!strcmp(t->name, name)) return t;
    return NULL;
}

/* ---- telling a template by its text -------------------------------------------------------------------------------
 */

/* Tried in this order: the first whose markers all occur and whose others do not. A name that is not in the table
 * above is a format known to be none of these. */
static const struct {
    const char *name;
    const char *all[3], *none[2];
} markers[] = {
    {"phi4", {"<|im_start|>", "<|im_sep|>"}, {NULL}},
    {"smolvlm", {"<|im_start|>", "<end_of_utterance>"}, {NULL}},
    {"chatml", {"<|im_start|>"}, {NULL}},
    {"mistral-v7", {"[INST]", "[SYSTEM_PROMPT]"}, {NULL}},
    {"mistral-v1", {"[INST]", "' [INST] ' + system_message"}, {NULL}},
    {"mistral-v1", {" [INST]", "[AVAILABLE_TOOLS]"}, {NULL}},
    {"mistral-v3-tekken", {"\"[INST]\"", "[AVAILABLE_TOOLS]"}, {NULL}},
    {"mistral-v3", {"[INST]", "[AVAILABLE_TOOLS]"}, {NULL}},
    {"llama2-sys-strip", {"[INST]", "content.strip()"}, {NULL}},
    {"llama2-sys-bos", {"bos_token + '[INST]"}, {NULL}},
    {"llama2-sys", {"[INST]", "<<SYS>>"}, {NULL}},
    {"llama2", {"[INST]"}, {NULL}},
    {"phi3", {"<|assistant|>", "<|end|>"}, {NULL}},
    {"chatglm4", {"[gMASK]<sop>"}, {NULL}},
    {"falcon3", {"<|assistant|>", "<|user|>", "</s>"}, {"<|tool_declare|>"}},
    {"glmedge", {"<|assistant|>", "<|user|>"}, {NULL}},
    {"glmedge", {"<|{{ item['role'] }}|>", "<|begin_of_image|>"}, {NULL}},
    {"zephyr", {"<|user|>", "<|endoftext|>"}, {NULL}},
    {"monarch", {"bos_token + message['role']"}, {NULL}},
    {"gemma", {"<start_of_turn>"}, {NULL}},
    {"orion", {"'\\n\\nAssistant: ' + eos_token"}, {NULL}},
    {"openchat", {"GPT4 Correct "}, {NULL}},
    {"vicuna-orca", {"USER: ", "ASSISTANT: ", "SYSTEM: "}, {NULL}},
    {"vicuna", {"USER: ", "ASSISTANT: "}, {NULL}},
    {"deepseek", {"### Instruction:", "<|EOT|>"}, {NULL}},
    {"command-r", {"<|START_OF_TURN_TOKEN|>", "<|USER_TOKEN|>"}, {NULL}},
    {"llama3", {"<|start_header_id|>", "<|end_header_id|>"}, {NULL}},
    {"deepseek2", {"'Assistant: ' + message['content'] + eos_token"}, {NULL}},
    {"deepseek3", {"<｜Assistant｜>", "<｜User｜>", "<｜end▁of▁sentence｜>"}, {NULL}},
    {"exaone3", {"[|system|]", "[|assistant|]", "[|endofturn|]"}, {"[|tool|]"}},
    {"granite", {"<|start_of_role|>"}, {"<tool_call>", "<tools>"}},
};

const fl_chat_template *fl_chat_template_detect(const char *jinja)
{
    for (size_t i = 0; i < sizeof markers / sizeof *markers; i++) {
        bool is = true;
        for (int k = 0; k < 3 && markers[i].all[k]; k++)
            is = is && strstr(jinja, markers[i].all[k]);
        for (int k = 0; k < 2 && markers[i].none[k]; k++)
            is = is && !strstr(jinja, markers[i].none[k]);
        if (is) return fl_chat_template_named(markers[i].name);
    }
    return NULL;
}

/* ---- finding it ---------------------------------------------------------------------------------------------------
 */

/* A string, or a list of {"name", "template"} with one called default. */
static void take(fl_buffer *out, const json_t *value)
{
    size_t i;
    const json_t *entry;
    if (json_is_string(value)) fl_buffer_append(out, json_string_value(value), json_string_length(value));
    json_array_foreach(value, i, entry)
    {
        const char *name = json_string_value(json_object_get(entry, "name"));
        if (name && !strcmp(name, "default")) take(out, json_object_get(entry, "template"));
    }
}

static fl_status read_file(fl_buffer *out, const char *folder, const char *name)
{
    char *path = fl_path_join(folder, name);
    fl_status status = path ? FL_OK : FL_ERR_MEMORY;
    if (path && fl_file_exists(path)) {
        json_t *root = NULL;
        size_t length = strlen(name);
        if (!strcmp(name + length - 6, ".jinja")) {
            fl_buffer_free(out);
            status = fl_file_read(out, path, TEMPLATE_BYTES);
        } else {
            const fl_json_limits limits = {.bytes = 16u << 20, .values = 1 << 20, .depth = 64};
            status = fl_json_read(&root, path, limits);
            if (status == FL_OK) take(out, json_object_get(root, "chat_template"));
        }
        json_decref(root);
    }
    fl_free(path);
    return status;
}

fl_status fl_chat_template_find(fl_buffer *out, const fl_checkpoint *c)
{
    static const char *const files[] = {"chat_template.jinja", "tokenizer_config.json", "chat_template.json"};
    fl_gguf_text text = {NULL, 0};
    if (fl_checkpoint_gguf(c)) {
        FL_TRY(fl_gguf_string(fl_checkpoint_gguf(c), "tokenizer.chat_template", &text));
        if (text.bytes) fl_buffer_append(out, text.bytes, text.length);
        return out->failed ? FL_ERR_MEMORY : FL_OK;
    }
    const fl_packed_model *packed = fl_checkpoint_packed(c);
    if (packed && packed->chat_template.data)
        fl_buffer_append(out, packed->chat_template.data, packed->chat_template.size);
    for (size_t i = 0; !packed && i < sizeof files / sizeof *files && !out->size; i++)
        FL_TRY(read_file(out, fl_checkpoint_folder(c), files[i]));
    return out->failed ? FL_ERR_MEMORY : FL_OK;
}

/* ---- writing a conversation ---------------------------------------------------------------------------------------
 */

void fl_chat_template_before(const fl_chat_template *t, fl_chat_role role, bool opening, bool fresh, fl_buffer *out)
{
    if (role == FL_CHAT_ASSISTANT) {
        fl_buffer_text(out, t->before_answer);
        return;
    }
    if (fresh) fl_buffer_text(out, opening ? t->first : t->again);
    fl_buffer_text(out, role == FL_CHAT_SYSTEM ? t->before_system : t->before_user);
}

const char *fl_chat_template_after(const fl_chat_template *t, fl_chat_role role)
{
    return role == FL_CHAT_SYSTEM ? t->after_system : role == FL_CHAT_USER ? t->after_user : t->after_answer;
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

const char *fl_chat_template_trim(const fl_chat_template *t, fl_chat_role role, const char *text, size_t *length)
{
    if (t->trim == FL_CHAT_TRIM_NOTHING || (t->trim == FL_CHAT_TRIM_ANSWERS && role != FL_CHAT_ASSISTANT)) return text;
    while (*length && is_space(*text))
        text++, --*length;
    while (*length && is_space(text[*length - 1]))
        --*length;
    return text;
}

void fl_chat_template_apply(const fl_chat_template *t, const fl_chat_message *message, int count, bool answer,
                            fl_buffer *out)
{
    bool fresh = true;
    for (int i = 0; i < count; i++) {
        fl_chat_role role = message[i].role;
        size_t length = strlen(message[i].text);
        const char *text = fl_chat_template_trim(t, role, message[i].text, &length);
        fl_chat_template_before(t, role, i == 0, fresh, out);
        fresh = role == FL_CHAT_ASSISTANT;
        if (fresh) fl_buffer_text(out, t->answer_space);
        fl_buffer_append(out, text, length);
        fl_buffer_text(out, fl_chat_template_after(t, role));
    }
    if (answer) fl_chat_template_before(t, FL_CHAT_ASSISTANT, false, false, out);
}
