/* The command line itself: help, unknown and malformed flags, exit statuses, completion and the manual page. */
#define _GNU_SOURCE /* pipe2 */
#include "run.h"

#define PROMPT "-p", "Once"

static void test_help(void **state)
{
    (void)state;
    static const char *const command[] = {"generate", "chat", "tokenize", "info", "bench"};
    for (size_t i = 0; i < sizeof command / sizeof *command; i++) {
        outcome direct = RUN(command[i], "--help"), letter = RUN(command[i], "-h"), asked = RUN("help", command[i]);
        char usage[64];
        snprintf(usage, sizeof usage, "usage: furlong %s ", command[i]);
        assert_int_equal(direct.status, 0);
        assert_int_equal(direct.err.size, 0);
        assert_true(!strncmp(out_of(&direct), usage, strlen(usage)));
        assert_string_equal(out_of(&direct), out_of(&letter));
        assert_string_equal(out_of(&direct), out_of(&asked));
        for (const char *line = out_of(&direct); *line; line += strcspn(line, "\n") + 1)
            assert_true(strcspn(line, "\n") <= 100);
        outcome_free(&direct);
        outcome_free(&letter);
        outcome_free(&asked);
    }
    outcome all = RUN("--help"), help = RUN("help");
    for (size_t i = 0; i < sizeof command / sizeof *command; i++)
        assert_non_null(strstr(out_of(&all), command[i]));
    assert_int_equal(all.status, 0);
    assert_string_equal(out_of(&all), out_of(&help));
    outcome_free(&all);
    outcome_free(&help);
    expect_output(RUN("--version"), "furlong " FL_VERSION_STRING "\n");
    expect_output(RUN("version"), "furlong " FL_VERSION_STRING "\n");
    outcome nothing = run_with((const char *const[]){NULL}, NULL, NULL);
    assert_int_equal(nothing.status, 2);
    assert_int_equal(nothing.out.size, 0);
    assert_non_null(strstr(err_of(&nothing), "usage: furlong COMMAND"));
    outcome_free(&nothing);
}

static void test_unknown(void **state)
{
    (void)state;
    expect_error(RUN("genrate", PROMPT), 2, "no command genrate", "generate");
    expect_error(RUN("xyzzy"), 2, "no command xyzzy", "--help");
    expect_error(RUN("help", "tokenise"), 2, "no command tokenise", "tokenize");
    expect_error(RUN("generate", "--temprature", "1"), 2, "no flag --temprature", "--temp");
    expect_error(RUN("generate", "--temperature=1"), 2, "no flag --temperature", "the nearest is --temp");
    expect_error(RUN("generate", "--rope-freq-bse", "1"), 2, "no flag --rope-freq-bse", "--rope-freq-base");
    expect_error(RUN("info", "--zzzzzz"), 2, "no flag --zzzzzz", "furlong info --help");
    expect_error(RUN("info", "-z"), 2, "no flag -z", NULL);
    expect_error(RUN("generate", "--rope"), 2, "no flag --rope", "the nearest is --rope-"); /* several begin so */
    expect_error(RUN("info", "file"), 2, "takes no argument 'file'", NULL);
    expect_error(RUN("info", "--", "--json"), 2, "takes no argument '--json'", NULL);
}

static void test_values(void **state)
{
    (void)state;
    expect_error(RUN("generate", "-n"), 2, "-n needs a value", NULL);
    expect_error(RUN("generate", "--temp"), 2, "--temp needs a value", NULL);
    expect_error(RUN("info", "--json=1"), 2, "--json takes no value", NULL);
    expect_error(RUN("generate", "-n", "12x"), 2, "--predict 12x", "whole number");
    expect_error(RUN("generate", "-n", ""), 2, "--predict", "whole number");
    expect_error(RUN("generate", "-n", " 5"), 2, "--predict", "whole number");
    expect_error(RUN("generate", "-n", "1.5"), 2, "--predict 1.5", "whole number");
    expect_error(RUN("generate", "-n", "-3"), 2, "--predict -3", "-2");
    expect_error(RUN("generate", "-n", "99999999999999999999"), 2, "--predict 99999999999999999999", "-2");
    expect_error(RUN("generate", "--temp", "nan"), 2, "--temp nan", "not a number");
    expect_error(RUN("generate", "--temp", "1e400"), 2, "--temp 1e400", "from 0 to");
    expect_error(RUN("generate", "--temp", "-1"), 2, "--temp -1", "from 0 to");
    expect_error(RUN("generate", "--top-p", "1.01"), 2, "--top-p 1.01", "from 0 to 1");
    expect_error(RUN("generate", "--top-p=0,5"), 2, "--top-p 0,5", "not a number");
    expect_error(RUN("generate", "--overflow", "drop"), 2, "--overflow drop", "error|extend");
    expect_error(RUN("generate", "--rope-scaling", "yarm"), 2, "--rope-scaling yarm", "yarn");
    expect_error(RUN("bench", "--depths", "0,,5"), 2, "--depths", "whole number");
    expect_error(RUN("bench", "--depths", "0,-5"), 2, "--depths -5", "from 0 to");
    expect_error(RUN("--completion", "tcsh"), 2, "--completion tcsh", "bash, zsh, fish");
    expect_error(RUN("--completion"), 2, "--completion", "bash, zsh, fish");
    expect_error(RUN("eval"), 2, "eval what?", "furlong eval --help");
    expect_error(RUN("eval", "pplx", "-m", STORIES), 2, "no command eval pplx", "furlong eval --help");
    expect_error(RUN("eval", "ppl", "--blocs", "1"), 2, "eval ppl has no flag --blocs", "--blocks");
}

