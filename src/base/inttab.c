// inttab.c: linear probing from the high bits of key × golden ratio. A removal shifts the rest of the cluster
// back, so that no tombstones slow later searches down.
#include "src/base/inttab.h"
#include "src/base/err.h"
#include "src/base/mem.h"

enum { INTTAB_CAP_MIN = 16 };

static inline size_t
home_of(uint64_t key, size_t cap)
{
    return (size_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> (64 - __builtin_ctzll(cap)));
}

void
inttab_init(struct inttab *t)
{
    *t = (struct inttab){0};
}

void
inttab_fini(struct inttab *t)
{
    mem_free(t->slots);
    *t = (struct inttab){0};
}

// The slot of the key, or the empty one where it would go. The table is never full.
static struct inttab_slot *
slot_of(struct inttab_slot *slots, size_t cap, uint64_t key)
{
    size_t i = home_of(key, cap);
    while (slots[i].key != key && slots[i].key != 0)
        i = (i + 1) & (cap - 1);
    return &slots[i];
}

static int
resize(struct inttab *t, size_t cap)
{
    struct inttab_slot *slots = mem_calloc(cap, sizeof *slots);
    if (slots == NULL)
        return -LE_NOMEM;
    for (size_t i = 0; i < t->cap; i++) {
        if (t->slots[i].key != 0)
            *slot_of(slots, cap, t->slots[i].key) = t->slots[i];
    }
    mem_free(t->slots);
    t->slots = slots;
    t->cap = cap;
    return 0;
}

int
inttab_put(struct inttab *t, uint64_t key, void *value)
{
    LV_ASSERT(key != 0 && value != NULL);
    if (t->cap > 0) {
        struct inttab_slot *slot = slot_of(t->slots, t->cap, key);
        if (slot->key == key) {
            slot->value = value;
            return 0;
        }
    }
    if (t->count + 1 > t->cap / 4 * 3) {
        int r = resize(t, t->cap == 0 ? (size_t)INTTAB_CAP_MIN : t->cap * 2);
        if (r < 0)
            return r;
    }
    *slot_of(t->slots, t->cap, key) = (struct inttab_slot){key, value};
    t->count++;
    return 0;
}

void *
inttab_get(const struct inttab *t, uint64_t key)
{
    if (t->count == 0 || key == 0)
        return NULL;
    return slot_of(t->slots, t->cap, key)->value; // an empty slot's value is NULL
}

void *
inttab_take(struct inttab *t, uint64_t key)
{
    if (t->count == 0 || key == 0)
        return NULL;
    size_t mask = t->cap - 1;
    size_t hole = (size_t)(slot_of(t->slots, t->cap, key) - t->slots);
    if (t->slots[hole].key == 0)
        return NULL;
    void *value = t->slots[hole].value;
    for (size_t i = (hole + 1) & mask; t->slots[i].key != 0; i = (i + 1) & mask) {
        // May move back into the hole unless its home lies between the hole and itself.
        size_t home = home_of(t->slots[i].key, t->cap);
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            t->slots[hole] = t->slots[i];
            hole = i;
        }
    }
    t->slots[hole] = (struct inttab_slot){0};
    t->count--;
    // A table that cannot shrink for want of memory stays correct: it is only larger than it need be.
    if (t->cap > INTTAB_CAP_MIN && t->count < t->cap / 8)
        (void)(resize(t, t->cap / 2) == 0);
    return value;
}

bool
inttab_next(const struct inttab *t, size_t *cursor, uint64_t *ret_key, void **ret_value)
{
    while (*cursor < t->cap) {
        const struct inttab_slot *slot = &t->slots[(*cursor)++];
        if (slot->key != 0) {
            *ret_key = slot->key;
            *ret_value = slot->value;
            return true;
        }
    }
    return false;
}
