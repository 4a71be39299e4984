/* The windows of a perplexity protocol: which tokens are read together, and which of them are judged. */
#ifndef FL_EVAL_WINDOWS_H
#define FL_EVAL_WINDOWS_H

#include "base/status.h"

/* Documents with BOS in front of each, if there is one. */
typedef struct fl_streams {
    int count;
    int32_t **ids; /* [count][size] */
    int64_t *size;
    int *document; /* [count] which one of those given */
    int32_t bos;
} fl_streams;

/* least: documents with fewer tokens, BOS counted, are left out; 0: none are. fl_streams_free in every case. */
fl_status fl_streams_build(fl_streams *s, const fl_document *document, int count, int32_t bos, int64_t max_tokens,
                           int64_t least);
void fl_streams_free(fl_streams *s);

/* BOS put before it or not, tokens [begin, end) of a stream, judged from index first of all these. With far > 0 the
 * first so many tokens are not the text's own but those of another stream from far_begin on, or, where far_stream is
 * -1, its own in an order drawn by the place of the window's end. */
typedef struct fl_window {
    int stream;
    bool bos;
    int64_t begin, end, first;
    int64_t far, far_begin;
    int far_stream;
} fl_window;

typedef struct fl_windows {
    fl_window *list; /* fl_free */
    int64_t count, capacity;
} fl_windows;

static inline int64_t fl_window_tokens(const fl_window *w)
{
    return w->end - w->begin + w->bos;
}

/* Windows of `length` tokens under o->protocol, `longest` being the largest length of the evaluation. near: tokens at
 * the end that o->far leaves alone. A stream that is too short is FL_ERR_ARGUMENT with both numbers. */
fl_status fl_windows_lay(fl_windows *p, const fl_streams *s, int64_t length, int64_t longest, int64_t near,
                         const fl_ppl_options *o);
/* The ids of a window: [fl_window_tokens]. */
void fl_window_ids(int32_t *ids, const fl_streams *s, const fl_window *w, uint64_t seed);
/* Tokens a document must have, BOS counted, for every length up to longest. */
int64_t fl_windows_least(const fl_ppl_options *o, int64_t longest);

#endif
