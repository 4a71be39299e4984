#define _GNU_SOURCE /* memmem */
/* Pre-tokenizers: each divides its text into pieces and hands them to the next; the last ones are words. */
#include "text/pipeline.h"

/* ---- from matches to pieces --------------------------------------------------------------------------------- */

/* Collects what a pattern finds, matches and the gaps between them in order, and passes pieces on as the behaviour
 * says. One piece is held back: a neighbour may still be joined to it. */
typedef struct pieces {
    fl_pipeline_split_work *w;
    int step;
    const char *text;
    bool origin; /* of the whole text */
    fl_pipeline_behavior behavior;
    bool invert;
    bool held, held_match, last_match;
    size_t start, end; /* of the piece held */
} pieces;

static fl_status divide(fl_pipeline_split_work *w, int step, const char *s, size_t n, bool origin);

static fl_status pass(pieces *p, size_t start, size_t end)
{
    if (start == end) return FL_OK;
    return divide(p->w, p->step + 1, p->text + start, end - start, p->origin && start == 0);
}

static fl_status release(pieces *p)
{
    bool held = p->held;
    p->held = false;
    return held ? pass(p, p->start, p->end) : FL_OK;
}

static fl_status found(pieces *p, size_t start, size_t end, bool match)
{
    match = match != p->invert;
    bool join = false;
    switch (p->behavior) {
    case FL_PIPELINE_ISOLATED:
        return pass(p, start, end);
    case FL_PIPELINE_REMOVED:
        return match ? FL_OK : pass(p, start, end);
    case FL_PIPELINE_CONTIGUOUS:
        join = p->held && match == p->last_match;
        break;
    case FL_PIPELINE_MERGED_WITH_PREVIOUS: /* a match joins the gap before it, not another match */
        join = p->held && match && !p->last_match;
        break;
    case FL_PIPELINE_MERGED_WITH_NEXT:
        join = p->held && p->held_match && !match;
        break;
    }
    p->last_match = match;
    if (join) {
        p->end = end;
        p->held_match = false;
        return FL_OK;
    }
    FL_TRY(release(p));
    p->held = true;
    p->held_match = match;
    p->start = start;
    p->end = end;
    return FL_OK;
}

/* ---- patterns ----------------------------------------------------------------------------------------------- */

static fl_status by_regex(pieces *p, const fl_regex *regex, size_t n)
{
    fl_regex_scan scan;
    FL_TRY(fl_regex_begin(&scan, regex, p->text, n));
    size_t done = 0, start, end;
    bool more = true;
    fl_status status = FL_OK;
    while (status == FL_OK && (status = fl_regex_next(&scan, &more, &start, &end)) == FL_OK && more) {
        if (done != start) status = found(p, done, start, false);
        if (status == FL_OK) status = found(p, start, end, true);
        done = end;
    }
    fl_regex_end(&scan);
    if (status == FL_OK && done != n) status = found(p, done, n, false);
    return status;
}

static fl_status by_text(pieces *p, const char *pattern, size_t length, size_t n)
{
    size_t done = 0;
    for (const char *match; (match = memmem(p->text + done, n - done, pattern, length)) != NULL;) {
        size_t start = (size_t)(match - p->text);
        if (done != start) FL_TRY(found(p, done, start, false));
        FL_TRY(found(p, start, start + length, true));
        done = start + length;
    }
    return done != n ? found(p, done, n, false) : FL_OK;
}

static fl_status by_scanner(pieces *p, fl_scanner scanner, size_t n)
{
    for (size_t at = 0, end; at < n; at = end) {
        end = fl_scan(scanner, p->text, n, at);
        FL_TRY(found(p, at, end, true));
    }
    return FL_OK;
}

/* Every character that `is` holds for is a match of its own. */
static fl_status by_character(pieces *p, bool (*is)(uint32_t cp), size_t n)
{
    size_t gap = 0;
    for (size_t at = 0, end; at < n; at = end) {
        uint32_t cp = 0;
        size_t length = fl_utf8_decode(p->text + at, n - at, &cp);
        end = at + (length ? length : 1);
        if (!length || !is(cp)) continue;
        if (gap < at) FL_TRY(found(p, gap, at, false));
        FL_TRY(found(p, at, end, true));
        gap = end;
    }
    return gap < n ? found(p, gap, n, false) : FL_OK;
}

/* ---- steps -------------------------------------------------------------------------------------------------- */

