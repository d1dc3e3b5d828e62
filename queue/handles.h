// handles.h: numbers for things that others name by handle, and the owner's table from a handle to the thing.
//
// Two halves, because for queues they belong to different threads: `struct handle_numbers` gives out (index,
// generation) and takes them back (queues: the topology writer; consumers: the owner); `struct handle_slots`
// finds the object (the owner). Invariants: a generation is 1 … 2^24-1 and grows with each reuse of its
// index, so that an old handle never finds the new thing; an index is reused oldest first, so that
// generations grow evenly. Each half: one thread.
#pragma once

#include "queue/queue_def.h"

struct handle_number {
    uint32_t generation; // of the last or present use
    uint32_t next_free;  // index + 1 of the next free one, 0: none
};

struct handle_numbers {
    struct handle_number *items; // count of them in use or free
    uint32_t count, cap;
    uint32_t free_head, free_tail; // index + 1, 0: none
};

void handle_numbers_fini(struct handle_numbers *n);
// 0 or -LE_NOMEM (also when 2^32-1 numbers are out).
LV_MUST_USE int handle_numbers_take(struct handle_numbers *n, unsigned worker, lv_handle *ret_handle);
void handle_numbers_give(struct handle_numbers *n, lv_handle h);

struct handle_slot {
    void *object;        // NULL: gone, or not there yet
    uint32_t generation; // of the object, or of the last one
};

struct handle_slots {
    struct handle_slot *items;
    uint32_t cap;
};

void handle_slots_fini(struct handle_slots *s);
// Makes sure that handle_slots_put of this handle finds room. 0 or -LE_NOMEM.
LV_MUST_USE int handle_slots_reserve(struct handle_slots *s, lv_handle h);
void handle_slots_put(struct handle_slots *s, lv_handle h, void *object);
void handle_slots_remove(struct handle_slots *s, lv_handle h);
// The handle is not known here yet: what it names may still be on its way to this thread.
bool handle_slots_is_newer(const struct handle_slots *s, lv_handle h);

static inline void *
handle_slots_find(const struct handle_slots *s, lv_handle h)
{
    uint32_t index = handle_index(h);
    if (LV_UNLIKELY(index >= s->cap || s->items[index].generation != handle_generation(h)))
        return NULL;
    return s->items[index].object;
}
