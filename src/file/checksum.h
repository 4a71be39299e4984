/* XXH64 (Yann Collet, xxHash specification 0.1.1): finds damage in files, not malice. */
#ifndef FL_FILE_CHECKSUM_H
#define FL_FILE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

typedef struct fl_checksum {
    uint64_t lane[4], total;
    uint8_t held[32];
    size_t holding;
} fl_checksum;

void fl_checksum_start(fl_checksum *c); /* seed 0 */
void fl_checksum_add(fl_checksum *c, const void *bytes, size_t n);
uint64_t fl_checksum_value(const fl_checksum *c); /* of everything added so far */

#endif
