#include <string.h>

#include "base/buffer.h"
#include "file/checksum.h"
#include "session/session.h"

static void add_real(fl_checksum *sum, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    for (int i = 0; i < 8; i++, bits >>= 8)
        fl_checksum_add(sum, &(uint8_t){(uint8_t)bits}, 1);
}

/* The schedule by its numbers, at lengths on both sides of the trained window: two spellings of one schedule agree. */
static uint64_t schedule(const fl_rope_spec *rope)
{
    fl_checksum sum;
    fl_checksum_start(&sum);
    const int64_t length[] = {1, rope->original_window, 2 * rope->original_window + 1};
    for (size_t i = 0; i < sizeof length / sizeof *length; i++) {
        double freq[FL_ROPE_MAX_PAIRS] = {0}, magnitude = 0;
        if (fl_rope_frequencies(rope, length[i], freq, &magnitude) != FL_OK) continue;
        for (int j = 0; j < rope->dim / 2; j++)
            add_real(&sum, freq[j]);
        add_real(&sum, magnitude);
    }
    return fl_checksum_value(&sum);
}

char *fl_session_identity(const fl_model *m, const fl_scheme *scheme)
{
    const fl_config *c = &m->config;
    fl_buffer text = {0};
    fl_buffer_format(&text, "%s of %lld layers, width %lld, vocabulary %lld, weights %016llx", c->family,
                     (long long)c->layers, (long long)c->width, (long long)c->vocab, (unsigned long long)fl_model_weights_sum(m));
    if (scheme->rope)
        fl_buffer_format(&text, ", rope %s %016llx", fl_rope_kind_name(scheme->rope->kind),
                         (unsigned long long)schedule(scheme->rope));
    if (!scheme->rope || scheme->xpos) fl_buffer_format(&text, ", %s positions", fl_positions_name(c->positions));
    const fl_passes *p = &scheme->passes;
    if (p->block) fl_buffer_format(&text, ", blocks of %lld", (long long)p->block);
    if (p->kind != FL_PASSES_PLAIN) {
        char detail[96];
        fl_passes_method_of(p)->describe(p, detail, sizeof detail);
        fl_buffer_format(&text, ", %s: %s", fl_passes_name(p), detail);
    }
    if (scheme->logn != FL_LOGN_OFF)
        fl_buffer_format(&text, ", log-n %s %lld", fl_logn_name(scheme->logn), (long long)scheme->logn_window);
    if (p->window && p->kind != FL_PASSES_STREAM)
        fl_buffer_format(&text, ", window %lld with %lld sinks", (long long)p->window, (long long)p->sinks);
    if (text.failed) fl_buffer_free(&text);
    return text.data;
}
