/* furlong chat: a conversation on the terminal, one line per turn.
 *
 * The whole conversation is kept as text. Before each answer it is tokenized as one text; the session goes back to
 * where its tokens and the new ones part and reads on from there. So what the model sees is exactly the text, whatever
 * was stopped, cut at a stop string or loaded from a file, and usually only the new turn is read. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "model/model.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

typedef struct chat_options {
    cli_common common;
    const char *system, *load, *template;
    int64_t predict;
    bool ignore_eos;
} chat_options;

#define AT(member) offsetof(chat_options, member)

static const cli_flag flags[] = {
    {"chat-template", 0, "NAME", CLI_TEXT, AT(template), NULL, 0, 0, NULL,
     "how turns are written: plain puts User: and Assistant: before them, raw puts nothing anywhere, chatml, llama3, "
     "mistral-v3, phi3 and others are llama.cpp's; without it, told from the model's own template"},
    {"system-prompt", 0, "TEXT", CLI_TEXT, AT(system), NULL, 0, 0, NULL, "text before the first turn"},
    {"load", 0, "FILE", CLI_TEXT, AT(load), NULL, 0, 0, NULL, "go on with a conversation written by /save"},
    {"predict", 'n', "N", CLI_INTEGER, AT(predict), "-1", -1, 0x1p40, NULL,
     "most tokens of an answer; -1: until it ends"},
    {"ignore-eos", 0, NULL, CLI_SWITCH, AT(ignore_eos), NULL, 0, 0, NULL, "go on past tokens that end the text"},
};
static const cli_group group = CLI_GROUP("Conversation", flags);
static const cli_group *const groups[] = {
    &group,           &cli_group_model,    &cli_group_positions, &cli_group_reading,
    &cli_group_cache, &cli_group_sampling, &cli_group_output,    NULL};

static const char *const plain_stop[] = {"\nUser:"};

typedef struct chat {
    cli_work work;
    const chat_options *options;
    fl_buffer text;                   /* the conversation */
    size_t answer_at;                 /* where the answer being generated begins */
    const fl_chat_template *template; /* NULL: plain or raw */
    bool plain;
    bool answered;  /* the last thing said is an answer, whose end is not yet written */
    fl_buffer said; /* spans of text that people or the model said: they name no special tokens */
    bool named;     /* but one of them has the spelling of one */
    int64_t turns;
    bool quit;
} chat;

typedef struct span {
    size_t from, to;
} span;

static int out_of_memory(void)
{
    cli_error("out of memory");
    return CLI_ERROR;
}

static void cut(fl_buffer *b, size_t size)
{
    if (b->size > size) b->data[b->size = size] = 0;
}

/* ---- answers ---------------------------------------------------------------------------------------------------- */

/* Note that what was appended from `from` on is nobody's template. */
static fl_status say(chat *c, size_t from)
{
    const span s = {from, c->text.size};
    fl_tokens read = {0}, plain = {0};
    const fl_tokenizer *t = c->work.tokenizer;
    if (!c->template || s.from == s.to) return FL_OK;
    fl_buffer_append(&c->said, &s, sizeof s);
    if (c->text.failed || c->said.failed) return fl_fail(FL_ERR_MEMORY, "out of memory");
    fl_status status = fl_tokenizer_encode(t, c->text.data + s.from, s.to - s.from, false, true, &read);
    if (status == FL_OK) status = fl_tokenizer_encode(t, c->text.data + s.from, s.to - s.from, false, false, &plain);
    if (status == FL_OK &&
        (read.count != plain.count || (read.count && memcmp(read.id, plain.id, (size_t)read.count * sizeof *read.id))))
        c->named = true;
    fl_tokens_free(&read);
    fl_tokens_free(&plain);
    return status;
}

/* The ids of the conversation. It is tokenized as one text, in which a template names its special tokens; only when
 * something that was said has the spelling of one, part by part. */
