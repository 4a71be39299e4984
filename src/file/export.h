/* What a writer of model files writes: the tensors of an opened checkpoint with some of them replaced. */
#ifndef FL_FILE_EXPORT_H
#define FL_FILE_EXPORT_H

#include "base/file.h"
#include "file/checkpoint.h"
#include "file/permute.h"

typedef struct fl_export {
    const fl_config *config;      /* of the replacements and of the model that is written */
    const fl_file_tensor *tensor; /* replacements and additions */
    int64_t count;
    int64_t *index;
    const fl_checkpoint *source; /* may be NULL */
} fl_export;

/* Nothing is copied: tensor and source must live on. FL_ERR_ARGUMENT: a name comes twice. */
fl_status fl_export_open(fl_export *e, const fl_config *config, const fl_file_tensor *tensor, int64_t count,
                         const fl_checkpoint *source);
void fl_export_close(fl_export *e);

typedef struct fl_export_item {
    const fl_file_tensor *tensor;
    bool permuted;      /* rotated rows lie in the other order than the one asked for */
    fl_row_order order; /* asked for */
} fl_export_item;

/* The tensor to write under a name, and how its rows must be moved to lie in `order`. NULL tensor: there is none. */
fl_export_item fl_export_find(const fl_export *e, const char *name, fl_row_order order);

/* Append the item's values to the file as `type`; a type that holds no real numbers is written as it is. */
fl_status fl_export_values(const fl_export *e, const fl_export_item *item, fl_dtype type, fl_writer *w);

#endif
