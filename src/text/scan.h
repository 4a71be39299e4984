/* Hand-written scanners for the split patterns in use. Each takes the same first match as its regular expression, in
 * time linear in the text. */
#ifndef FL_TEXT_SCAN_H
#define FL_TEXT_SCAN_H

#include "base/status.h"

typedef enum fl_scanner {
    FL_SCAN_NONE,
    FL_SCAN_GPT2,   /* also GPT-NeoX, Pythia, Mamba, OPT, Falcon's first step */
    FL_SCAN_LLAMA3, /* also GPT-4: numbers in threes */
    FL_SCAN_QWEN2   /* as Llama 3 with every digit alone */
} fl_scanner;

extern const char *const FL_GPT2_PATTERN; /* of ByteLevel with use_regex */

/* Scanner of a pattern, FL_SCAN_NONE if it has none. */
fl_scanner fl_scan_known(const char *pattern);

/* End of the match that begins at s[at]; at < n. The patterns leave nothing between two matches. Bytes that are not
 * UTF-8 count as characters that are no letter, number or space. */
size_t fl_scan(fl_scanner scanner, const char *s, size_t n, size_t at);

#endif
