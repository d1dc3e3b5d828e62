// stamps.c: see stamps.h. Linear probing at a load of at most one half.
#include "exchange/stamps.h"

#include "src/base/err.h"
#include "src/base/mem.h"

enum { STAMPS_CAP_FIRST = 16 };

void
stamps_init(struct stamps *s)
{
    *s = (struct stamps){.generation = 1};
}

void
stamps_fini(struct stamps *s)
{
    mem_free(s->slots);
    *s = (struct stamps){.generation = 1};
}

// The entry of the key, or the free one where it belongs.
static struct stamp *
stamps_place(struct stamp *slots, size_t cap, uint64_t generation, uint64_t key)
{
    size_t idx = (size_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 20) & (cap - 1);
    while (slots[idx].generation == generation && slots[idx].key != key)
        idx = (idx + 1) & (cap - 1);
    return &slots[idx];
}

static int
stamps_grow(struct stamps *s)
{
    size_t cap = s->cap == 0 ? STAMPS_CAP_FIRST : s->cap * 2;
    struct stamp *slots = mem_calloc(cap, sizeof *slots);
    if (slots == NULL)
        return -LE_NOMEM;
    for (size_t i = 0; i < s->cap; i++) {
        if (s->slots[i].generation == s->generation)
            *stamps_place(slots, cap, s->generation, s->slots[i].key) = s->slots[i];
    }
    mem_free(s->slots);
    s->slots = slots;
    s->cap = cap;
    return 0;
}

int
stamps_add(struct stamps *s, uint64_t key)
{
    LV_ASSERT_HOT(key != 0 && s->generation != 0);
    if ((s->count + 1) * 2 > s->cap) {
        int r = stamps_grow(s);
        if (r < 0)
            return r;
    }
    struct stamp *place = stamps_place(s->slots, s->cap, s->generation, key);
    if (place->generation == s->generation)
        return 0;
    *place = (struct stamp){key, s->generation};
    s->count++;
    return 1;
}