static void test_missing(void **state)
{
    (void)state;
    expect_error(RUN("generate", PROMPT), 2, "-m MODEL", "furlong generate --help");
    expect_error(RUN("info"), 2, "-m MODEL", NULL);
    expect_error(RUN("generate", "-m", STORIES), 2, "-p TEXT", "-f FILE");
    expect_error(RUN("generate", "-m", STORIES, PROMPT, "-f", "x"), 2, "-p TEXT", "-f FILE");
    expect_error(RUN("tokenize", "-p", "x"), 2, "--tokenizer", NULL);
    expect_error(RUN("info", "-m", "/nonexistent/model"), 1, "/nonexistent/model", NULL);
    expect_error(RUN("generate", "-m", "/nonexistent", PROMPT), 1, "/nonexistent", NULL);
    expect_error(RUN("generate", "-m", STORIES, "-f", "/nonexistent"), 1, "/nonexistent", "No such file");
    expect_error(RUN("generate", "-m", STORIES, "-f", "/"), 1, "/", "directory");
}

/* Short forms, forms with one dash, with "=" and glued on; the last of several counts. */
static void test_spellings(void **state)
{
    (void)state;
    static const char expected[] = "Once upon a time, there";
    expect_output(RUN("generate", "-m", STORIES, "-p", "Once", "-n", "5", "--temp", "0"), expected);
    expect_output(RUN("generate", "--model=" STORIES, "--prompt=Once", "--predict=5", "--temp=0"), expected);
    expect_output(RUN("generate", "-model", STORIES, "-pOnce", "-n5", "-temp", "0.0"), expected);
    expect_output(RUN("generate", "-n", "3", "-m", STORIES, PROMPT, "-n", "5", "--temp", "5", "--temp", "0e0"),
                  expected);
}

static outcome shell(const char *script)
{
    char command[8192];
    snprintf(command, sizeof command, "%s", script);
    FILE *p = popen(command, "r");
    assert_non_null(p);
    outcome o = {0};
    char bytes[4096];
    for (size_t n; (n = fread(bytes, 1, sizeof bytes, p)) > 0;)
        fl_buffer_append(&o.out, bytes, n);
    o.status = pclose(p);
    return o;
}

/* What bash offers after "furlong <words>". */
static void expect_offer(const char *words, const char *offered, const char *not_offered)
{
    char script[8192];
    snprintf(script, sizeof script,
             "bash -c 'eval \"$(%s --completion bash)\"; compopt() { :; }; COMP_WORDS=(furlong %s); "
             "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _furlong; echo \" ${COMPREPLY[*]} \"' 2>&1",
             beside("furlong"), words);
    outcome o = shell(script);
    if (o.status || !strstr(out_of(&o), offered) || (not_offered && strstr(out_of(&o), not_offered))) {
        show(&o);
        fail_msg("%s should offer%s", words, offered);
    }
    outcome_free(&o);
}

static void test_completion(void **state)
{
    (void)state;
    outcome found = shell("command -v bash");
    outcome_free(&found);
    if (found.status) skip();
    expect_offer("gen", " generate ", " info ");
    expect_offer("generate --rope-s", " --rope-scaling --rope-scale ", " --temp ");
    expect_offer("generate --overflow \"\"", " error extend ", NULL);
    expect_offer("info --rope-scaling \\\"\\\"", " none linear ", NULL);
    expect_offer("eval p", " ppl passkey position ", " generate ");
    expect_offer("eval passkey --tr", " --trials ", " --blocks ");
    expect_offer("eval ppl --protocol \"\"", " single sliding ", NULL);
    expect_offer("info --t", " --tokenizer --threads ", " --temp ");
    expect_offer("--completion \"\"", " bash zsh fish ", NULL);
    static const char *const other[] = {"zsh", "fish"};
    for (int i = 0; i < 2; i++) {
        outcome o = RUN("--completion", other[i]);
        assert_int_equal(o.status, 0);
        assert_int_equal(o.err.size, 0);
        assert_non_null(strstr(out_of(&o), "rope-scaling"));
        assert_non_null(strstr(out_of(&o), "error extend"));
        outcome_free(&o);
        char script[8192];
        snprintf(script, sizeof script, "command -v %s >/dev/null || exit 0; %s --completion %s | %s -n 2>&1", other[i],
                 beside("furlong"), other[i], other[i]);
        o = shell(script);
        if (o.status || o.out.size) fail_msg("%s: %s", other[i], out_of(&o));
        outcome_free(&o);
    }
}

static void test_man(void **state)
{
    (void)state;
    outcome o = RUN("--man");
    assert_int_equal(o.status, 0);
    assert_true(!strncmp(out_of(&o), ".TH FURLONG 1", 13));
    static const char *const expected[] = {".SH NAME", ".SS furlong generate", "\\-\\-rope\\-scaling", "FURLONG_CPU",
                                           ".SH EXIT STATUS"};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        assert_non_null(strstr(out_of(&o), expected[i]));
    /* Hyphens of flags are typed ones, and no line is taken for a request by accident. */
    assert_null(strstr(out_of(&o), "\\fB--"));
    for (const char *line = out_of(&o); *line; line += strcspn(line, "\n") + 1)
        if (*line == '.')
            assert_true(!strncmp(line, ".TH ", 4) || !strncmp(line, ".S", 2) || !strncmp(line, ".TP\n", 4) ||
                        !strncmp(line, ".PP\n", 4) || !strncmp(line, ".ad l\n", 6));
    outcome_free(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_help),    cmocka_unit_test(test_unknown),   cmocka_unit_test(test_values),
        cmocka_unit_test(test_missing), cmocka_unit_test(test_spellings), cmocka_unit_test(test_completion),
        cmocka_unit_test(test_man),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
