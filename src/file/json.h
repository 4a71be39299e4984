/* JSON as files hand it over: bounded before it is parsed, read by typed getters that name file, key and value. */
#ifndef FL_FILE_JSON_H
#define FL_FILE_JSON_H

#include <jansson.h>

#include "base/file.h"

/* Most values (numbers, strings, objects, lists, ...) and deepest nesting that a file may ask memory for. */
typedef struct fl_json_limits {
    size_t bytes;
    int64_t values;
    int depth;
} fl_json_limits;

/* What a model's own config files may hold. */
extern const fl_json_limits fl_json_config_limits;

/* text: size bytes. The root must be an object; duplicate keys are refused. json_decref(*out) when done. */
fl_status fl_json_parse(json_t **out, const char *file, const char *text, size_t size, fl_json_limits limits);
/* The same of one line of a file of JSON lines: messages count lines from `line`. */
fl_status fl_json_parse_line(json_t **out, const char *file, int64_t line, const char *text, size_t size,
                             fl_json_limits limits);
fl_status fl_json_read(json_t **out, const char *path, fl_json_limits limits);

/* Give back what json_dumps returned, by the allocator that jansson was told to use. NULL is fine. */
void fl_json_free_text(char *text);

/* Write the object to path, indented, atomically; reals keep every bit. */
fl_status fl_json_write(const char *path, const json_t *object);
/* The object, whose reference is taken, as one line at the end of the file; NULL: no memory for it. */
fl_status fl_json_append(fl_appender *file, json_t *object);

/* An object inside a file; prefix ("" or "rope_scaling.") comes before its keys in messages. */
typedef struct fl_json_at {
    const json_t *object;
    const char *file, *prefix;
} fl_json_at;

/* A key that is absent or null leaves *out alone and is no error. *present (NULL: not wanted) says whether it was
 * there. Integers may be spelled 4096.0; true is not a number. */
fl_status fl_json_int(const fl_json_at *at, const char *key, int64_t min, int64_t max, int64_t *out, bool *present);
fl_status fl_json_real(const fl_json_at *at, const char *key, double *out, bool *present);
fl_status fl_json_bool(const fl_json_at *at, const char *key, bool *out);
fl_status fl_json_string(const fl_json_at *at, const char *key, const char **out); /* valid while the object is */
/* FL_ERR_FORMAT naming the key when it is absent or null. */
fl_status fl_json_need(const fl_json_at *at, const char *key);

/* Fail with "file: prefix.key = value: why". why should say what to do. */
fl_status fl_json_fail(fl_status code, const fl_json_at *at, const char *key, const char *why);

#define FL_SHOWN 96

/* Text from a file as a message may show it: printable, quotes kept out, cut after FL_SHOWN bytes. Returns shown. */
const char *fl_show_text(char shown[FL_SHOWN], const char *text);
/* A value as compact JSON under the same rules. */
const char *fl_show_json(char shown[FL_SHOWN], const json_t *value);

#endif
