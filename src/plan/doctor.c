/* The examination's order, and what follows from the rotary geometry alone. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/size.h"
#include "plan/count.h"
#include "plan/doctor_internal.h"
#include "position/scaling_law.h"

#define HIGHEST_BASE 1e9
#define LONGEST_SEARCH (1 << 18) /* lowest bases are searched for windows up to this */

void fl_doctor_find(fl_doctor *d, fl_finding_level level, const char *topic, const char *format, ...)
{
    if (d->findings == FL_DOCTOR_FINDINGS) return;
    fl_finding *f = &d->finding[d->findings++];
    *f = (fl_finding){.level = level, .topic = topic};
    va_list list;
    va_start(list, format);
    vsnprintf(f->text, sizeof f->text, format, list);
    va_end(list);
}

void fl_doctor_advise(fl_doctor *d, const char *format, ...)
{
    if (!d->findings) return;
    fl_finding *f = &d->finding[d->findings - 1];
    va_list list;
    va_start(list, format);
    vsnprintf(f->advice, sizeof f->advice, format, list);
    va_end(list);
}

void fl_doctor_refused(fl_doctor *d, const char *message)
{
    *d = (fl_doctor){0};
    fl_doctor_find(d, FL_FINDING_BAD, "open", "%s", message);
    fl_doctor_advise(d, "the message names file and key; furlong reads what it understands whole, or nothing");
}

static void check_claim(fl_doctor *d, const fl_model *m)
{
    const fl_rope_spec *r = &m->config.rope;
    long long claimed = d->claimed, trained = d->trained;
    if (r->kind == FL_ROPE_PLAIN) {
        fl_doctor_find(d, FL_FINDING_OK, "window",
                       "claims %lld tokens; no scaling is stated, so it was trained on them", claimed);
        return;
    }
    double stretch = (double)claimed / (double)trained;
    fl_doctor_find(d, FL_FINDING_OK, "window",
                   "claims %lld tokens: trained on %lld, stretched %.4g times by %s (factor %g)", claimed, trained,
                   stretch, fl_rope_kind_name(r->kind), r->factor);
    bool by_factor = r->kind != FL_ROPE_LLAMA3 && r->kind != FL_ROPE_LONGROPE && r->kind != FL_ROPE_DIVISORS;
    if (by_factor && m->config.window > trained &&
        fabs((double)m->config.window / (double)trained / r->factor - 1) > 0.01) {
        fl_doctor_find(d, FL_FINDING_WARN, "window",
                       "max_position_embeddings says %lld, factor times the trained window %.0f",
                       (long long)m->config.window, r->factor * (double)trained);
        fl_doctor_advise(d, "trust the factor; some files keep the window before scaling in that key");
    }
}

/* The angles in force at the claimed window against those of training. */
static void check_angles(fl_doctor *d, const fl_rope_spec *r, const double *freq)
{
    fl_rope_spec plain;
    double trained[FL_ROPE_MAX_PAIRS], magnitude;
    fl_rope_spec_init(&plain, r->base, r->dim, r->original_window);
    if (r->kind == FL_ROPE_PLAIN || fl_rope_frequencies(&plain, d->trained, trained, &magnitude) != FL_OK) return;
    double reach = fl_law_window_of_angles(trained, freq, r->dim / 2, (double)d->trained);
    if (reach >= (double)d->claimed * 0.99) {
        fl_doctor_find(d, FL_FINDING_OK, "angles", "up to %lld tokens no pair turns further than in training",
                       (long long)d->claimed);
    } else {
        fl_doctor_find(d, FL_FINDING_WARN, "angles",
                       "from %.0f tokens on pairs turn further than in training, before the %lld claimed", reach,
                       (long long)d->claimed);
        fl_doctor_advise(d,
                         "whether it was tuned for that is not in the files: measure with -f TEXT, or compare methods");
    }
}

