/* Help on the terminal and the man page, both from the tables of flags. */
#include <string.h>

#include "cli/flags.h"
#include "furlong.h"

#define LINE 100  /* longest line of the help */
#define INDENT 30 /* where explanations begin */

static const cli_flag help_flag[] = {{"help", 'h', NULL, CLI_SWITCH, 0, NULL, 0, 0, NULL, "this text"}};
static const cli_group help_group = CLI_GROUP("Help", help_flag);

/* How much of a word goes on one line: of a long list of choices as many as fit. */
static int part_of_word(const char *word, int room)
{
    int whole = (int)strcspn(word, " "), n = whole < room ? whole : room;
    while (n < whole && n > 0 && word[n - 1] != '|')
        n--;
    return n > 0 ? n : whole;
}

/* Words of text from column `at` on, broken before LINE, further lines indented. */
static void wrap(FILE *out, const char *text, int at, int indent)
{
    while (*text) {
        int n = part_of_word(text, LINE - indent);
        if (at > indent && at + 1 + n > LINE) {
            fprintf(out, "\n%*s", indent, "");
            at = indent;
        } else if (at > indent) {
            fputc(' ', out);
            at++;
        }
        fprintf(out, "%.*s", n, text);
        at += n;
        text += n;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

/* The explanation, with choices and the default. */
static void explain(const cli_flag *f, char *text, size_t size)
{
    snprintf(text, size, "%s%s%s%s%s%s%s", f->help, f->choices ? ": " : "", f->choices ? f->choices : "",
             f->standard && *f->standard ? " (default " : "", f->standard ? f->standard : "",
             f->standard && *f->standard ? ")" : "", f->kind == CLI_TEXTS ? "; may be given several times" : "");
}

static void print_flag(FILE *out, const cli_flag *f)
{
    char left[128], text[1024];
    char letter[8] = "    ";
    if (f->letter) snprintf(letter, sizeof letter, "-%c, ", f->letter);
    int n = snprintf(left, sizeof left, "  %s--%s%s%s", letter, f->name, f->argument ? " " : "",
                     f->argument ? f->argument : "");
    fputs(left, out);
    if (n >= INDENT)
        fprintf(out, "\n%*s", INDENT, "");
    else
        fprintf(out, "%*s", INDENT - n, "");
    explain(f, text, sizeof text);
    wrap(out, text, INDENT, INDENT);
}

static void print_usage(FILE *out, const cli_command *c)
{
    fprintf(out, "usage: furlong %s%s%s%s\n", c->name, c->groups ? " [flags]" : "", c->operands ? " " : "",
            c->operands ? c->operands : "");
}

void cli_print_help(FILE *out, const cli_command *c)
{
    print_usage(out, c);
    fputc('\n', out);
    wrap(out, c->details ? c->details : c->summary, 0, 0);
    for (const cli_group *const *g = c->groups; g && *g; g++) {
        fprintf(out, "\n%s:\n", (*g)->title);
        for (int i = 0; i < (*g)->count; i++)
            print_flag(out, &(*g)->flag[i]);
    }
    fprintf(out, "\n%s:\n", help_group.title);
    print_flag(out, help_group.flag);
}

void cli_print_overview(FILE *out, const cli_command *commands)
{
    fputs("usage: furlong COMMAND [flags]\n\nA long-context engine for language models.\n\nCommands:\n", out);
    for (const cli_command *c = commands; c->name; c++) {
        fprintf(out, "  %-14s", c->name);
        wrap(out, c->summary, 16, 16);
    }
    fputs("\nfurlong COMMAND --help lists a command's flags. Results go to stdout, everything else to stderr.\n"
          "furlong --completion bash|zsh|fish prints completion for that shell, furlong --man the manual page.\n"
          "Exit status: 0 done, 1 error, 2 wrong usage, 130 interrupted.\n",
          out);
}

/* ---- man page --------------------------------------------------------------------------------------------------- */

/* roff reads a backslash as a command, a hyphen as a dash, and a dot or quote at the start of a line as a request. A line
 * may be broken between choices. */
static void roff(FILE *out, const char *text)
{
    if (*text == '.' || *text == '\'') fputs("\\&", out);
    for (; *text; text++) {
        if (*text == '\\')
            fputs("\\e", out);
        else if (*text == '-')
            fputs("\\-", out);
        else if (*text == '|')
            fputs("|\\:", out);
        else
            fputc(*text, out);
    }
}

static void man_flag(FILE *out, const cli_flag *f)
{
    char text[1024];
    fputs(".TP\n", out);
    if (f->letter) fprintf(out, "\\fB\\-%c\\fR, ", f->letter);
    fputs("\\fB\\-\\-", out);
    roff(out, f->name);
    fputs("\\fR", out);
    if (f->argument) {
        fputs(" \\fI", out);
        roff(out, f->argument);
        fputs("\\fR", out);
    }
    fputc('\n', out);
    explain(f, text, sizeof text);
    roff(out, text);
    fputs(".\n", out);
}

static void man_command(FILE *out, const cli_command *c)
{
    fputs(".SS furlong ", out);
    roff(out, c->name);
    fputs("\n", out);
    roff(out, c->details ? c->details : c->summary);
    fputs("\n", out);
    for (const cli_group *const *g = c->groups; g && *g; g++) {
        fputs(".PP\n\\fI", out);
        roff(out, (*g)->title);
        fputs("\\fR\n", out);
        for (int i = 0; i < (*g)->count; i++)
            man_flag(out, &(*g)->flag[i]);
    }
}

void cli_print_man(FILE *out, const cli_command *commands)
{
    fprintf(out,
            ".TH FURLONG 1 \"\" \"furlong %s\"\n.ad l\n"
            ".SH NAME\nfurlong \\- a long\\-context engine for language models\n"
            ".SH SYNOPSIS\n\\fBfurlong\\fR \\fICOMMAND\\fR [flags]\n"
            ".SH DESCRIPTION\nResults go to standard output, everything else to standard error.\n.PP\n",
            fl_version());
    for (const cli_command *c = commands; c->name; c++) {
        fputs(".TP\n\\fB", out);
        roff(out, c->name);
        fputs("\\fR\n", out);
        roff(out, c->summary);
        fputs(".\n", out);
    }
    fputs(".SH COMMANDS\n", out);
    for (const cli_command *c = commands; c->name; c++)
        man_command(out, c);
    fputs(".SH ENVIRONMENT\n.TP\n\\fBFURLONG_CPU\\fR\n"
          "The kernels to use: auto, generic, avx2 or avx512. No other variable is read.\n"
          ".SH EXIT STATUS\n0 done, 1 error, 2 wrong usage, 130 interrupted.\n",
          out);
}
