#define _GNU_SOURCE /* mempcpy */
#include "cli/output.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/flags.h"
#include "cli/interrupt.h"

static bool line_open; /* a progress line stands on the terminal */

static void close_line(void)
{
    if (line_open) fputs("\r\033[K", stderr);
    line_open = false;
}

static void say(const char *kind, const char *format, va_list arguments)
{
    fflush(stdout);
    close_line();
    fprintf(stderr, "furlong: %s", kind);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
}

void cli_error(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say("error: ", format, arguments);
    va_end(arguments);
}

void cli_warn(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say("warning: ", format, arguments);
    va_end(arguments);
}

void cli_note(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say("", format, arguments);
    va_end(arguments);
}

int cli_failed(fl_status status)
{
    if (status == FL_ERR_CANCELLED && cli_interrupted()) {
        cli_note("interrupted");
        return CLI_INTERRUPTED;
    }
    cli_error("%s", fl_error_message());
    return CLI_ERROR;
}

void cli_log(fl_log_level level, const char *text, void *user)
{
    (void)user;
    if (level == FL_LOG_ERROR)
        cli_error("%s", text);
    else if (level == FL_LOG_WARN)
        cli_warn("%s", text);
    else
        cli_note("%s", text);
}

static void print_left(double seconds)
{
    long s = (long)(seconds + 0.5);
    if (s >= 3600)
        fprintf(stderr, ", %ld:%02ld:%02ld left", s / 3600, s / 60 % 60, s % 60);
    else
        fprintf(stderr, ", %ld:%02ld left", s / 60, s % 60);
}

int cli_progress(const char *stage, int64_t done, int64_t total, double seconds_left, void *user)
{
    (void)user;
    if (cli_interrupted()) return 1;
    if (!isatty(STDERR_FILENO)) return 0;
    if (done >= total && total > 0) {
        close_line();
        return 0;
    }
    fprintf(stderr, "\r\033[K%s %lld", stage, (long long)done);
    if (total > 0) fprintf(stderr, " of %lld (%.0f%%)", (long long)total, 100.0 * (double)done / (double)total);
    if (seconds_left >= 0) print_left(seconds_left);
    fflush(stderr);
    line_open = true;
    return 0;
}

/* Length of the valid UTF-8 character at p, 0 if there is none (RFC 3629). */
static size_t character(const unsigned char *p, size_t left)
{
    static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = p[0] < 0x80                   ? 1
               : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
               : (p[0] & 0xf0) == 0xe0       ? 3
               : (p[0] & 0xf8) == 0xf0       ? 4
                                             : 0;
    if (n < 2 || n > left) return n > left ? 0 : n;
    unsigned code = p[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
        code = code << 6 | (p[i] & 0x3fu);
    }
    return code >= least[n] && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff) ? n : 0;
}

json_t *cli_json_text(const char *text, size_t length)
{
    json_t *whole = json_stringn(text, length);
    if (whole) return whole;
    char *fixed = malloc(3 * length + 1), *to = fixed;
    if (!fixed) return NULL;
    for (size_t i = 0; i < length;) {
        size_t n = character((const unsigned char *)text + i, length - i);
        to = mempcpy(to, n ? text + i : "\xef\xbf\xbd", n ? n : 3);
        i += n ? n : 1;
    }
    whole = json_stringn(fixed, (size_t)(to - fixed));
    free(fixed);
    return whole;
}

int cli_print_json(json_t *object)
{
    int failed =
        object ? json_dumpf(object, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(15)) : 1;
    json_decref(object);
    if (failed) {
        cli_error("the result could not be written as JSON");
        return CLI_ERROR;
    }
    putchar('\n');
    return cli_finish_output();
}

int cli_finish_output(void)
{
    close_line();
    if (fflush(stdout) == 0 && !ferror(stdout)) return CLI_OK;
    cli_error("stdout: cannot write the result: %s", strerror(errno));
    return CLI_ERROR;
}

const char *cli_bytes(char text[32], double bytes)
{
    static const char *const unit[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB"};
    int i = 0;
    for (; bytes >= 1024 && i < 5; i++)
        bytes /= 1024;
    snprintf(text, 32, i ? "%.2f %s" : "%.0f %s", bytes, unit[i]);
    return text;
}
