#include "cli/settings.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/common.h"
#include "file/json.h"

/* ---- reading ----------------------------------------------------------------------------------------------------- */

typedef struct source {
    const cli_call *call;
    const char *path;
} source;

static const char *name_at(int i, const void *command)
{
    const cli_flag *f = cli_flag_at(command, i);
    return f ? f->name : NULL;
}

/* line 0: JSON, which has none. */
static int set(const source *s, const char *key, const char *value, int line)
{
    char name[64], note[512];
    snprintf(name, sizeof name, "%s", key);
    for (char *p = name; *p; p++)
        if (*p == '_') *p = '-';
    if (line)
        snprintf(note, sizeof note, "%s, line %d", s->path, line);
    else
        snprintf(note, sizeof note, "%s", s->path);
    int i = cli_flag_find(s->call->command, name);
    if (i >= 0 && strcmp(name, "config")) return cli_set(s->call, i, value, CLI_FROM_FILE, note);
    const char *nearest = cli_nearest(name, name_at, s->call->command);
    char shown[FL_SHOWN];
    cli_error("%s: %s has no option %s%s%s", note, s->call->command->name, fl_show_text(shown, key),
              nearest && i < 0 ? "; the nearest is " : "", nearest && i < 0 ? nearest : "");
    return CLI_USAGE;
}

static int set_json(const source *s, const char *key, const json_t *value)
{
    char number[64];
    if (json_is_string(value)) return set(s, key, json_string_value(value), 0);
    if (json_is_boolean(value)) return set(s, key, json_is_true(value) ? "true" : "false", 0);
    if (json_is_integer(value)) {
        snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return set(s, key, number, 0);
    }
    if (json_is_real(value)) {
        snprintf(number, sizeof number, "%.17g", json_real_value(value));
        return set(s, key, number, 0);
    }
    cli_error("%s: %s: give a string, a number, true, false or a list of them", s->path, key);
    return CLI_USAGE;
}

/* A list is several flags, or numbers as one text with commas. */
static int set_list(const source *s, const char *key, const json_t *list)
{
    size_t n = json_array_size(list);
    char text[1024] = "";
    if (!n || !json_is_integer(json_array_get(list, 0))) {
        for (size_t i = 0; i < n; i++) {
            int status = set_json(s, key, json_array_get(list, i));
            if (status != CLI_OK) return status;
        }
        return CLI_OK;
    }
    for (size_t i = 0; i < n; i++) {
        size_t used = strlen(text);
        if (!json_is_integer(json_array_get(list, i)) || used + 32 > sizeof text) {
            cli_error("%s: %s: give fewer whole numbers", s->path, key);
            return CLI_USAGE;
        }
        snprintf(text + used, sizeof text - used, "%s%" JSON_INTEGER_FORMAT, i ? "," : "",
                 json_integer_value(json_array_get(list, i)));
    }
    return set(s, key, text, 0);
}

static int read_json(const source *s, const char *text, size_t size)
{
    json_t *root;
    fl_status read = fl_json_parse(&root, s->path, text, size, fl_json_config_limits);
    if (read != FL_OK) return cli_failed(read);
    int status = CLI_OK;
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value)
    {
        if (status == CLI_OK) status = json_is_array(value) ? set_list(s, key, value) : set_json(s, key, value);
    }
    json_decref(root);
    return status;
}

/* Without the spaces around it; cuts the text. */
static char *trimmed(char *text)
{
    text += strspn(text, " \t\r");
    for (size_t n = strlen(text); n && strchr(" \t\r", text[n - 1]);)
        text[--n] = 0;
    return text;
}

static int read_lines(const source *s, char *text)
{
    int status = CLI_OK;
    for (int line = 1; text && status == CLI_OK; line++) {
        char *next = strchr(text, '\n'), *begin;
        if (next) *next++ = 0;
        begin = trimmed(text);
        if (*begin && *begin != '#') {
            char *equals = strchr(begin, '=');
            if (!equals) {
                cli_error("%s, line %d: write key = value", s->path, line);
                return CLI_USAGE;
            }
            *equals = 0;
            status = set(s, trimmed(begin), trimmed(equals + 1), line);
        }
        text = next;
    }
    return status;
}

int cli_read_settings(const cli_call *call, const char *path)
{
    char *text;
    size_t size;
    int status = cli_read_file(path, &text, &size);
    if (status != CLI_OK) return status;
    source s = {call, path};
    if (strlen(text) != size) {
        cli_error("%s: holds a byte 0: is it a text file?", path);
        status = CLI_ERROR;
    } else {
        status = text[strspn(text, " \t\r\n")] == '{' ? read_json(&s, text, size) : read_lines(&s, text);
    }
    free(text);
    return status;
}

/* ---- the list ---------------------------------------------------------------------------------------------------- */

/* "" when the option has no value. */
static void show_value(char *out, size_t capacity, const cli_flag *f, const void *options)
{
    const void *at = (const char *)options + f->offset;
    const cli_texts *texts = at;
    const cli_integers *integers = at;
    *out = 0;
    size_t used = 0;
    switch (f->kind) {
    case CLI_SWITCH:
        snprintf(out, capacity, "%s", *(const bool *)at ? "true" : "false");
        break;
    case CLI_TEXT:
        if (*(const char *const *)at) snprintf(out, capacity, "%s", *(const char *const *)at);
        break;
    case CLI_TEXTS:
        for (int i = 0; i < texts->count && used < capacity; i++)
            used += (size_t)snprintf(out + used, capacity - used, "%s%s", i ? " " : "", texts->item[i]);
        break;
    case CLI_INTEGER:
        snprintf(out, capacity, "%" PRId64, *(const int64_t *)at);
        break;
    case CLI_INTEGERS:
        for (int i = 0; i < integers->count && used < capacity; i++)
            used += (size_t)snprintf(out + used, capacity - used, "%s%" PRId64, i ? "," : "", integers->item[i]);
        break;
    case CLI_REAL:
        snprintf(out, capacity, "%g", *(const double *)at);
        break;
    case CLI_CHOICE: {
        const char *p = f->choices;
        for (int i = *(const int *)at; i > 0; i--)
            p = strchr(p, '|') + 1;
        snprintf(out, capacity, "%.*s", (int)strcspn(p, "|"), p);
        break;
    }
    }
}

void cli_given_flags(fl_buffer *out, const cli_call *call, const cli_group *group)
{
    for (int i = 0; i < group->count; i++) {
        const cli_flag *f = &group->flag[i];
        char value[512];
        if (call->given[cli_flag_find(call->command, f->name)].from == CLI_FROM_STANDARD) continue;
        show_value(value, sizeof value, f, call->options);
        fl_buffer_format(out, " --%s%s%s", f->name, f->kind == CLI_SWITCH ? "" : " ",
                         f->kind == CLI_SWITCH ? "" : value);
    }
}

void cli_print_settings(const cli_call *call)
{
    static const char *const from[] = {"default", "recipe", "file", "command line"};
    for (int i = 0; cli_flag_at(call->command, i); i++) {
        const cli_given *g = &call->given[i];
        char value[512];
        show_value(value, sizeof value, cli_flag_at(call->command, i), call->options);
        if (!*value) continue;
        cli_note("  %-18s %-16s %s%s%s", cli_flag_at(call->command, i)->name, value, from[g->from], g->note ? ": " : "",
                 g->note ? g->note : "");
    }
}
