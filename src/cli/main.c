/* furlong COMMAND [flags]: finds the command, parses its flags, runs it. */
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"

/* One row per command, in the order of the overview. */
static const cli_command *const table[] = {
    &cli_generate, &cli_chat,  &cli_tokenize, &cli_info,    &cli_eval,  &cli_report,
    &cli_extend,   &cli_train, &cli_init,     &cli_convert, &cli_bench, &cli_plan,
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

static const cli_command *find(const char *name)
{
    for (int i = 0; i < COMMANDS; i++)
        if (!strcmp(table[i]->name, name)) return table[i];
    return NULL;
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
    const cli_command *c = find(argv[1]);
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
    const char *name = argv[1];
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
    const cli_command *command = find(name);
    return command ? run(command, argc, argv) : unknown(name);
}
