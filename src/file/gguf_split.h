/* Models split over several GGUF files NAME-00001-of-00003.gguf: the first holds the key-values. */
#ifndef FL_FILE_GGUF_SPLIT_H
#define FL_FILE_GGUF_SPLIT_H

#include "file/gguf.h"

/* All files of the model that path is a part of (one when it is whole), in order; each must say which part it is, and
 * together they must hold as many tensors as they say. fl_gguf_split_close when done, also after a failure. */
fl_status fl_gguf_split_open(fl_gguf ***out, int64_t *count, const char *path);
void fl_gguf_split_close(fl_gguf **shard, int64_t count);

/* FL_ERR_FORMAT when g is one part of several. */
fl_status fl_gguf_split_whole(const fl_gguf *g);

#endif
