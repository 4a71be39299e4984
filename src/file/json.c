#include "file/json.h"

#include <math.h>
#include <string.h>

#include "base/file.h"

const fl_json_limits fl_json_config_limits = {.bytes = 8u << 20, .values = 500000, .depth = 64};

/* ---- parsing ------------------------------------------------------------------------------------------------ */

/* One value costs the parser up to a hundred bytes and can be spelled in two, and nesting costs stack: both are
 * counted before anything is allocated. Strings are skipped; wrong syntax is left for the parser to find. */
static fl_status check_limits(const char *file, const char *text, size_t size, fl_json_limits limits)
{
    if (size > limits.bytes)
        return fl_fail(FL_ERR_FORMAT, "%s: %zu bytes of JSON; at most %zu are read", file, size, limits.bytes);
    int64_t values = 0;
    int depth = 0;
    for (size_t i = 0; i < size; i++) {
        switch (text[i]) {
        case '"':
            for (i++; i < size && text[i] != '"'; i++)
                if (text[i] == '\\') i++;
            break;
        case '{':
        case '[':
            values++;
            if (++depth > limits.depth)
                return fl_fail(FL_ERR_FORMAT, "%s: offset %zu: JSON nested deeper than %d levels", file, i,
                               limits.depth);
            break;
        case '}':
        case ']':
            depth--;
            break;
        case ',':
        case ':':
            values++;
            break;
        default:
            break;
        }
        if (values > limits.values)
            return fl_fail(FL_ERR_FORMAT, "%s: offset %zu: more than %lld JSON values", file, i,
                           (long long)limits.values);
    }
    return FL_OK;
}

fl_status fl_json_parse_line(json_t **out, const char *file, int64_t line, const char *text, size_t size,
                             fl_json_limits limits)
{
    FL_TRY(check_limits(file, text, size, limits));
    json_error_t error;
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (!root) {
        char shown[FL_SHOWN];
        fl_show_text(shown, error.text);
        /* The parser says nothing at all when it cannot make an object. */
        if (json_error_code(&error) == json_error_out_of_memory || !*error.text)
            return fl_fail(FL_ERR_MEMORY, "%s: no memory for its JSON", file);
        return fl_fail(FL_ERR_FORMAT, "%s: line %lld, column %d: %s", file, (long long)line + error.line - 1,
                       error.column, shown);
    }
    if (!json_is_object(root)) {
        json_decref(root);
        return fl_fail(FL_ERR_FORMAT, "%s: line %lld: not a JSON object", file, (long long)line);
    }
    *out = root;
    return FL_OK;
}

fl_status fl_json_parse(json_t **out, const char *file, const char *text, size_t size, fl_json_limits limits)
{
    return fl_json_parse_line(out, file, 1, text, size, limits);
}

fl_status fl_json_read(json_t **out, const char *path, fl_json_limits limits)
{
    fl_buffer text = {0};
    FL_TRY(fl_file_read(&text, path, limits.bytes));
    fl_status status = fl_json_parse(out, path, text.data, text.size, limits);
    fl_buffer_free(&text);
    return status;
}

void fl_json_free_text(char *text)
{
    json_malloc_t unused;
    json_free_t release;
    json_get_alloc_funcs(&unused, &release);
    release(text);
}

/* With the fewest digits that read back as the same numbers: 1e-5, not 1.0000000000000001e-5. */
static char *shortest_text(const json_t *object, size_t layout)
{
    for (size_t digits = 6; digits < 17; digits++) {
        char *text = json_dumps(object, layout | JSON_REAL_PRECISION(digits));
        json_t *back = text ? json_loads(text, 0, NULL) : NULL;
        bool same = back && json_equal(object, back);
        json_decref(back);
        if (same) return text;
        fl_json_free_text(text);
    }
    return json_dumps(object, layout);
}

fl_status fl_json_write(const char *path, const json_t *object)
{
    char *text = shortest_text(object, JSON_INDENT(2));
    if (!text) return fl_fail(FL_ERR_MEMORY, "%s: no memory for its JSON", path);
    fl_writer w;
    fl_status status = fl_writer_open(&w, path);
    if (status == FL_OK) {
        fl_writer_write(&w, text, strlen(text));
        fl_writer_write(&w, "\n", 1);
        status = fl_writer_finish(&w);
    }
    fl_json_free_text(text);
    return status;
}

