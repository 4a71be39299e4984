/* config.json with its positions, and generation_config.json. */
#include "fuzz.h"

#include <string.h>

#include "file/hf_config.h"
#include "file/rope_config.h"

/* What was read can be written, and then reads the same. */
static void check_rope(const fl_config *c)
{
    static double freq[FL_ROPE_MAX_PAIRS], again[FL_ROPE_MAX_PAIRS];
    static fl_rope_spec back;
    double magnitude = 0, magnitude_again = 0;
    int64_t length = 3 * c->rope.original_window;
    FUZZ_PROMISE(fl_rope_frequencies(&c->rope, length, freq, &magnitude) == FL_OK);
    json_t *root = json_object();
    fl_status status = fl_rope_config_write(root, &c->rope, c->head_dim);
    FUZZ_PROMISE(status == FL_OK || (status == FL_ERR_UNSUPPORTED && c->rope.extrapolation_factor != 1));
    if (status == FL_OK) {
        int64_t window = json_integer_value(json_object_get(root, "max_position_embeddings"));
        FUZZ_PROMISE(fl_rope_config_read(&back, root, "written", c->head_dim, window) == FL_OK);
        FUZZ_PROMISE(fl_rope_frequencies(&back, length, again, &magnitude_again) == FL_OK);
        FUZZ_PROMISE(back.dim == c->rope.dim && back.original_window == c->rope.original_window);
        FUZZ_PROMISE(!memcmp(freq, again, (size_t)back.dim / 2 * sizeof *freq) && magnitude == magnitude_again);
    }
    json_decref(root);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static fl_config c;
    json_t *root, *written;
    if (fl_json_parse(&root, "input", (const char *)data, size, fl_json_config_limits) != FL_OK) return 0;
    if (fl_hf_config_read(&c, root, "input") == FL_OK) {
        FUZZ_PROMISE(c.heads % c.kv_heads == 0 && c.vocab > 0 && c.head_dim > 0 && c.eos_count <= FL_MAX_EOS);
        if (c.rotary) check_rope(&c);
        if (fl_hf_config_write(&written, &c, FL_F32) == FL_OK) {
            static fl_config back;
            FUZZ_PROMISE(fl_hf_config_read(&back, written, "written") == FL_OK);
            FUZZ_PROMISE(back.width == c.width && back.norm_eps == c.norm_eps && back.bos == c.bos);
            json_decref(written);
        }
        fl_hf_generation_read(&c, root, "input");
    }
    json_decref(root);
    return 0;
}
