/* Scalars for TensorBoard: an event file of tensorflow.Event messages (tensorflow/core/util/event.proto, summary.proto)
 * framed as TFRecords. */
#ifndef FL_FILE_EVENT_FILE_H
#define FL_FILE_EVENT_FILE_H

#include "base/file.h"

/* CRC-32C (Castagnoli) of n bytes, masked as TFRecords want it. */
uint32_t fl_event_crc(const void *bytes, size_t n);

/* Open a new event file in folder, which is made if absent. step: the first that will be written; TensorBoard then
 * forgets later ones from event files written before. wall: seconds since 1970. */
fl_status fl_events_open(fl_appender *file, const char *folder, int64_t step, double wall);

/* One value of the curve `tag` at `step`. */
fl_status fl_events_scalar(fl_appender *file, int64_t step, double wall, const char *tag, double value);

#endif