/* Cuts, then spells the bytes of every piece as characters. */
static fl_status byte_level(fl_pipeline_split_work *w, int step, const char *s, size_t n, bool origin)
{
    const fl_pipeline_splitter *splitter = &w->pipeline->splitter[step];
    if (splitter->add_prefix_space && s[0] != ' ') {
        fl_buffer *text = &w->text[step];
        fl_buffer_clear(text);
        fl_buffer_text(text, " ");
        fl_buffer_append(text, s, n);
        if (text->failed) return FL_ERR_MEMORY;
        s = text->data;
        n = text->size;
    }
    fl_buffer *mapped = &w->mapped[step];
    for (size_t at = 0, end; at < n; at = end) {
        end = splitter->use_regex ? fl_scan(FL_SCAN_GPT2, s, n, at) : n;
        fl_buffer_clear(mapped);
        fl_pipeline_to_bytes(s + at, end - at, mapped);
        if (mapped->failed) return FL_ERR_MEMORY;
        FL_TRY(divide(w, step + 1, mapped->data, mapped->size, origin && at == 0));
    }
    return FL_OK;
}

static fl_status metaspace(fl_pipeline_split_work *w, int step, const char *s, size_t n, bool origin)
{
    const fl_pipeline_splitter *splitter = &w->pipeline->splitter[step];
    const size_t length = strlen(splitter->replacement);
    fl_buffer *text = &w->text[step];
    fl_buffer_clear(text);
    bool begins = s[0] == ' ' || (n >= length && memcmp(s, splitter->replacement, length) == 0);
    if (!begins && (splitter->scheme == FL_PIPELINE_ALWAYS || (splitter->scheme == FL_PIPELINE_FIRST && origin)))
        fl_buffer_append(text, splitter->replacement, length);
    for (size_t from = 0; from < n;) {
        const char *space = memchr(s + from, ' ', n - from);
        size_t end = space ? (size_t)(space - s) : n;
        fl_buffer_append(text, s + from, end - from);
        if (space) fl_buffer_append(text, splitter->replacement, length);
        from = end + 1;
    }
    if (text->failed) return FL_ERR_MEMORY;
    pieces p = {.w = w, .step = step, .text = text->data, .origin = origin, .behavior = FL_PIPELINE_MERGED_WITH_NEXT};
    if (!splitter->split) return pass(&p, 0, text->size);
    FL_TRY(by_text(&p, splitter->replacement, length, text->size));
    return release(&p);
}

static fl_status divide(fl_pipeline_split_work *w, int step, const char *s, size_t n, bool origin)
{
    *w->steps += 1;
    if (step == w->pipeline->splitters) return w->word(w->user, s, n);
    const fl_pipeline_splitter *splitter = &w->pipeline->splitter[step];
    *w->steps += (int64_t)n;
    pieces p = {
        .w = w, .step = step, .text = s, .origin = origin, .behavior = splitter->behavior, .invert = splitter->invert};
    switch (splitter->kind) {
    case FL_PIPELINE_BYTE_LEVEL:
        return byte_level(w, step, s, n, origin);
    case FL_PIPELINE_METASPACE:
        return metaspace(w, step, s, n, origin);
    case FL_PIPELINE_SPLIT:
        if (splitter->scanner != FL_SCAN_NONE)
            FL_TRY(by_scanner(&p, splitter->scanner, n));
        else if (splitter->pattern.regex)
            FL_TRY(by_regex(&p, splitter->pattern.regex, n));
        else
            FL_TRY(by_text(&p, splitter->pattern.text, splitter->pattern.length, n));
        break;
    case FL_PIPELINE_DIGITS:
        p.behavior = splitter->individual ? FL_PIPELINE_ISOLATED : FL_PIPELINE_CONTIGUOUS;
        FL_TRY(by_character(&p, fl_unicode_is_numeric, n));
        break;
    case FL_PIPELINE_PUNCTUATION:
        FL_TRY(by_character(&p, fl_unicode_is_punctuation, n));
        break;
    case FL_PIPELINE_WHITESPACE_SPLIT:
        p.behavior = FL_PIPELINE_REMOVED;
        FL_TRY(by_character(&p, fl_unicode_is_space, n));
        break;
    }
    return release(&p);
}

fl_status fl_pipeline_split(fl_pipeline_split_work *w, const char *s, size_t n, bool origin)
{
    return n ? divide(w, 0, s, n, origin) : FL_OK;
}

void fl_pipeline_split_work_free(fl_pipeline_split_work *w)
{
    for (int i = 0; i < FL_PIPELINE_STEPS; i++) {
        fl_buffer_free(&w->text[i]);
        fl_buffer_free(&w->mapped[i]);
    }
}
