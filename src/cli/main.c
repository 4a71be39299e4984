/* furlong COMMAND [flags]: finds the command, parses its flags, runs it. */
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"

/* One row per command, in the order of the overview. */
static const cli_command *const table[] = {
    &cli_generate,    &cli_chat,        &cli_tokenize,      &cli_info,       &cli_eval_ppl,    &cli_eval_passkey,
    &cli_eval_recall, &cli_eval_needle, &cli_eval_position, &cli_eval_cloze, &cli_eval_choice, &cli_eval_summary,
    &cli_eval_babble, &cli_report,      &cli_extend,        &cli_train,      &cli_init,        &cli_convert,
    &cli_bench,       &cli_plan,        &cli_overlap,       &cli_search,     &cli_compare,
    &cli_doctor,
};
#define COMMANDS ((int)(sizeof table / sizeof *table))

/* The same as rows that a row without a name ends, for what prints all of them. */
static const cli_command *rows(void)
{
    static cli_command row[COMMANDS + 1];
    for (int i = 0; i < COMMANDS; i++)
        row[i] = *table[i];
    return row;
}

/* The command that word, or word and the one after it, name; *words: how many. after may be NULL. */
static const cli_command *find(const char *word, const char *after, int *words)
{
    size_t n = strlen(word);
    for (int i = 0; i < COMMANDS; i++) {
        const char *name = table[i]->name;
        if (strncmp(name, word, n) || (name[n] && (name[n] != ' ' || !after || strcmp(name + n + 1, after)))) continue;
        *words = name[n] ? 2 : 1;
        return table[i];
    }
    return NULL;
}

static bool in_family(const cli_command *c, const char *word)
{
    size_t n = strlen(word);
    return !strncmp(c->name, word, n) && c->name[n] == ' ';
}

/* The first of the commands whose first word it is; NULL: there are none. */
static const cli_command *family(const char *word)
{
    for (int i = 0; i < COMMANDS; i++)
        if (in_family(table[i], word)) return table[i];
    return NULL;
}

/* The commands of a family, as an overview. */
static int help_family(const char *word)
{
    static cli_command row[COMMANDS + 1];
    for (int i = 0, count = 0; i < COMMANDS; i++)
        if (in_family(table[i], word)) row[count++] = *table[i];
    cli_print_overview(stdout, row);
    return cli_finish_output();
}

static int unknown_in_family(const char *word, const char *after)
{
    if (after && *after != '-')
        cli_error("there is no command %s %s", word, after);
    else
        cli_error("%s what? Say it right after the word, as in furlong %s", word, family(word)->name);
    cli_note("try: furlong %s --help", word);
    return CLI_USAGE;
}

static const char *name_at(int i, const void *context)
{
    (void)context;
    return i < COMMANDS ? table[i]->name : i == COMMANDS ? "help" : i == COMMANDS + 1 ? "version" : NULL;
}

static int unknown(const char *name)
{
    const char *nearest = cli_nearest(name, name_at, NULL);
    if (nearest)
        cli_error("there is no command %s; the nearest is %s", name, nearest);
    else
        cli_error("there is no command %s", name);
    cli_note("try: furlong --help");
    return CLI_USAGE;
}

static int help(int argc, char **argv)
{
    if (argc < 2) {
        cli_print_overview(stdout, rows());
        return cli_finish_output();
    }
    int words;
    const cli_command *c = find(argv[1], argc > 2 ? argv[2] : NULL, &words);
    if (!c && family(argv[1])) return help_family(argv[1]);
    if (!c) return unknown(argv[1]);
    cli_print_help(stdout, c);
    return cli_finish_output();
}

static int completion(int argc, char **argv)
{
    if (argc < 2 || !cli_print_completion(stdout, rows(), argv[1])) {
        cli_error("--completion %s: give one of bash, zsh, fish", argc < 2 ? "" : argv[1]);
        return CLI_USAGE;
    }
    return cli_finish_output();
}

static int run(const cli_command *command, int argc, char **argv)
{
    cli_call call;
    bool wants_help;
    int status = cli_parse(&call, command, argc, argv, &wants_help);
    if (status == CLI_OK && wants_help) {
        cli_print_help(stdout, command);
        status = cli_finish_output();
    } else if (status == CLI_OK) {
        status = command->run(&call);
    }
    cli_call_free(&call);
    return status;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        cli_print_overview(stderr, rows());
        return CLI_USAGE;
    }
    const char *name = argv[1], *after = argc > 2 ? argv[2] : NULL;
    argc--;
    argv++;
    if (!strcmp(name, "help") || !strcmp(name, "--help") || !strcmp(name, "-h")) return help(argc, argv);
    if (!strcmp(name, "version") || !strcmp(name, "--version")) {
        printf("furlong %s\n", fl_version());
        return cli_finish_output();
    }
    if (!strcmp(name, "--completion")) return completion(argc, argv);
    if (!strcmp(name, "--man")) {
        cli_print_man(stdout, rows());
        return cli_finish_output();
    }
    int words = 1;
    const cli_command *command = find(name, after, &words);
    if (command) return run(command, argc - words + 1, argv + words - 1);
    if (!family(name)) return unknown(name);
    if (after && (!strcmp(after, "--help") || !strcmp(after, "-h"))) return help_family(name);
    return unknown_in_family(name, after);
}