static fl_status encode(const chat *c, fl_tokens *out)
{
    const fl_tokenizer *t = c->work.tokenizer;
    const char *text = c->text.data ? c->text.data : "";
    if (!c->template || !c->named) return fl_tokenizer_encode(t, text, c->text.size, true, c->template != NULL, out);
    size_t at = 0;
    for (size_t i = 0; i < c->said.size / sizeof(span); i++) {
        span s;
        memcpy(&s, c->said.data + i * sizeof s, sizeof s);
        FL_TRY(fl_tokenizer_encode(t, text + at, s.from - at, at == 0, true, out));
        FL_TRY(fl_tokenizer_encode(t, text + s.from, s.to - s.from, false, false, out));
        at = s.to;
    }
    return fl_tokenizer_encode(t, text + at, c->text.size - at, at == 0, true, out);
}

/* Bring the session to the conversation's text. */
static fl_status synchronise(chat *c)
{
    fl_session *session = c->work.session;
    fl_tokens ids = {0};
    /* What a stream has forgotten the ids of is taken for the same: a conversation only grows. */
    int64_t begin = fl_session_ids_begin(session), same = begin, held = fl_session_tokens(session);
    fl_status s = encode(c, &ids);
    while (s == FL_OK && same < held && same < ids.count - 1 && fl_session_ids(session)[same - begin] == ids.id[same])
        same++;
    if (s == FL_OK) s = same < ids.count ? fl_session_truncate(session, same) : FL_ERR_STATE;
    if (s == FL_ERR_STATE) s = fl_session_truncate(session, same = 0); /* forgotten: all again */
    if (s == FL_OK) s = fl_session_read(session, ids.id + same, ids.count - same);
    fl_tokens_free(&ids);
    return s;
}

static int write_text(const char *text, size_t length, void *user)
{
    chat *c = user;
    bool first = c->text.size == c->answer_at;
    fl_buffer_append(&c->text, text, length);
    /* The space between "Assistant:" and the answer belongs to the template. */
    if (first && (c->plain || (c->template && *c->template->answer_space)) && *text == ' ') text++, length--;
    fwrite(text, 1, length, stdout);
    return fflush(stdout) || c->text.failed || cli_interrupted();
}

static fl_status generate(chat *c)
{
    fl_generate_options options = FL_GENERATE_OPTIONS_INIT;
    options.max_tokens = c->options->predict;
    options.ignore_eos = c->options->ignore_eos;
    /* The end of an answer may be a token, of which no text would be seen, though none that the model says ends a
     * text; or it is text. */
    char end[64];
    const char *const end_stop[] = {end};
    snprintf(end, sizeof end, "%s", c->template ? c->template->after_answer : "");
    end[strcspn(end, "\n")] = 0;
    const int32_t end_id = *end ? fl_tokenizer_id(c->work.tokenizer, end) : -1;
    options.stop_ids = &end_id;
    options.stop_id_count = end_id >= 0 && !options.ignore_eos;
    options.stop = c->plain ? plain_stop : end_stop;
    options.stop_count = c->plain || *end;
    options.text = write_text;
    options.text_user = c;
    cli_sampler_options(&options.sampler, &c->options->common);
    options.sampler.seed += (uint64_t)c->turns;
    fl_generate_result result;
    fl_status s = fl_generate(c->work.session, c->work.tokenizer, &options, &result);
    if (s != FL_OK) return s;
    putchar('\n');
    if (result.finish == FL_FINISH_CONTEXT)
        cli_warn("the context of %lld tokens is full: /reset begins anew",
                 (long long)fl_session_context(c->work.session));
    if (c->options->common.verbose)
        cli_note("%lld tokens, %.1f tokens/s; context: %lld of %lld tokens", (long long)result.tokens,
                 result.seconds > 0 ? (double)result.tokens / result.seconds : 0.0,
                 (long long)fl_session_tokens(c->work.session), (long long)fl_session_context(c->work.session));
    return FL_OK;
}

/* What the user said, and all that stands around it up to the answer. */
static fl_status append_turn(chat *c, const char *line, size_t length)
{
    const fl_chat_template *t = c->template;
    if (c->plain) fl_buffer_format(&c->text, "%sUser: ", c->text.size ? "\n" : "");
    if (t) {
        bool opening = c->text.size == 0;
        if (c->answered) fl_buffer_text(&c->text, fl_chat_template_after(t, FL_CHAT_ASSISTANT));
        fl_chat_template_before(t, FL_CHAT_USER, opening, opening || c->answered, &c->text);
        line = fl_chat_template_trim(t, FL_CHAT_USER, line, &length);
    }
    size_t from = c->text.size;
    fl_buffer_append(&c->text, line, length);
    FL_TRY(say(c, from));
    if (c->plain) fl_buffer_text(&c->text, "\nAssistant:");
    if (t) {
        fl_buffer_text(&c->text, fl_chat_template_after(t, FL_CHAT_USER));
        fl_chat_template_before(t, FL_CHAT_ASSISTANT, false, false, &c->text);
    }
    return c->text.failed ? fl_fail(FL_ERR_MEMORY, "out of memory") : FL_OK;
}