static void check_base(fl_doctor *d, const fl_rope_spec *r, const double *freq)
{
    int64_t limit = fl_min64(4 * d->claimed, 1 << 22);
    int64_t first = fl_law_first_negative(freq, r->dim / 2, limit);
    d->supported = (double)first;
    if (first >= fl_min64(d->claimed, limit)) {
        fl_doctor_find(d, FL_FINDING_OK, "base", "base %g tells similar keys from random ones up to %s%lld tokens",
                       r->base, first == limit ? "at least " : "", (long long)first);
        return;
    }
    double enough = d->claimed <= LONGEST_SEARCH ? fl_law_lowest_base(r->dim, d->claimed, 10, HIGHEST_BASE) : 0;
    fl_doctor_find(
        d, FL_FINDING_WARN, "base",
        "base %g tells similar keys from random ones only up to %lld of the claimed %lld tokens (Men et al. 2024)",
        r->base, (long long)first, (long long)d->claimed);
    if (enough > 0)
        fl_doctor_advise(
            d,
            "expect weak retrieval beyond, even where perplexity is flat; a base of %.3g and a fine-tune would do: "
            "furlong train --rope-freq-base %.6g",
            enough, enough);
    else
        fl_doctor_advise(
            d, "expect weak retrieval beyond, even where perplexity is flat: measure with furlong eval passkey");
}

static void check_law(fl_doctor *d, const fl_rope_spec *r)
{
    int critical = fl_law_critical_dimension(r->dim, r->base, (double)d->trained);
    double pairs = fl_law_pair_turning(r->dim, r->base, (double)d->trained, 1);
    if (critical >= r->dim) {
        fl_doctor_find(d, FL_FINDING_OK, "dimension",
                       "every pair turned fully in training (%.4g of %d): no angle is new further out",
                       fmin(pairs, r->dim / 2.0), r->dim / 2);
        if (r->base < fl_law_small_base(1, (double)d->trained))
            fl_doctor_advise(
                d,
                "so small a base keeps perplexity flat while retrieval fails early: measure with furlong eval passkey");
        return;
    }
    fl_doctor_find(
        d, FL_FINDING_OK, "dimension", "critical dimension %d of %d: %.4g pairs turn fully inside %lld tokens%s",
        critical, r->dim, pairs, (long long)d->trained,
        pow(r->base, 2.0 / r->dim) > 1.5 ? "; with so few pairs the law is good to a factor of two at best" : "");
    fl_doctor_advise(d, "to read further, see what each method reaches: furlong plan -m MODEL --to %lld",
                     (long long)(4 * d->claimed));
}

static fl_status check_rope(fl_doctor *d, const fl_model *m)
{
    const fl_rope_spec *r = &m->config.rope;
    double freq[FL_ROPE_MAX_PAIRS], magnitude;
    FL_TRY(fl_rope_frequencies(r, d->claimed, freq, &magnitude));
    check_claim(d, m);
    check_angles(d, r, freq);
    check_base(d, r, freq);
    check_law(d, r);
    if (m->config.sliding_window && m->config.sliding_window < d->claimed) {
        fl_doctor_find(d, FL_FINDING_WARN, "attention",
                       "a token sees only the %lld before it, whatever the window of %lld",
                       (long long)m->config.sliding_window, (long long)d->claimed);
        fl_doctor_advise(d, "what lies further back reaches it through the layers alone");
    }
    return FL_OK;
}

static fl_status check_memory(fl_doctor *d, const fl_model *m)
{
    int64_t per_token, machine = fl_physical_bytes();
    FL_TRY(fl_model_kv_bytes(m, NULL, NULL, &per_token));
    double need = (double)per_token * (double)d->claimed + (double)m->weight_bytes;
    bool fits = need <= (double)machine;
    fl_doctor_find(d, fits ? FL_FINDING_OK : FL_FINDING_WARN, "memory",
                   "the claimed window takes %.3g GiB with f32 keys and values; this machine has %.3g GiB",
                   need / 0x1p30, (double)machine / 0x1p30);
    if (!fits)
        fl_doctor_advise(d, "store keys and values smaller: -ctk q8_0 -ctv q8_0 takes about a quarter of their part");
    return FL_OK;
}

fl_status fl_doctor_examine(fl_doctor *out, const fl_model *m, const fl_doctor_options *o)
{
    *out = (fl_doctor){.claimed = fl_model_window(m)};
    out->trained = m->config.rotary ? m->config.rope.original_window : m->config.window;
    fl_doctor_find(out, FL_FINDING_OK, "open", "%s, family %s: every tensor and every position key is understood",
                   fl_checkpoint_path(m->checkpoint), m->config.family);
    fl_doctor_files(out, m);
    if (m->config.rotary) {
        FL_TRY(check_rope(out, m));
    } else {
        fl_doctor_find(out, FL_FINDING_WARN, "window",
                       "family %s does not rotate: its %lld positions cannot be stretched", m->config.family,
                       (long long)out->claimed);
        fl_doctor_advise(out, "read longer texts in pieces");
    }
    FL_TRY(check_memory(out, m));
    return o->text ? fl_doctor_loss(out, m, o) : FL_OK;
}
