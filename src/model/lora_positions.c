#include "model/lora_positions.h"

#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "file/hf_config.h"
#include "file/json.h"
#include "file/rope_config.h"

#define NAME "base_config.json"

bool fl_lora_positions_changed(const fl_model *m)
{
    const fl_config *file = fl_checkpoint_config(m->checkpoint), *now = &m->config;
    return now->logn != file->logn || now->logn_window != file->logn_window ||
           (now->rotary && fl_rope_difference(&now->rope, &file->rope));
}

fl_status fl_lora_positions_write(const fl_model *m, const char *folder)
{
    json_t *root = NULL;
    char *path = fl_path_join(folder, NAME);
    fl_status s = path ? FL_OK : FL_ERR_MEMORY;
    if (s == FL_OK) (void)unlink(path); /* of an earlier adapter */
    if (s == FL_OK && fl_lora_positions_changed(m)) {
        s = fl_hf_config_write(&root, &m->config, m->config.stored_type);
        if (s == FL_OK) s = fl_json_write(path, root);
    }
    json_decref(root);
    fl_free(path);
    return s;
}

static fl_status take(fl_config *config, const json_t *root, const char *path)
{
    fl_config base;
    FL_TRY(fl_hf_config_read(&base, root, path));
    if (strcmp(base.family, config->family) || base.positions != config->positions ||
        base.head_dim != config->head_dim || base.rope.dim != config->rope.dim)
        return fl_fail(FL_ERR_FORMAT, "%s: is of another model: family %s, heads of %lld, not %s, %lld", path,
                       base.family, (long long)base.head_dim, config->family, (long long)config->head_dim);
    config->rope = base.rope;
    config->window = base.window;
    config->logn = base.logn;
    config->logn_window = base.logn_window;
    return FL_OK;
}

fl_status fl_lora_positions_read(fl_config *config, const char *folder)
{
    json_t *root;
    char *path = fl_path_join(folder, NAME);
    if (!path) return FL_ERR_MEMORY;
    fl_status s = FL_OK;
    if (fl_file_is_folder(folder) && fl_file_exists(path)) {
        s = fl_json_read(&root, path, fl_json_config_limits);
        if (s == FL_OK) {
            s = take(config, root, path);
            json_decref(root);
        }
    }
    fl_free(path);
    return s;
}
