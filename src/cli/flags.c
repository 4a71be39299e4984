#define _GNU_SOURCE /* getopt_long_only */
#include "cli/flags.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/output.h"

#define FIRST_LONG 256 /* getopt's value of the first long flag; below it are letters */

/* ---- numbers ---------------------------------------------------------------------------------------------------- */

static bool out_of_range(const char *what, const char *text, double min, double max)
{
    if (max >= (double)INT64_MAX && min <= (double)INT64_MIN)
        cli_error("%s %s: give a number", what, text);
    else if (max >= (double)INT64_MAX || isinf(max))
        cli_error("%s %s: give a number of at least %.12g", what, text, min);
    else
        cli_error("%s %s: give a number from %.12g to %.12g", what, text, min, max);
    return false;
}

/* strtoll and strtod would skip spaces. */
static bool starts_number(const char *text)
{
    text += *text == '-' || *text == '+';
    return (*text >= '0' && *text <= '9') || *text == '.';
}

bool cli_integer_parse(int64_t *out, const char *what, const char *text, double min, double max)
{
    char *end = NULL;
    errno = 0;
    long long value = starts_number(text) ? strtoll(text, &end, 10) : 0;
    if (!end || end == text || *end) {
        cli_error("%s %s: is not a whole number", what, text);
        return false;
    }
    if (errno == ERANGE || (double)value < min || (double)value > max) return out_of_range(what, text, min, max);
    *out = value;
    return true;
}

bool cli_real_parse(double *out, const char *what, const char *text, double min, double max)
{
    char *end = NULL;
    double value = starts_number(text) ? strtod(text, &end) : 0;
    if (!end || end == text || *end) {
        cli_error("%s %s: is not a number", what, text);
        return false;
    }
    if (!(value >= min && value <= max) || isinf(value)) return out_of_range(what, text, min, max);
    *out = value;
    return true;
}

static bool integers_parse(cli_integers *out, const char *what, const char *text, double min, double max)
{
    int count = 1;
    for (const char *p = text; *p; p++)
        count += *p == ',';
    int64_t *item = calloc((size_t)count, sizeof *item);
    char *copy = strdup(text), *rest = copy;
    bool fine = item && copy;
    if (!fine) cli_error("out of memory");
    for (int i = 0; fine && i < count; i++)
        fine = cli_integer_parse(&item[i], what, strsep(&rest, ","), min, max);
    free(copy);
    if (!fine) {
        free(item);
        return false;
    }
    free(out->item);
    *out = (cli_integers){item, count};
    return true;
}

static bool texts_add(cli_texts *out, const char *text)
{
    const char **item = realloc(out->item, (size_t)(out->count + 1) * sizeof *item);
    if (!item) {
        cli_error("out of memory");
        return false;
    }
    item[out->count] = text;
    *out = (cli_texts){item, out->count + 1};
    return true;
}

static bool choice_parse(int *out, const char *what, const char *text, const char *choices)
{
    size_t length = strlen(text);
    int i = 0;
    for (const char *p = choices; p; i++) {
        size_t n = strcspn(p, "|");
        if (n == length && !strncmp(p, text, n)) {
            *out = i;
            return true;
        }
        p = p[n] ? p + n + 1 : NULL;
    }
    cli_error("%s %s: give one of %s", what, text, choices);
    return false;
}

/* ---- one flag --------------------------------------------------------------------------------------------------- */

static bool flag_set(const cli_flag *f, void *options, const char *text)
{
    char *to = (char *)options + f->offset;
    char what[64];
    snprintf(what, sizeof what, "--%s", f->name);
    switch (f->kind) {
    case CLI_SWITCH:
        *(bool *)(void *)to = true;
        return true;
    case CLI_TEXT:
        if (f->choices && !choice_parse(&(int){0}, what, text, f->choices)) return false;
        *(const char **)(void *)to = text;
        return true;
    case CLI_TEXTS:
        return texts_add((cli_texts *)(void *)to, text);
    case CLI_INTEGER:
        return cli_integer_parse((int64_t *)(void *)to, what, text, f->min, f->max);
    case CLI_INTEGERS:
        return integers_parse((cli_integers *)(void *)to, what, text, f->min, f->max);
    case CLI_REAL:
        return cli_real_parse((double *)(void *)to, what, text, f->min, f->max);
    case CLI_CHOICE:
        return choice_parse((int *)(void *)to, what, text, f->choices);
    }
    return false;
}

