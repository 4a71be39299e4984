/* Position schemes that change which position a key or a query has for each other. Every scheme compiles, for one
 * query, to at most three passes: a range of keys, the position the query is rotated at, and whether the keys are taken
 * as they are stored or as at their own positions. Passes cover each visible key once and merge by log-sum-exp, so
 * attention has no variant for any of them. Pure functions of positions; one file per scheme.
 *
 * Keys are stored rotated at a position that is a function of the key alone, so that no query moves a stored key. Where
 * near keys must have exact distances and are stored otherwise (Self-Extend, ReRoPE), the pass asks for their own
 * positions: only the last `near` keys of a query are ever turned again. */
#ifndef FL_POSITION_PASSES_H
#define FL_POSITION_PASSES_H

#include "base/status.h"

#define FL_PASSES_MAX 3

typedef enum fl_passes_kind {
    FL_PASSES_PLAIN,
    FL_PASSES_SELF_EXTEND,
    FL_PASSES_REROPE, /* and leaky ReRoPE */
    FL_PASSES_DUAL_CHUNK,
    FL_PASSES_STREAM,
    FL_PASSES_KIND_COUNT
} fl_passes_kind;

typedef struct fl_passes {
    fl_passes_kind kind;
    int64_t
        window;    /* a query sees itself and window-1 tokens before it; 0: all. Stream: the recent part of the cache */
    int64_t block; /* blockwise causal attention (Sun et al. 2022): a query sees its own block of so many tokens up to
                      itself and the whole block before it; 0: off */
    int64_t sinks; /* with a window: the first tokens stay visible; plain: at their distance, stream: in the cache */
    int64_t near;  /* self-extend, rerope: smaller distances are exact */
    int64_t group; /* self-extend: beyond, so many positions become one */
    double leak;   /* leaky rerope: beyond, so many positions count as one; 0: rerope, distances stay at `near` */
    int64_t chunk; /* dual chunk: positions of keys begin at 0 again after so many */
    int64_t last;  /* dual chunk: the largest position of a query */
} fl_passes;

/* Scaling of the logits of a query at position p by ln(p+1) / ln(L): beyond L alone (the code of Self-Extend and
 * ReRoPE), or at every position, as some models are trained (Su 2021; Chiang, Cholak 2022). */
typedef enum fl_logn {
    FL_LOGN_OFF,
    FL_LOGN_BEYOND,
    FL_LOGN_EVERYWHERE,
    FL_LOGN_LENGTH /* beyond L, by 1 + 0.1 ln(n / L) for the n tokens of the text: vLLM with dual chunks */
} fl_logn;

/* A pass of one query: keys of positions lo <= k < hi (none if hi <= lo). */
typedef struct fl_pass {
    int64_t lo, hi;
    double query; /* position the query is rotated at */
} fl_pass;

/* A scheme; the table of all of them is in passes.c. */
typedef struct fl_passes_method {
    const char *name;
    int passes;
    bool own[FL_PASSES_MAX]; /* the pass reads keys as rotated at their own positions; else as stored */
    bool one_query;          /* every pass rotates the query at its own position */
    void (*compile)(const fl_passes *s, int64_t position, fl_pass *pass); /* pass 0 holds the query's own key */
    double (*stored)(const fl_passes *s, int64_t key);       /* position that keys are stored at; NULL: their own */
    int64_t (*span)(const fl_passes *s, int64_t length);     /* largest position in `length` tokens, plus 1 */
    fl_status (*check)(const fl_passes *s, int64_t trained); /* parameters for a model of that window */
    void (*describe)(const fl_passes *s, char *text, size_t capacity); /* "groups of 4 beyond 128 tokens" */
} fl_passes_method;

#define FL_STREAM_SINKS 4 /* of a stream that says nothing of them */

extern const fl_passes_method fl_self_extend, fl_rerope, fl_dual_chunk, fl_streaming;

const fl_passes_method *fl_passes_method_of(const fl_passes *s);
/* How many passes s makes (a plain scheme has a second one for sinks), and those of one query. */
int fl_passes_count(const fl_passes *s);
void fl_passes_compile(const fl_passes *s, int64_t position, fl_pass pass[FL_PASSES_MAX]);

/* "plain", "self-extend", "rerope", "leaky-rerope", "dual-chunk", "stream" */
const char *fl_passes_name(const fl_passes *s);
const char *fl_logn_name(fl_logn logn);             /* "off", "beyond", "everywhere", "length" */
bool fl_logn_parse(fl_logn *out, const char *name); /* false: unknown */
/* Refuse parameters that make no sense for a model trained on `trained` tokens; the message names flag and value. */
fl_status fl_passes_check(const fl_passes *s, int64_t trained);
/* The largest position that occurs in a text of `length` tokens, plus 1. */
int64_t fl_passes_span(const fl_passes *s, int64_t length);
/* The longest text whose positions stay below `trained`; INT64_MAX: any. */
int64_t fl_passes_reach(const fl_passes *s, int64_t trained);

#endif
