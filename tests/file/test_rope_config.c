#include "files.h"

#include <math.h>

#include "file/rope_config.h"
#include "json_alike.h"

#define CASES FL_TEST_DATA "/rope_config/cases.json"
#define WRITTEN FL_TEST_DATA "/rope_config/written.json"

static const fl_json_limits limits = {1 << 24, 1 << 20, 16};

static int64_t integer(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

/* head_dim as the config of a llama model implies it. */
static fl_status read_config(fl_rope_spec *out, const json_t *config, const char *file)
{
    const json_t *given = json_object_get(config, "head_dim");
    int64_t head_dim =
        given ? json_integer_value(given) : integer(config, "hidden_size") / integer(config, "num_attention_heads");
    return fl_rope_config_read(out, config, file, head_dim, integer(config, "max_position_embeddings"));
}

/* The numbers come from float32 arithmetic: base^x and a few products, each good to 2^-24; base^x magnifies the error
 * of its exponent by ln(base) < 14. */
static void assert_near(double ours, double theirs, const char *name, int64_t length, const char *what)
{
    if (fabs(ours - theirs) > 3e-6 * fabs(theirs))
        fail_msg("%s, length %lld: %s = %.9g, transformers has %.9g", name, (long long)length, what, ours, theirs);
}

static void assert_results(const fl_rope_spec *spec, const json_t *item)
{
    const char *name = json_string_value(json_object_get(item, "name"));
    size_t r;
    const json_t *result;
    json_array_foreach(json_object_get(item, "results"), r, result)
    {
        double freq[FL_ROPE_MAX_PAIRS], magnitude;
        int64_t length = integer(result, "length");
        const json_t *wanted = json_object_get(result, "inv_freq");
        assert_ok(fl_rope_frequencies(spec, length, freq, &magnitude));
        assert_int_equal(json_array_size(wanted), spec->dim / 2);
        for (int i = 0; i < spec->dim / 2; i++)
            assert_near(freq[i], json_number_value(json_array_get(wanted, (size_t)i)), name, length, "inv_freq");
        assert_near(magnitude, json_number_value(json_object_get(result, "attention_scaling")), name, length,
                    "attention_scaling");
    }
}

static void test_transformers(void **state)
{
    (void)state;
    json_t *root;
    assert_ok(fl_json_read(&root, CASES, limits));
    size_t i;
    const json_t *item, *cases = json_object_get(root, "cases");
    assert_true(json_array_size(cases) > 25);
    json_array_foreach(cases, i, item)
    {
        fl_rope_spec spec;
        assert_ok(read_config(&spec, json_object_get(item, "config"), "config.json"));
        assert_results(&spec, item);
    }
    json_decref(root);
}

/* ---- writing ------------------------------------------------------------------------------------------------ */

/* One case of written.json: the config that is written for spec, and the numbers it stands for. */
static json_t *written_case(const char *name, const fl_rope_spec *spec, int64_t head_dim)
{
    json_t *config =
        json_pack("{s:i, s:i, s:i, s:i, s:i, s:I}", "vocab_size", 320, "hidden_size", 256, "intermediate_size", 64,
                  "num_hidden_layers", 1, "num_attention_heads", 4, "head_dim", (json_int_t)head_dim);
    json_t *results = json_array();
    assert_ok(fl_rope_config_write(config, spec, head_dim));
    const int64_t lengths[] = {100, spec->original_window, 3 * spec->original_window + 7};
    for (size_t i = 0; i < 3; i++) {
        double freq[FL_ROPE_MAX_PAIRS], magnitude;
        assert_ok(fl_rope_frequencies(spec, lengths[i], freq, &magnitude));
        json_t *list = json_array();
        for (int p = 0; p < spec->dim / 2; p++)
            json_array_append_new(list, json_real(freq[p]));
        json_array_append_new(results, json_pack("{s:I, s:o, s:f}", "length", (json_int_t)lengths[i], "inv_freq", list,
                                                 "attention_scaling", magnitude));
    }
    return json_pack("{s:s, s:o, s:o}", "name", name, "config", config, "results", results);
}

/* Schedules that no file spells, or that differ from what a file would say. */
static json_t *more_cases(json_t *list)
{
    fl_rope_spec s;
    fl_rope_spec_init(&s, 10000, 64, 2048);
    s.original_window = 512;
    json_array_append_new(list, written_case("base changed, window grown", &s, 64));
    s.kind = FL_ROPE_NTK;
    s.factor = 4;
    json_array_append_new(list, written_case("ntk", &s, 64));
    s.kind = FL_ROPE_LINEAR;
    json_array_append_new(list, written_case("linear, window grown", &s, 64));
    s.kind = FL_ROPE_DYNAMIC;
    json_array_append_new(list, written_case("dynamic, window grown", &s, 64));
    s.kind = FL_ROPE_YARN;
    s.attn_factor = 1.25;
    json_array_append_new(list, written_case("yarn, attn_factor", &s, 64));
    fl_rope_spec_init(&s, 10000, 64, 2048);
    s.kind = FL_ROPE_LONGROPE;
    s.original_window = 512;
    s.factor = 6; /* not the ratio of the windows */
    s.factors = 32;
    for (int i = 0; i < 32; i++) {
        s.short_factor[i] = 1 + 0.125 * i;
        s.long_factor[i] = 1 + 0.25 * i;
    }
    json_array_append_new(list, written_case("longrope, factor of its own", &s, 64));
    /* Schedules without a name are written as others that give the same numbers. */
    static const fl_rope_kind nameless[] = {FL_ROPE_NTK_PARTS, FL_ROPE_NTK_LINEAR, FL_ROPE_MIXED_RADIX, FL_ROPE_POWER};
    fl_rope_spec_init(&s, 10000, 64, 2048);
    s.original_window = 512;
    s.factor = 4;
    for (size_t i = 0; i < sizeof nameless / sizeof *nameless; i++) {
        s.kind = nameless[i];
        json_array_append_new(list, written_case(fl_rope_kind_name(s.kind), &s, 64));
    }
    return list;
}

static json_t *all_written(void)
{
    json_t *root, *list = json_array();
    assert_ok(fl_json_read(&root, CASES, limits));
    size_t i;
    const json_t *item;
    json_array_foreach(json_object_get(root, "cases"), i, item)
    {
        fl_rope_spec spec;
        const json_t *config = json_object_get(item, "config");
        int64_t head_dim = json_object_get(config, "head_dim") ? integer(config, "head_dim") : 64;
        assert_ok(read_config(&spec, config, "config.json"));
        json_array_append_new(list, written_case(json_string_value(json_object_get(item, "name")), &spec, head_dim));
    }
    json_decref(root);
    return more_cases(list);
}

/* written.json has been compared with transformers; what is written today must be the same, and read back the same. */
static void test_written(void **state)
{
    (void)state;
    json_t *root, *now = all_written();
    assert_ok(fl_json_read(&root, WRITTEN, limits));
    const json_t *known = json_object_get(root, "cases");
    assert_int_equal(json_array_size(known), json_array_size(now));
    size_t i;
    const json_t *item;
    json_array_foreach(now, i, item)
    {
        const char *name = json_string_value(json_object_get(item, "name"));
        const json_t *config = json_object_get(item, "config");
        if (!json_alike(config, json_object_get(json_array_get(known, i), "config")))
            fail_msg("%s: is no longer written as in written.json", name);
        fl_rope_spec spec;
        assert_ok(read_config(&spec, config, "config.json"));
        assert_results(&spec, item);
    }
    json_decref(now);
    json_decref(root);
}

static void test_cannot_write(void **state)
{
    (void)state;
    json_t *config = json_object();
    fl_rope_spec s;
    fl_rope_spec_init(&s, 10000, 64, 2048);
    assert_refused("dim above head_dim", fl_rope_config_write(config, &s, 32), FL_ERR_ARGUMENT, "head_dim", "32");
    s.kind = FL_ROPE_YARN;
    s.factor = 2;
    s.extrapolation_factor = 0.5;
    assert_refused("extrapolation_factor", fl_rope_config_write(config, &s, 64), FL_ERR_UNSUPPORTED,
                   "extrapolation_factor", "0.5");
    static const fl_rope_kind unknown[] = {FL_ROPE_DYNAMIC_LINEAR, FL_ROPE_DYNAMIC_YARN};
    fl_rope_spec_init(&s, 10000, 64, 2048);
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        s.kind = unknown[i];
        assert_refused("dynamic", fl_rope_config_write(config, &s, 64), FL_ERR_UNSUPPORTED, fl_rope_kind_name(s.kind),
                       "fixed factor");
    }
    s.factor = NAN;
    assert_refused("nan", fl_rope_config_write(config, &s, 64), FL_ERR_ARGUMENT, "factor", "nan");
    json_decref(config);
}

