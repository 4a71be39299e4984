#include "tensor/ggml_type.h"

/* By number. An entry has a name, and either a type of ours or, for FL_DTYPE_COUNT, what to do about it. */
static const struct {
    const char *name;
    fl_dtype type;
    const char *instead;
} table[] = {
#define READ(name)                                                                                                     \
    {                                                                                                                  \
#name, FL_##name, NULL                                                                                         \
    }
#define CONVERT(name, to)                                                                                              \
    {                                                                                                                  \
        name, FL_DTYPE_COUNT, "convert the model to " to                                                               \
    }
#define REMOVED(name, to)                                                                                              \
    {                                                                                                                  \
        name, FL_DTYPE_COUNT, "removed from ggml; convert the model again, to " to                                     \
    }
#define WORKING(name)                                                                                                  \
    {                                                                                                                  \
        name, FL_DTYPE_COUNT, "ggml uses it while computing only; convert the model to Q8_0"                           \
    }
#define INTEGER(name)                                                                                                  \
    {                                                                                                                  \
        name, FL_DTYPE_COUNT, "it holds no real numbers; convert the model to F32"                                     \
    }
    [0] = READ(F32),
    [1] = READ(F16),
    [2] = READ(Q4_0),
    [3] = READ(Q4_1),
    [4] = REMOVED("Q4_2", "Q4_0"),
    [5] = REMOVED("Q4_3", "Q4_1"),
    [6] = READ(Q5_0),
    [7] = READ(Q5_1),
    [8] = READ(Q8_0),
    [9] = WORKING("Q8_1"),
    [10] = READ(Q2_K),
    [11] = READ(Q3_K),
    [12] = READ(Q4_K),
    [13] = READ(Q5_K),
    [14] = READ(Q6_K),
    [15] = WORKING("Q8_K"),
    [16] = CONVERT("IQ2_XXS", "Q2_K"),
    [17] = CONVERT("IQ2_XS", "Q2_K"),
    [18] = CONVERT("IQ3_XXS", "Q3_K"),
    [19] = CONVERT("IQ1_S", "Q2_K"),
    [20] = READ(IQ4_NL),
    [21] = CONVERT("IQ3_S", "Q3_K"),
    [22] = CONVERT("IQ2_S", "Q2_K"),
    [23] = CONVERT("IQ4_XS", "IQ4_NL or Q4_K"),
    [24] = INTEGER("I8"),
    [25] = INTEGER("I16"),
    [26] = READ(I32),
    [27] = READ(I64),
    [28] = READ(F64),
    [29] = CONVERT("IQ1_M", "Q2_K"),
    [30] = READ(BF16),
    [31] = REMOVED("Q4_0_4_4", "Q4_0"),
    [32] = REMOVED("Q4_0_4_8", "Q4_0"),
    [33] = REMOVED("Q4_0_8_8", "Q4_0"),
    [34] = CONVERT("TQ1_0", "Q2_K"),
    [35] = CONVERT("TQ2_0", "Q2_K"),
    [36] = REMOVED("IQ4_NL_4_4", "IQ4_NL"),
    [37] = REMOVED("IQ4_NL_4_8", "IQ4_NL"),
    [38] = REMOVED("IQ4_NL_8_8", "IQ4_NL"),
    [39] = CONVERT("MXFP4", "Q8_0"),
    [40] = CONVERT("NVFP4", "Q8_0"),
    [41] = CONVERT("Q1_0", "Q4_0"),
    [42] = CONVERT("Q2_0", "Q4_0"),
};

#define COUNT (sizeof table / sizeof table[0])

fl_status fl_dtype_from_ggml(fl_dtype *out, uint32_t id)
{
    if (id >= COUNT) return fl_fail(FL_ERR_FORMAT, "unknown type %lu; ggml has 0 to %zu", (unsigned long)id, COUNT - 1);
    if (table[id].instead)
        return fl_fail(FL_ERR_UNSUPPORTED, "type %s (%lu) is not supported: %s", table[id].name, (unsigned long)id,
                       table[id].instead);
    *out = table[id].type;
    return FL_OK;
}

fl_status fl_dtype_to_ggml(uint32_t *out, fl_dtype type)
{
    for (uint32_t id = 0; id < COUNT; id++) {
        if (table[id].type != type || table[id].instead) continue;
        *out = id;
        return FL_OK;
    }
    const fl_dtype_info *info = fl_dtype_get(type);
    return fl_fail(FL_ERR_UNSUPPORTED, "type %s has no number in GGUF; use F32", info ? info->name : "?");
}
