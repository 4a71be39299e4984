/* Comparison of JSON whose numbers were computed. */
#ifndef TESTS_JSON_ALIKE_H
#define TESTS_JSON_ALIKE_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

/* As json_equal, but numbers may differ by what pow and log of another C library may. */
static inline bool json_alike(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b)) {
        double x = json_number_value(a), y = json_number_value(b);
        return fabs(x - y) <= 1e-13 * fabs(x);
    }
    if (json_is_array(a) && json_is_array(b) && json_array_size(a) == json_array_size(b)) {
        for (size_t i = 0; i < json_array_size(a); i++)
            if (!json_alike(json_array_get(a, i), json_array_get(b, i))) return false;
        return true;
    }
    if (json_is_object(a) && json_is_object(b) && json_object_size(a) == json_object_size(b)) {
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)(uintptr_t)a, key, value)
        {
            if (!json_alike(value, json_object_get(b, key))) return false;
        }
        return true;
    }
    return json_equal(a, b);
}

#endif
