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

enum { TEMPLATE_PLAIN, TEMPLATE_RAW };

typedef struct chat_options {
    cli_common common;
    const char *system, *load;
    int template;
    int64_t predict;
    bool ignore_eos;
} chat_options;

#define AT(member) offsetof(chat_options, member)

static const cli_flag flags[] = {
    {"chat-template", 0, "NAME", CLI_CHOICE, AT(template), "plain", 0, 0, "plain|raw",
     "plain puts User: and Assistant: before the turns; raw puts nothing anywhere"},
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
    fl_buffer text;   /* the conversation */
    size_t answer_at; /* where the answer being generated begins */
    int64_t turns;
    bool quit;
} chat;

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

/* Bring the session to the conversation's text. */
static fl_status synchronise(chat *c)
{
    fl_session *session = c->work.session;
    int32_t *ids;
    int64_t count, same = 0, held = fl_session_tokens(session);
    /* What people type cannot name special tokens. */
    if (cli_encode(c->work.tokenizer, c->text.data ? c->text.data : "", c->text.size, true, false, &ids, &count))
        return FL_ERR_MEMORY;
    while (same < held && same < count - 1 && fl_session_ids(session)[same] == ids[same])
        same++;
    fl_status s = fl_session_truncate(session, same);
    if (s == FL_OK) s = fl_session_read(session, ids + same, count - same);
    free(ids);
    return s;
}

static int write_text(const char *text, size_t length, void *user)
{
    chat *c = user;
    bool first = c->text.size == c->answer_at;
    fl_buffer_append(&c->text, text, length);
    /* The space between "Assistant:" and the answer belongs to the template. */
    if (first && c->options->template == TEMPLATE_PLAIN && *text == ' ') text++, length--;
    fwrite(text, 1, length, stdout);
    return fflush(stdout) || c->text.failed || cli_interrupted();
}

static fl_status generate(chat *c)
{
    fl_generate_options options = FL_GENERATE_OPTIONS_INIT;
    options.max_tokens = c->options->predict;
    options.ignore_eos = c->options->ignore_eos;
    if (c->options->template == TEMPLATE_PLAIN) {
        options.stop = plain_stop;
        options.stop_count = 1;
    }
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

/* One turn. An answer that was stopped stays as far as it went; a turn that failed is taken back. */
static int take_turn(chat *c, const char *line, size_t length)
{
    size_t before = c->text.size;
    bool plain = c->options->template == TEMPLATE_PLAIN;
    if (plain) fl_buffer_format(&c->text, "%sUser: ", c->text.size ? "\n" : "");
    fl_buffer_append(&c->text, line, length);
    if (plain) fl_buffer_text(&c->text, "\nAssistant:");
    if (c->text.failed) return out_of_memory();
    c->answer_at = c->text.size;
    cli_interrupt_arm(c->work.session);
    fl_status s = synchronise(c);
    bool reading = s != FL_OK;
    if (s == FL_OK) s = generate(c);
    cli_interrupt_disarm();
    c->turns++;
    if (s == FL_OK) return CLI_OK;
    if (reading) cut(&c->text, before);
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
    c->turns = 0;
    if (c->options->system) fl_buffer_text(&c->text, c->options->system);
    return fl_session_truncate(c->work.session, 0);
}

/* The text of a restored session comes from its tokens. */
static fl_status load(chat *c, const char *path)
{
    fl_status s = fl_session_restore(c->work.session, path);
    if (s != FL_OK) return s;
    const int32_t *ids = fl_session_ids(c->work.session);
    int64_t count = fl_session_tokens(c->work.session);
    size_t size = 0;
    s = fl_detokenize(c->work.tokenizer, ids, count, false, NULL, 0, &size);
    char *text = s == FL_OK ? malloc(size + 1) : NULL;
    if (text) s = fl_detokenize(c->work.tokenizer, ids, count, false, text, size, &size);
    if (text && s == FL_OK) {
        cut(&c->text, 0);
        fl_buffer_append(&c->text, text, size);
        cli_note("%s: %lld tokens", path, (long long)count);
    }
    free(text);
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

static void say_template(const chat *c)
{
    if (c->options->template == TEMPLATE_RAW) return;
    cli_note(
        "no chat template is evaluated: turns are written as plain \"User:\" and \"Assistant:\" lines, which a model "
        "trained on another form may answer badly; --chat-template raw writes them as they are");
}

static int run(const cli_call *call)
{
    chat c = {.options = call->options};
    if (c.options->common.json) return cli_misused(call, "a conversation has no JSON form");
    int status = cli_open_session(&c.work, call, &c.options->common);
    if (status == CLI_OK) status = cli_open_tokenizer(&c.work, call, &c.options->common);
    if (status == CLI_OK) {
        fl_status s = begin(&c);
        if (s == FL_OK && c.options->load) s = load(&c, c.options->load);
        if (s != FL_OK) status = cli_failed(s);
    }
    if (status == CLI_OK) {
        say_template(&c);
        status = converse(&c);
    }
    if (status == CLI_OK) status = cli_finish_output();
    fl_buffer_free(&c.text);
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