fl_status fl_json_append(fl_appender *file, json_t *object)
{
    char *text = object ? shortest_text(object, JSON_COMPACT) : NULL;
    fl_buffer line = {0};
    if (text) fl_buffer_format(&line, "%s\n", text);
    fl_status status = text && !line.failed ? fl_appender_write(file, line.data, line.size)
                                            : fl_fail(FL_ERR_MEMORY, "%s: no memory for a line", file->path);
    fl_buffer_free(&line);
    fl_json_free_text(text);
    json_decref(object);
    return status;
}

/* ---- messages ----------------------------------------------------------------------------------------------- */

const char *fl_show_text(char shown[FL_SHOWN], const char *text)
{
    static const char ellipsis[] = "...";
    size_t n = 0;
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (n + sizeof ellipsis >= FL_SHOWN) {
            memcpy(shown + n, ellipsis, sizeof ellipsis);
            return shown;
        }
        shown[n++] = *c < 0x20 || *c >= 0x7f ? '?' : (char)*c;
    }
    shown[n] = 0;
    return shown;
}

const char *fl_show_json(char shown[FL_SHOWN], const json_t *value)
{
    if (json_is_string(value)) {
        char inner[FL_SHOWN];
        fl_show_text(inner, json_string_value(value));
        snprintf(shown, FL_SHOWN, "'%.*s'", FL_SHOWN - 3, inner);
        return shown;
    }
    char text[2 * FL_SHOWN] = {0}; /* the encoder leaves out what does not fit */
    json_dumpb(value, text, sizeof text - 1,
               JSON_COMPACT | JSON_ENCODE_ANY | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(9));
    return fl_show_text(shown, text);
}

fl_status fl_json_fail(fl_status code, const fl_json_at *at, const char *key, const char *why)
{
    const json_t *value = json_object_get(at->object, key);
    char name[FL_SHOWN], shown[FL_SHOWN];
    fl_show_text(name, key);
    if (!value) return fl_fail(code, "%s: %s%s: %s", at->file, at->prefix, name, why);
    return fl_fail(code, "%s: %s%s = %s: %s", at->file, at->prefix, name, fl_show_json(shown, value), why);
}

/* ---- typed getters ------------------------------------------------------------------------------------------ */

static const json_t *get(const fl_json_at *at, const char *key)
{
    const json_t *value = json_object_get(at->object, key);
    return json_is_null(value) ? NULL : value;
}

fl_status fl_json_need(const fl_json_at *at, const char *key)
{
    return get(at, key) ? FL_OK : fl_json_fail(FL_ERR_FORMAT, at, key, "is required");
}

fl_status fl_json_int(const fl_json_at *at, const char *key, int64_t min, int64_t max, int64_t *out, bool *present)
{
    const json_t *value = get(at, key);
    if (present) *present = value != NULL;
    if (!value) return FL_OK;
    int64_t number;
    if (json_is_integer(value)) {
        number = json_integer_value(value);
    } else {
        double real = json_is_real(value) ? json_real_value(value) : 0.5;
        /* Beyond 2^53 a double no longer says which integer was meant. */
        if (real != floor(real) || fabs(real) > 9007199254740992.0)
            return fl_json_fail(FL_ERR_FORMAT, at, key, "is not an integer");
        number = (int64_t)real;
    }
    if (number < min || number > max) {
        char why[96];
        snprintf(why, sizeof why, "must be between %lld and %lld", (long long)min, (long long)max);
        return fl_json_fail(FL_ERR_FORMAT, at, key, why);
    }
    *out = number;
    return FL_OK;
}

fl_status fl_json_real(const fl_json_at *at, const char *key, double *out, bool *present)
{
    const json_t *value = get(at, key);
    if (present) *present = value != NULL;
    if (!value) return FL_OK;
    if (!json_is_number(value)) return fl_json_fail(FL_ERR_FORMAT, at, key, "is not a number");
    *out = json_number_value(value);
    return FL_OK;
}

fl_status fl_json_bool(const fl_json_at *at, const char *key, bool *out)
{
    const json_t *value = get(at, key);
    if (!value) return FL_OK;
    if (!json_is_boolean(value)) return fl_json_fail(FL_ERR_FORMAT, at, key, "is neither true nor false");
    *out = json_is_true(value);
    return FL_OK;
}

fl_status fl_json_string(const fl_json_at *at, const char *key, const char **out)
{
    const json_t *value = get(at, key);
    if (!value) return FL_OK;
    if (!json_is_string(value)) return fl_json_fail(FL_ERR_FORMAT, at, key, "is not a string");
    *out = json_string_value(value);
    return FL_OK;
}