/* ---- all flags of a command ------------------------------------------------------------------------------------- */

const cli_flag *cli_flag_at(const cli_command *c, int i)
{
    for (const cli_group *const *g = c->groups; g && *g; g++) {
        if (i < (*g)->count) return &(*g)->flag[i];
        i -= (*g)->count;
    }
    return NULL;
}

int cli_flag_find(const cli_command *c, const char *name)
{
    for (int i = 0; cli_flag_at(c, i); i++)
        if (!strcmp(cli_flag_at(c, i)->name, name)) return i;
    return -1;
}

static const char *flag_name(int i, const void *command)
{
    const cli_flag *f = cli_flag_at(command, i);
    return f ? f->name : NULL;
}

/* Edits that turn a into b: insertions, deletions, replacements (Wagner and Fischer 1974). */
static int distance(const char *a, const char *b)
{
    int row[64];
    int n = (int)strlen(b);
    if (n >= (int)(sizeof row / sizeof *row) || strlen(a) >= sizeof row / sizeof *row) return 64;
    for (int j = 0; j <= n; j++)
        row[j] = j;
    for (int i = 1; a[i - 1]; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            int replace = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            int best = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            row[j] = replace < best ? replace : best;
        }
    }
    return row[n];
}

const char *cli_nearest(const char *typed, const char *(*name)(int i, const void *context), const void *context)
{
    const char *nearest = NULL;
    int least = 2 + (int)strlen(typed) / 3;
    for (int i = 0; name(i, context); i++) {
        const char *candidate = name(i, context);
        size_t length = strlen(typed);
        /* One inside the other is near whatever is missing: --temperature for --temp. */
        bool inside = length >= 3 && (strstr(candidate, typed) || (strlen(candidate) >= 3 && strstr(typed, candidate)));
        int d = inside ? 1 : distance(typed, candidate);
        if (d >= least) continue;
        least = d;
        nearest = candidate;
    }
    return nearest;
}

static int try_help(const cli_command *c)
{
    cli_note("try: furlong %s --help", c->name);
    return CLI_USAGE;
}

static int unknown_flag(const cli_command *c, const char *typed)
{
    char name[64];
    const char *p = typed + strspn(typed, "-");
    snprintf(name, sizeof name, "%.*s", (int)strcspn(p, "="), p);
    int dashes = (int)(p - typed);
    const char *nearest = cli_nearest(name, flag_name, c);
    if (nearest)
        cli_error("%s has no flag %.*s%s; the nearest is --%s", c->name, dashes, typed, name, nearest);
    else
        cli_error("%s has no flag %.*s%s", c->name, dashes, typed, name);
    return try_help(c);
}

typedef struct table {
    struct option *option; /* ended by zeros */
    char *letters;
    int count;
} table;

static bool table_make(table *t, const cli_command *c)
{
    while (cli_flag_at(c, t->count))
        t->count++;
    t->option = calloc((size_t)t->count + 2, sizeof *t->option);
    t->letters = calloc((size_t)t->count * 2 + 8, 1);
    if (!t->option || !t->letters) return false;
    /* '-': operands come in order, and POSIXLY_CORRECT is not looked up; ':': messages are ours. */
    char *letter = stpcpy(t->letters, "-:h");
    t->option[t->count] = (struct option){"help", no_argument, NULL, 'h'};
    for (int i = 0; i < t->count; i++) {
        const cli_flag *f = cli_flag_at(c, i);
        bool value = f->kind != CLI_SWITCH;
        t->option[i] = (struct option){f->name, value ? required_argument : no_argument, NULL, FIRST_LONG + i};
        if (f->letter) *letter++ = f->letter;
        if (f->letter && value) *letter++ = ':';
    }
    return true;
}

static int index_of(const cli_command *c, int got)
{
    if (got >= FIRST_LONG) return got - FIRST_LONG;
    for (int i = 0; cli_flag_at(c, i); i++)
        if (cli_flag_at(c, i)->letter == got) return i;
    return -1;
}

