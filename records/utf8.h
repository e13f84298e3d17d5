/* records/utf8.h -- whether bytes are UTF-8 (RFC 3629: shortest forms, no surrogates, at most
 * U+10FFFF). */
#ifndef ODB_RECORDS_UTF8_H
#define ODB_RECORDS_UTF8_H

#include "base/odb_types.h"

/* The length of the character at p, 1 to 4; 0 when there is none. p < end. */
size_t utf8_char_len(const uint8_t *p, const uint8_t *end);
bool utf8_is_valid(odb_slice s);
/* Write a code point, not a surrogate; at most four bytes. Returns how many. */
size_t utf8_write(uint8_t *p, uint32_t code);

#endif
