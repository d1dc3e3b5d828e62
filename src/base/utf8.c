// utf8.c: eight ASCII bytes at a time, otherwise one sequence at a time.
#include <string.h>

#include "src/base/utf8.h"

static inline bool
is_tail(uint8_t byte)
{
    return (byte & 0xc0) == 0x80;
}

size_t
utf8_sequence_len(const uint8_t *p, size_t left)
{
    if (left == 0)
        return 0;
    uint8_t lead = p[0];
    if (lead < 0x80)
        return 1;
    if (lead < 0xc2) // a tail byte, or the lead of an overlong pair
        return 0;
    if (lead < 0xe0)
        return left >= 2 && is_tail(p[1]) ? 2 : 0;
    if (lead < 0xf0) {
        if (left < 3 || !is_tail(p[1]) || !is_tail(p[2]))
            return 0;
        bool is_overlong = lead == 0xe0 && p[1] < 0xa0;
        bool is_surrogate = lead == 0xed && p[1] >= 0xa0;
        return is_overlong || is_surrogate ? 0 : 3;
    }
    if (lead > 0xf4 || left < 4 || !is_tail(p[1]) || !is_tail(p[2]) || !is_tail(p[3]))
        return 0;
    bool is_overlong = lead == 0xf0 && p[1] < 0x90;
    bool is_too_large = lead == 0xf4 && p[1] >= 0x90;
    return is_overlong || is_too_large ? 0 : 4;
}

bool
utf8_is_valid(struct slice s)
{
    for (size_t i = 0; i < s.len;) {
        if (s.len - i >= 8) {
            uint64_t word;
            memcpy(&word, s.ptr + i, sizeof word);
            if ((word & UINT64_C(0x8080808080808080)) == 0) {
                i += 8;
                continue;
            }
        }
        size_t len = utf8_sequence_len(s.ptr + i, s.len - i);
        if (len == 0)
            return false;
        i += len;
    }
    return true;
}
