/* Character classes and normalisation forms, as the tokenizers library sees them. */
#ifndef FL_TEXT_UNICODE_H
#define FL_TEXT_UNICODE_H

#include "base/buffer.h"

typedef enum fl_char_class { FL_CHAR_OTHER, FL_CHAR_LETTER, FL_CHAR_NUMBER, FL_CHAR_SPACE } fl_char_class;

/* \p{L}, \p{N} and \s of the pre-tokenizer patterns, by Unicode 16. */
fl_char_class fl_unicode_class(uint32_t cp);
bool fl_unicode_is_space(uint32_t cp); /* White_Space */
/* \w, for added tokens that are single words: Alphabetic, marks, decimal digits, connectors, join controls. */
bool fl_unicode_is_word(uint32_t cp);
bool fl_unicode_is_numeric(uint32_t cp);     /* of the pre-tokenizer Digits: category N by Unicode 17 */
bool fl_unicode_is_punctuation(uint32_t cp); /* of Punctuation: ASCII's, and category P by Unicode 8 */

typedef enum fl_normal_form { FL_NFC, FL_NFD, FL_NFKC, FL_NFKD } fl_normal_form;

/* Append the normal form of n bytes to out; bytes that are not UTF-8 are copied. Linear but for the sorting of runs of
 * combining marks (n log n). FL_ERR_MEMORY only. */
fl_status fl_unicode_normalize(const char *s, size_t n, fl_normal_form form, fl_buffer *out);

#endif