static int parse_all(cli_call *call, const table *t, int argc, char **argv, bool *help)
{
    const cli_command *c = call->command;
    opterr = 0;
    optind = 0; /* start again, also with another table */
    for (int got; (got = getopt_long_only(argc, argv, t->letters, t->option, NULL)) != -1;) {
        if (got == 'h') {
            *help = true;
            return CLI_OK;
        }
        if (got == 1) {
            call->operand[call->operands++] = optarg;
            continue;
        }
        const char *typed = argv[optind - 1];
        if (got == ':') {
            cli_error("%s needs a value", typed);
            return try_help(c);
        }
        if (got == '?') {
            if (optopt >= FIRST_LONG || optopt == 'h') { /* a switch with "=value" */
                cli_error("%.*s takes no value", (int)strcspn(typed, "="), typed);
                return try_help(c);
            }
            return unknown_flag(c, typed);
        }
        int i = index_of(c, got);
        if (!flag_set(cli_flag_at(c, i), call->options, optarg)) return try_help(c);
        call->given[i].from = CLI_FROM_COMMAND;
    }
    while (optind < argc)
        call->operand[call->operands++] = argv[optind++];
    if (call->operands && !c->operands) {
        cli_error("%s takes no argument '%s'; flags begin with a dash", c->name, call->operand[0]);
        return try_help(c);
    }
    return CLI_OK;
}

int cli_parse(cli_call *call, const cli_command *command, int argc, char **argv, bool *help)
{
    table t = {0};
    *help = false;
    *call = (cli_call){.command = command,
                       .options = calloc(1, command->options_size ? command->options_size : 1),
                       .operand = calloc((size_t)argc + 1, sizeof *call->operand)};
    int status = CLI_OK;
    bool made = call->options && call->operand && table_make(&t, command);
    if (made) call->given = calloc((size_t)t.count + 1, sizeof *call->given);
    if (!call->given) {
        cli_error("out of memory");
        status = CLI_ERROR;
    }
    for (int i = 0; status == CLI_OK && i < t.count; i++) {
        const cli_flag *f = cli_flag_at(command, i);
        if (f->standard && !flag_set(f, call->options, f->standard)) status = CLI_ERROR;
    }
    if (status == CLI_OK) status = parse_all(call, &t, argc, argv, help);
    free(t.option);
    free(t.letters);
    return status;
}

struct cli_kept {
    struct cli_kept *next;
    char text[];
};

static const char *keep(cli_given *g, const char *text)
{
    size_t size = strlen(text) + 1;
    struct cli_kept *k = malloc(sizeof *k + size);
    if (!k) return NULL;
    memcpy(k->text, text, size);
    k->next = g->kept;
    g->kept = k;
    return k->text;
}

static bool switch_set(const cli_flag *f, void *options, const char *text)
{
    bool on = !strcmp(text, "true");
    if (!on && strcmp(text, "false")) {
        cli_error("--%s %s: give true or false", f->name, text);
        return false;
    }
    *(bool *)(void *)((char *)options + f->offset) = on;
    return true;
}

int cli_set(const cli_call *call, int i, const char *text, cli_from from, const char *note)
{
    const cli_flag *f = cli_flag_at(call->command, i);
    cli_given *g = &call->given[i];
    if (g->from > from) return CLI_OK;
    const char *kept = keep(g, text), *why = note ? keep(g, note) : NULL;
    if (!kept || (note && !why)) {
        cli_error("out of memory");
        return CLI_ERROR;
    }
    bool set = f->kind == CLI_SWITCH ? switch_set(f, call->options, kept) : flag_set(f, call->options, kept);
    if (!set) {
        if (note) cli_note("this value is from %s", note);
        return CLI_USAGE;
    }
    g->from = from;
    g->note = why;
    return CLI_OK;
}

void cli_call_free(cli_call *call)
{
    for (int i = 0; call->options && cli_flag_at(call->command, i); i++) {
        const cli_flag *f = cli_flag_at(call->command, i);
        char *at = (char *)call->options + f->offset;
        if (f->kind == CLI_TEXTS) free(((cli_texts *)(void *)at)->item);
        if (f->kind == CLI_INTEGERS) free(((cli_integers *)(void *)at)->item);
        if (!call->given) continue;
        for (struct cli_kept *k = call->given[i].kept, *next; k; k = next) {
            next = k->next;
            free(k);
        }
    }
    free(call->given);
    free(call->options);
    free(call->operand);
    *call = (cli_call){0};
}
