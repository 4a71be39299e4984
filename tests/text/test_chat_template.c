/* Conversations against what llama.cpp makes of them (tests/data/chat), and templates told by their text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "text/chat_template.h"

static const fl_chat_message conversation[] = {
    {FL_CHAT_SYSTEM, "Be brief."},
    {FL_CHAT_USER, "Hello"},
    {FL_CHAT_ASSISTANT, "  Hi there \n"},
    {FL_CHAT_USER, " Who are you? "},
};

static void unescape(char *s)
{
    char *to = s;
    for (; *s; s++)
        if (s[0] == '\\' && s[1] == 'n')
            *to++ = '\n', s++;
        else
            *to++ = *s;
    *to = 0;
}

static void test_golden(void **state)
{
    (void)state;
    fl_buffer file = {0};
    int lines = 0;
    assert_int_equal(fl_file_read(&file, FL_TEST_DATA "/chat/llama_cpp.golden", 1 << 20), FL_OK);
    for (char *line = strtok(file.data, "\n"); line; line = strtok(NULL, "\n"), lines++) {
        char *number = strchr(line, '\t'), *text = strchr(number + 1, '\t') + 1;
        *number = 0;
        unescape(text);
        int from = atoi(number + 1);
        const fl_chat_template *t = fl_chat_template_named(line);
        assert_non_null(t);
        fl_buffer made = {0};
        fl_chat_template_apply(t, conversation + from, 4 - from, true, &made);
        assert_false(made.failed);
        assert_string_equal(made.data, text);
        fl_buffer_free(&made);
    }
    int templates = 0;
    while (fl_chat_templates[templates].name)
        templates++;
    assert_int_equal(lines, 2 * templates);
    fl_buffer_free(&file);
}

/* The steps of a conversation that grows give the same text as the whole. */
static void test_steps(void **state)
{
    (void)state;
    for (const fl_chat_template *t = fl_chat_templates; t->name; t++) {
        fl_buffer whole = {0}, steps = {0};
        fl_chat_template_apply(t, conversation, 2, true, &whole);
        fl_chat_template_before(t, FL_CHAT_SYSTEM, true, true, &steps);
        fl_buffer_text(&steps, conversation[0].text);
        fl_buffer_text(&steps, fl_chat_template_after(t, FL_CHAT_SYSTEM));
        fl_chat_template_before(t, FL_CHAT_USER, false, false, &steps);
        fl_buffer_text(&steps, conversation[1].text);
        fl_buffer_text(&steps, fl_chat_template_after(t, FL_CHAT_USER));
        fl_chat_template_before(t, FL_CHAT_ASSISTANT, false, false, &steps);
        assert_string_equal(steps.data, whole.data);
        fl_buffer_free(&whole);
        fl_buffer_free(&steps);
    }
}

static void test_detect(void **state)
{
    (void)state;
    static const struct {
        const char *jinja, *name;
    } cases[] = {
        {"{% for m in messages %}{{'<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>'}}{% endfor %}",
         "chatml"},
        {"{{'<|im_start|>' + m['role'] + '<|im_sep|>'}}", "phi4"},
        {"{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}", "llama2-sys-strip"},
        {"{{ bos_token + '[INST] ' + content + ' [/INST]' }}", "llama2-sys-bos"},
        {"{{ '[INST] <<SYS>>\\n' }}", "llama2-sys"},
        {"{{ '[INST] ' + content }}", "llama2"},
        {"{{ ' [INST] ' + system_message }}", "mistral-v1"},
        {"{{ '[AVAILABLE_TOOLS] [INST] ' }}", "mistral-v1"},
        {"{{ \"[AVAILABLE_TOOLS]\" }}{{ \"[INST]\" + content }}", "mistral-v3-tekken"},
        {"{{ \"[AVAILABLE_TOOLS]\" }}{{ \"[INST] \" + content }}", "mistral-v3"},
        {"{{ '[SYSTEM_PROMPT] ' }}{{ '[INST] ' }}", "mistral-v7"},
        {"{{'<|user|>\\n' + m['content'] + '<|end|>\\n<|assistant|>\\n'}}", "phi3"},
        {"{{'<|user|>' + '<|assistant|>' + '</s>'}}", "falcon3"},
        {"{{'<|user|>\\n' + m['content'] + '<|endoftext|>'}}", "zephyr"},
        {"{{'<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n'}}", "llama3"},
        {"{{ 'SYSTEM: ' }}{{ 'USER: ' }}{{ 'ASSISTANT: ' }}", "vicuna-orca"},
        {"{{ 'USER: ' }}{{ 'ASSISTANT: ' }}", "vicuna"},
        {"{{ '<|start_of_role|>' }}", "granite"},
        {"<start_of_turn>model", NULL},
        {"{{ messages }}", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const fl_chat_template *t = fl_chat_template_detect(cases[i].jinja);
        if (cases[i].name) {
            assert_non_null(t);
            assert_string_equal(t->name, cases[i].name);
        } else {
            assert_null(t);
        }
    }
    assert_null(fl_chat_template_named("plain"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_detect),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
