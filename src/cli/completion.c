/* Completion scripts from the tables of flags. */
#include <string.h>

#include "cli/flags.h"

static bool takes_file(const cli_flag *f)
{
    return f->argument &&
           (strstr(f->argument, "FILE") || strstr(f->argument, "MODEL") || strstr(f->argument, "FOLDER"));
}

typedef void (*flag_fn)(FILE *out, const cli_command *c, const cli_flag *f);

static void each_flag(FILE *out, const cli_command *c, flag_fn fn)
{
    for (const cli_group *const *g = c->groups; g && *g; g++)
        for (int i = 0; i < (*g)->count; i++)
            fn(out, c, &(*g)->flag[i]);
}

static void print_choices(FILE *out, const char *choices)
{
    for (const char *p = choices; *p; p++)
        fputc(*p == '|' ? ' ' : *p, out);
}

/* Commands of two words share the first: it is named once. */
static int first_word(const cli_command *c)
{
    return (int)strcspn(c->name, " ");
}

static bool is_first(const cli_command *commands, const cli_command *c)
{
    int n = first_word(c);
    for (const cli_command *d = commands; d < c; d++)
        if (first_word(d) == n && !strncmp(d->name, c->name, (size_t)n)) return false;
    return true;
}

static const char *second_word(const cli_command *c)
{
    const char *space = strchr(c->name, ' ');
    return space ? space + 1 : NULL;
}

static void print_names(FILE *out, const cli_command *commands)
{
    for (const cli_command *c = commands; c->name; c++)
        if (is_first(commands, c)) fprintf(out, "%s%.*s", c == commands ? "" : " ", first_word(c), c->name);
}

/* fn for each family, with its first command. */
static void each_family(FILE *out, const cli_command *commands, void (*fn)(FILE *, const cli_command *))
{
    for (const cli_command *c = commands; c->name; c++)
        if (second_word(c) && is_first(commands, c)) fn(out, c);
}

/* The second words of a family from its first command on. */
static void print_family(FILE *out, const cli_command *c)
{
    int n = first_word(c);
    for (const cli_command *d = c; d->name; d++)
        if (first_word(d) == n && !strncmp(d->name, c->name, (size_t)n))
            fprintf(out, "%s%s", d == c ? "" : " ", second_word(d));
}

/* ---- bash ------------------------------------------------------------------------------------------------------- */

static void bash_flag(FILE *out, const cli_command *c, const cli_flag *f)
{
    (void)c;
    if (f->letter) fprintf(out, " -%c", f->letter);
    fprintf(out, " --%s", f->name);
}

static void bash_values(FILE *out, const cli_command *c, const cli_flag *f)
{
    if (!f->argument) return;
    fprintf(out, "    '%s':--%s", c->name, f->name);
    if (f->letter) fprintf(out, "|'%s':-%c", c->name, f->letter);
    fputs(") ", out);
    if (f->choices) {
        fputs("COMPREPLY=($(compgen -W \"", out);
        print_choices(out, f->choices);
        fputs("\" -- \"$word\"))", out);
    } else {
        fputs(takes_file(f) ? "compopt -o default; COMPREPLY=()" : "COMPREPLY=()", out);
    }
    fputs("; return ;;\n", out);
}

static void bash_family(FILE *out, const cli_command *c)
{
    fprintf(out,
            "    if [ \"$command\" = %.*s ]; then\n        if ((COMP_CWORD == 2)); then\n"
            "            COMPREPLY=($(compgen -W \"",
            first_word(c), c->name);
    print_family(out, c);
    fputs(" --help\" -- \"$word\"))\n            return\n        fi\n        command=\"$command ${COMP_WORDS[2]}\"\n"
          "    fi\n",
          out);
}

static void bash(FILE *out, const cli_command *commands)
{
    fputs("_furlong()\n{\n    local word=\"${COMP_WORDS[COMP_CWORD]}\" before=\"${COMP_WORDS[COMP_CWORD-1]}\" flags\n"
          "    local command=\"${COMP_WORDS[1]}\"\n"
          "    if ((COMP_CWORD == 1)); then\n        COMPREPLY=($(compgen -W \"",
          out);
    print_names(out, commands);
    fputs(" --help --version --completion --man\" -- \"$word\"))\n        return\n    fi\n", out);
    each_family(out, commands, bash_family);
    fputs("    case \"$command:$before\" in\n    --completion:*) COMPREPLY=($(compgen -W \"bash zsh fish\" -- "
          "\"$word\")); return ;;\n",
          out);
    for (const cli_command *c = commands; c->name; c++)
        each_flag(out, c, bash_values);
    fputs("    esac\n    case \"$command\" in\n", out);
    for (const cli_command *c = commands; c->name; c++) {
        fprintf(out, "    '%s') flags=\"", c->name);
        each_flag(out, c, bash_flag);
        fputs(" -h --help\" ;;\n", out);
    }
    fputs("    esac\n    case \"$word\" in\n    -*) COMPREPLY=($(compgen -W \"$flags\" -- \"$word\")) ;;\n"
          "    *) compopt -o default; COMPREPLY=() ;;\n    esac\n}\ncomplete -F _furlong furlong\n",
          out);
}

