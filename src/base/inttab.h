// inttab.h: open-addressing hash table from non-zero uint64_t keys to pointers, for hot integer keys
// (delivery sequence numbers, handles). Linear probing, backward-shift deletion, grows at 3/4 and shrinks at
// 1/8. One thread.
//
// Invariant: key 0 marks an empty slot and is never stored; values are never NULL.
#pragma once

#include "src/base/lv.h"

struct inttab_slot {
    uint64_t key;
    void *value;
};

struct inttab {
    struct inttab_slot *slots; // cap of them; NULL while empty and never used
    size_t cap;                // power of two or 0
    size_t count;
};

void inttab_init(struct inttab *t);
void inttab_fini(struct inttab *t);
LV_MUST_USE int inttab_put(struct inttab *t, uint64_t key, void *value); // replaces; 0 or -LE_NOMEM
void *inttab_get(const struct inttab *t, uint64_t key);                  // NULL when absent
void *inttab_take(struct inttab *t, uint64_t key); // removes and returns; NULL when absent
// Visits all in no order; *cursor starts at 0; false at the end. The table must not change meanwhile.
bool inttab_next(const struct inttab *t, size_t *cursor, uint64_t *ret_key, void **ret_value);