/* One turn. An answer that was stopped stays as far as it went; a turn that failed is taken back. */
static int take_turn(chat *c, const char *line, size_t length)
{
    size_t before = c->text.size, said = c->said.size;
    if (append_turn(c, line, length) != FL_OK) return out_of_memory();
    c->answer_at = c->text.size;
    cli_interrupt_arm(c->work.session);
    fl_status s = synchronise(c);
    bool reading = s != FL_OK;
    if (s == FL_OK) s = generate(c);
    cli_interrupt_disarm();
    c->turns++;
    if (reading) {
        cut(&c->text, before);
        cut(&c->said, said);
    } else {
        c->answered = true;
        if (say(c, c->answer_at) != FL_OK) return out_of_memory();
    }
    if (s == FL_OK) return CLI_OK;
    if (s == FL_ERR_CANCELLED) {
        if (!reading) putchar('\n');
        fflush(stdout);
        cli_note("%s", reading ? "stopped while reading; the turn is taken back" : "stopped");
        return CLI_OK;
    }
    cli_error("%s", fl_error_message());
    return s == FL_ERR_WINDOW ? CLI_OK : CLI_ERROR;
}

/* ---- commands --------------------------------------------------------------------------------------------------- */

static fl_status begin(chat *c)
{
    cut(&c->text, 0);
    cut(&c->said, 0);
    c->turns = 0;
    c->answered = c->named = false;
    if (c->options->system) {
        size_t length = strlen(c->options->system);
        const char *system = c->options->system;
        if (c->template) {
            fl_chat_template_before(c->template, FL_CHAT_SYSTEM, true, true, &c->text);
            system = fl_chat_template_trim(c->template, FL_CHAT_SYSTEM, system, &length);
        }
        size_t from = c->text.size;
        fl_buffer_append(&c->text, system, length);
        FL_TRY(say(c, from));
        if (c->template) fl_buffer_text(&c->text, fl_chat_template_after(c->template, FL_CHAT_SYSTEM));
    }
    return fl_session_truncate(c->work.session, 0);
}

/* The text of a restored session comes from its tokens. */
static fl_status load(chat *c, const char *path)
{
    fl_status s = fl_session_restore(c->work.session, path);
    if (s != FL_OK) return s;
    const int32_t *ids = fl_session_ids(c->work.session);
    int64_t count = fl_session_tokens(c->work.session) - fl_session_ids_begin(c->work.session);
    const fl_tokenizer *t = c->work.tokenizer;
    /* A template's special tokens belong to its text; BOS comes before a text anyway. */
    bool shown = c->template != NULL, bos = shown && count && fl_tokenizer_adds_bos(t) && ids[0] == fl_tokenizer_bos(t);
    fl_buffer text = {0};
    s = fl_tokenizer_decode(t, ids + bos, count - bos, shown, &text);
    if (s == FL_OK) {
        cut(&c->text, 0);
        cut(&c->said, 0);
        c->named = false;
        c->answered = count > 0;
        if (text.size) fl_buffer_append(&c->text, text.data, text.size);
        cli_note("%s: %lld tokens", path, (long long)count);
    }
    fl_buffer_free(&text);
    return s;
}

/* The answer's tokens may still lack its last ones, and a stop string may have been read beyond it. */
static fl_status save(chat *c, const char *path)
{
    fl_status s = c->text.size ? synchronise(c) : FL_OK;
    if (s == FL_OK) s = fl_session_save(c->work.session, path);
    if (s == FL_OK) cli_note("%s: %lld tokens saved", path, (long long)fl_session_tokens(c->work.session));
    return s;
}

