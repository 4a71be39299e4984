/* Typed reading of key-values: a value of another type is refused, never converted. */
#include <math.h>
#include <string.h>

#include "file/gguf.h"
#include "file/gguf_bytes.h"
#include "file/json.h"

static const char *const type_names[FL_GGUF_TYPE_COUNT] = {"uint8",  "int8",    "uint16", "int16",  "uint32",
                                                           "int32",  "float32", "bool",   "string", "array",
                                                           "uint64", "int64",   "float64"};

fl_status fl_gguf_fail(fl_status code, const fl_gguf *g, const char *key, const char *why)
{
    char shown[FL_SHOWN];
    return fl_fail(code, "%s: %s: %s", fl_gguf_name(g), fl_show_text(shown, key), why);
}

/* ---- elements ----------------------------------------------------------------------------------------------- */

static int64_t narrow(uint64_t bits, int width, bool is_signed)
{
    if (is_signed && width < 8 && bits >> (8 * width - 1)) bits |= UINT64_MAX << (8 * width);
    if (!is_signed && bits > INT64_MAX) return INT64_MAX;
    return (int64_t)bits;
}

int64_t fl_gguf_integer_at(const fl_gguf_value *v, uint64_t i)
{
    static const struct {
        uint8_t width;
        bool is_signed;
    } form[FL_GGUF_TYPE_COUNT] = {[FL_GGUF_U8] = {1, false},  [FL_GGUF_I8] = {1, true},   [FL_GGUF_U16] = {2, false},
                                  [FL_GGUF_I16] = {2, true},  [FL_GGUF_U32] = {4, false}, [FL_GGUF_I32] = {4, true},
                                  [FL_GGUF_U64] = {8, false}, [FL_GGUF_I64] = {8, true},  [FL_GGUF_BOOL] = {1, false}};
    int width = form[v->type].width;
    return width ? narrow(fl_le(v->data + i * (uint64_t)width, width), width, form[v->type].is_signed) : 0;
}

double fl_gguf_real_at(const fl_gguf_value *v, uint64_t i)
{
    if (v->type == FL_GGUF_F32) {
        uint32_t bits = (uint32_t)fl_le(v->data + 4 * i, 4);
        float value;
        memcpy(&value, &bits, sizeof value);
        return (double)value;
    }
    if (v->type != FL_GGUF_F64) return 0;
    uint64_t bits = fl_le(v->data + 8 * i, 8);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

fl_gguf_text fl_gguf_text_at(const fl_gguf_value *v, uint64_t i)
{
    if (v->type != FL_GGUF_STRING) return (fl_gguf_text){"", 0};
    const uint8_t *at = v->data + v->string[i];
    return (fl_gguf_text){(const char *)at + 8, (size_t)fl_le(at, 8)};
}

bool fl_gguf_text_is(fl_gguf_text t, const char *text)
{
    return t.length == strlen(text) && !memcmp(t.bytes, text, t.length);
}

/* ---- by key ------------------------------------------------------------------------------------------------- */

static bool is_integer(fl_gguf_type t)
{
    return t <= FL_GGUF_I32 || t == FL_GGUF_U64 || t == FL_GGUF_I64;
}

static bool is_real(fl_gguf_type t)
{
    return t == FL_GGUF_F32 || t == FL_GGUF_F64;
}

static bool is_bool(fl_gguf_type t)
{
    return t == FL_GGUF_BOOL;
}

static bool is_string(fl_gguf_type t)
{
    return t == FL_GGUF_STRING;
}

static fl_status get(const fl_gguf *g, const char *key, bool array, bool (*fits)(fl_gguf_type), const char *wanted,
                     const fl_gguf_value **out)
{
    const fl_gguf_value *v = fl_gguf_find(g, key);
    if (v && (v->array != array || !fits(v->type))) {
        char shown[FL_SHOWN];
        return fl_fail(FL_ERR_FORMAT, "%s: %s: is %s %s; must be %s%s", fl_gguf_name(g), fl_show_text(shown, key),
                       v->array ? "an array of" : "of type", type_names[v->type], array ? "an array of " : "", wanted);
    }
    *out = v;
    return FL_OK;
}

fl_status fl_gguf_integer(const fl_gguf *g, const char *key, int64_t least, int64_t most, int64_t *out)
{
    const fl_gguf_value *v;
    FL_TRY(get(g, key, false, is_integer, "an integer", &v));
    if (!v) return FL_OK;
    int64_t value = fl_gguf_integer_at(v, 0);
    if (value < least || value > most) {
        char shown[FL_SHOWN];
        return fl_fail(FL_ERR_FORMAT, "%s: %s = %lld: must be between %lld and %lld", fl_gguf_name(g),
                       fl_show_text(shown, key), (long long)value, (long long)least, (long long)most);
    }
    *out = value;
    return FL_OK;
}

fl_status fl_gguf_real(const fl_gguf *g, const char *key, double *out)
{
    const fl_gguf_value *v;
    FL_TRY(get(g, key, false, is_real, "float32 or float64", &v));
    if (!v) return FL_OK;
    double value = fl_gguf_real_at(v, 0);
    if (!isfinite(value)) return fl_gguf_fail(FL_ERR_FORMAT, g, key, "is not a finite number");
    *out = value;
    return FL_OK;
}

fl_status fl_gguf_bool(const fl_gguf *g, const char *key, bool *out)
{
    const fl_gguf_value *v;
    FL_TRY(get(g, key, false, is_bool, "bool", &v));
    if (v) *out = fl_gguf_integer_at(v, 0) != 0;
    return FL_OK;
}

fl_status fl_gguf_string(const fl_gguf *g, const char *key, fl_gguf_text *out)
{
    const fl_gguf_value *v;
    FL_TRY(get(g, key, false, is_string, "string", &v));
    if (v) *out = fl_gguf_text_at(v, 0);
    return FL_OK;
}

fl_status fl_gguf_strings(const fl_gguf *g, const char *key, const fl_gguf_value **out)
{
    return get(g, key, true, is_string, "string", out);
}

fl_status fl_gguf_integers(const fl_gguf *g, const char *key, const fl_gguf_value **out)
{
    return get(g, key, true, is_integer, "integers", out);
}

fl_status fl_gguf_reals(const fl_gguf *g, const char *key, const fl_gguf_value **out)
{
    return get(g, key, true, is_real, "float32 or float64", out);
}
