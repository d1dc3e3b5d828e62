// utf8.h: is it well-formed UTF-8 (RFC 3629: no overlong forms, no surrogates, at most U+10FFFF)?
#pragma once

#include "src/base/slice.h"

bool utf8_is_valid(struct slice s);
// The length (1 … 4) of the well-formed sequence at p, of which `left` bytes may be read; 0 when there is
// none.
size_t utf8_sequence_len(const uint8_t *p, size_t left);
