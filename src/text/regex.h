/* Regular expressions of tokenizer.json, for patterns without a scanner of their own: PCRE2 made to read them as
 * Oniguruma (Ruby syntax, Unicode) does. Backtracking is limited. */
#ifndef FL_TEXT_REGEX_H
#define FL_TEXT_REGEX_H

#include "base/status.h"

typedef struct fl_regex fl_regex;

/* FL_ERR_UNSUPPORTED for what PCRE2 would read differently, FL_ERR_FORMAT for a wrong pattern; the message begins at
 * the fault. A compiled pattern may be shared by threads. */
fl_status fl_regex_compile(fl_regex **out, const char *pattern);
void fl_regex_free(fl_regex *r);
const char *fl_regex_pattern(const fl_regex *r); /* as it was given */

/* All matches from left to right. */
typedef struct fl_regex_scan {
    const fl_regex *regex;
    const char *text;
    size_t length, at; /* at: where the next search begins */
    size_t last_end;   /* of the match before; SIZE_MAX: none yet */
    void *match, *context;
} fl_regex_scan;
fl_status fl_regex_begin(fl_regex_scan *s, const fl_regex *r, const char *text, size_t length);
/* *found false at the end. FL_ERR_UNSUPPORTED when the pattern backtracks past the limit. */
fl_status fl_regex_next(fl_regex_scan *s, bool *found, size_t *start, size_t *end);
void fl_regex_end(fl_regex_scan *s);

#endif
