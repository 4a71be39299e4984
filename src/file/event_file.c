#include "file/event_file.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"

/* ---- bytes ------------------------------------------------------------------------------------------------------ */

uint32_t fl_event_crc(const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
    }
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

/* Little-endian. */
static void put_number(fl_buffer *b, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++, value >>= 8)
        fl_buffer_append(b, &(uint8_t){(uint8_t)value}, 1);
}

/* ---- protocol buffers: a field is its number and wire type, then its value --------------------------------------- */

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

static void put_varint(fl_buffer *b, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        put_number(b, (value & 0x7F) | 0x80, 1);
    put_number(b, value, 1);
}

static void put_double(fl_buffer *b, int field, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_varint(b, (uint64_t)field << 3 | FIXED64);
    put_number(b, bits, 8);
}

static void put_float(fl_buffer *b, int field, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_varint(b, (uint64_t)field << 3 | FIXED32);
    put_number(b, bits, 4);
}

static void put_bytes(fl_buffer *b, int field, const void *bytes, size_t n)
{
    put_varint(b, (uint64_t)field << 3 | BYTES);
    put_varint(b, n);
    fl_buffer_append(b, bytes, n);
}

/* ---- records ---------------------------------------------------------------------------------------------------- */

/* Event {wall_time = 1, step = 2, what}: length, its check, the event, its check. */
static fl_status put_event(fl_appender *file, int64_t step, double wall, int field, const void *what, size_t n)
{
    fl_buffer event = {0}, record = {0};
    put_double(&event, 1, wall);
    if (step) {
        put_varint(&event, 2 << 3 | VARINT);
        put_varint(&event, (uint64_t)step);
    }
    put_bytes(&event, field, what, n);
    put_number(&record, event.size, 8);
    put_number(&record, fl_event_crc(record.data, record.failed ? 0 : 8), 4);
    fl_buffer_append(&record, event.data, event.size);
    put_number(&record, fl_event_crc(event.data, event.size), 4);
    fl_status s = event.failed || record.failed ? FL_ERR_MEMORY : fl_appender_write(file, record.data, record.size);
    fl_buffer_free(&event);
    fl_buffer_free(&record);
    return s;
}

fl_status fl_events_open(fl_appender *file, const char *folder, int64_t step, double wall)
{
    *file = FL_APPENDER_CLOSED;
    FL_TRY(fl_folder_make(folder));
    fl_status s = FL_OK;
    /* TensorBoard reads the files of a folder in the order of their names. */
    for (int i = 0; file->descriptor < 0 && s == FL_OK; i++) {
        char name[64];
        snprintf(name, sizeof name, "events.out.tfevents.%010.0f.furlong.%03d", floor(wall), i);
        char *path = fl_path_join(folder, name);
        if (!path) return FL_ERR_MEMORY;
        if (!fl_file_exists(path)) s = fl_appender_open(file, path, false);
        fl_free(path);
    }
    static const char version[] = "brain.Event:2";
    static const uint8_t start[] = {1 << 3 | VARINT, 1}; /* SessionLog {status = START} */
    if (s == FL_OK) s = put_event(file, 0, wall, 3, version, sizeof version - 1);
    if (s == FL_OK && step > 1) s = put_event(file, step, wall, 7, start, sizeof start);
    return s == FL_OK ? s : fl_appender_close(file, s);
}

fl_status fl_events_scalar(fl_appender *file, int64_t step, double wall, const char *tag, double value)
{
    fl_buffer scalar = {0}, summary = {0};
    put_bytes(&scalar, 1, tag, strlen(tag)); /* Summary.Value {tag = 1, simple_value = 2} */
    put_float(&scalar, 2, (float)value);
    put_bytes(&summary, 1, scalar.data, scalar.size); /* Summary {value = 1} */
    fl_status s =
        scalar.failed || summary.failed ? FL_ERR_MEMORY : put_event(file, step, wall, 5, summary.data, summary.size);
    fl_buffer_free(&scalar);
    fl_buffer_free(&summary);
    return s;
}
