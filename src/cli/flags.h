/* One table of flags per group makes parsing, --help, the man page and shell completion. A command lists its groups
 * and is itself one row of the table in main.c. */
#ifndef FL_CLI_FLAGS_H
#define FL_CLI_FLAGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* What a flag's destination is. */
typedef enum cli_kind {
    CLI_SWITCH,   /* bool */
    CLI_TEXT,     /* const char *, into argv */
    CLI_TEXTS,    /* cli_texts: the flag may be given several times */
    CLI_INTEGER,  /* int64_t */
    CLI_INTEGERS, /* cli_integers: numbers separated by commas */
    CLI_REAL,     /* double */
    CLI_CHOICE    /* int: which of choices */
} cli_kind;

typedef struct cli_texts {
    const char **item;
    int count;
} cli_texts;

typedef struct cli_integers {
    int64_t *item;
    int count;
} cli_integers;

typedef struct cli_flag {
    const char *name;     /* long name without dashes */
    char letter;          /* 0: none */
    const char *argument; /* what the help calls its value; NULL for a switch. FILE and MODEL complete to files */
    cli_kind kind;
    size_t offset;        /* of the destination in the command's options struct */
    const char *standard; /* the value without the flag, as it would be typed; NULL: zero */
    double min, max;      /* numbers: the range, ends included */
    const char *choices;  /* "error|extend"; of a CLI_TEXT: NULL if any text will do */
    const char *help;     /* one sentence without a full stop; the default is added */
} cli_flag;

typedef struct cli_group {
    const char *title;
    const cli_flag *flag;
    int count;
} cli_group;

#define CLI_GROUP(title, flags)                                                                                        \
    {                                                                                                                  \
        title, flags, (int)(sizeof(flags) / sizeof *(flags))                                                           \
    }

typedef struct cli_command cli_command;

/* Who gave a flag its value, weakest first. */
typedef enum cli_from { CLI_FROM_STANDARD, CLI_FROM_RECIPE, CLI_FROM_FILE, CLI_FROM_COMMAND } cli_from;

typedef struct cli_given {
    cli_from from;
    const char *note;      /* where in the file, or why the recipe says so; NULL: nothing to add */
    struct cli_kept *kept; /* texts that the options may point to */
} cli_given;

/* A parsed command line. */
typedef struct cli_call {
    const cli_command *command;
    void *options;        /* command->options_size bytes */
    cli_given *given;     /* of each flag, by cli_flag_at's number */
    const char **operand; /* what is not a flag */
    int operands;
} cli_call;

struct cli_command {
    const char *name, *summary; /* summary: one line */
    const char *operands;       /* "FILE..." for the usage line; NULL: none are taken */
    const char *details;        /* a paragraph of the help, or NULL */
    size_t options_size;
    const cli_group *const *groups;   /* NULL ends the list */
    int (*run)(const cli_call *call); /* -> exit status */
};

#define CLI_OK 0
#define CLI_ERROR 1
#define CLI_USAGE 2
#define CLI_INTERRUPTED 130

/* argv[0] is skipped. CLI_OK, CLI_USAGE after a message on stderr, or CLI_ERROR when memory is out; *help: -h was
 * given, nothing else counts. Free with cli_call_free in every case. */
int cli_parse(cli_call *call, const cli_command *command, int argc, char **argv, bool *help);
void cli_call_free(cli_call *call);

/* Flag i of all groups of a command, NULL behind the last; the number of a name, -1: none. */
const cli_flag *cli_flag_at(const cli_command *command, int i);
int cli_flag_find(const cli_command *command, const char *name);

/* Give flag i the value `text`, as if typed ("true" and "false" for a switch), unless something stronger than `from` has
 * given it one. note is copied. -> exit status, after a message that begins with note. Texts of CLI_TEXTS add up. */
int cli_set(const cli_call *call, int i, const char *text, cli_from from, const char *note);

/* The whole of text as a number in the range, else false with `what = text: ...` on stderr. */
bool cli_integer_parse(int64_t *out, const char *what, const char *text, double min, double max);
bool cli_real_parse(double *out, const char *what, const char *text, double min, double max);

/* The name nearest to a mistyped one, NULL if none is near. name(i) gives candidates until it returns NULL. */
const char *cli_nearest(const char *typed, const char *(*name)(int i, const void *context), const void *context);

/* help.c, completion.c. commands: ended by a row whose name is NULL. */
void cli_print_help(FILE *out, const cli_command *command);
void cli_print_overview(FILE *out, const cli_command *commands);
void cli_print_man(FILE *out, const cli_command *commands);
/* shell: "bash", "zsh" or "fish"; false for another. */
bool cli_print_completion(FILE *out, const cli_command *commands, const char *shell);

#endif