/* ---- what is refused ---------------------------------------------------------------------------------------- */

#define SCALING(text) "{\"rope_scaling\": {" text "}}"
#define YARN(text) SCALING("\"type\": \"yarn\", \"factor\": 4, \"original_max_position_embeddings\": 512" text)
#define LLAMA3(low, high)                                                                                              \
    SCALING("\"rope_type\": \"llama3\", \"factor\": 8, \"original_max_position_embeddings\": 512" low high)
#define EIGHT "1, 1, 1, 1, 1, 1, 1, 1"
#define LONGROPE(short, long)                                                                                          \
    SCALING("\"type\": \"longrope\", \"factor\": 2, \"short_factor\": [" short "], \"long_factor\": [" long "]")

/* head_dim 16, window 2048 */
static const struct {
    const char *config;
    fl_status status;
    const char *key;
} refused[] = {
    {"{\"rope_theta\": \"10000\"}", FL_ERR_FORMAT, "rope_theta = '10000'"},
    {"{\"rope_theta\": -1}", FL_ERR_FORMAT, "rope_theta = -1"},
    {"{\"rope_theta\": 0}", FL_ERR_FORMAT, "rope_theta = 0"},
    {"{\"rope_theta\": 1}", FL_ERR_FORMAT, "rope_theta = 1"},
    {"{\"rope_theta\": 1e300}", FL_ERR_FORMAT, "rope_theta = 1e+300"},
    {"{\"rope_theta\": true}", FL_ERR_FORMAT, "rope_theta = true"},
    {"{\"partial_rotary_factor\": 0}", FL_ERR_FORMAT, "partial_rotary_factor = 0"},
    {"{\"partial_rotary_factor\": 1.5}", FL_ERR_FORMAT, "partial_rotary_factor = 1.5"},
    {"{\"partial_rotary_factor\": 0.2}", FL_ERR_FORMAT, "partial_rotary_factor = 0.2"},
    {"{\"partial_rotary_factor\": [1]}", FL_ERR_FORMAT, "partial_rotary_factor = [1]"},
    {"{\"original_max_position_embeddings\": -4}", FL_ERR_FORMAT, "original_max_position_embeddings = -4"},
    {"{\"rope_scaling\": \"linear\"}", FL_ERR_FORMAT, "rope_scaling = 'linear'"},
    {"{\"rope_scaling\": [1]}", FL_ERR_FORMAT, "rope_scaling = [1]"},
    {"{\"rope_parameters\": 3}", FL_ERR_FORMAT, "rope_parameters = 3"},
    {"{\"rope_parameters\": {\"full_attention\": {\"rope_type\": \"default\"}}}", FL_ERR_UNSUPPORTED,
     "rope_parameters.full_attention"},
    {SCALING("\"type\": 4"), FL_ERR_FORMAT, "rope_scaling.type = 4"},
    {SCALING("\"type\": \"ntk\", \"factor\": 2"), FL_ERR_UNSUPPORTED, "rope_scaling.type = 'ntk'"},
    {SCALING("\"type\": \"Yarn\", \"factor\": 2"), FL_ERR_UNSUPPORTED, "rope_scaling.type = 'Yarn'"},
    {SCALING("\"rope_type\": \"proportional\""), FL_ERR_UNSUPPORTED, "rope_scaling.rope_type = 'proportional'"},
    {SCALING("\"rope_type\": \"\\u001b[2J\""), FL_ERR_UNSUPPORTED, "rope_scaling.rope_type = '?[2J'"},
    {SCALING("\"type\": \"linear\", \"rope_type\": \"yarn\", \"factor\": 2"), FL_ERR_FORMAT, "rope_scaling.type"},
    {SCALING("\"factor\": 2"), FL_ERR_UNSUPPORTED, "rope_scaling.factor = 2"},
    {SCALING("\"type\": \"linear\""), FL_ERR_FORMAT, "rope_scaling.factor"},
    {SCALING("\"type\": \"linear\", \"factor\": null"), FL_ERR_FORMAT, "rope_scaling.factor"},
    {SCALING("\"type\": \"linear\", \"factor\": \"2\""), FL_ERR_FORMAT, "rope_scaling.factor = '2'"},
    {SCALING("\"type\": \"linear\", \"factor\": 0.5"), FL_ERR_FORMAT, "factor = 0.5"},
    {SCALING("\"type\": \"linear\", \"factor\": -8"), FL_ERR_FORMAT, "factor = -8"},
    {SCALING("\"type\": \"linear\", \"factor\": 1e30"), FL_ERR_FORMAT, "factor = 1e+30"},
    {SCALING("\"type\": \"linear\", \"factor\": 2, \"beta_fast\": 32"), FL_ERR_UNSUPPORTED, "beta_fast = 32"},
    {SCALING("\"type\": \"linear\", \"factor\": 2, \"facter\": 3"), FL_ERR_UNSUPPORTED, "rope_scaling.facter = 3"},
    {SCALING("\"type\": \"linear\", \"factor\": 2, \"mrope_section\": [1, 2]"), FL_ERR_UNSUPPORTED, "mrope_section"},
    {SCALING("\"type\": \"dynamic\", \"factor\": 2, \"alpha\": 1000"), FL_ERR_UNSUPPORTED, "alpha = 1000"},
    {SCALING("\"type\": \"dynamic\", \"factor\": 2, \"original_max_position_embeddings\": 512"), FL_ERR_FORMAT,
     "rope_scaling.original_max_position_embeddings = 512"},
    {SCALING("\"type\": \"yarn\", \"factor\": 4, \"original_max_position_embeddings\": 0"), FL_ERR_FORMAT,
     "original_max_position_embeddings = 0"},
    {SCALING("\"type\": \"yarn\", \"factor\": 4, \"original_max_position_embeddings\": 512.5"), FL_ERR_FORMAT,
     "original_max_position_embeddings = 512.5"},
    {SCALING("\"type\": \"yarn\""), FL_ERR_FORMAT, "rope_scaling.factor"},
    {YARN(", \"attention_factor\": 0"), FL_ERR_FORMAT, "attention_factor = 0"},
    {YARN(", \"attention_factor\": -1"), FL_ERR_FORMAT, "attention_factor = -1"},
    {YARN(", \"beta_fast\": 0"), FL_ERR_FORMAT, "beta_fast = 0"},
    {YARN(", \"beta_fast\": 1, \"beta_slow\": 32"), FL_ERR_FORMAT, "beta_fast = 1"},
    {YARN(", \"beta_slow\": -1"), FL_ERR_FORMAT, "beta_slow = -1"},
    {YARN(", \"mscale\": -1"), FL_ERR_FORMAT, "mscale = -1"},
    {YARN(", \"mscale_all_dim\": 1e40"), FL_ERR_FORMAT, "mscale_all_dim = 1e+40"},
    {YARN(", \"truncate\": 1"), FL_ERR_FORMAT, "truncate = 1"},
    {YARN(", \"finetuned\": \"yes\""), FL_ERR_FORMAT, "finetuned = 'yes'"},
    {YARN(", \"extrapolation_factor\": 2"), FL_ERR_FORMAT, "extrapolation_factor = 2"},
    {YARN(", \"low_freq_factor\": 1"), FL_ERR_UNSUPPORTED, "low_freq_factor = 1"},
    {LLAMA3("", ""), FL_ERR_FORMAT, "low_freq_factor"},
    {LLAMA3(", \"low_freq_factor\": 1", ""), FL_ERR_FORMAT, "high_freq_factor"},
    {LLAMA3(", \"low_freq_factor\": 4", ", \"high_freq_factor\": 1"), FL_ERR_FORMAT, "high_freq_factor = 1"},
    {LLAMA3(", \"low_freq_factor\": -1", ", \"high_freq_factor\": 1"), FL_ERR_FORMAT, "low_freq_factor = -1"},
    {SCALING("\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 1, \"high_freq_factor\": 4"),
     FL_ERR_FORMAT, "original_max_position_embeddings"},
    {LONGROPE(EIGHT, "1, 2"), FL_ERR_FORMAT, "long_factor = [1,2]"},
    {LONGROPE("", EIGHT), FL_ERR_FORMAT, "short_factor = []"},
    {LONGROPE(EIGHT ", 1", EIGHT), FL_ERR_FORMAT, "short_factor"},
    {LONGROPE("1, 1, 1, 1, 1, 1, 1, \"1\"", EIGHT), FL_ERR_FORMAT, "short_factor"},
    {LONGROPE("1, 1, 1, 1, 1, 1, 1, 0", EIGHT), FL_ERR_FORMAT, "short_factor[7] = 0"},
    {LONGROPE(EIGHT, "-1, 1, 1, 1, 1, 1, 1, 1"), FL_ERR_FORMAT, "long_factor[0] = -1"},
    {SCALING("\"type\": \"longrope\", \"factor\": 2, \"short_factor\": [" EIGHT "]"), FL_ERR_FORMAT, "long_factor"},
    {SCALING("\"type\": \"su\", \"factor\": 2, \"short_factor\": 1, \"long_factor\": [" EIGHT "]"), FL_ERR_FORMAT,
     "short_factor = 1"},
    {SCALING("\"type\": \"longrope\", \"short_mscale\": 1.1, \"short_factor\": [" EIGHT "], \"long_factor\": [" EIGHT
             "]"),
     FL_ERR_UNSUPPORTED, "short_mscale = 1.1"},
    {"{\"original_max_position_embeddings\": 1024, \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4, "
     "\"original_max_position_embeddings\": 512}}",
     FL_ERR_FORMAT, "rope_scaling.original_max_position_embeddings = 512"},
    {"{\"rope_theta\": 1e6, \"rope_parameters\": {\"rope_theta\": 1e4}}", FL_ERR_FORMAT, "rope_parameters.rope_theta"},
    {"{\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}, \"rope_parameters\": {\"rope_type\": \"yarn\", "
     "\"factor\": 2}}",
     FL_ERR_FORMAT, "rope_parameters.rope_type"},
    {"{\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}, \"rope_parameters\": {\"rope_type\": \"linear\", "
     "\"factor\": 4}}",
     FL_ERR_FORMAT, "rope_parameters.factor = 4"},
    {"{\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 2}, \"rope_parameters\": {\"rope_type\": \"yarn\", "
     "\"factor\": 2, \"beta_fast\": 16}}",
     FL_ERR_FORMAT, "rope_parameters.beta_fast = 16"},
    {"{\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}, \"rope_parameters\": {\"rope_theta\": 500000, "
     "\"rope_type\": \"linear\", \"factor\": 2}}",
     FL_ERR_FORMAT, "rope_parameters.rope_theta"},
};

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        json_t *config;
        fl_rope_spec spec;
        assert_ok(fl_json_parse(&config, "x.json", refused[i].config, strlen(refused[i].config), limits));
        fl_status status = fl_rope_config_read(&spec, config, "x.json", 16, 2048);
        assert_refused(refused[i].config, status, refused[i].status, "x.json: ", refused[i].key);
        json_decref(config);
    }
}

static void test_head_dim(void **state)
{
    (void)state;
    json_t *config = json_object();
    fl_rope_spec spec;
    assert_refused("0", fl_rope_config_read(&spec, config, "x.json", 0, 64), FL_ERR_UNSUPPORTED, "x.json", "head_dim");
    assert_refused("1024", fl_rope_config_read(&spec, config, "x.json", 1024, 64), FL_ERR_UNSUPPORTED, "x.json",
                   "head_dim = 1024");
    assert_refused("7", fl_rope_config_read(&spec, config, "x.json", 7, 64), FL_ERR_FORMAT, "x.json", "head_dim");
    json_decref(config);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transformers), cmocka_unit_test(test_written),  cmocka_unit_test(test_cannot_write),
        cmocka_unit_test(test_refused),      cmocka_unit_test(test_head_dim),
    };
    if (argc == 2) { /* write written.json anew; compare it with transformers before it is committed */
        json_t *root = json_pack("{s:o}", "cases", all_written());
        return !root || fl_json_write(argv[1], root) != FL_OK;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