static void run_command(chat *c, char *line)
{
    char *argument = line + strcspn(line, " ");
    if (*argument) *argument++ = 0;
    argument += strspn(argument, " ");
    fl_status s = FL_OK;
    if (!strcmp(line, "/quit") || !strcmp(line, "/exit"))
        c->quit = true;
    else if (!strcmp(line, "/reset"))
        s = begin(c);
    else if (!strcmp(line, "/save") && *argument)
        s = save(c, argument);
    else if (!strcmp(line, "/load") && *argument)
        s = load(c, argument);
    else
        cli_note("commands: /reset begins anew, /save FILE, /load FILE, /quit; Ctrl-C stops an answer");
    if (s != FL_OK) cli_error("%s", fl_error_message());
}

/* ---- the terminal ----------------------------------------------------------------------------------------------- */

static int converse(chat *c)
{
    bool terminal = isatty(STDIN_FILENO);
    char *line = NULL;
    size_t capacity = 0;
    int status = CLI_OK;
    while (status == CLI_OK && !c->quit) {
        if (terminal) fputs("> ", stderr);
        ssize_t length = getline(&line, &capacity, stdin);
        if (length < 0) break;
        while (length > 0 && (line[length - 1] == '\n' || line[length - 1] == '\r'))
            line[--length] = 0;
        if (line[0] == '/')
            run_command(c, line);
        else if (length > 0)
            status = take_turn(c, line, (size_t)length);
    }
    if (status == CLI_OK && ferror(stdin)) {
        cli_error("stdin: cannot read: %s", strerror(errno));
        status = CLI_ERROR;
    }
    free(line);
    return status;
}

static void name_templates(const char *typed)
{
    fl_buffer names = {0};
    for (const fl_chat_template *t = fl_chat_templates; t->name; t++)
        fl_buffer_format(&names, ", %s", t->name);
    cli_error("--chat-template %s: choose plain, raw%s", typed, names.data ? names.data : "");
    fl_buffer_free(&names);
}

/* -> exit status */
static int choose_template(chat *c)
{
    const char *name = c->options->template;
    fl_buffer own = {0};
    c->plain = name && !strcmp(name, "plain");
    if (name && (c->plain || !strcmp(name, "raw"))) return CLI_OK;
    if (name) {
        c->template = fl_chat_template_named(name);
        if (!c->template) name_templates(name);
        return c->template ? CLI_OK : CLI_USAGE;
    }
    fl_status s = fl_chat_template_find(&own, c->work.model->checkpoint);
    if (s == FL_OK && own.size) c->template = fl_chat_template_detect(own.data);
    c->plain = !c->template;
    if (s != FL_OK) {
        cli_failed(s);
    } else if (c->template) {
        if (c->options->common.verbose) cli_note("chat template: %s", c->template->name);
    } else {
        cli_note("%s: turns are written as plain \"User:\" and \"Assistant:\" lines, which a model trained on another "
                 "form may answer badly; --chat-template names one, raw writes them as they are",
                 own.size ? "the model's chat template is none of the known ones" : "the model has no chat template");
    }
    fl_buffer_free(&own);
    return s == FL_OK ? CLI_OK : CLI_ERROR;
}

static int run(const cli_call *call)
{
    chat c = {.options = call->options};
    if (c.options->common.json) return cli_misused(call, "a conversation has no JSON form");
    int status = cli_open_session(&c.work, call, &c.options->common);
    if (status == CLI_OK) status = cli_open_tokenizer(&c.work, call, &c.options->common);
    if (status == CLI_OK) status = choose_template(&c);
    if (status == CLI_OK) {
        fl_status s = begin(&c);
        if (s == FL_OK && c.options->load) s = load(&c, c.options->load);
        if (s != FL_OK) status = cli_failed(s);
    }
    if (status == CLI_OK) status = converse(&c);
    if (status == CLI_OK) status = cli_finish_output();
    fl_buffer_free(&c.text);
    fl_buffer_free(&c.said);
    cli_close(&c.work);
    return status;
}

const cli_command cli_chat = {
    "chat",
    "talk to a model, line by line",
    NULL,
    "Talk to a model, line by line. Ctrl-C stops an answer; /reset begins anew, /save FILE and "
    "/load FILE keep a conversation with the model's memory of it, /quit or Ctrl-D leaves.",
    sizeof(chat_options),
    groups,
    run};