/* ---- zsh -------------------------------------------------------------------------------------------------------- */

/* Inside '...' and inside the [...] of _arguments. */
static void zsh_text(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '\'')
            fputs("'\\''", out);
        else if (strchr("[]:\\", *text))
            fprintf(out, "\\%c", *text);
        else
            fputc(*text, out);
    }
}

static void zsh_action(FILE *out, const cli_flag *f)
{
    if (!f->argument) return;
    fputc(':', out);
    zsh_text(out, f->argument);
    fputc(':', out);
    if (f->choices) {
        fputc('(', out);
        print_choices(out, f->choices);
        fputc(')', out);
    } else if (takes_file(f)) {
        fputs("_files", out);
    }
}

static void zsh_flag(FILE *out, const cli_command *c, const cli_flag *f)
{
    (void)c;
    char letter[3] = {'-', f->letter, 0};
    const char *const spelling[] = {"--", f->letter ? letter : NULL};
    for (int i = 0; i < 2 && spelling[i]; i++) {
        fprintf(out, " \\\n            '%s%s%s[", f->kind == CLI_TEXTS ? "*" : "", spelling[i], i ? "" : f->name);
        zsh_text(out, f->help);
        fputc(']', out);
        zsh_action(out, f);
        fputc('\'', out);
    }
}

static void zsh_family(FILE *out, const cli_command *c)
{
    fprintf(out, "    if [ \"$command\" = %.*s ]; then\n        if ((CURRENT == 2)); then\n            compadd ",
            first_word(c), c->name);
    print_family(out, c);
    fputs("\n            return\n        fi\n        command=\"$command $words[2]\"\n        shift words\n"
          "        ((CURRENT--))\n    fi\n",
          out);
}

static void zsh(FILE *out, const cli_command *commands)
{
    fputs("#compdef furlong\n_furlong()\n{\n    if ((CURRENT == 2)); then\n        local -a commands=(", out);
    for (const cli_command *c = commands; c->name; c++) {
        if (!is_first(commands, c)) continue;
        fprintf(out, "\n            '%.*s:", first_word(c), c->name);
        zsh_text(out, c->summary);
        fputc('\'', out);
    }
    fputs(")\n        _describe command commands\n        return\n    fi\n    local command=$words[2]\n"
          "    shift words\n    ((CURRENT--))\n",
          out);
    each_family(out, commands, zsh_family);
    fputs("    case $command in\n", out);
    for (const cli_command *c = commands; c->name; c++) {
        fprintf(out, "    '%s')\n        _arguments '--help[this command]'", c->name);
        each_flag(out, c, zsh_flag);
        if (c->operands) fputs(" \\\n            '*:argument:_files'", out);
        fputs("\n        ;;\n", out);
    }
    fputs("    esac\n}\nif [ \"$funcstack[1]\" = _furlong ]; then _furlong \"$@\"; else compdef _furlong furlong; fi\n",
          out);
}

/* ---- fish ------------------------------------------------------------------------------------------------------- */

static void fish_text(FILE *out, const char *text)
{
    fputc('\'', out);
    for (; *text; text++)
        fprintf(out, strchr("'\\", *text) ? "\\%c" : "%c", *text);
    fputc('\'', out);
}

static void fish_flag(FILE *out, const cli_command *c, const cli_flag *f)
{
    fprintf(out, "complete -c furlong -n '__fish_seen_subcommand_from %.*s", first_word(c), c->name);
    if (second_word(c)) fprintf(out, "; and __fish_seen_subcommand_from %s", second_word(c));
    fprintf(out, "' -l %s", f->name);
    if (f->letter) fprintf(out, " -s %c", f->letter);
    if (f->argument) fputs(takes_file(f) ? " -r -F" : " -x", out);
    if (f->choices) {
        fputs(" -a '", out);
        print_choices(out, f->choices);
        fputc('\'', out);
    }
    fputs(" -d ", out);
    fish_text(out, f->help);
    fputc('\n', out);
}

static void fish(FILE *out, const cli_command *commands)
{
    for (const cli_command *c = commands; c->name; c++) {
        const char *second = second_word(c);
        if (is_first(commands, c))
            fprintf(out, "complete -c furlong -f -n __fish_use_subcommand -a %.*s -d ", first_word(c), c->name);
        if (is_first(commands, c)) fish_text(out, c->summary);
        if (is_first(commands, c)) fputc('\n', out);
        if (second) {
            fprintf(out, "complete -c furlong -f -n '__fish_seen_subcommand_from %.*s' -a %s -d ", first_word(c),
                    c->name, second);
            fish_text(out, c->summary);
            fputc('\n', out);
        }
        each_flag(out, c, fish_flag);
    }
    fputs("complete -c furlong -n __fish_use_subcommand -l completion -x -a 'bash zsh fish' -d 'completion script'\n",
          out);
}

bool cli_print_completion(FILE *out, const cli_command *commands, const char *shell)
{
    if (!strcmp(shell, "bash"))
        bash(out, commands);
    else if (!strcmp(shell, "zsh"))
        zsh(out, commands);
    else if (!strcmp(shell, "fish"))
        fish(out, commands);
    else
        return false;
    return true;
}
