// stamps.h: a set of non-zero numbers that is emptied in no time: what one message has met (exchanges, trie
// nodes, groups).
//
// Open addressing; an entry counts only when it carries the current generation, so that emptying is one
// addition. Keeps the memory it once needed. One thread.
#pragma once

#include "src/base/lv.h"

struct stamp {
    uint64_t key;
    uint64_t generation;
};

struct stamps {
    struct stamp *slots;
    size_t cap;          // power of two, or 0
    size_t count;        // entries of this generation
    uint64_t generation; // 64 bits: never comes round
};

void stamps_init(struct stamps *s);
void stamps_fini(struct stamps *s);
// 1: added; 0: was there; -LE_NOMEM.
LV_MUST_USE int stamps_add(struct stamps *s, uint64_t key);

static inline void
stamps_reset(struct stamps *s)
{
    s->count = 0;
    s->generation++;
}
