#include "train/windows.h"

#include <string.h>

#include "base/alloc.h"

static fl_status count_single(fl_windows *w)
{
    const fl_data *d = w->data;
    int64_t n = d->info.documents;
    w->before = fl_calloc((size_t)n + 1, sizeof *w->before);
    if (!w->before) return FL_ERR_MEMORY;
    for (int64_t i = 0; i < n; i++) {
        int64_t targets = d->begin[i + 1] - d->begin[i] - 1;
        w->before[i + 1] = w->before[i] + targets / w->length;
        w->unused += targets % w->length;
    }
    w->count = w->before[n];
    return FL_OK;
}

fl_status fl_windows_create(fl_windows *w, const fl_data *data, int64_t length, fl_packing packing)
{
    *w = (fl_windows){.data = data, .packing = packing, .length = length};
    int64_t tokens = data->info.tokens;
    if (packing == FL_PACKING_SINGLE) {
        FL_TRY(count_single(w));
    } else {
        w->count = (tokens - 1) / length;
        w->unused = (tokens - 1) % length;
    }
    if (w->count) return FL_OK;
    fl_windows_destroy(w);
    if (packing == FL_PACKING_SINGLE)
        return fl_fail(FL_ERR_ARGUMENT,
                       "none of %lld documents has the %lld tokens of a sequence: give a smaller --length, or "
                       "--packing cut to put several into one",
                       (long long)data->info.documents, (long long)length + 1);
    return fl_fail(FL_ERR_ARGUMENT,
                   "the data has %lld tokens but one sequence needs %lld: give more text or a smaller --length",
                   (long long)tokens, (long long)length + 1);
}

void fl_windows_destroy(fl_windows *w)
{
    fl_free(w->before);
    *w = (fl_windows){0};
}

/* Where window `index` begins among all ids. */
static int64_t begin_of(const fl_windows *w, int64_t index)
{
    if (w->packing != FL_PACKING_SINGLE) return index * w->length;
    int64_t document = fl_last_at_most(w->before, w->data->info.documents, index);
    return w->data->begin[document] + (index - w->before[document]) * w->length;
}

void fl_windows_read(const fl_windows *w, int64_t index, int32_t *ids, bool *fresh)
{
    const fl_data *d = w->data;
    int64_t from = begin_of(w, index), end = from + w->length + 1;
    fl_data_copy(d, from, w->length + 1, ids);
    memset(fresh, 0, (size_t)(w->length + 1) * sizeof *fresh);
    if (w->packing != FL_PACKING_CUT) return;
    for (int64_t i = fl_data_document_of(d, from) + 1; i < d->info.documents && d->begin[i] < end; i++)
        fresh[d->begin[i] - from] = true;
}
